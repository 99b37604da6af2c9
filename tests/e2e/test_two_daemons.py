"""A lab whose hosts have two daemons, as on two machines, with real tables, packets and impairments. The
networks of the two are not joined: connections are within each.
"""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator import capturing, histories
from orchestrator.engines import namespaces_find, registry
from orchestrator.errors import LabError
from orchestrator.lab import Lab
from orchestrator.model.plan import LabKey
from orchestrator.scenarios.recorder import Recorder
from orchestrator.wire import Message
from tests.conftest import probe
from tests.support.rig import Rig, eventually, running
from tests.support.scenarios import explained, perform, verdicts

LAB = """
networks: {net: {}}
hosts:
  web1: {role: server, networks: [net], listen: [80]}
  alice1: {role: client, networks: [net], connect: [web1:80]}
  web2: {role: server, networks: [net], listen: [80]}
  alice2: {role: client, networks: [net], connect: [web2:80]}
"""
HOSTS = {"web1", "alice1", "web2", "alice2"}


@pytest.fixture(scope="module", autouse=True)
def two_daemons() -> Iterator[None]:
    """Instead of the one that this computer has."""
    found = probe("namespaces")
    if not found.works:
        pytest.skip(found.reason)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.ENGINES, "namespaces", ("tests.support.two_machines", "TwoDaemons"))
        yield


@pytest.fixture(scope="module")
def whole() -> Iterator[Rig]:
    """One lab for all that leave it as it was."""
    with running("namespaces", LAB) as rig:
        yield rig


@pytest.fixture
def lab(whole: Rig) -> Iterator[Rig]:
    """What a test opens is closed."""
    yield whole
    whole.clear()


def cut(lab: Rig, one: str, other: str, **more: Any) -> Message:
    """A cut between two hosts."""
    arguments: dict[str, Any] = {"from": [one], "to": [other], **more}
    return lab.channel.call("cut", **arguments)


def connected(lab: Rig, port: int) -> None:
    """A connection on each machine, opened and closed by its client."""
    for number in "12":
        lab.call(f"web{number}", "listen", port=port, to=f"l{port}")
        address = lab.address(f"web{number}")
        lab.call(f"alice{number}", "connect", address=address, port=port, to="c")
        lab.call(f"web{number}", "accept", fd=f"l{port}", to="conn")
        lab.call(f"alice{number}", "send", fd="c", text="hello")
        lab.received(f"web{number}", "conn")
        lab.call(f"alice{number}", "close", fd="c")
        lab.call(f"web{number}", "close", fd="conn")


def test_rows_of_both(lab: Rig) -> None:
    seen = lab.lab.observe()
    found = seen.joined.connections
    rows = [(row.client and row.client.host, row.server and row.server.host) for row in found]
    assert rows == [("alice1", "web1"), ("alice2", "web2")]
    assert {row.status for row in seen.joined.connections} == {"joined"}
    assert set(seen.taken) == {"m1", "m2"}
    assert len({row.id for row in seen.joined.connections}) == 2
    again = lab.lab.observe()
    assert [row.id for row in again.joined.connections] == [row.id for row in seen.joined.connections]


def test_what_is_recorded_of_both_is_on_one_clock(lab: Rig) -> None:
    with Recorder(lab.another, lab.lab.plan, time.monotonic(), several=True) as recorder:
        connected(lab, 7101)
        found = recorder.recording()
    assert {one.host for one in found.segments} == HOSTS
    assert [one.t for one in found.segments] == sorted(one.t for one in found.segments)
    assert {clock.machine: clock.hosts for clock in found.clocks} == {
        "m1": ("web1", "alice1"),
        "m2": ("web2", "alice2"),
    }
    assert {clock.error for clock in found.clocks} == {0.0}, "one computer, one clock"
    watched = {one.host for one in found.watches if one.source == "packet" and one.began < one.ended}
    assert watched == HOSTS
    assert not found.losses


def test_what_both_have_kept(lab: Rig) -> None:
    connected(lab, 7102)
    found = histories.taken(lab.lab)
    assert {one.host for one in found.segments if 7102 in (one.source[1], one.target[1])} == HOSTS


def test_a_scenario_over_both(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - web1: listen :7103 as l
  - web2: listen :7103 as l
  - parallel:
      - alice1: connect web1:7103 as call
      - alice2: connect web2:7103 as call
  - web1: accept as conn
  - web2: accept as conn
  - alice1: close call
  - web2: close conn
  - expect: {connection: alice1.call, first to close: client, closed by: FIN}
  - expect: {connection: alice2.call, first to close: server, closed by: FIN}
  - expect: {connection: web1.conn, server: ESTABLISHED -> CLOSE_WAIT}
""",
    )
    assert verdicts(record) == ["pass"] * 3, explained(record)


def test_a_capture_of_both(lab: Rig) -> None:
    with Lab.find(lab.lab.key.name, "namespaces") as other:
        wanted = capturing.Wanted(seconds=1.0)
        started = capturing.start(other, wanted)
        assert {one["host"] for one in started.told["interfaces"]} == HOSTS
        out = io.BytesIO()
        recorder = capturing.Recorder(out, other.plan, wanted.size)
        connected(lab, 7104)
        capturing.follow(other, started, wanted, recorder, lambda _: None)
    written = {one.interface.host: one.written for one in recorder.seen if one.written}
    assert set(written) == HOSTS
    assert all(one.received is not None and not one.lost for one in recorder.seen)


def test_a_cut_is_made_where_it_comes_in(lab: Rig) -> None:
    try:
        answer = cut(lab, "alice1", "web1", text="one")
        assert {word["verified"] for word in answer["verified"]} == {True}, answer
        across = cut(lab, "alice1", "web2", text="across")
        assert {word["verified"] for word in across["verified"]} == {None}
        told = lab.channel.call("impairments")
        assert [(one["text"], one["failed"]) for one in told["impairments"]] == [("one", ""), ("across", "")]
        assert [(one["kind"], one["text"]) for one in told["events"]] == [("cut", "one"), ("cut", "across")]
        assert lab.channel.call("heal", ids=[answer["id"]]) == {"healed": 1}
        assert [one["text"] for one in lab.channel.call("impairments")["impairments"]] == ["across"]
    finally:
        lab.channel.call("heal")
    assert lab.channel.call("impairments")["impairments"] == []


def test_a_cut_across_is_a_rule_of_the_receiver(lab: Rig) -> None:
    cut(lab, "alice1", "web2", text="across", both=False)
    try:
        shown = lab.run("web2", "nft", "list", "ruleset")
        assert lab.address("alice1").encode() in shown.out, shown
        assert lab.address("alice1").encode() not in lab.run("web1", "nft", "list", "ruleset").out
    finally:
        lab.channel.call("heal")


def test_one_daemon_is_killed_and_the_rest_goes_on() -> None:
    with running("namespaces", LAB) as rig:
        key = LabKey(owner=rig.lab.key.owner, name=f"{rig.lab.key.name}-m1")
        (daemon,) = namespaces_find.daemons(key.owner, key.name)
        os.kill(daemon.pid, signal.SIGKILL)
        eventually(lambda: rig.lab.observe().not_observed)
        seen = rig.lab.observe()
        assert set(seen.not_observed) == {"web1", "alice1"}
        assert [(row.status, row.client and row.client.host) for row in seen.joined.connections] == [
            ("joined", "alice2")
        ]
        with pytest.raises(LabError, match="m1"):
            rig.ask("web1", "list")
        assert rig.ask("web2", "list")["errno"] is None
