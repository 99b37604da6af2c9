"""What is recorded while something happens in a lab, and what the daemon has kept of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from orchestrator import bringup, histories
from orchestrator.engines import namespaces_find
from orchestrator.errors import ObservationError
from orchestrator.join import recordings
from orchestrator.model.recording import ACK, FIN, RST, SYN, Recording, Segment, Watch
from orchestrator.runs import Runner
from orchestrator.scenarios.packets import SETTLE_SECONDS
from orchestrator.scenarios.recorder import Recorder
from tests.conftest import LabFactory
from tests.support.rig import Rig, eventually
from tests.support.scenarios import Silent, explained, perform, scenarios

LAB = """
networks: {office: {subnet6: auto}, dc: {subnet6: auto}}
routers: {edge: {networks: [office, dc]}}
hosts:
  web: {role: server, networks: [dc], logs: [/tmp/said]}
  alice: {role: client, networks: [office]}
"""
real = pytest.mark.engine("namespaces", "docker")
HOSTS = {"alice", "edge", "web"}


@contextlib.contextmanager
def recording(lab: Rig) -> Iterator[Recorder]:
    """One that begins now."""
    with Recorder(lab.another, lab.lab.plan, time.monotonic()) as recorder:
        yield recorder


def connect(lab: Rig, port: int, family: int = 4) -> None:
    """alice.c <=> web.conn, by web.l."""
    lab.call("web", "listen", address={4: "0.0.0.0", 6: "::"}[family], port=port, to="l")
    lab.call("alice", "connect", address=lab.address("web", family), port=port, to="c")
    lab.call("web", "accept", fd="l", to="conn")


def at(found: Recording, host: str, port: int) -> list[Segment]:
    """What a host saw of the connections of a port."""
    return [one for one in found.segments if one.host == host and port in (one.source[1], one.target[1])]


def flags(found: Recording, host: str, port: int) -> list[tuple[bool, int, int]]:
    """Direction, flags and payload of these; without PSH."""
    return [(one.outgoing, one.flags & (SYN | FIN | RST | ACK), one.length) for one in at(found, host, port)]


def packets(found: Recording) -> dict[str, Watch]:
    """Who was watched, the last word on each host."""
    return {one.host: one for one in found.watches if one.source == "packet"}


HANDSHAKE = [(True, SYN, 0), (False, SYN | ACK, 0), (True, ACK, 0)]
HELLO = [(True, ACK, 5), (False, ACK, 0)]
HALF_CLOSED = [(True, FIN | ACK, 0), (False, ACK, 0)]


def mirrored(seen: list[tuple[bool, int, int]]) -> list[tuple[bool, int, int]]:
    """As the other end sees it."""
    return [(not outgoing, bits, size) for outgoing, bits, size in seen]


STEPS = """
steps:
  - web: listen :8300 as door
  - alice: connect web:8300 as call
  - web: accept door as conn
  - alice: send call hello
  - web: recv conn 5
  - alice: shutdown call write
  - expect: {connection: alice.call, client: FIN_WAIT2, server: CLOSE_WAIT}
  - note: half closed
"""


@real
def test_a_scenario_is_recorded(lab: Rig) -> None:
    runner = Runner(lab.lab, Silent())
    record = runner.run(scenarios(LAB, STEPS)[0])
    assert record.verdict == "pass", explained(record)
    found = recordings.decode(runner.recordings[record.recording])
    assert flags(found, "alice", 8300) == HANDSHAKE + HELLO + HALF_CLOSED
    assert flags(found, "web", 8300) == mirrored(HANDSHAKE + HELLO + HALF_CLOSED)
    assert len(at(found, "edge", 8300)) == 2 * len(at(found, "web", 8300)), "it comes in and goes out"
    assert [one.verb for one in found.calls] == ["listen", "connect", "accept", "send", "recv", "shutdown"]
    assert [one.kind for one in found.said] == ["note"]
    assert {"FIN_WAIT2", "CLOSE_WAIT"} <= {one.state for one in found.sightings}
    assert not found.losses
    assert packets(found).keys() == HOSTS
    assert [one.why for one in found.watches if one.why and one.source == "packet"] == []


@real
def test_calls_and_packets_are_on_one_clock(lab: Rig) -> None:
    runner = Runner(lab.lab, Silent())
    record = runner.run(scenarios(LAB, STEPS)[0])
    found = recordings.decode(runner.recordings[record.recording])
    calls = {one.verb: one for one in found.calls}
    sent = {(one.flags & (SYN | FIN), one.length): one for one in at(found, "alice", 8300) if one.outgoing}
    error = packets(found)["alice"].error
    assert 0 < error < 0.001
    for verb, key in (("connect", (SYN, 0)), ("send", (0, 5)), ("shutdown", (FIN, 0))):
        call, packet = calls[verb], sent[key]
        assert call.t - error <= packet.t <= call.t + call.duration + error, verb
    accepted = next(one for one in at(found, "web", 8300) if one.flags & (SYN | FIN | RST) == 0)
    assert accepted.t - error <= calls["accept"].t + calls["accept"].duration
    step = next(one for one in record.steps if "connect" in one.text)
    assert step.began <= calls["connect"].t <= step.began + 1, "and on the clock of steps"


@real
def test_the_record_of_a_scenario_has_its_events(lab: Rig) -> None:
    record = perform(lab, LAB, STEPS)
    kinds = {(one["source"], one["kind"]) for one in record.events}
    assert {("call", "connect"), ("call", "shutdown"), ("packet", "sent"), ("packet", "received")} <= kinds
    times = [one["t"] for one in record.events]
    assert times == sorted(times)


@real
@pytest.mark.parametrize("family", [4, 6])
def test_what_has_happened_is_in_the_recording_at_once(lab: Rig, family: int) -> None:
    """A program can know of it: then it is in the recording, each time."""
    with recording(lab) as recorder:
        for number in range(20):
            port = 8310 + number
            connect(lab, port, family)
            assert flags(recorder.recording(), "web", port)[:3] == mirrored(HANDSHAKE)
            lab.call("alice", "reset", fd="c")
            assert lab.received("web", "conn")[1]["errno"] == "ECONNRESET"
            assert any(one.flags & RST for one in at(recorder.recording(), "web", port))
            lab.clear()
        found = recorder.recording()
    assert {one.source[0] for one in at(found, "alice", 8310)} == {
        lab.address("alice", family),
        lab.address("web", family),
    }


@real
def test_what_a_host_says_to_itself_is_seen_once(lab: Rig) -> None:
    with recording(lab) as recorder:
        lab.call("web", "listen", port=8340, to="l")
        lab.call("web", "connect", address="127.0.0.1", port=8340, to="c")
        found = [one for one in at(recorder.recording(), "web", 8340) if one.device == "lo"]
    assert [one.flags for one in found] == [SYN, SYN | ACK, ACK]


@real
def test_what_was_before_is_not_in_a_recording_but_kept(lab: Rig) -> None:
    eventually(lambda: packets(histories.taken(lab.lab)).keys() == HOSTS)
    connect(lab, 8341)
    lab.call("alice", "send", fd="c", text="hello")
    assert lab.received("web", "conn", size=5)[0] == b"hello"
    with recording(lab) as recorder:
        lab.call("alice", "shutdown", fd="c", how="write")
        eventually(lambda: flags(recorder.recording(), "alice", 8341)[-1:] == HALF_CLOSED[1:])
        assert flags(recorder.recording(), "alice", 8341) == HALF_CLOSED
    found = histories.taken(lab.lab)
    assert flags(found, "alice", 8341) == HANDSHAKE + HELLO + HALF_CLOSED
    assert flags(found, "web", 8341) == mirrored(HANDSHAKE + HELLO + HALF_CLOSED)
    assert not found.losses
    assert all(0 <= one.t <= found.length for one in found.segments)
    assert abs(found.began + found.length - time.time()) < 5
    states = {one.state for one in found.sightings if 8341 in (one.local[1], one.peer[1])}
    assert states == {"LISTEN", "FIN_WAIT2", "CLOSE_WAIT"}


@real
def test_a_host_that_is_made_anew_is_watched_again(lab_factory: LabFactory) -> None:
    lab = lab_factory(LAB)
    with recording(lab) as recorder:
        lab.channel.call("power_off", host="web")
        eventually(lambda: packets(recorder.recording())["web"].why)
        ended = packets(recorder.recording())["web"]
        assert "its power was cut" in ended.why
        assert ended.ended < recorder.now()
        assert not bringup.restart(lab.lab, "web")
        eventually(lambda: packets(recorder.recording())["web"].why == "")
        connect(lab, 8342)
        found = recorder.recording()
    assert flags(found, "web", 8342) == mirrored(HANDSHAKE)
    first, second = (one for one in found.watches if (one.host, one.source) == ("web", "packet"))
    assert first.ended <= second.began < second.ended


@real
def test_a_paused_host_is_watched(lab: Rig) -> None:
    lab.call("web", "listen", port=8343, to="l")
    with recording(lab) as recorder:
        lab.channel.call("pause", host="web")
        try:
            lab.call("alice", "connect", address=lab.address("web"), port=8343, to="c")
            assert flags(recorder.recording(), "web", 8343) == mirrored(HANDSHAKE)
        finally:
            lab.channel.call("resume", host="web")


@real
def test_a_lab_that_ends_meanwhile_ends_the_recording(lab_factory: LabFactory) -> None:
    lab = lab_factory(LAB)
    with recording(lab) as recorder:
        connect(lab, 8344)
        before = recorder.recording()
        lab.another().call("down")
        eventually(lambda: any(one.why for one in packets(recorder.recording()).values()))
        began = time.monotonic()
        found = recorder.recording()
        assert time.monotonic() - began < 1
    assert at(found, "alice", 8344)[:3] == at(before, "alice", 8344)[:3]
    assert packets(found)["alice"].ended < found.length


@real
def test_programs_lines_and_interventions_are_in_it(lab: Rig) -> None:
    text = """
steps:
  - web: run sh -c "echo begun >> /tmp/said"
  - web: run sh -c "exit 3" fails=3
  - expect: {log: web, contains: begun, within: 3s}
  - pause: web
  - resume: web
"""
    runner = Runner(lab.lab, Silent())
    record = runner.run(scenarios(LAB, text)[0])
    assert record.verdict == "pass", explained(record)
    found = recordings.decode(runner.recordings[record.recording])
    said = {(one.source, one.kind, one.detail.get("code")): one for one in found.said}
    assert said.keys() == {
        ("exit", "exit", 0),
        ("exit", "exit", 3),
        ("log", "line", None),
        ("impairment", "pause", None),
        ("impairment", "resume", None),
    }
    line, ended = said["log", "line", None], said["exit", "exit", 0]
    assert (line.host, line.text, line.detail) == ("web", "begun", {"from": "/tmp/said"})
    assert line.t - line.error <= ended.t + ended.error, "it was written before its program ended"


@real
def test_the_end_of_a_hosts_own_program_is_in_it(lab_factory: LabFactory) -> None:
    """`run:` of the file: what a scenario ends is told by its agent, with when it was."""
    base = LAB.replace("logs: [/tmp/said]", "run: sleep 600, logs: [/tmp/said]")
    text = """
steps:
  - wait: 20ms
  - {kill: web.run, signal: TERM}
  - wait: 50ms
"""
    record = perform(lab_factory(base), base, text)
    assert record.verdict == "pass", explained(record)
    (ended,) = (event for event in record.events if event["kind"] == "exit")
    (kill,) = (step for step in record.steps if step.text.startswith("kill"))
    assert (ended["host"], ended["source"], ended["code"], ended["text"]) == ("web", "exit", -15, "sleep 600")
    assert kill.began - ended["error_s"] <= ended["t"] <= record.began + record.duration


@pytest.mark.engine("fake")
def test_without_packets_that_is_said(lab: Rig) -> None:
    record = perform(lab, LAB, STEPS)
    assert record.verdict == "pass", explained(record)
    with recording(lab) as recorder:
        found = recorder.recording()
    assert {one.why for one in packets(found).values()} == {"the fake engine has no packets"}
    assert packets(found).keys() == HOSTS
    assert not any(one.began < one.ended for one in packets(found).values())
    with pytest.raises(ObservationError, match="the fake engine has no packets"):
        histories.taken(lab.lab)


MANY = """
networks: {net: {subnet: 10.9.0.0/16}}
hosts:
  web: {role: server, networks: [net]}
  alice: {role: client, networks: [net]}
  other: {role: client, networks: [net], count: 40}
"""


def taps(lab: Rig, host: str) -> int:
    """How many its kernel knows of (packet(7))."""
    return len(lab.run(host, "cat", "/proc/net/packet").out.splitlines()) - 1


@pytest.mark.engine("namespaces")
def test_a_large_lab_is_watched_while_somebody_records(lab_factory: LabFactory) -> None:
    lab = lab_factory(MANY)
    with pytest.raises(ObservationError, match="watched only while a scenario runs"):
        histories.taken(lab.lab)
    assert taps(lab, "web") == 0
    with recording(lab) as recorder:
        assert taps(lab, "web") == 2
        connect(lab, 8345)
        found = recorder.recording()
        assert flags(found, "web", 8345) == mirrored(HANDSHAKE)
        assert len(packets(found)) == 42
        assert not any(one.why for one in packets(found).values())
        kept = histories.taken(lab.lab)  # somebody records
        assert flags(kept, "web", 8345) == mirrored(HANDSHAKE)
    eventually(lambda: taps(lab, "web") == 0)


@pytest.mark.engine("namespaces")
def test_a_daemon_that_is_stopped_holds_up_nothing(lab_factory: LabFactory) -> None:
    lab = lab_factory(LAB)
    (daemon,) = namespaces_find.daemons(lab.lab.key.owner, lab.lab.key.name)
    with recording(lab) as recorder:
        connect(lab, 8346)
        signal.pidfd_send_signal(daemon.pidfd, signal.SIGSTOP)
        try:
            before = recorder.now()
            found = recorder.recording()
            assert recorder.now() - before < 2 * SETTLE_SECONDS + 2
            assert all(one.ended <= before for one in packets(found).values()), "what came later is not known"
        finally:
            signal.pidfd_send_signal(daemon.pidfd, signal.SIGCONT)
        lab.call("alice", "shutdown", fd="c", how="write")
        found = recorder.recording()
        assert flags(found, "alice", 8346)[:4] == HANDSHAKE + HALF_CLOSED[:1]
        assert packets(found)["alice"].ended > before
    daemon.close()


def test_without_the_right_to_see_packets_that_is_said() -> None:
    """As on a kernel without AF_PACKET, or in a container without CAP_NET_RAW."""
    if os.geteuid():
        pytest.skip("this user is not root: it cannot become another")
    code = (
        "import os, types\n"
        "from orchestrator.daemon import history\n"
        "proc = os.open('/proc/self', os.O_RDONLY)\n"
        "print(history._of_host(types.SimpleNamespace(proc=proc, name='h'), 2))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        user=65534,
        group=65534,
        extra_groups=[],
    )
    assert done.stdout.startswith("its packets cannot be seen: ")
