"""Which engines there are, and which one `auto` takes. Each is imported when it is asked for, not before."""

from __future__ import annotations

import importlib
from typing import NamedTuple, cast

from orchestrator.engines.base import Engine, Probe
from orchestrator.errors import EngineUnavailable, UsageError
from orchestrator.machines.base import Asked, open_machine
from orchestrator.model.plan import PlannedMachine

# name: (module, class). In the order in which a running lab is looked for: the cheapest look first.
ENGINES: dict[str, tuple[str, str]] = {
    "namespaces": ("orchestrator.engines.namespaces", "NamespacesEngine"),
    "docker": ("orchestrator.engines.docker", "DockerEngine"),
    "fake": ("orchestrator.engines.fake", "FakeEngine"),
}
REAL = ("namespaces", "docker")  # those that a user's labs are looked for on; `fake` is for tests
AUTO = ("docker", "namespaces")  # in the order of preference


class Chosen(NamedTuple):
    """An engine and why it is this one, in one line."""

    engine: Engine
    reason: str


def engine(name: str) -> Engine:
    """The engine of that name. Raises UsageError for any other, EngineUnavailable where its parts are
    missing.
    """
    if name not in ENGINES:
        raise UsageError(f"there is no engine {name!r}; there are auto, {', '.join(REAL)}")
    module, kind = ENGINES[name]
    try:
        return cast(Engine, getattr(importlib.import_module(module), kind)())
    except ImportError as error:
        raise EngineUnavailable(f"the engine {name} cannot be loaded: {error}") from error


def ask_secrets(asked: Asked) -> None:
    """Who is asked for the password of a machine, from now on; nobody, unless this was called."""
    global _ask  # noqa: PLW0603
    _ask = asked


_ask: Asked = lambda _: None  # noqa: E731


def _secrets(question: str) -> str | None:
    return _ask(question)


def on(name: str, machine: PlannedMachine) -> Engine:
    """The engine of that name on one machine of several. Raises EngineUnavailable for one that cannot be."""
    if name == "fake":
        from orchestrator.engines.fake import FakeEngine

        return FakeEngine(machine.name)
    if name == "docker":
        from orchestrator.engines.docker import DockerEngine

        return DockerEngine(open_machine(machine.name, machine.url, _secrets))
    raise EngineUnavailable(
        f"the engine {name} makes hosts on this computer only",
        "leave out `machines`, or use docker",
    )


def searched(name: str = "auto") -> tuple[str, ...]:
    """Names of the engines on which a lab may be running when the user asked for engine `name`."""
    return REAL if name in ("auto", *REAL) else (name,)


def choose(name: str) -> Chosen:
    """The engine asked for, or for `auto` the first of AUTO that works here.

    Raises EngineUnavailable with the cure where it does not work.
    """
    if name != "auto":
        asked = engine(name)
        probe = asked.probe()
        if not probe.works:
            raise EngineUnavailable(f"the engine {name} does not work here: {probe.reason}", probe.cure)
        return Chosen(asked, f"engine: {name} (asked for)")
    probes = []
    for candidate in AUTO:
        try:
            found = engine(candidate)
            probe = found.probe()
        except EngineUnavailable as error:
            probe = Probe(engine=candidate, works=False, reason=error.message, cure=error.hint)
        probes.append(probe)
        if probe.works:
            return Chosen(found, f"engine: {candidate} ({because(probes)})")
    raise EngineUnavailable(
        "no engine works here: " + "; ".join(f"{p.engine}: {p.reason}" for p in probes),
        "\n  ".join(p.cure for p in probes if p.cure),
    )


def because(probes: list[Probe]) -> str:
    """Why the last of these probes was taken: what it says, and what was passed over."""
    *passed, taken = probes
    reasons = [f"not {p.engine}: {p.reason}" for p in passed]
    return "; ".join([taken.reason, *reasons] if not passed else reasons)
