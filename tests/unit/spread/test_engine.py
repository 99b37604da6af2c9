"""What is made where, in which order, and what joins the networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import pytest

from orchestrator.engines.fake import FakeEngine
from orchestrator.engines.spread import SpreadEngine
from orchestrator.errors import EngineError
from orchestrator.model.plan import Change, LabKey, Plan, PlannedNetwork
from orchestrator.owner import owner
from orchestrator.plan import changes, make_plan
from orchestrator.wire import Channel
from tests.support.rig import topology

MACHINES = ("m1", "m2", "m3")
LAB = """
networks: {wide: {}, narrow: {}}
hosts:
  a: {role: server, networks: [wide], listen: [80]}
  b: {role: client, networks: [wide]}
  c: {role: client, networks: [narrow]}
"""
WHERE = {"a": "m1", "b": "m2", "c": "m2"}


def placed(text: str, where: Mapping[str, str], name: str | None = None) -> Plan:
    """A plan of which each host is on a machine."""
    lab = topology(text, name)
    plan = make_plan(lab, LabKey(owner=owner(), name=lab.name), "fake")
    hosts = tuple(msgspec.structs.replace(host, machine=where[host.name]) for host in plan.hosts)
    return msgspec.structs.replace(plan, hosts=hosts)


class Stitcher:
    """Writes down what it is asked to join, and what was there at that time."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], list[str], int]] = []
        self.refuses = False

    def __call__(self, _: Plan, networks: Sequence[PlannedNetwork], channels: Mapping[str, Channel]) -> None:
        hosts = sum(len(channel.call("hosts")["hosts"]) for channel in channels.values())
        self.asked.append(([network.name for network in networks], sorted(channels), hosts))
        if self.refuses:
            raise EngineError("no VXLAN here")


@pytest.fixture
def stitch() -> Stitcher:
    """See there."""
    return Stitcher()


@pytest.fixture
def spread(stitch: Stitcher) -> Iterator[SpreadEngine]:
    """Three machines; nothing is left on them."""
    found = SpreadEngine({name: FakeEngine(name) for name in MACHINES}, stitch)
    yield found
    for lab in found.find(owner()):
        found.remove(lab.key, lambda _: None)


def up(engine: SpreadEngine, plan: Plan, running: Plan | None = None) -> Channel:
    """Bring it up, as far as an engine does."""
    channel = engine.apply(plan, changes(running, plan), lambda _: None)
    channel.call("set_plan", plan=msgspec.to_builtins(plan))
    channel.call("commit")
    return channel


def hosts(channel: Channel) -> list[str]:
    """In the order of the plan."""
    return [host["name"] for host in channel.call("hosts")["hosts"]]


def test_each_host_is_made_on_its_machine_and_its_networks_are_joined_before(
    spread: SpreadEngine, stitch: Stitcher
) -> None:
    with up(spread, placed(LAB, WHERE)) as channel:
        assert hosts(channel) == ["a", "b", "c"]
        assert channel.machines == ("m1", "m2")
    assert stitch.asked == [(["wide"], ["m1", "m2"], 0)]
    what = {name: [one.what for one in member.find(owner())] for name, member in spread.members.items()}
    assert what == {"m1": ["1 hosts, 1 networks"], "m2": ["2 hosts, 2 networks"], "m3": []}


def test_a_host_more_on_a_machine_more_joins_the_network_there(
    spread: SpreadEngine, stitch: Stitcher
) -> None:
    plan = placed(LAB, WHERE)
    up(spread, plan).close()
    more = placed(LAB + "  d: {role: client, networks: [wide]}\n", {**WHERE, "d": "m3"}, name=plan.key.name)
    with up(spread, more, plan) as channel:
        assert hosts(channel) == ["a", "b", "c", "d"]
        assert channel.machines == MACHINES
    assert stitch.asked[1:] == [(["wide"], ["m1", "m2", "m3"], 3)], "what is there is left alone"


def test_a_machine_without_hosts_has_nothing_of_the_lab_any_more(spread: SpreadEngine) -> None:
    more = placed(LAB + "  d: {role: client, networks: [wide]}\n", {**WHERE, "d": "m3"})
    up(spread, more).close()
    assert list(spread.members["m3"].find(owner()))
    with up(spread, placed(LAB, WHERE, name=more.key.name), more) as channel:
        assert hosts(channel) == ["a", "b", "c"]
        assert channel.machines == ("m1", "m2")
    assert not list(spread.members["m3"].find(owner()))


def test_what_cannot_be_joined_is_not_left_behind(spread: SpreadEngine, stitch: Stitcher) -> None:
    stitch.refuses = True
    with pytest.raises(EngineError, match="no VXLAN"):
        up(spread, placed(LAB, WHERE))
    assert not list(spread.find(owner()))


def test_a_change_of_one_host_asks_only_its_machine(spread: SpreadEngine, stitch: Stitcher) -> None:
    plan = placed(LAB, WHERE)
    up(spread, plan).close()
    said: list[str] = []
    anew = [Change(action="remove-host", subject="c"), Change(action="make-host", subject="c")]
    with spread.apply(plan, anew, said.append) as channel:
        assert hosts(channel) == ["a", "b", "c"]
    assert {line.partition(":")[0] for line in said} == {"m2"}
    assert len(stitch.asked) == 1


def test_another_engine_object_finds_where_hosts_are(spread: SpreadEngine) -> None:
    plan = placed(LAB, WHERE)
    up(spread, plan).close()
    other = SpreadEngine({name: FakeEngine(name) for name in MACHINES})
    channel = other.open(plan.key)
    assert channel is not None
    with channel:
        assert hosts(channel) == ["a", "b", "c"]
        assert msgspec.convert(channel.call("plan")["plan"], Plan) == plan
        assert channel.call("call", host="c", call={"do": "list"})["errno"] is None
