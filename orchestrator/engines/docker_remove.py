"""Removing a lab or parts of it: only what carries its labels, past failures, until nothing is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from orchestrator import errors
from orchestrator.engines import docker_objects as objects
from orchestrator.engines.base import Progress, counted
from orchestrator.engines.docker_client import Docker, each, is_gone, translated
from orchestrator.engines.docker_places import place_of
from orchestrator.model.plan import LabKey

_SETTLED = 0.3  # seconds: what a killed client had asked for may still appear for a moment
_ROUNDS, _ROUNDS_OF_INCOMPLETE = 4, 10


def remove_lab(docker: Docker, key: LabKey, progress: Progress, complete: bool) -> None:
    """Everything of the lab: containers, then networks, then the runtime folder.

    `complete`: its `up` was; else what the killed command had asked for may still be under way in the Engine.
    """
    place = place_of(docker.machine)
    folders = {place.folder(key)}
    patience = _ROUNDS if complete else _ROUNDS_OF_INCOMPLETE
    unsettled = not complete and any(place.is_there(folder) for folder in folders)
    failures, rounds = list[Exception](), 0
    while rounds < patience:
        containers, networks = _left(docker, key)
        if containers or networks:
            if not rounds:
                progress(f"removing {counted(containers, 'container')} and {counted(networks, 'network')}")
            folders |= _folders(docker, containers)
            failures, unsettled = _remove(docker, containers, networks), not complete
        elif not unsettled:
            break
        else:
            failures, unsettled = [], False
        if failures or not complete:
            time.sleep(_SETTLED)
        rounds += 1
    for folder in folders:
        place.remove(folder)
    if failures:
        raise failures[0] if len(failures) == 1 else ExceptionGroup(f"lab {key.name}", failures)


def _left(docker: Docker, key: LabKey) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    filters = objects.of_lab(key)
    return docker.labelled(filters), docker.networks(filters)


def _folders(docker: Docker, containers: Iterable[Mapping[str, Any]]) -> set[str | None]:
    """Where the daemon's socket was put: XDG_RUNTIME_DIR may have been another one then."""
    told = (objects.labels_of(one).get(objects.SOCKET) for one in containers)
    return {folder for folder in told if folder and (docker.is_here or not docker.machine.is_local)}


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
    try:
        _passing_over(lambda: docker.api.remove_network(network), "a network")
    except errors.EngineError as error:
        if "active endpoints" in error.message and not docker.attached(network):
            error.hint = "nothing is attached to it: the Engine lost count, and restarting it cures that"
        raise


def _passing_over(work: Callable[[], object], what: str) -> None:
    try:
        with translated(f"{what} cannot be removed"):
            work()
    except errors.EngineError as error:
        if not is_gone(error):  # removed by another, or being removed
            raise
