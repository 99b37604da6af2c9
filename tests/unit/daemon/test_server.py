"""Every request of the daemon, over real channels, with real agents in network namespaces."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import errors, wire
from tests.unit.agent.agents import until
from tests.unit.daemon.conftest import Daemon

LOCAL = "127.0.0.1"


def gone(pid: int) -> bool:
    """Has this process ended (also when nobody has reaped it yet)?"""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


def test_hello(daemon: Daemon) -> None:
    hello = daemon.channel.call("hello", version=wire.VERSION)
    assert hello == {
        "version": 1,
        "engine": "tiny",
        "owner": "me",
        "name": "test",
        "state": "incomplete",
        "pid": daemon.process.pid,
    }
    daemon.channel.call("commit")
    assert daemon.connect().call("hello", version=wire.VERSION)["state"] == "running"


def test_another_version_and_an_unknown_request_are_told(daemon: Daemon) -> None:
    with pytest.raises(errors.DaemonError, match="speaks version 1, and this lab version 2"):
        daemon.channel.call("hello", version=2)
    with pytest.raises(errors.DaemonError, match="knows no request 'frobnicate'"):
        daemon.channel.call("frobnicate")
    assert daemon.channel.call("plan") == {"plan": None}


def test_the_plan_is_kept(daemon: Daemon) -> None:
    plan = {"key": {"owner": "me", "name": "test"}, "hosts": [{"name": "häßlich"}]}
    daemon.channel.call("set_plan", plan=plan)
    assert daemon.connect().call("plan") == {"plan": plan}


def test_hosts_are_made_once(daemon: Daemon) -> None:
    request = daemon.channel.ask("make", networks=[], hosts=[{"name": "a"}, {"name": "b"}])
    answers = [m for m, _ in daemon.channel.parts(request)]
    assert [a["part"]["host"] for a in answers[:-1]] == ["a", "b"]
    before = [daemon.pid("a"), daemon.pid("b")]
    assert daemon.channel.call("make", networks=[], hosts=[{"name": "b"}]) == {"made": 0}
    assert [daemon.pid("a"), daemon.pid("b")] == before


def test_a_host_that_cannot_be_made_leaves_the_others(daemon: Daemon) -> None:
    with pytest.raises(errors.EngineError, match="it cannot be made"):
        daemon.make("a", "impossible", "b")
    assert [h["name"] for h in daemon.channel.call("hosts")["hosts"]] == ["a"]
    daemon.make("b")
    assert [h["name"] for h in daemon.channel.call("hosts")["hosts"]] == ["a", "b"]


def test_remove(daemon: Daemon) -> None:
    daemon.make("a", "b")
    pid = daemon.pid("a")
    daemon.channel.call("remove", hosts=["a", "nobody"], networks=["n"])
    until(lambda: gone(pid))
    assert [h["name"] for h in daemon.channel.call("hosts")["hosts"]] == ["b"]
    with pytest.raises(errors.AgentError, match="has no host 'a'"):
        daemon.call("a", "list")


def test_hosts_say_what_they_hold(daemon: Daemon) -> None:
    daemon.make("a")
    daemon.channel.call("listen", host="a", listen=[{"address": LOCAL, "port": 80}])
    target = {"host": "a", "address": LOCAL, "port": 80, "times": 3}
    assert daemon.channel.call("connect", host="a", connect=[target]) == {"connected": 3, "failed": []}
    daemon.channel.call("start", host="a", argv=["sleep", "100"])
    (host,) = daemon.channel.call("hosts")["hosts"]
    assert (host["name"], host["kind"], host["alive"], host["connected"]) == ("a", "host", True, 3)
    assert host["listening"][0]["port"] == 80
    assert host["programs"][0]["state"] == "running"
    assert daemon.channel.call("stop", host="a")["was"] == "running"


def test_a_host_that_ends_is_dead_and_said_so(daemon: Daemon) -> None:
    daemon.make("a", "b")
    os.kill(daemon.pid("a"), signal.SIGKILL)
    until(lambda: not daemon.channel.call("hosts")["hosts"][0]["alive"])
    with pytest.raises(errors.AgentError, match="the agent of a is gone"):
        daemon.call("a", "list")
    assert daemon.channel.call("snapshot", hosts=None)["not_observed"] == ["a"]


def test_calls_run_side_by_side(daemon: Daemon) -> None:
    daemon.make("a")
    daemon.call("a", "listen", address=LOCAL, port=80, **{"as": "l"})
    waiting = daemon.channel.ask("call", host="a", call={"do": "accept", "fd": "l", "timeout": 20})
    other = daemon.connect()
    other.call("call", host="a", call={"do": "connect", "address": LOCAL, "port": 80})
    (answer,) = daemon.channel.parts(waiting)
    assert answer.message["ok"]["errno"] is None


def test_bytes_of_a_recv_come_beside_the_answer(daemon: Daemon) -> None:
    daemon.make("a")
    daemon.call("a", "listen", address=LOCAL, port=80, **{"as": "l"})
    daemon.call("a", "connect", address=LOCAL, port=80, **{"as": "c"})
    daemon.call("a", "accept", fd="l", **{"as": "s"})
    daemon.call("a", "send", fd="c", text="hello")
    answer = daemon.channel.answer("call", host="a", call={"do": "recv", "fd": "s", "size": 5})
    assert answer.data == b"hello"


def test_exec_both_ways(daemon: Daemon) -> None:
    daemon.make("a")
    data = os.urandom(5 << 20)
    request = daemon.channel.ask("exec", host="a", argv=["sh", "-c", "wc -c; echo done >&2; exit 3"])
    daemon.channel.feed(request, data, stream="in")
    daemon.channel.feed(request, eof=True)
    frames = list(daemon.channel.parts(request))
    streams = {m["part"]["stream"]: d for m, d in frames[:-1]}
    assert streams == {"out": b"5242880\n", "err": b"done\n"}
    assert frames[-1].message["ok"] == {"exit": 3, "signal": None}


def test_exec_with_much_output_and_a_slow_reader(daemon: Daemon) -> None:
    daemon.make("a")
    request = daemon.channel.ask("exec", host="a", argv=["head", "-c", "50000000", "/dev/zero"])
    other = daemon.connect()
    other.call("call", host="a", call={"do": "list"})  # the host answers others while nobody reads
    memory = resident(daemon.process.pid)
    time.sleep(0.2)
    assert resident(daemon.process.pid) - memory < 16 << 20
    assert sum(len(d) for _, d in daemon.channel.parts(request)) == 50_000_000


def resident(pid: int) -> int:
    """Resident bytes (proc_pid_statm(5))."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_input_that_nobody_reads_is_not_kept(daemon: Daemon) -> None:
    daemon.make("a")
    before = resident(daemon.process.pid)
    client = daemon.connect()
    stream = client.stream
    assert isinstance(stream, socket.socket)
    request = client.ask("exec", host="a", argv=["sh", "-c", "echo $$; exec sleep 100"])
    pid = int(wire.read_frame(stream).data)
    stream.settimeout(0.5)
    pushed = 0
    try:
        while pushed < 200:
            client.feed(request, bytes(1 << 20), stream="in")
            pushed += 1
    except errors.DaemonError:
        pass  # the daemon reads no further
    assert pushed < 20
    assert resident(daemon.process.pid) - before < 32 << 20
    client.close()
    until(lambda: gone(pid))


def test_a_client_that_goes_ends_its_execs(daemon: Daemon) -> None:
    daemon.make("a")
    client = daemon.connect()
    client.ask("exec", host="a", argv=["sh", "-c", "echo $$; exec sleep 100"])
    stream = client.stream
    pid = int(wire.read_frame(stream).data)
    client.close()
    until(lambda: gone(pid))
    daemon.call("a", "list")


def test_what_an_image_says_about_its_programs(daemon: Daemon) -> None:
    start = {"env": {"A": "image", "B": "image"}, "user": "", "cwd": "/usr"}
    daemon.channel.call("adopt", hosts=[{"spec": {"name": "a"}, "pid": 0, "start": start}], bridges=[])
    request = daemon.channel.ask("exec", host="a", argv=["sh", "-c", "echo $A $B; pwd"], env={"B": "mine"})
    assert b"".join(d for _, d in daemon.channel.parts(request)) == b"image mine\n/usr\n"


def test_files_there_and_back(daemon: Daemon, tmp_path: Path) -> None:
    daemon.make("a")
    data = os.urandom(9_000_000)
    request = daemon.channel.ask("put", host="a", path=str(tmp_path / "x/file"), mode=0o640)
    for start in range(0, len(data), 2_000_000):
        daemon.channel.feed(request, data[start : start + 2_000_000])
    daemon.channel.feed(request, eof=True)
    assert list(daemon.channel.parts(request))[-1].message["ok"] == {"size": len(data)}
    request = daemon.channel.ask("get", host="a", path=str(tmp_path / "x/file"))
    *parts, end = daemon.channel.parts(request)
    assert b"".join(p.data for p in parts) == data
    assert end.message["ok"] == {"size": len(data), "mode": 0o640}
    daemon.channel.call("mkdir", host="a", path=str(tmp_path / "x/sub"))
    entries = daemon.channel.call("list", host="a", path=str(tmp_path / "x"))["entries"]
    assert {(e["path"], e["kind"]) for e in entries} == {("file", "file"), ("sub", "dir")}


def test_logs_are_followed(daemon: Daemon) -> None:
    daemon.make("a")
    daemon.channel.call("start", host="a", argv=["sh", "-c", "echo begin; sleep 0.2; echo end; sleep 100"])
    client = daemon.connect()
    seen = b""
    for message, data in client.parts(client.ask("logs", host="a", paths=[], follow=True, tail=None)):
        assert message["part"] == {"source": "run"}
        seen += data
        if seen.endswith(b"end\n"):
            break
    assert seen == b"begin\nend\n"


def test_the_lab_ends_with_the_lease(daemon: Daemon) -> None:
    daemon.make("a")
    pid = daemon.pid("a")
    daemon.channel.close()
    assert daemon.process.wait(10) == 0
    until(lambda: gone(pid))


def test_a_committed_lab_outlives_its_first_client(daemon: Daemon) -> None:
    daemon.make("a")
    daemon.channel.call("commit")
    daemon.channel.close()
    other = daemon.connect()
    assert len(other.call("hosts")["hosts"]) == 1
    assert daemon.process.poll() is None
    pid = other.call("hosts")["hosts"][0]["pid"]
    assert other.call("down") == {}
    assert daemon.process.wait(10) == 0
    until(lambda: gone(pid))


def test_the_lab_ends_also_while_hosts_are_being_made(daemon: Daemon) -> None:
    request = daemon.channel.ask("make", networks=[], hosts=[{"name": "a"}, {"name": "slow"}])
    assert next(iter(daemon.channel.parts(request))).message["part"] == {"host": "a"}
    pid = daemon.connect().call("hosts")["hosts"][0]["pid"]
    began = time.monotonic()
    daemon.channel.close()
    daemon.process.wait(10)
    assert time.monotonic() - began < 10
    until(lambda: gone(pid))


def test_sigterm_ends_it_all(daemon: Daemon) -> None:
    daemon.make("a", "b")
    pids = [daemon.pid("a"), daemon.pid("b")]
    daemon.process.terminate()
    assert daemon.process.wait(10) == 0
    until(lambda: all(gone(pid) for pid in pids))


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        wire.HEADER.pack(wire.MAGIC, 0xFFFFFFFF, 0),
        wire.HEADER.pack(wire.MAGIC, 2, 0) + b"[]",
        wire.HEADER.pack(wire.MAGIC, 3, 0) + b"{]}",
        wire.encode({"op": "hello"}),
    ],
)
def test_a_client_that_speaks_nonsense_is_told_and_left(daemon: Daemon, garbage: bytes) -> None:
    client = daemon.connect()
    stream = client.stream
    stream.sendall(garbage)
    message, _ = wire.read_frame(stream)
    assert message["error"]["kind"] == "ProtocolError"
    with pytest.raises(errors.DaemonError, match="gone"):
        wire.read_frame(stream)
    assert daemon.channel.call("plan") == {"plan": None}


@pytest.mark.parametrize("op", ["make", "adopt", "configure", "snapshot", "call", "listen", "exec", "put"])
def test_wrong_arguments_end_nothing(daemon: Daemon, op: str) -> None:
    daemon.make("a")
    for arguments in (
        {"hosts": 7, "host": "a"},
        {"hosts": [7], "host": 7},
        {"hosts": [{}], "host": "a", "call": []},
    ):
        with pytest.raises(errors.LabError):
            daemon.channel.call(op, **arguments)
    assert len(daemon.channel.call("hosts")["hosts"]) == 1


def test_configure_writes_the_hosts_file(daemon: Daemon) -> None:
    daemon.make("a")
    names = [["web", ["10.0.0.2", "fd00::2"]], ["alice", ["10.0.0.3"]]]
    daemon.channel.call("configure", hosts=[{"name": "a", "kind": "host"}], names=names)
    request = daemon.channel.ask("get", host="a", path="/etc/hosts")
    text = b"".join(data for _, data in daemon.channel.parts(request)).decode()
    assert text.splitlines() == [
        "127.0.0.1 localhost",
        "::1 localhost ip6-localhost ip6-loopback",
        "10.0.0.2 web",
        "fd00::2 web",
        "10.0.0.3 alice",
    ]
    assert Path("/etc/hosts").read_text() != text


def test_at_rest_it_does_nothing(daemon: Daemon) -> None:
    daemon.make("a", "b", "c")
    daemon.channel.call("hosts")

    def spent() -> int:
        fields = Path(f"/proc/{daemon.process.pid}/schedstat").read_text().split()
        return int(fields[0])  # nanoseconds on a processor (proc_pid_schedstat)

    before = spent()
    time.sleep(1)
    assert spent() - before < 10_000_000  # 1 %


def test_two_labs_know_nothing_of_each_other(start: Callable[[], Daemon]) -> None:
    one, two = start(), start()
    one.make("a")
    assert two.channel.call("hosts") == {"hosts": []}


def test_processes_that_are_not_apart_are_not_stopped(daemon: Daemon) -> None:
    """These hosts have no pid namespace: whoever stopped "all in it" would stop the computer."""
    daemon.make("a")
    with pytest.raises(errors.EngineError, match="the processes of host a are not apart"):
        daemon.channel.call("pause", host="a")
    with pytest.raises(errors.EngineError, match="the processes of host a are not apart"):
        daemon.channel.call("power_off", host="a")
    (host,) = daemon.channel.call("hosts")["hosts"]
    assert (host["alive"], host["paused"], host["off"]) == (True, False, False)
    assert daemon.call("a", "list")["result"] == []
