"""A lab on two machines of the fake engine, whose lines can be cut."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.engines import fake, registry, spread_channel
from orchestrator.engines.fake_machine import FakeMachine
from tests.support import two_machines
from tests.support.rig import Rig, running

LAB = """
networks: {net: {}}
hosts:
  web: {role: server, networks: [net], listen: [80]}
  alice: {role: client, networks: [net], connect: [web:80]}
"""
PATIENCE = 0.4  # seconds, instead of those for a real machine


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FakeMachine, FakeMachine]]:
    """Of web and of alice; both are well again afterwards."""
    monkeypatch.setitem(registry.ENGINES, "fake", ("tests.support.two_machines", "TwoFakes"))
    monkeypatch.setattr(spread_channel, "SILENT", PATIENCE)
    found = tuple(fake.machine(two_machines.machine_of(host)) for host in ("web", "alice"))
    assert found[0] is not found[1]
    yield found[0], found[1]
    for machine in found:
        machine.heal()
        machine.offset = machine.drift = 0.0


@pytest.fixture
def rig(machines: tuple[FakeMachine, FakeMachine]) -> Iterator[Rig]:
    """alice is connected to web."""
    with running("fake", LAB) as found:
        yield found
        for machine in machines:
            machine.heal()
        machine.offset = machine.drift = 0.0
