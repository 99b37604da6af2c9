"""The five functions of an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest

from orchestrator import bringup, wire
from orchestrator.engines.base import Engine
from orchestrator.errors import LabError
from orchestrator.lab import Lab
from orchestrator.model.plan import LabKey, Plan
from orchestrator.owner import owner
from orchestrator.plan import changes, make_plan
from tests.conftest import LabFactory
from tests.support.rig import Rig, eventually, topology

TWO = """
networks: {net: {}}
hosts:
  a: {role: server, networks: [net], listen: [80]}
  b: {role: client, networks: [net], connect: [a:80]}
"""
THREE = TWO + "  c: {role: client, networks: [net], connect: ['a:80 x2']}\n"
NEW_NETWORK = """
networks: {net: {}, other: {}}
routers: {r: {networks: [net, other]}}
hosts:
  a: {role: server, networks: [net], listen: [80, 81]}
  d: {role: client, networks: [other], connect: [a:81]}
"""


def planned(engine: Engine, text: str) -> Plan:
    """A plan for this engine that disturbs no network that is there."""
    lab = topology(text)
    taken: Callable[[], Sequence[str]] = getattr(engine, "taken", tuple)
    return make_plan(lab, LabKey(owner=owner(), name=lab.name), engine.name, None, taken())


def listed(engine: Engine, key: LabKey) -> str | None:
    """The state in which `find` shows a lab; None where it does not."""
    return next((found.state for found in engine.find(key.owner) if found.key == key), None)


def test_probe_tells_whether_and_why(engine: Engine) -> None:
    found = engine.probe(thorough=True)
    assert found.engine == engine.name
    assert found.works
    assert found.reason
    assert "\n" not in found.reason
    assert all(check.ok or check.cure for check in found.checks), "what fails has a cure"


def test_there_is_no_channel_to_a_lab_that_is_not_there(engine: Engine) -> None:
    key = LabKey(owner=owner(), name="nobody-made-this")
    assert engine.open(key) is None
    assert listed(engine, key) is None
    engine.remove(key, lambda _: None)


def test_a_lab_is_found_opened_and_removed(engine: Engine, lab_factory: LabFactory) -> None:
    rig = lab_factory(TWO)
    key = rig.lab.key
    assert listed(engine, key) == "running"
    assert all(found.what for found in engine.find(key.owner) if found.key == key)
    with Lab.find(key.name, engine.name) as again:
        assert again.plan == rig.lab.plan
    rig.channel.close()
    engine.remove(key, lambda _: None)
    assert listed(engine, key) is None
    assert engine.open(key) is None


def test_another_owner_has_no_such_lab(engine: Engine, lab_factory: LabFactory) -> None:
    rig = lab_factory(TWO)
    stranger = LabKey(owner="somebody-else", name=rig.lab.key.name)
    assert engine.open(stranger) is None
    assert listed(engine, stranger) is None
    engine.remove(stranger, lambda _: None)
    assert rig.channel.call("hello", version=wire.VERSION)["state"] == "running"


def test_an_uncommitted_lab_is_gone_or_found_incomplete_when_its_maker_is(engine: Engine) -> None:
    plan = planned(engine, TWO)
    try:
        channel = engine.apply(plan, changes(None, plan), lambda _: None)
        assert channel.call("hello", version=wire.VERSION)["state"] == "incomplete"
        channel.close()
        expected = "incomplete" if engine.name == "docker" else None
        eventually(lambda: listed(engine, plan.key) == expected)
        assert Lab.look_for(plan.key, engine.name) is None
    finally:
        engine.remove(plan.key, lambda _: None)
    assert listed(engine, plan.key) is None


def test_a_committed_lab_outlives_its_channel(engine: Engine) -> None:
    plan = planned(engine, TWO)
    try:
        channel = engine.apply(plan, changes(None, plan), lambda _: None)
        channel.call("set_plan", plan=msgspec.to_builtins(plan))
        channel.call("commit")
        channel.close()
        again = engine.open(plan.key)
        assert again is not None
        with again:
            assert again.call("hello", version=wire.VERSION)["state"] == "running"
            assert msgspec.convert(again.call("plan")["plan"], Plan) == plan
    finally:
        engine.remove(plan.key, lambda _: None)


def test_progress_says_something(engine: Engine) -> None:
    plan = planned(engine, TWO)
    said: list[str] = []
    try:
        engine.apply(plan, changes(None, plan), said.append).close()
        assert said
        assert all("\n" not in line for line in said)
    finally:
        engine.remove(plan.key, said.append)


def test_down_ends_the_lab(engine: Engine, lab_factory: LabFactory) -> None:
    rig = lab_factory(TWO)
    other = rig.another()
    rig.channel.call("down")
    with pytest.raises(LabError):
        other.call("hello", version=wire.VERSION)
    eventually(lambda: engine.open(rig.lab.key) is None)


def test_two_labs_do_not_know_each_other(lab_factory: LabFactory) -> None:
    first, second = lab_factory(TWO), lab_factory(TWO)
    assert first.lab.key != second.lab.key
    second.channel.close()
    second.lab.engine.remove(second.lab.key, lambda _: None)
    assert [h["alive"] for h in first.lab.hosts()] == [True, True]


def change(rig: Rig, text: str) -> Rig:
    """What `up` does with another file of the same lab."""
    rig.channel.close()
    outcome = bringup.up(topology(text, rig.lab.key.name), rig.lab.engine.name)
    assert not outcome.failed
    rig.lab = outcome.lab
    return rig


def test_the_same_file_changes_nothing(lab_factory: LabFactory) -> None:
    rig = lab_factory(TWO)
    before = {host["name"]: host["pid"] for host in rig.lab.hosts()}
    outcome = bringup.up(topology(TWO, rig.lab.key.name), rig.lab.engine.name)
    assert outcome.changes == ()
    assert {host["name"]: host["pid"] for host in outcome.lab.hosts()} == before
    outcome.lab.close()


def test_a_host_more_and_a_host_less_leave_the_others_alone(lab_factory: LabFactory) -> None:
    rig = lab_factory(TWO)
    before = {host["name"]: host["pid"] for host in rig.lab.hosts()}
    change(rig, THREE)
    hosts = {host["name"]: host for host in rig.lab.hosts()}
    assert {name: hosts[name]["pid"] for name in before} == before
    assert hosts["c"]["connected"] == 2
    assert hosts["b"]["connected"] == 1
    change(rig, TWO)
    assert {host["name"]: host["pid"] for host in rig.lab.hosts()} == before


def test_a_new_network_with_a_router_is_reached_by_a_running_host(lab_factory: LabFactory) -> None:
    rig = lab_factory(TWO)
    change(rig, NEW_NETWORK)
    hosts = {host["name"]: host for host in rig.lab.hosts()}
    assert set(hosts) == {"r", "a", "d"}
    assert hosts["r"]["kind"] == "router"
    assert hosts["d"]["connected"] == 1
    assert sorted(one["port"] for one in hosts["a"]["listening"]) == [80, 81]
