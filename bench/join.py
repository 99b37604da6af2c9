"""How long parsing and joining take: N connections between two hosts, with both tables made up.

    python -m bench.join [CONNECTIONS] [--json] [--profile]

Each socket has a process, a descriptor and a cookie. The tables are written as the kernel writes them.
"""

from __future__ import annotations

import cProfile
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any

from orchestrator.join.connections import Joined, join
from orchestrator.join.looks import confirm, needs_second, remember
from orchestrator.join.snapshot import DIAG, HOLDER, PIECES, HostTables, read_part
from orchestrator.model.plan import Interface, LabKey, Plan, PlannedHost, PlannedNetwork
from orchestrator.model.rows import Taken
from orchestrator.report import json

CONNECTIONS = 200_000
PER_CLIENT = 60_000  # ports of one client's address
DESCRIPTORS = 18_000  # of one process
SERVER = "10.20.0.1"


def plan() -> Plan:
    """Two hosts on one network; the client has as many addresses as it needs ports for."""
    devices = [("server", 0, SERVER), *(("client", at, f"10.20.0.{at + 2}") for at in range(60))]
    interfaces = {
        name: tuple(
            Interface(device=f"eth{at}", network="net", mac="02:00:00:00:00:01", address=address)
            for host, at, address in devices
            if host == name
        )
        for name in ("client", "server")
    }
    return Plan(
        key=LabKey(owner="bench", name="join"),
        engine="fake",
        networks=(PlannedNetwork(name="net", subnet="10.20.0.0/16"),),
        hosts=tuple(PlannedHost(name=name, interfaces=found) for name, found in interfaces.items()),
    )


def tuples(count: int) -> Iterator[tuple[int, int]]:
    """(client's address as a number, port) of each connection."""
    for at in range(count):
        yield 0x0A140002 + at // PER_CLIENT, 1024 + at % PER_CLIENT


def printed(address: int) -> str:
    """An address as the kernel prints it on a little-endian computer."""
    return f"{int.from_bytes(address.to_bytes(4), 'little'):08X}"


def part(name: str, count: int) -> tuple[dict[str, Any], bytes]:
    """A host's part of a snapshot, as a daemon sends it."""
    serves, server = name == "server", 0x0A140001
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
    lines, diag, holders = [head.ljust(149)], [], []
    if serves:
        lines.append(_line(0, (0, 80), (0, 0), 10, 7).ljust(149))
        diag.append(_record((0, 80), (0, 0), 10, 7, 1))
    for at, client in enumerate(tuples(count)):
        local, peer = ((server, 80), client) if serves else (client, (server, 80))
        inode, cookie = 1000 + at, 1000 + 2 * at + serves
        lines.append(_line(at + serves, local, peer, 1, inode).ljust(149))
        diag.append(_record(local, peer, 1, inode, cookie))
        holders.append(HOLDER.pack(inode, at // DESCRIPTORS, 4 + at % DESCRIPTORS))
    pieces = ["\n".join([*lines, ""]).encode(), b"", b"".join(diag), b"".join(holders), b""]
    return {
        "host": name,
        "began": 0.0,
        "ended": 1.0,
        "sizes": dict(zip(PIECES, map(len, pieces), strict=True)),
        "processes": [[7 + at, "flood"] for at in range(count // DESCRIPTORS + 1)],
        "translations": [],
        "netns": 1,
    }, b"".join(pieces)


def _line(number: int, local: tuple[int, int], peer: tuple[int, int], state: int, inode: int) -> str:
    here, there = (f"{printed(address)}:{port:04X}" for address, port in (local, peer))
    rest = f"00000000:00000000 00:00000000 00000000     0        0 {inode} 1 00000000d1260f96 20 4 30 10 -1"
    return f"{number:4d}: {here} {there} {state:02X} {rest}"


def _record(local: tuple[int, int], peer: tuple[int, int], state: int, inode: int, cookie: int) -> bytes:
    addresses = (struct.pack(">I", address) for address, _ in (local, peer))
    return DIAG.pack(2, state, local[1], peer[1], *addresses, 0, 0, inode, cookie)


Moment = tuple[float, float]  # seconds: of the clock, and of this process's work


def moment() -> Moment:
    """Now. On a busy computer the second number says more."""
    return time.perf_counter(), time.process_time()


def timed(what: str, began: Moment) -> Moment:
    """Print how long it took; now."""
    now = moment()
    print(f"{what:20} {now[0] - began[0]:7.3f} s   (work {now[1] - began[1]:.3f} s)", file=sys.stderr)
    return now


def collect(parts: list[tuple[dict[str, Any], bytes]]) -> Joined:
    """What is measured."""
    began = now = moment()
    tables: list[HostTables] = [read_part(*one) for one in parts]
    now = timed("parse", now)
    found = join(tables, plan())
    now = timed("join", now)
    timed("together", began)
    return found


def main() -> None:
    """Run once and print what each step took."""
    numbers = [one for one in sys.argv[1:] if one.isdigit()]
    count = int(numbers[0]) if numbers else CONNECTIONS
    parts = [part(name, count) for name in ("client", "server")]
    if "--profile" in sys.argv:
        cProfile.runctx("collect(parts)", globals(), {"parts": parts}, sort="tottime")
        return
    found = collect(parts)
    assert len(found.connections) == count
    assert all(row.status == "joined" and row.client and row.client.fd for row in found.connections)
    now = moment()
    assert not needs_second(found)
    assert len(remember(found)) == 32 * count
    now = timed("remember", now)
    confirm(found, found)
    now = timed("confirm", now)
    taken = {"local": Taken(began=0.0, ended=1.0)}
    text = json.connections(lab="bench", engine="fake", taken=taken, not_observed=[], rows=found.connections)
    timed(f"JSON ({len(text) >> 20} MiB)", now)


if __name__ == "__main__":
    main()
