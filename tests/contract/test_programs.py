"""Programs in hosts: exec with its streams, programs that run on, and what they wrote."""

from __future__ import annotations

import os
import time

import pytest

from orchestrator.engines.base import Engine
from orchestrator.errors import LabError
from tests.support.rig import Rig, eventually

LAB = """
networks: {net: {}}
hosts:
  a: {role: server, networks: [net], env: {GREETING: hello}}
  b: {role: client, networks: [net]}
"""
REAL = pytest.mark.engine(
    "namespaces", "docker"
)  # needs a shell or a terminal, which the fake engine has not


def test_exit_codes(lab: Rig) -> None:
    assert lab.run("a", "true") == (0, b"", b"")
    assert lab.run("a", "false").code == 1


def test_output_and_errors_stay_apart(lab: Rig) -> None:
    assert lab.run("a", "echo", "one  two", "three") == (0, b"one  two three\n", b"")
    ended = lab.run("a", "cat", "/no/such/file")
    assert ended.code == 1
    assert ended.out == b""
    assert b"/no/such/file" in ended.err


def test_binary_input_comes_back_as_it_was(lab: Rig) -> None:
    data = os.urandom(3 << 20)
    assert lab.run("a", "cat", stdin=data) == (0, data, b"")


def test_arguments_are_words_and_no_shell_sees_them(lab: Rig) -> None:
    word = "$(id) ; `x` * 'q' \"d\" \\ é"
    assert lab.run("a", "echo", word).out == f"{word}\n".encode()


def test_the_environment_is_the_hosts_and_what_was_said(lab: Rig) -> None:
    lines = lab.run("a", "env", env={"MORE": "than this"}).out.decode().splitlines()
    assert "MORE=than this" in lines
    assert "GREETING=hello" in lines


def test_a_signal_ends_a_program(lab: Rig) -> None:
    request = lab.channel.ask("exec", host="a", argv=["sleep", "600"], env={}, tty=None)
    lab.channel.feed(request, signal=15)
    assert lab.ended(request).code == 128 + 15


def test_input_that_nobody_reads_hurts_nobody(lab: Rig) -> None:
    assert lab.run("a", "true", stdin=b"x" * (1 << 20)).code == 0


def test_a_program_runs_on_and_is_stopped(lab: Rig) -> None:
    started = lab.channel.call("start", host="a", argv=["sleep", "600"], env={}, program="nap")
    found = {one["id"]: one for host in lab.lab.hosts() for one in host["programs"]}["nap"]
    assert found["pid"] == started["pid"]
    assert (found["state"], found["exit"], found["signal"]) == ("running", None, None)
    assert lab.channel.call("start", host="a", argv=["sleep", "600"], env={}, program="nap")["already"]
    lab.channel.call("stop", host="a", program="nap")
    found = {one["id"]: one for host in lab.lab.hosts() for one in host["programs"]}["nap"]
    assert (found["state"], found["signal"]) == ("exited", 15)


def test_how_a_program_ended_is_kept(lab: Rig) -> None:
    lab.channel.call("start", host="b", argv=["false"], env={}, program="fails")

    def end() -> object:
        found = {one["id"]: one for host in lab.lab.hosts() for one in host["programs"]}["fails"]
        return found if found["state"] == "exited" else None

    found = eventually(end)
    assert isinstance(found, dict)
    assert (found["exit"], found["signal"]) == (1, None)


def test_logs_have_programs_output_and_files(lab: Rig) -> None:
    lab.channel.call("start", host="b", argv=["echo", "from the program"], env={}, program="say")
    lab.put("b", "/var/log/lab-test.log", b"1\n2\n3\n")
    wanted = {"say": b"from the program\n", "/var/log/lab-test.log": b"1\n2\n3\n"}

    def read() -> bool:
        found = lab.logs("b", paths=["/var/log/lab-test.log", "/no/such.log"], follow=False)
        return wanted.items() <= found.items() and "/no/such.log" not in found

    assert eventually(read)
    found = lab.logs("b", paths=["/var/log/lab-test.log"], follow=False, tail=2)
    assert found["/var/log/lab-test.log"] == b"2\n3\n"


def test_followed_logs_say_what_is_added(lab: Rig) -> None:
    path = "/var/log/followed.log"
    lab.put("b", path, b"before\n")
    with lab.another() as other:
        read, added = b"", False
        for message, data in other.parts(other.ask("logs", host="b", paths=[path], follow=True, tail=1)):
            read += data if message["part"]["source"] == path else b""
            if read == b"before\n" and not added:
                lab.put("b", path, b"before\nafter\n")
                added = True
            if read.endswith(b"after\n"):
                break
        assert read == b"before\nafter\n"


@REAL
def test_a_terminal_has_a_size_and_a_name(lab: Rig) -> None:
    ended = lab.run("a", "sh", "-c", "stty size; tty; echo $TERM; exit 7", tty=[33, 111], term="vt220")
    assert ended.code == 7
    size, name, term = ended.out.decode().split("\r\n")[:3]
    assert size == "33 111"
    assert name.startswith("/dev/pts/")
    assert term == "vt220"


@REAL
def test_a_terminals_size_changes_and_its_keys_signal(lab: Rig) -> None:
    script = (
        "trap 'stty size' WINCH; trap 'echo got INT; exit 3' INT; echo ready; while :; do sleep 0.05; done"
    )
    request = lab.channel.ask("exec", host="a", argv=["sh", "-c", script], env={}, tty=[10, 20], term="xterm")
    out, sent = b"", set()
    for message, data in lab.channel.parts(request):
        out += data
        if "ok" in message:
            assert message["ok"]["exit"] == 3
        if b"ready" in out and "size" not in sent:
            sent.add("size")
            lab.channel.feed(request, size=[44, 55])
        if b"44 55" in out and "key" not in sent:
            sent.add("key")
            lab.channel.feed(request, b"\x03", stream="in")
    assert b"got INT" in out


@REAL
def test_standard_streams_are_the_only_descriptors(lab: Rig) -> None:
    listed = lab.run("a", "sh", "-c", "ls -l /proc/self/fd").out.decode()
    numbers = {line.split(" -> ")[0].split()[-1] for line in listed.splitlines() if " -> " in line}
    assert numbers <= {"0", "1", "2", "3"}, listed  # 3 is the folder that ls reads


@REAL
def test_a_program_left_alone_does_not_outlive_its_watcher(lab: Rig) -> None:
    marker = f"7{os.getpid()}"
    with lab.another() as other:
        other.ask("exec", host="a", argv=["sleep", marker], env={}, tty=None)
        eventually(lambda: sleeping(lab, marker))
    eventually(lambda: not sleeping(lab, marker))


def sleeping(lab: Rig, marker: str) -> bool:
    """Whether `sleep MARKER` runs in host a."""
    script = 'for p in /proc/[0-9]*; do tr "\\0" " " <$p/cmdline; echo; done 2>/dev/null'
    return f"sleep {marker} ".encode() in lab.run("a", "sh", "-c", script).out


@REAL
def test_a_flood_of_output_does_not_hold_up_the_others(lab: Rig) -> None:
    with lab.another() as other:
        flood = other.ask("exec", host="a", argv=["sh", "-c", "head -c 40000000 /dev/zero"], env={}, tty=None)
        before = time.monotonic()
        assert lab.run("a", "true").code == 0
        assert lab.run("b", "true").code == 0
        assert time.monotonic() - before < 10
        size = sum(len(data) for _, data in other.parts(flood))
    assert size == 40_000_000


def test_a_program_that_is_not_there_ends_as_in_a_shell(lab: Rig) -> None:
    answer = lab.channel.call("exec", host="a", argv=["no-such-program"], env={}, tty=None)
    assert answer["exit"] == 127
    assert answer["failed"].startswith("no-such-program: not found")


def test_what_the_fake_engine_has_not_it_says(lab: Rig, engine: Engine) -> None:
    if engine.name == "fake":
        with pytest.raises(LabError, match="not in the fake engine"):
            lab.channel.call("start", host="a", argv=["nginx"])
    else:
        assert lab.run("a", "sh", "-c", "command -v ss").code == 0, "a host has what the lessons need"
