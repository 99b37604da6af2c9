"""Two machines of a test's own for a lab that spans them, and what their kernels have of it: asked by Docker,
not by way of what is under test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.compose import Machines, alone

SERVICES = ("m1", "m2")
MACHINES = """
machines: {m1: "ssh://lab-m1", m2: "ssh://lab-m2"}
"""
_OURS = "ip -o link show | grep -oE '(lab|labx)-[0-9a-f]{6}' || true"
_PORT = "ss -Hulpn sport = :4790"
_OBJECTS = (
    "docker ps -aq; docker network ls -qf label=io.lab.owner; ls -A /tmp/lab-0/docker 2>/dev/null || true"
)


@contextmanager
def started(folder: Path, profiles: str = "") -> Iterator[Machines]:
    """Two machines that are ours alone, or three; this process finds them by LAB_SSH_CONFIG."""
    with alone(folder, COMPOSE_PROFILES=profiles) as found, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_SSH_CONFIG", str(found.config))
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.delenv("SSH_AUTH_SOCK", raising=False)
        found.env["XDG_STATE_HOME"] = str(folder / "state")
        yield found


def of_fabric(machines: Machines, service: str) -> str:
    """What a machine's kernel has of a fabric: devices, and the port."""
    return machines.on(service, f"{_OURS}; {_PORT}")


def of_labs(machines: Machines, service: str) -> str:
    """What Docker has of labs, and their folders."""
    return machines.on(service, _OBJECTS)


def left(machines: Machines, services: Sequence[str] = SERVICES) -> dict[str, str]:
    """Of machines that are not as they were before any lab."""
    seen = {one: of_labs(machines, one) + of_fabric(machines, one) for one in services}
    return {service: text for service, text in seen.items() if text}


def addresses(machines: Machines, service: str) -> str:
    """Where it is reached by the others."""
    return machines.on(service, "hostname -i").strip()
