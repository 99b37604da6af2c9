"""Signals to programs: to the whole process group, stopping and continuing too."""

from __future__ import annotations

import signal
import time

import pytest

from orchestrator.errors import AgentError
from orchestrator.wire import Channel, Message
from tests.support.rig import Rig, eventually

LAB = """
networks: {net: {}}
hosts:
  a: {role: server, networks: [net]}
"""
REAL = pytest.mark.engine("namespaces", "docker")  # needs a shell, which the fake engine has not
NAP = 2.0


def tell(lab: Rig, program: str, number: int) -> Message:
    """Send a signal to a program of host a."""
    return lab.channel.call("signal", host="a", program=program, signal=number)


def state(lab: Rig, program: str) -> Message:
    """What `hosts` says of it."""
    return next(one for host in lab.lab.hosts() for one in host["programs"] if one["id"] == program)


def process(lab: Rig, pid: int) -> str:
    """Its state's letter (proc_pid_stat(5)); "" where there is no such process."""
    ended = lab.run("a", "cat", f"/proc/{pid}/stat")
    return ended.out.decode().rpartition(") ")[2][:1] if ended.code == 0 else ""


def test_a_signal_ends_a_program_and_how_is_kept(lab: Rig) -> None:
    started = lab.channel.call("start", host="a", argv=["sleep", "600"], program="nap")
    assert tell(lab, "nap", signal.SIGTERM) == {"pid": started["pid"]}
    eventually(lambda: state(lab, "nap")["state"] == "exited")
    assert (state(lab, "nap")["exit"], state(lab, "nap")["signal"]) == (None, signal.SIGTERM)
    with pytest.raises(AgentError, match="no program 'nap' runs"):
        tell(lab, "nap", signal.SIGTERM)


def test_what_cannot_be_signalled_is_said(lab: Rig) -> None:
    with pytest.raises(AgentError, match="no program 'nobody' runs"):
        tell(lab, "nobody", signal.SIGTERM)
    lab.channel.call("start", host="a", argv=["sleep", "600"], program="there")
    for number in (0, 999, -1):
        with pytest.raises(AgentError, match="is no signal"):
            tell(lab, "there", number)
    assert state(lab, "there")["state"] == "running"
    tell(lab, "there", signal.SIGKILL)


def test_a_stopped_program_does_nothing_until_it_is_continued(lab: Rig) -> None:
    lab.channel.call("start", host="a", argv=["sleep", str(NAP)], program="short")
    began = time.monotonic()
    tell(lab, "short", signal.SIGSTOP)
    time.sleep(began + NAP + 0.2 - time.monotonic())
    assert state(lab, "short")["state"] == "running"
    tell(lab, "short", signal.SIGCONT)
    eventually(lambda: state(lab, "short")["exit"] == 0)


def test_a_stopped_program_can_be_stopped_for_good(lab: Rig) -> None:
    lab.channel.call("start", host="a", argv=["sleep", "600"], program="frozen")
    tell(lab, "frozen", signal.SIGSTOP)
    before = time.monotonic()
    assert lab.channel.call("stop", host="a", program="frozen")["signal"] == signal.SIGTERM
    assert time.monotonic() - before < 4, "it was continued, and need not be killed"


@REAL
def test_the_whole_process_group_is_reached(lab: Rig) -> None:
    words = ["sh", "-c", "sleep 600 & echo $!; wait"]
    pid = lab.channel.call("start", host="a", argv=words, program="group")["pid"]
    child = int(eventually(lambda: lab.logs("a", paths=[]).get("group", b"").strip()))
    tell(lab, "group", signal.SIGSTOP)
    eventually(lambda: [process(lab, one) for one in (pid, child)] == ["T", "T"])
    tell(lab, "group", signal.SIGCONT)
    eventually(lambda: [process(lab, one) for one in (pid, child)] == ["S", "S"])
    tell(lab, "group", signal.SIGKILL)
    eventually(lambda: [process(lab, one) for one in (pid, child)] == ["", ""])


@REAL
def test_an_exec_takes_them_as_input(lab: Rig) -> None:
    with lab.another() as other:
        request = other.ask("exec", host="a", argv=["sh", "-c", "echo $$; sleep 600 & echo $!; wait"])
        both = pids(other, request)
        other.feed(request, signal=int(signal.SIGSTOP))
        eventually(lambda: [process(lab, one) for one in both] == ["T", "T"])
        other.feed(request, signal=int(signal.SIGCONT))
        eventually(lambda: [process(lab, one) for one in both] == ["S", "S"])
        other.feed(request, signal=int(signal.SIGKILL))
        *_, end = other.parts(request)
        assert end.message["ok"] == {"exit": 128 + signal.SIGKILL, "signal": signal.SIGKILL}
        eventually(lambda: [process(lab, one) for one in both] == ["", ""])


def pids(channel: Channel, request: int) -> list[int]:
    """The two numbers that the exec writes first."""
    out = b""
    for message, data in channel.parts(request):
        assert "part" in message, message
        out += data
        if out.count(b"\n") == 2:
            break
    return [int(line) for line in out.split()]
