"""Programs, execs, and their output."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from orchestrator import errors, wire
from tests.unit.agent.agents import Agent, end_agent, start_agent, until


def run(agent: Agent, *argv: str, stdin: bytes = b"", **more: object) -> tuple[wire.Message, bytes, bytes]:
    """An exec from begin to end: its answer, stdout and stderr."""
    request = agent.ask("exec", argv=list(argv), **more)
    agent.feed(request, stdin, stream="in")
    agent.feed(request, eof=True)
    answer, parts, _ = agent.end(request)
    out, err = (b"".join(p.data for p in parts if p.message["stream"] == s) for s in ("out", "err"))
    return answer, out, err


def output(agent: Agent, **more: object) -> bytes:
    return b"".join(p.data for p in agent.end(agent.ask("logs", **more))[1])


def exited(agent: Agent, number: int = 0) -> bool:
    return bool(agent.tell("state")["programs"][number]["state"] == "exited")


def test_exec_streams_and_exit_code(agent: Agent) -> None:
    answer, out, err = run(agent, "sh", "-c", "cat; echo oops >&2; exit 7", stdin=b"hello")
    assert (answer, out, err) == ({"exit": 7, "signal": None}, b"hello", b"oops\n")


def test_exec_of_what_is_not_there(agent: Agent) -> None:
    """As a shell ends then; what is said comes apart from what a program would have written."""
    for argv, exit, said in (
        (["nonsuch"], 127, "nonsuch: not found"),
        (["/no/such"], 127, "/no/such: No such file or directory"),
        (["/etc/passwd"], 126, "/etc/passwd: Permission denied"),
        (["/etc"], 126, "/etc: Permission denied"),
    ):
        for more in ({}, {"tty": [24, 80]}):
            answer, parts, _ = agent.end(agent.ask("exec", argv=argv, **more))
            assert (answer, parts) == ({"exit": exit, "signal": None, "failed": said}, [])
    with pytest.raises(errors.AgentError, match="true: No such file or directory"):
        run(agent, "true", cwd="/no/such")  # the folder, not the program
    with pytest.raises(errors.AgentError, match="no program is named"):
        agent.tell("exec", argv=[])


def test_exec_environment_and_folder(agent: Agent) -> None:
    _, out, _ = run(agent, "sh", "-c", "echo $GREETING $PATH; pwd", env={"GREETING": "hi"}, cwd="/usr")
    assert out == b"hi /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n/usr\n"


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user to become")
def test_exec_as_another_user(agent: Agent) -> None:
    _, out, _ = run(agent, "sh", "-c", "id -u; id -g; id -G", user="nobody")
    assert out == b"65534\n65534\n65534\n"
    _, out, _ = run(agent, "sh", "-c", "id -u; id -g", user="12:34")
    assert out == b"12\n34\n"
    with pytest.raises(errors.AgentError, match="no user 'nonsuch'"):
        run(agent, "true", user="nonsuch")


def test_exec_resets_signals_and_descriptors(agent: Agent) -> None:
    _, out, _ = run(agent, "grep", "-E", "SigIgn|SigBlk|SigCgt", "/proc/self/status")
    assert re.findall(rb"Sig(?:Ign|Blk):\t(\w+)", out) == [b"0000000000000000"] * 2
    _, out, _ = run(agent, "sh", "-c", "ls -l /proc/$$/fd")
    open_ones = {line.split()[8] for line in out.splitlines() if b" -> " in line}
    assert {int(fd) for fd in open_ones} == {0, 1, 2}


def test_exec_sends_megabytes_both_ways(agent: Agent) -> None:
    request = agent.ask("exec", argv=["cat"])
    data = os.urandom(700_000)
    agent.feed(request, data, stream="in")
    agent.feed(request, eof=True)
    _, parts, _ = agent.end(request)
    assert b"".join(p.data for p in parts) == data


def test_exec_stops_at_its_window_and_goes_on_with_credit(agent: Agent) -> None:
    request = agent.ask("exec", argv=["head", "-c", "3000000", "/dev/zero"])
    got = 0
    while got < 1 << 20:
        got += len(agent.frame(request).data)
    assert got == 1 << 20
    agent.good("list")  # the agent answers others meanwhile, and nothing more of the exec comes
    assert not [f for f in agent._early if f.message["id"] == request]
    agent.more(request, credit=got)
    _, parts, _ = agent.end(request)
    assert got + sum(len(p.data) for p in parts) == 3_000_000


def test_exec_signals(agent: Agent) -> None:
    request = agent.ask("exec", argv=["sleep", "100"])
    agent.feed(request, signal=signal.SIGTERM)
    assert agent.end(request)[0] == {"exit": 128 + signal.SIGTERM, "signal": signal.SIGTERM}


def test_exec_does_not_wait_for_orphans(agent: Agent) -> None:
    began = time.monotonic()
    answer, out, _ = run(agent, "sh", "-c", "sleep 30 & echo started")
    assert (answer["exit"], out) == (0, b"started\n")
    assert time.monotonic() - began < 10


def test_a_cancelled_exec_is_hung_up(agent: Agent) -> None:
    request = agent.ask("exec", argv=["sh", "-c", "echo $$; exec sleep 100"])
    pid = int(agent.frame(request).data)
    agent.more(request, cancel=True)
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_a_cancelled_exec_that_ignores_hang_ups_is_killed(agent: Agent) -> None:
    request = agent.ask("exec", argv=["sh", "-c", "trap '' HUP; echo $$; while :; do sleep 1; done"])
    pid = int(agent.frame(request).data)
    agent.more(request, cancel=True)
    until(lambda: not Path(f"/proc/{pid}").exists(), 10)


def test_a_terminal(agent: Agent) -> None:
    """Each line is typed when the one before has been answered: a terminal echoes what is typed ahead amid
    the output.
    """
    request = agent.ask("exec", argv=["sh"], tty=[33, 111], term="vt100")
    agent.feed(request, b"stty size; echo $TERM; tty\n", stream="in")
    read_until(agent, request, rb"33 111\r\nvt100\r\n/dev/pts/\d+\r\n")
    agent.feed(request, size=[44, 55])
    agent.feed(request, b"stty size\n", stream="in")
    read_until(agent, request, rb"44 55\r\n")
    agent.feed(request, b"exit 3\n", stream="in")
    assert agent.end(request)[0]["exit"] == 3


def read_until(agent: Agent, request: int, pattern: bytes) -> None:
    """Read an exec's output until it holds this."""
    out = b""
    while not re.search(pattern, out):
        out += agent.frame(request).data


def test_a_terminal_passes_interrupts_and_the_end_of_input(agent: Agent) -> None:
    request = agent.ask("exec", argv=["sleep", "100"], tty=[24, 80])
    agent.feed(request, b"\x03", stream="in")
    assert agent.end(request)[0]["signal"] == signal.SIGINT
    request = agent.ask("exec", argv=["cat"], tty=[24, 80])
    agent.feed(request, eof=True)
    assert agent.end(request)[0]["exit"] == 0


def test_a_cancelled_terminal_ends_all_in_it(agent: Agent) -> None:
    request = agent.ask("exec", argv=["sh", "-c", "sleep 100 & echo $!; wait"], tty=[24, 80])
    pid = int(agent.frame(request).data)
    agent.more(request, cancel=True)
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_a_program_is_started_once_and_its_output_kept(agent: Agent) -> None:
    argv = ["sh", "-c", "echo one; echo two >&2; sleep 100"]
    first = agent.tell("start", argv=argv)
    assert agent.tell("start", argv=argv) == {"pid": first["pid"], "already": True}
    with pytest.raises(errors.AgentError, match="runs another program"):
        agent.tell("start", argv=["true"])
    until(lambda: output(agent) == b"one\ntwo\n")
    assert output(agent, tail=1) == b"two\n"
    assert output(agent, tail=0) == b""
    state = agent.tell("state")["programs"]
    still = {"state": "running", "exit": None, "signal": None, "ended": None}
    assert state == [{"id": "run", "argv": argv, "pid": first["pid"], **still}]
    asked = time.monotonic()
    assert agent.tell("stop") == {"was": "running", "exit": None, "signal": signal.SIGTERM}
    assert agent.tell("stop") == {"was": "exited"}
    (ended,) = agent.tell("state")["programs"]
    assert asked <= ended["ended"] <= time.monotonic()
    assert agent.tell("stop", program="other") == {"was": "absent"}


def test_the_last_of_much_output_is_kept(agent: Agent) -> None:
    agent.tell("start", argv=["seq", "1", "200000"])
    until(lambda: exited(agent) and output(agent).endswith(b"200000\n"))
    kept = output(agent)
    assert len(kept) == 256 << 10
    assert output(agent, tail=2) == b"199999\n200000\n"


def test_exit_status_is_kept(agent: Agent) -> None:
    agent.tell("start", argv=["sh", "-c", "exit 5"])
    until(lambda: exited(agent))
    assert agent.tell("state")["programs"][0]["exit"] == 5
    agent.tell("start", argv=["sh", "-c", "kill -9 $$"], program="two")
    until(lambda: exited(agent, 1))
    assert agent.tell("state")["programs"][1]["signal"] == 9


def test_stop_kills_what_does_not_listen(agent: Agent) -> None:
    agent.tell("start", argv=["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"])
    until(lambda: output(agent) == b"ready\n")
    assert agent.tell("stop", timeout=0.3)["signal"] == signal.SIGKILL


def test_followed_logs_of_programs_and_files(agent: Agent, tmp_path: Path) -> None:
    log = tmp_path / "error.log"
    log.write_text("old\nnewer\n")
    request = agent.ask("logs", paths=[str(log), str(tmp_path / "later.log")], follow=True, tail=1)
    seen: dict[str, bytes] = {}

    def wait_for(source: str, text: bytes) -> None:
        while seen.get(source) != text:
            message, data = agent.frame(request)
            name = message["part"]["source"]
            seen[name] = seen.get(name, b"") + data

    wait_for(str(log), b"newer\n")
    with log.open("a") as file:
        file.write("added\n")
    wait_for(str(log), b"newer\nadded\n")
    log.rename(tmp_path / "error.log.1")
    log.write_text("rotated\n")
    wait_for(str(log), b"newer\nadded\nrotated\n")
    (tmp_path / "later.log").write_text("born\n")
    wait_for(str(tmp_path / "later.log"), b"born\n")
    agent.more(request, cancel=True)


def test_what_is_followed_was_written_between_two_looks(agent: Agent, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text("old\n")
    request = agent.ask("logs", paths=[str(log)], follow=True, tail=1)
    assert agent.frame(request) == wire.Frame({"id": request, "part": {"source": str(log)}}, b"old\n")
    before, told = time.monotonic() - 1, 0
    for n in range(100):
        began = time.monotonic()
        with log.open("a") as file:
            file.write(f"{n}\n")
        wrote = time.monotonic()
        message, data = agent.frame(request)
        assert data == f"{n}\n".encode()
        if "since" not in message["part"]:  # it has not looked again since the old line
            continue
        since, at = message["part"]["since"], message["part"]["at"]
        assert before <= since <= wrote, "nothing was in it then"
        assert began <= at <= time.monotonic()
        before, told = since, told + 1
        if told == 3:
            break
    assert told == 3
    agent.more(request, cancel=True)


def test_an_agent_says_when_it_follows(agent: Agent, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text("old\n")
    request = agent.ask("logs", paths=[str(log)], follow=True, tail=0, begun=True)
    assert agent.frame(request) == wire.Frame({"id": request, "part": {"begun": True}}, b"")
    with log.open("a") as file:
        file.write("new\n")
    assert agent.frame(request).data == b"new\n"
    agent.more(request, cancel=True)


def test_a_program_is_followed(agent: Agent) -> None:
    agent.tell("start", argv=["sh", "-c", "echo a; read x; echo b"], program="p")
    agent.tell("start", argv=["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.05; done"], program="q")
    request = agent.ask("logs", follow=True)
    seen = b""
    while not seen.endswith(b"3\n"):
        message, data = agent.frame(request)
        seen += data if message["part"]["source"] == "q" else b""
    assert seen == b"1\n2\n3\n"


def test_all_ends_with_the_agent() -> None:
    agent = start_agent()
    agent.tell("start", argv=["sleep", "1000"])
    agent.good("socket", **{"as": "s"})
    agent.good("fork", fd="s", **{"as": "child"})
    request = agent.ask("exec", argv=["sh", "-c", "echo $$; sleep 1000"])
    pids = [int(agent.frame(request).data), agent.tell("state")["programs"][0]["pid"]]
    pids.append(agent.good("list")["children"][0]["pid"])
    end_agent(agent)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_many_at_once(agent: Agent) -> None:
    requests = [agent.ask("exec", argv=["sh", "-c", f"echo {i}"]) for i in range(40)]
    assert [agent.end(r)[1][0].data for r in requests] == [f"{i}\n".encode() for i in range(40)]


def test_as_the_first_process_it_reaps_orphans() -> None:
    agent = start_agent("--pid", "--fork", "--mount-proc", "--kill-child")
    _, out, _ = run(agent, "sh", "-c", "sleep 0.1 & echo $!; echo $PPID")
    orphan, agents_pid = out.decode().split()
    assert agents_pid == "1"
    until(lambda: run(agent, "test", "-e", f"/proc/{orphan}")[0]["exit"] == 1)
    _, out, _ = run(agent, "ps", "-A", "-o", "stat=")
    assert "Z" not in out.decode()
    end_agent(agent)


def test_an_absurd_command_line_does_not_fill_a_frame(agent: Agent) -> None:
    for number in range(12):
        agent.tell("start", argv=["sh", "-c", "sleep 100", "x" * 100_000], program=f"p{number}")
    assert len(agent.tell("state")["programs"]) == 12
