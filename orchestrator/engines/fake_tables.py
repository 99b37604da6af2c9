"""What the fake engine's hosts show of themselves: tables as the kernel prints them, diag and holder records.

Formats: net/ipv4/tcp_ipv4.c (get_tcp4_sock, get_openreq4, get_timewait4_sock), net/ipv6/tcp_ipv6.c, and
docs/architecture.md, "A host's part of a snapshot".
"""

from __future__ import annotations

import socket as sockets
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from orchestrator.engines.fake_tcp import Address, Socket, Stack

NUMBERS = {"ESTABLISHED": 1, "SYN_SENT": 2, "FIN_WAIT2": 5, "TIME_WAIT": 6, "CLOSE_WAIT": 8, "LISTEN": 10}
HZ = 100  # USER_HZ: the unit of tm->when
LINE = 149  # TMPSZ - 1: IPv4 lines are padded to this, tcp6's are not
HEAD4 = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
HEAD6 = (
    "  sl  local_address                         remote_address                        "
    "st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
)
DIAG = struct.Struct("<BBHH16s16sIIIQ")
HOLDER = struct.Struct("<QII")
_NOWHERE: Address = ("0.0.0.0", 0)


def snapshot(
    host: str, stack: Stack, processes: Mapping[int, str], holders: bool
) -> tuple[dict[str, Any], list[bytes]]:
    """A host's part: what it says, and its tables tcp, tcp6, diag and holders."""
    began = time.monotonic()
    rows = list(_rows(stack))
    pieces = [_tcp(rows), _tcp6(rows), _diag(rows), _holders(rows, list(processes)) if holders else b""]
    part = {
        "host": host,
        "began": began,
        "ended": time.monotonic(),
        "processes": [[pid, name] for pid, name in processes.items()] if holders else [],
        "translations": list(stack.node.translations.values()),
    }
    return part, pieces


def _rows(stack: Stack) -> Iterator[Socket]:
    """LISTEN first, then the others, as the kernel walks its hashes. Bound sockets are in no table."""
    yield from stack.listeners()
    yield from (s for s in stack.tuples.values() if s.state in NUMBERS)


@lru_cache(maxsize=4096)
def _packed(address: str, family: int) -> bytes:
    """The address in network order; IPv4 in a tcp6 socket is v4-mapped."""
    if family == 4:
        return sockets.inet_pton(sockets.AF_INET, address)
    if ":" in address:
        return sockets.inet_pton(sockets.AF_INET6, address)
    raw = sockets.inet_pton(sockets.AF_INET, address)
    return bytes(16) if not any(raw) else bytes(10) + b"\xff\xff" + raw


@lru_cache(maxsize=4096)
def _hex(address: str, family: int) -> str:
    """32-bit words as this machine's numbers: little-endian, as everywhere that lab runs."""
    packed = _packed(address, family)
    return "".join(f"{word:08X}" for (word,) in struct.iter_unpack("<I", packed))


def _line(number: int, socket: Socket) -> str:
    local, peer = socket.local or _NOWHERE, socket.peer or _NOWHERE
    family = socket.family
    here, there = _hex(local[0], family), _hex(peer[0], family)
    timer, when = _timer(socket)
    head = f"{number:4d}: {here}:{local[1]:04X} {there}:{peer[1]:04X} {NUMBERS[socket.state]:02X}"
    queues = f"{socket.unacked:08X}:{socket.rx_queue:08X} {timer:02X}:{when:08X} {0:08X}"
    if socket.state == "TIME_WAIT" or (socket.state == "FIN_WAIT2" and not socket.inode):
        return f"{head} {0:08X}:{0:08X} {timer:02X}:{when:08X} {0:08X} {0:5d} {0:8d} 0 3 {socket.cookie:016x}"
    last = 0 if socket.state == "LISTEN" else -1
    tail = f"{0:5d} {0:8d} {socket.inode} 1 {socket.cookie:016x} {100 if last == 0 else 20} 0 0 10 {last}"
    return f"{head} {queues} {tail}"


def _timer(socket: Socket) -> tuple[int, int]:
    """Column tr and tm->when."""
    if socket.state == "TIME_WAIT" or (socket.state == "FIN_WAIT2" and not socket.inode):
        return 3, max(0, int((socket.due - time.monotonic()) * HZ))
    return (1, HZ) if socket.state == "SYN_SENT" else (0, 0)


def _tcp(rows: Iterable[Socket]) -> bytes:
    lines = [_line(n, s).ljust(LINE) for n, s in enumerate(s for s in rows if s.family == 4)]
    return "\n".join([HEAD4.ljust(LINE), *lines, ""]).encode()


def _tcp6(rows: Iterable[Socket]) -> bytes:
    return (
        HEAD6 + "".join(_line(n, s) + "\n" for n, s in enumerate(s for s in rows if s.family == 6))
    ).encode()


def _diag(rows: Iterable[Socket]) -> bytes:
    records = []
    for s in rows:
        local, peer = s.local or _NOWHERE, s.peer or _NOWHERE
        writing = s.backlog if s.state == "LISTEN" else s.unacked
        addresses = (_packed(local[0], s.family), _packed(peer[0], s.family))
        family, state = (10 if s.family == 6 else 2), NUMBERS[s.state]
        records.append(
            DIAG.pack(family, state, local[1], peer[1], *addresses, s.rx_queue, writing, s.inode, s.cookie)
        )
    return b"".join(records)


def _holders(rows: Iterable[Socket], pids: list[int]) -> bytes:
    place = {pid: index for index, pid in enumerate(pids)}
    return b"".join(HOLDER.pack(s.inode, place[pid], fd) for s in rows if s.inode for pid, fd in s.holders)
