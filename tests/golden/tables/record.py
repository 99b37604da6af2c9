"""Records this kernel's tables of sockets in every state, as the texts beside this file.

    python3 tests/golden/tables/record.py          (as root; each case in namespaces of its own)

The expected rows (*.json) are written by hand from what the case did, or by `record.py --expect` and then
read with care. A new case may also be any *.txt put here with its *.json: the test takes every pair that it
finds.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
CLONE_NEWNET = 0x40000000
held: list[socket.socket] = []


def read(family: int) -> bytes:
    return Path("/proc/self/net/tcp" if family == 4 else "/proc/self/net/tcp6").read_bytes()


def keep(sock: socket.socket) -> socket.socket:
    held.append(sock)
    return sock


def listen(address: str, port: int, backlog: int = 5, family: int = socket.AF_INET) -> socket.socket:
    sock = keep(socket.socket(family))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    sock.listen(backlog)
    return sock


def connect(address: str, port: int, local: int, family: int = socket.AF_INET) -> socket.socket:
    sock = keep(socket.socket(family))
    sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", local))
    sock.connect((address, port))
    return sock


def until(state: str, family: int = 4) -> None:
    """Until a row is in that state (two digits), for 5 s."""
    deadline = time.monotonic() + 5
    while f" {state} ".encode() not in read(family):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no row came to state {state}")
        time.sleep(0.01)


def established() -> None:
    server = listen("127.0.0.1", 8080)
    client = connect("127.0.0.1", 8080, 40001)
    keep(server.accept()[0])
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    client.send(b"12345")


def not_accepted() -> None:
    listen("0.0.0.0", 8080)
    connect("127.0.0.1", 8080, 40002).send(b"early")
    connect("127.0.0.1", 8080, 40003).close()
    until("08")


def syn_sent() -> None:
    """To a host that drops: no answer, not even a reset."""
    subprocess.run(["iptables", "-A", "INPUT", "-p", "tcp", "-j", "DROP"], check=True)
    sock = keep(socket.socket())
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 40004))
    sock.connect_ex(("127.0.0.1", 8080))
    until("02")


def accept_queue_full() -> None:
    listen("127.0.0.1", 8080, backlog=0)
    connect("127.0.0.1", 8080, 40005)
    sock = keep(socket.socket())
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 40006))
    sock.connect_ex(("127.0.0.1", 8080))
    until("02")


def syn_recv() -> None:
    """The handshake's last ACK never comes: the third packet is dropped by a rule."""
    subprocess.run(
        [
            "iptables",
            "-A",
            "INPUT",
            "-p",
            "tcp",
            "--dport",
            "8080",
            "--tcp-flags",
            "SYN,ACK",
            "ACK",
            "-j",
            "DROP",
        ],
        check=True,
    )
    listen("127.0.0.1", 8080)
    connect("127.0.0.1", 8080, 40007)
    until("03")


def time_wait() -> None:
    server = listen("127.0.0.1", 8080)
    client = connect("127.0.0.1", 8080, 40008)
    end = server.accept()[0]
    client.close()
    end.close()
    until("06")


def half_closed() -> None:
    server = listen("127.0.0.1", 8080)
    client = connect("127.0.0.1", 8080, 40009)
    keep(server.accept()[0])
    client.shutdown(socket.SHUT_WR)
    until("05")
    closed = connect("127.0.0.1", 8080, 40010)
    keep(server.accept()[0])
    closed.close()


def fin_unacknowledged() -> None:
    """FIN_WAIT1, and LAST_ACK at the other end of another connection: whatever follows is dropped."""
    server = listen("127.0.0.1", 8080)
    first = connect("127.0.0.1", 8080, 40011)
    keep(server.accept()[0])
    second = connect("127.0.0.1", 8080, 40012)
    end = server.accept()[0]
    second.shutdown(socket.SHUT_WR)
    until("08")
    subprocess.run(["iptables", "-A", "INPUT", "-p", "tcp", "-j", "DROP"], check=True)
    first.send(b"lost")
    first.shutdown(socket.SHUT_WR)
    end.close()
    until("04")
    until("09")


def mapped() -> None:
    server = listen("::", 8080, family=socket.AF_INET6)
    connect("127.0.0.1", 8080, 40013)
    keep(server.accept()[0])
    connect("::1", 8080, 40014, socket.AF_INET6)


def self_connected() -> None:
    sock = keep(socket.socket())
    sock.bind(("127.0.0.1", 40015))
    sock.connect(("127.0.0.1", 40015))


def reuseport() -> None:
    for _ in range(2):
        sock = keep(socket.socket())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("0.0.0.0", 8080))
        sock.listen(7)


def zero_window() -> None:
    server = listen("127.0.0.1", 8080)
    client = connect("127.0.0.1", 8080, 40016)
    keep(server.accept()[0])
    client.setblocking(False)
    deadline = time.monotonic() + 10
    while b" 04:" not in read(4):
        try:
            client.send(bytes(1 << 16))
        except BlockingIOError:
            time.sleep(0.02)
        if time.monotonic() > deadline:
            raise TimeoutError("no zero-window probe")


def wide_uid() -> None:
    pid = os.fork()
    if pid == 0:
        os.setresuid(1234567, 1234567, 1234567)
        listen("127.0.0.1", 8081)
        time.sleep(2)
        os._exit(0)
    until("0A")


CASES: dict[str, Callable[[], None]] = {
    name.__name__: name
    for name in (
        established,
        not_accepted,
        syn_sent,
        accept_queue_full,
        syn_recv,
        time_wait,
        half_closed,
        fin_unacknowledged,
        mapped,
        self_connected,
        reuseport,
        zero_window,
        wide_uid,
    )
}


@contextmanager
def fresh_network() -> Iterator[None]:
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    yield


def record(name: str) -> None:
    with fresh_network():
        CASES[name]()
        for family in (4, 6):
            text = read(family)
            if text.count(b"\n") > 1:
                (HERE / f"{name}.tcp{'6' if family == 6 else ''}.txt").write_bytes(text)


def expect() -> None:
    """Write what the parser says of every text that has no *.json yet."""
    import msgspec

    from orchestrator.join.proc_net_tcp import parse

    for path in sorted(HERE.glob("*.txt")):
        target = path.with_suffix(".json")
        if not target.exists():
            rows = parse(path.read_bytes(), "host", 6 if path.name.endswith(".tcp6.txt") else 4, "little")
            plain = msgspec.to_builtins(rows)
            target.write_bytes(msgspec.json.format(msgspec.json.encode(plain), indent=1) + b"\n")


def main() -> None:
    if "--expect" in sys.argv:
        expect()
        return
    for name in CASES:
        pid = os.fork()
        if pid == 0:
            record(name)
            os._exit(0)
        print(name, "ok" if os.waitpid(pid, 0)[1] == 0 else "FAILED")


if __name__ == "__main__":
    main()
