"""Removing a lab or parts of it: only what carries its labels, past failures, until nothing is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from orchestrator import errors
from orchestrator.engines import docker_daemon as daemon
from orchestrator.engines import docker_objects as objects
from orchestrator.engines.base import Progress
from orchestrator.engines.docker_client import Docker, each, is_gone, translated
from orchestrator.model.plan import LabKey

_SETTLED = 0.3  # seconds: what a killed client had asked for may still appear for a moment
_SECONDS = 60.0


def remove_lab(docker: Docker, key: LabKey, progress: Progress) -> None:
    """Everything of the lab: containers, then networks, then the runtime folder."""
    deadline, failures, quiet = time.monotonic() + _SECONDS, list[Exception](), False
    said = False
    while not quiet and not failures and time.monotonic() < deadline:
        interrupted = False
        while (left := _left(docker, key)) and time.monotonic() < deadline:
            interrupted = interrupted or not _has_daemon(left[0])
            if not said:
                progress(f"removing {len(left[0])} containers and {len(left[1])} networks")
                said = True
            failures = _remove(docker, *left)
            if failures:
                break
        quiet = not interrupted
        if interrupted:
            time.sleep(_SETTLED)
    daemon.remove_folder(key)
    if failures:
        raise failures[0] if len(failures) == 1 else ExceptionGroup(f"lab {key.name}", failures)


def _left(docker: Docker, key: LabKey) -> tuple[list[dict[str, Any]], list[dict[str, Any]]] | None:
    filters = objects.of_lab(key)
    containers, networks = docker.labelled(filters), docker.networks(filters)
    return (containers, networks) if containers or networks else None


def _has_daemon(containers: Iterable[Mapping[str, Any]]) -> bool:
    return any(objects.labels_of(one).get(objects.KIND) == "daemon" for one in containers)


def _remove(
    docker: Docker, containers: Iterable[Mapping[str, Any]], networks: Iterable[Mapping[str, Any]]
) -> list[Exception]:
    failures: list[Exception] = []
    for work in (
        [partial(remove_container, docker, one["Id"]) for one in containers],
        [partial(remove_network, docker, one["Id"]) for one in networks],
    ):
        try:
            each(work)
        except ExceptionGroup as group:
            failures += group.exceptions
        except errors.LabError as error:
            failures.append(error)
    return failures


def remove_container(docker: Docker, container: str) -> None:
    """Kill and remove it with the volumes that its image declares; one that is gone is no failure."""
    _passing_over(lambda: docker.api.remove_container(container, force=True, v=True), "a container")


def remove_network(docker: Docker, network: str) -> None:
    """Remove it; one that is gone is no failure."""
    _passing_over(lambda: docker.api.remove_network(network), "a network")


def _passing_over(work: Callable[[], object], what: str) -> None:
    try:
        with translated(f"{what} cannot be removed"):
            work()
    except errors.EngineError as error:
        if not is_gone(error):  # removed by another, or being removed
            raise
