"""The connections that two hosts have with each other, from the table of one of them."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Collection, Iterator

from orchestrator.daemon.cut_rules import Flow
from orchestrator.daemon.hosts import Host

_LISTEN, _TIME_WAIT = "0A", "06"  # include/net/tcp_states.h


def of(host: Host, peers: Collection[str]) -> Iterator[Flow]:
    """What this host sends on each connection to one of these addresses. Raises OSError."""
    for table in ("tcp", "tcp6"):
        for line in _lines(host, table):
            fields = line.split()
            if fields[3] in (_LISTEN, _TIME_WAIT):
                continue
            (source, source_port), (target, target_port) = _end(fields[1]), _end(fields[2])
            if target in peers:
                yield Flow(source, source_port, target, target_port)


def back(flow: Flow) -> Flow:
    """The other direction."""
    return Flow(flow.target, flow.target_port, flow.source, flow.source_port)


def _lines(host: Host, table: str) -> list[str]:
    try:
        fd = os.open(f"net/{table}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=host.proc)
    except FileNotFoundError:  # no IPv6
        return []
    with open(fd, encoding="ascii") as file:
        return file.read().splitlines()[1:]


def _end(text: str) -> tuple[str, int]:
    """`022B140A:ECCE`: words in the machine's byte order; IPv4 in an IPv6 table is v4-mapped."""
    words, _, port = text.partition(":")
    raw = b"".join(struct.pack("=I", int(words[at : at + 8], 16)) for at in range(0, len(words), 8))
    if len(raw) == 16 and raw[:12] == bytes(10) + b"\xff\xff":
        raw = raw[12:]
    family = socket.AF_INET6 if len(raw) == 16 else socket.AF_INET
    return socket.inet_ntop(family, raw), int(port, 16)
