"""A recording of a lab whose machines' clocks have nothing to do with ours, nor with each other."""

from __future__ import annotations

import time

from orchestrator import observe
from orchestrator.engines.fake_machine import FakeMachine
from orchestrator.join.apart import UNMEASURED, Apart
from orchestrator.scenarios.clocks import Clocks
from orchestrator.scenarios.recorder import Recorder
from tests.support.rig import Rig, eventually

Machines = tuple[FakeMachine, FakeMachine]


def astray(machines: Machines) -> None:
    """One was started long ago, one just now; and they drift."""
    machines[0].offset, machines[0].drift = 86_400.0, 40e-6
    machines[1].offset, machines[1].drift = -300.0, -60e-6


def test_every_machine_is_mapped_to_our_clock(rig: Rig, machines: Machines) -> None:
    astray(machines)
    clocks = Clocks(rig.another, time.monotonic_ns(), several=True)
    clocks.start()
    try:
        for host, machine in zip(("web", "alice"), machines, strict=True):
            clock = clocks.of_host(host)
            assert clock is not None
            now = time.monotonic_ns()
            ours, error = clock.moment(round(machine.clock(now / 1e9) * 1e9))
            assert abs(ours - now) <= error + 50_000, "what a float of so many seconds is exact to"
            assert error < 50_000_000
        told = {one.machine: one for one in clocks.recorded()}
        assert {host for one in told.values() for host in one.hosts} == {"web", "alice"}
        assert all(0 < one.error < 0.05 for one in told.values())
        trips = [len(clocks.of_machine(machine.name).trips) for machine in machines]
        assert eventually(
            lambda: [len(clocks.of_machine(machine.name).trips) for machine in machines] > trips
        ), "they are made again"
    finally:
        clocks.close()


def test_a_machine_that_was_never_measured_has_no_order(rig: Rig, machines: Machines) -> None:
    machines[0].silence()
    clocks = Clocks(rig.another, time.monotonic_ns(), several=True)
    clocks.start()
    clocks.close()
    apart = Apart(clocks.recorded())
    assert apart.error("alice") < 1
    assert apart.error("web") == UNMEASURED
    assert apart.between("alice", "web") >= UNMEASURED


def test_looks_and_calls_of_all_machines_are_on_one_clock(rig: Rig, machines: Machines) -> None:
    astray(machines)
    origin = time.monotonic()
    with Recorder(rig.another, rig.lab.plan, origin, several=True) as recorder:
        seen = rig.lab.observe()
        recorder.saw(observe.take(rig.channel, quick=True).tables, seen.joined)
        found = recorder.recording()
        length = time.monotonic() - origin
    assert {look.host for look in found.looks} == {"web", "alice"}
    assert all(-0.05 <= look.began <= look.ended <= length + 0.05 for look in found.looks)
    assert len(found.clocks) == 2
