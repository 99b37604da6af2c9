"""Snapshots against what the kernel's own programs say."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import threading
from typing import Any

from orchestrator.daemon.incarnations import Incarnations
from tests.unit.agent.agents import until
from tests.unit.daemon.conftest import Daemon

LOCAL = "127.0.0.1"
DIAG = struct.Struct("<BBHH16s16sIIIQ")


class Part:
    """One host's part of a snapshot, taken apart."""

    def __init__(self, message: dict[str, Any], data: bytes) -> None:
        self.message = message
        self.sections: dict[str, bytes] = {}
        at = 0
        for name in ("tcp", "tcp6", "diag", "holders", "known"):
            size = message["sizes"][name]
            self.sections[name] = data[at : at + size]
            at += size
        assert at == len(data)
        self.diag = list(DIAG.iter_unpack(self.sections["diag"]))
        self.holders = list(struct.iter_unpack("<QII", self.sections["holders"]))
        self.known = list(struct.iter_unpack("<QQ", self.sections["known"]))


def snapshot(daemon: Daemon, **arguments: Any) -> tuple[dict[str, Part], dict[str, Any]]:
    arguments.setdefault("hosts", None)
    *parts, end = daemon.channel.parts(daemon.channel.ask("snapshot", **arguments))
    return {p.message["part"]["host"]: Part(p.message["part"], p.data) for p in parts}, end.message["ok"]


def fill(daemon: Daemon, host: str, count: int) -> None:
    """`count` connections of a host with itself, all accepted."""
    daemon.channel.call("listen", host=host, listen=[{"address": LOCAL, "port": 80}])
    target = {"host": host, "address": LOCAL, "port": 80, "times": count}
    assert daemon.channel.call("connect", host=host, connect=[target], timeout=60)["connected"] == count
    until(lambda: daemon.channel.call("hosts")["hosts"][0]["accepted"] == count, 20)


def ss(daemon: Daemon, host: str, *options: str) -> str:
    command = ["nsenter", "--net", "-t", str(daemon.pid(host)), "ss", "-Htan", *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_tables_are_the_kernels_own(daemon: Daemon) -> None:
    daemon.make("a", "b")
    fill(daemon, "a", 20)
    parts, end = snapshot(daemon)
    assert set(parts) == {"a", "b"}
    rows = parts["a"].sections["tcp"].decode().splitlines()[1:]
    assert len(rows) == len(ss(daemon, "a").splitlines()) == 41
    assert parts["b"].sections["tcp"].decode().splitlines()[1:] == []
    assert end["not_observed"] == []
    assert end["began"] <= parts["a"].message["began"] <= parts["a"].message["ended"] <= end["ended"]


def test_only_the_hosts_asked_for(daemon: Daemon) -> None:
    daemon.make("a", "b")
    parts, _ = snapshot(daemon, hosts=["b"])
    assert set(parts) == {"b"}


def test_diag_says_what_ss_says(daemon: Daemon) -> None:
    daemon.make("a")
    fill(daemon, "a", 3)
    daemon.call("a", "listen", address="::", family="dual", port=81, backlog=7, **{"as": "six"})
    daemon.call("a", "connect", address="::1", port=81, **{"as": "c6"})
    part = snapshot(daemon)[0]["a"]
    limits = {r[2]: r[7] for r in part.diag if r[1] == 10}
    assert limits == {80: 4096, 81: 7}
    queues = {r[2]: r[6] for r in part.diag if r[1] == 10}
    assert queues == {80: 0, 81: 1}
    inodes = {int(i, 16) for i in re.findall(r"sk:([0-9a-f]+)", ss(daemon, "a", "-e"))}
    assert {r[9] for r in part.diag} == inodes
    six = next(r for r in part.diag if r[0] == socket.AF_INET6 and r[1] == 1 and r[3] == 81)
    assert socket.inet_ntop(socket.AF_INET6, six[4]) == "::1"
    four = next(r for r in part.diag if r[0] == socket.AF_INET and r[1] == 1)
    assert socket.inet_ntoa(four[4][:4]) == LOCAL


def test_many_of_both_families_mixed(daemon: Daemon) -> None:
    daemon.make("a")
    listening = [{"address": "::", "port": 80, "dual": True}, {"address": LOCAL, "port": 81}]
    daemon.channel.call("listen", host="a", listen=listening)
    ends = (("::1", 80), (LOCAL, 80), (LOCAL, 81))
    wanted = [{"host": "a", "address": address, "port": port, "times": 300} for address, port in ends]
    assert daemon.channel.call("connect", host="a", connect=wanted)["connected"] == 900
    until(lambda: daemon.channel.call("hosts")["hosts"][0]["accepted"] == 900)
    part = snapshot(daemon)[0]["a"]
    rows = [line.split() for name in ("tcp", "tcp6") for line in part.sections[name].decode().splitlines()]
    said = {
        int(row[9]): (int(row[1][-4:], 16), int(row[2][-4:], 16), int(row[3], 16))
        for row in rows
        if row[0] != "sl"
    }
    assert len(said) == 1802
    assert {r[8]: (r[2], r[3], r[1]) for r in part.diag} == said
    assert len({r[9] for r in part.diag}) == 1802


def test_a_cookie_stays_over_accept(daemon: Daemon) -> None:
    daemon.make("a")
    daemon.call("a", "listen", address=LOCAL, port=80, **{"as": "l"})
    client = daemon.call("a", "connect", address=LOCAL, port=80, **{"as": "c"})["local"][1]

    def cookie() -> int:
        return int(next(r[9] for r in snapshot(daemon)[0]["a"].diag if r[3] == client))

    waiting = cookie()
    daemon.call("a", "accept", fd="l", **{"as": "s"})
    assert cookie() == waiting
    daemon.call("a", "close", fd="s")
    daemon.call("a", "close", fd="c")
    assert cookie() == waiting  # TIME_WAIT


def unreadable(pid: str) -> bool:
    """May not even root look into this process?"""
    try:
        os.stat(f"/proc/{pid}/ns/net")
    except PermissionError:
        return True
    except OSError:
        pass  # it has ended
    return False


def test_holders_are_processes_of_the_host(daemon: Daemon) -> None:
    daemon.make("a", "b")
    listening = daemon.channel.call("listen", host="a", listen=[{"address": LOCAL, "port": 80}])["listening"]
    client = daemon.call("a", "connect", address=LOCAL, port=80, **{"as": "c"})
    child = daemon.call("a", "fork", fd="c", **{"as": "worker"})["result"]
    parts, end = snapshot(daemon)
    part = parts["a"]
    inode = next(r[8] for r in part.diag if r[2] == client["local"][1])
    held = [(part.message["processes"][i], fd) for number, i, fd in part.holders if number == inode]
    assert {process[1] for process, _ in held} == {"agent"}
    pids = {process[0] for process, _ in held}
    assert pids == {daemon.pid("a"), child}
    assert {fd for _, fd in held} == {client["fd"]}
    assert listening[0]["fd"] in {fd for _, i, fd in part.holders}
    assert end["unread_processes"] == sum(unreadable(p) for p in os.listdir("/proc") if p.isdigit())
    assert snapshot(daemon, holders=False)[0]["a"].holders == []
    assert {tuple(p) for p in parts["b"].message["processes"]} == {(daemon.pid("b"), "agent")}


def test_namespaces_are_told_apart(daemon: Daemon) -> None:
    daemon.make("a", "b")
    parts, _ = snapshot(daemon)
    for name, part in parts.items():
        assert part.message["netns"] == os.stat(f"/proc/{daemon.pid(name)}/ns/net").st_ino


def test_incarnations_are_remembered_for_both_ends(daemon: Daemon) -> None:
    daemon.make("a")
    fill(daemon, "a", 2)
    cookies = [r[9] for r in snapshot(daemon)[0]["a"].diag]
    records = b"".join(struct.pack("<QQ", cookie, 7) for cookie in cookies[:2])
    assert daemon.channel.call("remember", records) == {"known": 2}
    known = snapshot(daemon)[0]["a"].known
    assert sorted(known) == sorted((cookie, 7) for cookie in cookies[:2])


def test_what_is_told_again_is_known_all_the_while() -> None:
    """One client's `remember` while a snapshot for another one is being taken in a thread."""
    memory, ended = Incarnations(), threading.Event()
    records = b"".join(struct.pack("<QQ", cookie, cookie) for cookie in range(1000))
    memory.remember(records)

    def tell() -> None:
        while not ended.is_set():
            memory.remember(records * 20)

    thread = threading.Thread(target=tell)
    thread.start()
    try:
        assert all(memory.known(range(1000)) == records for _ in range(100))
    finally:
        ended.set()
        thread.join()


def test_the_oldest_incarnations_go_first() -> None:
    memory = Incarnations(most=3)
    for cookie in range(5):
        memory.remember(struct.pack("<QQ", cookie, cookie))
    assert memory.known(range(5)) == struct.pack("<6Q", 2, 2, 3, 3, 4, 4)
    memory.remember(struct.pack("<4Q", 2, 9, 5, 5))
    assert memory.known(range(6)) == struct.pack("<6Q", 4, 4, 2, 9, 5, 5) or memory.known([2]) == struct.pack(
        "<2Q", 2, 9
    )


def test_two_snapshots_at_once(daemon: Daemon) -> None:
    daemon.make("a", "b", "c")
    fill(daemon, "a", 200)
    clients = [daemon.connect() for _ in range(4)]
    asked = [(c, c.ask("snapshot", hosts=None)) for c in clients]
    for client, request in asked:
        *parts, _ = client.parts(request)
        part = next(Part(p.message["part"], p.data) for p in parts if p.message["part"]["host"] == "a")
        assert len(part.diag) == 401
