"""Small worlds to join: a plan, and hosts' sockets written as the kernel and the daemon write them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any

from orchestrator.join import spaces
from orchestrator.join.snapshot import DIAG, HOLDER, KNOWN, HostTables, read_part
from orchestrator.model.plan import Interface, LabKey, Plan, PlannedHost, PlannedNetwork
from orchestrator.model.rows import STATES, TIMERS, Holder, SocketEntry

NUMBERS = {name: number for number, name in reversed(STATES.items())}
TIMER_NUMBERS = {name: number for number, name in TIMERS.items()}
HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
SMALL, LARGE = 1 << 40, 0  # `large` of read_part: never and always NumPy

ALICE, BOB, WEB = "10.20.1.2", "10.20.1.3", "10.20.2.80"
WEB6, ALICE6 = "fd20:2::80", "fd20:1::2"
EDGE_IN, EDGE_OUT = "10.20.1.1", "10.20.2.1"


def host(name: str, *interfaces: tuple[str, str, str | None]) -> PlannedHost:
    """A planned host with (network, address, address6) interfaces."""
    return PlannedHost(
        name=name,
        interfaces=tuple(
            Interface(
                device=f"eth{at}",
                network=network,
                mac=mac_of(address, network),
                address=address,
                address6=address6,
            )
            for at, (network, address, address6) in enumerate(interfaces)
        ),
    )


def mac_of(address: str, network: str) -> str:
    """02:…, different for each interface of PLAN."""
    return "02:" + ":".join(f"{b:02x}" for b in bytes([len(network)]) + inet_pton(AF_INET, address))


PLAN = Plan(
    key=LabKey(owner="me", name="world"),
    engine="fake",
    networks=(
        PlannedNetwork(name="office", subnet="10.20.1.0/24"),
        PlannedNetwork(name="dc", subnet="10.20.2.0/24"),
        PlannedNetwork(name="other", subnet="10.20.1.0/24", domain=1),
    ),
    hosts=(
        host("edge", ("office", EDGE_IN, None), ("dc", EDGE_OUT, None)),
        host("alice", ("office", ALICE, ALICE6)),
        host("bob", ("office", BOB, None)),
        host("web", ("dc", WEB, WEB6)),
        host("twin", ("other", ALICE, None)),
        host("twin-web", ("other", "10.20.1.80", None)),
    ),
)


def sock(
    where: str, local: str, peer: str = "0.0.0.0:0", state: str = "ESTABLISHED", **more: Any
) -> SocketEntry:
    """`sock("alice", "10.20.1.2:40000", "10.20.2.80:80")`; IPv6 as `[::1]:80`; v4-mapped by family=6."""
    address, port = split(local)
    peer_address, peer_port = split(peer)
    six = ":" in address
    family = more.pop("family", 6 if six else 4)
    if six and peer == "0.0.0.0:0":
        peer_address = "::"
    return SocketEntry(
        host=where,
        family=family,
        mapped=family == 6 and not six,
        address=address,
        port=port,
        peer_address=peer_address,
        peer_port=peer_port,
        state=state,
        **more,
    )


def split(text: str) -> tuple[str, int]:
    """`[::1]:80`, `10.0.0.1:80`."""
    address, _, port = text.rpartition(":")
    return address.strip("[]"), int(port)


def listen(where: str, local: str, **more: Any) -> SocketEntry:
    """A listener's entry."""
    return sock(where, local, state="LISTEN", **{"inode": 900, **more})


def packed(address: str, family: int) -> bytes:
    """4 or 16 bytes, v4-mapped where the family is 6 and the address is not."""
    if family == 4:
        return inet_pton(AF_INET, address)
    return inet_pton(AF_INET6, address if ":" in address else f"::ffff:{address}")


def digits(raw: bytes) -> str:
    """As the kernel prints an address, on a little-endian computer."""
    return "".join(f"{word:08X}" for (word,) in struct.iter_unpack("<I", raw))


def line(number: int, e: SocketEntry) -> str:
    """A row as net/ipv4/tcp_ipv4.c prints it; request and TIME_WAIT sockets have the short tail."""
    here, there = digits(packed(e.address, e.family)), digits(packed(e.peer_address, e.family))
    when = round(e.timer_seconds * 100)
    head = f"{number:4d}: {here}:{e.port:04X} {there}:{e.peer_port:04X} {NUMBERS[e.state]:02X}"
    middle = f"{e.tx_queue:08X}:{e.rx_queue:08X} {TIMER_NUMBERS[e.timer]:02X}:{when:08X} {e.retransmits:08X}"
    tail = f"{e.uid:5d} {0:8d} {e.inode} 1 00000000d1260f96"
    more = "" if e.state in ("TIME_WAIT", "SYN_RECV") else " 20 4 30 10 -1"
    return f"{head} {middle} {tail}{more}"


def table(entries: Iterable[SocketEntry], family: int) -> bytes:
    """/proc/net/tcp (padded to 149 and a line end) or tcp6 (not padded)."""
    heading = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
    )
    lines = [heading, *(line(n, e) for n, e in enumerate(e for e in entries if e.family == family))]
    return "".join((one.ljust(149) if family == 4 else one) + "\n" for one in lines).encode()


def diag(entries: Iterable[SocketEntry]) -> bytes:
    """sock_diag records of those that have a cookie."""
    return b"".join(
        DIAG.pack(
            10 if e.family == 6 else 2,
            NUMBERS[e.state],
            e.port,
            e.peer_port,
            packed(e.address, e.family),
            packed(e.peer_address, e.family),
            e.rx_queue,
            e.limit or 0,
            e.inode,
            e.cookie,
        )
        for e in entries
        if e.cookie is not None
    )


def holders(entries: Sequence[SocketEntry]) -> tuple[list[list[Any]], bytes]:
    """The list of processes, and records of who holds what."""
    names = sorted({(h.pid, h.process) for e in entries for h in e.holders})
    place = {name: at for at, name in enumerate(names)}
    records = b"".join(
        HOLDER.pack(e.inode, place[h.pid, h.process], h.fd) for e in entries if e.inode for h in e.holders
    )
    return [list(name) for name in names], records


def part(
    name: str,
    entries: Sequence[SocketEntry],
    known: Mapping[int, int] | None = None,
    translations: Sequence[Sequence[Any]] = (),
) -> tuple[dict[str, Any], bytes]:
    """A host's part of a snapshot, as a daemon would send it."""
    processes, held = holders(entries)
    pieces = {
        "tcp": table(entries, 4),
        "tcp6": table(entries, 6),
        "diag": diag(entries),
        "holders": held,
        "known": b"".join(KNOWN.pack(*pair) for pair in (known or {}).items()),
    }
    message = {
        "host": name,
        "began": 1.0,
        "ended": 2.0,
        "sizes": {piece: len(data) for piece, data in pieces.items()},
        "processes": processes,
        "translations": [list(one) for one in translations],
        "netns": 4026531840,
    }
    return message, b"".join(pieces.values())


def tables(
    entries: Sequence[SocketEntry],
    *,
    hosts: Sequence[str] = ("edge", "alice", "bob", "web", "twin", "twin-web"),
    known: Mapping[str, Mapping[int, int]] | None = None,
    translations: Mapping[str, Sequence[Sequence[Any]]] | None = None,
    large: int = SMALL,
) -> list[HostTables]:
    """The tables of all those hosts, written and read again."""
    return [
        read_part(
            *part(
                name,
                [e for e in entries if e.host == name],
                (known or {}).get(name),
                (translations or {}).get(name, ()),
            ),
            large=large,
        )
        for name in hosts
    ]


def link_local(name: str) -> str:
    """The fe80:: address of a host's first interface."""
    planned = PLAN.host(name)
    assert planned is not None
    return spaces.link_local(planned.interfaces[0].mac)


def held(pid: int, fd: int, process: str = "agent") -> tuple[Holder, ...]:
    """One holder."""
    return (Holder(pid, process, fd),)


def swapped(text: bytes) -> bytes:
    """A little-endian computer's IPv4 table as a big-endian one would have written it."""
    lines = text.decode().split("\n")
    for at in range(1, len(lines) - 1):
        words = lines[at].split(" ")
        for index, word in enumerate(words):
            raw, _, port = word.partition(":")
            if len(port) == 4 and len(raw) in (8, 32):
                words[index] = "".join(_turned(raw[i : i + 8]) for i in range(0, len(raw), 8)) + ":" + port
        lines[at] = " ".join(words)
    return "\n".join(lines).encode()


def _turned(word: str) -> str:
    return bytes.fromhex(word)[::-1].hex().upper()
