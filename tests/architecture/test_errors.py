"""Every error that is raised on purpose has its exit code, and every foreign one becomes one of them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import docker.errors
import pytest
import requests.exceptions

from orchestrator import errors, wire
from orchestrator.engines.docker_client import translated


def all_errors(root: type[errors.LabError] = errors.LabError) -> Iterator[type[errors.LabError]]:
    """The tree, from its root."""
    yield root
    for kind in root.__subclasses__():
        yield from all_errors(kind)


def test_the_tree_at_the_top_of_the_module_is_the_tree() -> None:
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        words = line.replace("├──", "").replace("└──", "").replace("│", "").split()
        if words and words[0] in vars(errors) and len(words) > 1:
            drawn[words[0]] = next((int(word) for word in words if word.isdigit()), 3)
    assert drawn == {kind.__name__: kind.exit_code for kind in all_errors()}


def test_exit_codes_are_those_of_the_contract() -> None:
    for kind in all_errors():
        bad = errors.TopologyError | errors.UsageError | errors.PlanError | errors.PathError
        bad_input = issubclass(kind, bad)
        assert kind.exit_code == (2 if bad_input else 3), kind


@pytest.mark.parametrize("kind", [k for k in all_errors() if k is not errors.TopologyError])
def test_an_error_travels_over_the_wire(kind: type[errors.LabError]) -> None:
    """All but TopologyError, which never leaves the client."""
    back = wire.to_error(wire.error_message(kind("what", "cure")))
    assert (type(back), back.message, back.hint) == (kind, "what", "cure")


def test_what_travels_chooses_only_among_our_errors() -> None:
    for name in ("LabError.__init__", "KeyboardInterrupt", "annotations", "ClassVar", "", None, 7):
        assert type(wire.to_error({"kind": name, "message": "m"})) is errors.DaemonError


def foreign() -> list[type[Exception]]:
    """Every exception that the docker package, and requests below it, can raise."""
    ours = (docker.errors.DockerException, requests.exceptions.RequestException)
    found = [*vars(docker.errors).values(), *vars(requests.exceptions).values()]
    return sorted({k for k in found if inspect.isclass(k) and issubclass(k, ours)}, key=lambda k: k.__name__)


def made(kind: type[Exception]) -> Exception:
    """One of them, without knowing what its constructor wants."""
    error = kind.__new__(kind)
    Exception.__init__(error, "as docker says")
    for name in ("msg", "name", "param"):
        if not hasattr(error, name):
            setattr(error, name, "why")
    for name in ("response", "request", "explanation"):
        if not hasattr(error, name):
            setattr(error, name, None)
    return error


@pytest.mark.parametrize("kind", foreign())
def test_dockers_errors_become_ours(kind: type[Exception]) -> None:
    with pytest.raises(errors.EngineError, match="doing this") as caught, translated("doing this"):
        raise made(kind)
    assert isinstance(caught.value.__cause__, kind)
