"""Paused hosts: not a process of theirs runs, while their kernel goes on acknowledging."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from orchestrator.engines.base import Engine
from orchestrator.errors import AgentError
from orchestrator.wire import Channel
from tests.conftest import LabFactory
from tests.support.counters import counters
from tests.support.rig import Rig, eventually
from tests.support.rows import look, of_port, row

LAB = """
networks: {net: {}}
hosts:
  a: {role: server, networks: [net], listen: [80]}
  b: {role: client, networks: [net]}
"""
REAL = pytest.mark.engine("namespaces", "docker")


@pytest.fixture
def channel(lab: Rig) -> Iterator[Channel]:
    """One that pauses; at its end nothing is paused."""
    with lab.another() as other:
        yield other
    eventually(lambda: not any(host["paused"] for host in lab.lab.hosts()))


def paused(lab: Rig) -> set[str]:
    """The hosts that `hosts` says are paused."""
    assert all(host["alive"] for host in lab.lab.hosts())
    return {host["name"] for host in lab.lab.hosts() if host["paused"]}


def ask(channel: Channel, do: str, **call: Any) -> dict[str, Any]:
    """A call of host a, on this channel."""
    return channel.call("call", host="a", call={"do": do, **call})


def test_a_paused_host_is_said_to_be_and_answers_again(lab: Rig, channel: Channel) -> None:
    assert paused(lab) == set()
    assert channel.call("pause", host="a")["paused"] >= 1
    assert paused(lab) == {"a"}
    shown = next(host for host in lab.lab.hosts() if host["name"] == "a")
    assert [one["port"] for one in shown["listening"]] == [80], "as its agent said last"
    began = time.monotonic()
    with pytest.raises(AgentError, match="the agent of a does not answer: the host is paused"):
        ask(channel, "list", timeout=0.3)
    assert time.monotonic() - began < 5, "no more than the call's own time"
    with pytest.raises(AgentError, match="host a is paused"):
        lab.run("a", "true")
    assert channel.call("pause", host="a")["paused"] >= 1, "once more changes nothing"
    assert channel.call("resume", host="a")["resumed"] >= 1
    assert paused(lab) == set()
    assert channel.call("resume", host="a") == {"resumed": 0}
    assert ask(channel, "list")["errno"] is None
    assert lab.run("a", "true").code == 0


def test_its_kernel_goes_on_while_it_is_paused(lab: Rig, channel: Channel) -> None:
    """A connect succeeds and data is acknowledged; nobody accepts, until it is resumed."""
    channel.call("pause", host="a")
    lab.call("b", "connect", address=lab.address("a"), port=80, to="c")
    lab.call("b", "send", fd="c", text="hello")
    waiting = row(lab, 80, lambda one: one.server is not None and one.server.rx_queue == 5, host="a")
    assert (waiting.status, waiting.accepted) == ("joined", False)
    assert waiting.client
    assert waiting.client.tx_queue == 0, "acknowledged"
    assert set(counters(lab)) == {"a", "b"}
    channel.call("resume", host="a")
    row(lab, 80, lambda one: one.accepted is True and one.server is not None and not one.server.rx_queue)


def test_a_call_under_way_goes_on_when_it_is_resumed(lab: Rig, channel: Channel) -> None:
    lab.call("a", "listen", port=7510, to="l")
    lab.call("b", "connect", address=lab.address("a"), port=7510, to="c")
    lab.call("a", "accept", fd="l", to="conn")
    with lab.under_way("a", "recv", fd="conn", size=4, timeout=30) as answer:
        lab.call("a", "list")  # the recv before it is under way
        channel.call("pause", host="a")
        lab.call("b", "send", fd="c", text="late")
        row(lab, 7510, lambda one: one.server is not None and one.server.rx_queue == 4, host="a")
        channel.call("resume", host="a")
        assert answer()["result"] == 4


def test_release_resumes(lab: Rig, channel: Channel) -> None:
    channel.call("pause", host="a")
    channel.call("pause", host="b")
    assert paused(lab) == {"a", "b"}
    channel.call("release")
    assert paused(lab) == set()


def test_the_end_of_a_channel_resumes_what_only_it_has_paused(lab: Rig, channel: Channel) -> None:
    with lab.another() as other:
        other.call("pause", host="a")
        other.call("pause", host="b")
        channel.call("pause", host="b")
    eventually(lambda: paused(lab) == {"b"})
    channel.call("resume", host="b")
    assert paused(lab) == set()


_KILLED = """
import sys
from orchestrator.engines import registry
from orchestrator.model.plan import LabKey
name, owner, engine = sys.argv[1:]
channel = registry.engine(engine).open(LabKey(owner=owner, name=name))
channel.call("pause", host="a")
print("ready", flush=True)
sys.stdin.read()
"""


@REAL
def test_a_client_that_is_killed_leaves_nothing_paused(lab: Rig, engine: Engine) -> None:
    key = lab.lab.key
    command = [sys.executable, "-c", _KILLED, key.name, key.owner, engine.name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            assert process.stdout.readline() == b"ready\n"
            assert paused(lab) == {"a"}
        finally:
            os.kill(process.pid, signal.SIGKILL)
    eventually(lambda: paused(lab) == set())
    lab.call("a", "list")


NAP = 0.5
TELLING = "for i in %s; do (while :; do read up _ < /proc/uptime; echo $up $i; (:); done) & done; wait"
ONE, THREE = TELLING % "1", TELLING % "1 2 3"
# each process tells the time once, starts the next and ends: gone by the time that its number has been read
CHAIN = "echo 'read up _ < /proc/uptime; echo $up 1; sh /tmp/next &' > /tmp/next; sh /tmp/next; sleep 600"


@REAL
@pytest.mark.parametrize(
    ("name", "script", "loops"),
    [pytest.param(*case, id=case[0]) for case in (("one", ONE, 1), ("three", THREE, 3), ("chain", CHAIN, 1))],
)
def test_not_a_process_runs_whatever_forks(
    lab: Rig, channel: Channel, name: str, script: str, loops: int
) -> None:
    """Shells that fork as fast as they can and tell the time: while the host is paused none tells any."""
    lab.channel.call("start", host="a", argv=["sh", "-c", script], program=name)
    try:
        eventually(lambda: {loop for _, loop in told(lab, name)} == {*range(1, loops + 1)})
        # the agent, the shell, and what that has started
        assert channel.call("pause", host="a")["paused"] >= 2 + loops
        time.sleep(NAP)
        channel.call("resume", host="a")
        eventually(lambda: longest_silence(lab, name) >= NAP - 0.02, 2)  # /proc/uptime has hundredths
    finally:
        channel.call("resume", host="a")
        lab.channel.call("signal", host="a", program=name, signal=int(signal.SIGKILL))


def told(lab: Rig, name: str) -> list[tuple[float, int]]:
    """Every moment that was told and by which loop, whole lines only."""
    lines = lab.logs("a", paths=[]).get(name, b"").split(b"\n")[1:-1]
    return sorted((float(line.split()[0]), int(line.split()[1])) for line in lines)


def longest_silence(lab: Rig, name: str) -> float:
    """Seconds between two moments that were told one after the other."""
    return max((later - sooner for (sooner, _), (later, _) in pairwise(told(lab, name))), default=0.0)


@REAL
def test_what_was_stopped_before_stays_stopped(lab: Rig, channel: Channel) -> None:
    pid = lab.channel.call("start", host="a", argv=["sleep", "600"], program="frozen")["pid"]
    lab.channel.call("signal", host="a", program="frozen", signal=int(signal.SIGSTOP))
    channel.call("pause", host="a")
    channel.call("resume", host="a")
    assert b") T " in lab.run("a", "cat", f"/proc/{pid}/stat").out
    lab.channel.call("stop", host="a", program="frozen")


def test_a_paused_host_can_be_removed_and_made_again(lab_factory: LabFactory) -> None:
    from orchestrator import bringup

    rig = lab_factory(LAB)
    rig.channel.call("pause", host="a")
    assert bringup.restart(rig.lab, "a") == ()
    with rig.another() as other:
        hosts = {host["name"]: host for host in other.call("hosts")["hosts"]}
        assert (hosts["a"]["alive"], hosts["a"]["paused"]) == (True, False)
        assert other.call("call", host="a", call={"do": "list"})["errno"] is None
        other.call("pause", host="b")
        assert not of_port(look(rig), 9), "and a lab with a paused host goes down, which the fixture checks"
        rig.lab.down()
