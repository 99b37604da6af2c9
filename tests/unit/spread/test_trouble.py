"""A machine that is cut off, or whose daemon is silent: what is known goes on, what is not is said."""

from __future__ import annotations

import time

import pytest

from orchestrator import bringup, observe
from orchestrator.engines import registry
from orchestrator.engines.fake_machine import FakeMachine
from orchestrator.errors import LabError, MachineUnreachable
from orchestrator.lab import Lab
from orchestrator.owner import owner
from tests.support.rig import Rig, eventually, topology
from tests.unit.spread.conftest import LAB, PATIENCE

Machines = tuple[FakeMachine, FakeMachine]


def statuses(seen: observe.Observation) -> list[tuple[str, str]]:
    """Of each row, and why an end is missing."""
    return [(row.status, row.reason or "") for row in seen.joined.connections]


def test_both_ends_of_a_connection_across_machines_are_one_row(rig: Rig, machines: Machines) -> None:
    seen = rig.lab.observe()
    assert statuses(seen) == [("joined", "")]
    assert set(seen.taken) == {machine.name for machine in machines}
    assert seen.not_observed == ()


@pytest.mark.parametrize("how", ["cut_off", "silence"])
def test_hosts_of_a_machine_that_is_away_are_not_observed(rig: Rig, machines: Machines, how: str) -> None:
    getattr(machines[0], how)()
    began = time.monotonic()
    with Lab.find(rig.lab.key.name, "fake") as lab:  # as another command would
        seen = lab.observe()
    assert time.monotonic() - began < 3 * PATIENCE + 2
    assert seen.not_observed == ("web",)
    assert statuses(seen) == [("client-only", "web was not observed")]
    assert set(seen.taken) == {machines[1].name}
    assert machines[0].name in seen.away


def test_a_machine_that_falls_silent_in_between_is_passed_over_at_once_the_next_time(
    rig: Rig, machines: Machines
) -> None:
    assert rig.lab.observe().not_observed == ()
    machines[0].silence()
    assert rig.lab.observe().not_observed == ("web",)
    began = time.monotonic()
    assert rig.lab.observe().not_observed == ("web",)
    assert time.monotonic() - began < PATIENCE / 2
    machines[0].heal()


def test_what_is_asked_of_a_host_on_a_machine_that_is_cut_off_is_an_error_and_others_answer(
    rig: Rig, machines: Machines
) -> None:
    machines[0].cut_off()
    with pytest.raises(LabError, match=machines[0].name):
        rig.ask("web", "list")
    assert rig.ask("alice", "list")["errno"] is None


def test_a_call_under_way_on_a_machine_that_is_cut_off_ends(rig: Rig, machines: Machines) -> None:
    rig.call("web", "listen", port=81, to="l")
    request = rig.channel.ask("call", host="web", call={"do": "accept", "fd": "l", "timeout": 60})
    machines[0].cut_off()
    with pytest.raises(LabError, match=machines[0].name):
        list(rig.channel.parts(request))


def test_hosts_of_a_machine_that_is_away_are_neither_alive_nor_dead(rig: Rig, machines: Machines) -> None:
    machines[0].cut_off()
    with Lab.find(rig.lab.key.name, "fake") as lab:
        hosts = {host["name"]: host for host in lab.hosts()}
    assert hosts["web"]["alive"] is None
    assert machines[0].name in hosts["web"]["why"]
    assert hosts["alice"]["alive"] is True


def test_up_on_a_running_lab_changes_nothing_while_a_machine_is_away(rig: Rig, machines: Machines) -> None:
    machines[0].cut_off()
    with pytest.raises(MachineUnreachable, match=machines[0].name):
        bringup.up(topology(LAB, rig.lab.key.name), "fake")
    machines[0].heal()
    outcome = bringup.up(topology(LAB, rig.lab.key.name), "fake")
    assert outcome.changes == ()
    outcome.lab.close()


def test_down_removes_the_others_says_what_is_left_and_later_the_rest(rig: Rig, machines: Machines) -> None:
    machines[0].cut_off()
    with pytest.raises(MachineUnreachable, match="1 host of the lab may be left") as raised:
        rig.lab.engine.remove(rig.lab.key, lambda _: None)
    assert machines[0].name in raised.value.message
    machines[0].heal()
    (found,) = [one for one in rig.lab.engine.find(rig.lab.key.owner) if one.key == rig.lab.key]
    assert found.what.startswith(f"{machines[0].name}: 1 host")
    rig.lab.engine.remove(rig.lab.key, lambda _: None)


@pytest.mark.parametrize("which", [0, 1])
def test_an_up_that_loses_a_machine_is_undone_on_the_others(machines: Machines, which: int) -> None:
    wanted = topology(LAB)
    cut: list[str] = []

    def say(line: str) -> None:
        if line.startswith("listening") and not cut:
            machines[which].cut_off()
            cut.append(line)

    with pytest.raises((LabError, ExceptionGroup)) as raised:
        bringup.up(wanted, "fake", say)
    assert cut
    assert machines[which].name in str(raised.value)
    machines[which].heal()
    engine = registry.engine("fake")
    assert [one for one in engine.find(owner()) if one.key.name == wanted.name] == []


def test_a_follower_is_told_that_a_machine_is_gone(rig: Rig, machines: Machines) -> None:
    with rig.another() as other:
        request = other.ask("logs", host="alice", paths=[], follow=True)
        other.feed(request)
        machines[1].cut_off()
        with pytest.raises(LabError, match=machines[1].name):
            list(other.parts(request))


def test_remembered_ids_go_to_the_machines_of_their_sockets(rig: Rig, machines: Machines) -> None:
    (before,) = rig.lab.observe().joined.connections
    with Lab.find(rig.lab.key.name, "fake") as lab:
        joined = lab.observe().joined
        assert joined.connections[0].id == before.id
        assert eventually(lambda: set(lab.observe().joined.remembered.values()) == {int(before.id, 16)})
