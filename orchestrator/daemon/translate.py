"""What a router that masquerades has translated: its conntrack table, TCP only.

/proc/PID/net/nf_conntrack says it where the kernel has CONFIG_NF_CONNTRACK_PROCFS (Debian's has); else it is
dumped over netlink.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Iterator
from typing import Any

from orchestrator.daemon import within
from orchestrator.daemon.hosts import Host

Row = list[Any]  # client, port, server, port, new client, port, new server, port
_TCP = 6


def rows(host: Host) -> list[Row]:
    """The translated connections of a router; none where neither way works."""
    try:
        with open(os.open("net/nf_conntrack", os.O_RDONLY | os.O_CLOEXEC, dir_fd=host.proc), "rb") as file:
            return list(parse(file.read().decode("ascii", "replace").splitlines()))
    except OSError:
        pass
    if not host.masquerades:
        return []
    try:
        return within.network(host.proc, lambda: list(_dumped()))
    except (OSError, ImportError):
        return []


def parse(lines: Iterable[str]) -> Iterator[Row]:
    """Rows of nf_conntrack's text (net/netfilter/nf_conntrack_standalone.c, ct_seq_show)."""
    for line in lines:
        words = line.split()
        if len(words) < 3 or words[2] != "tcp":
            continue
        pairs = [w.partition("=") for w in words if "=" in w]
        values = [value for key, _, value in pairs if key in {"src", "dst", "sport", "dport"}]
        if len(values) == 8:
            row = _row(values[:4], values[4:])
            if row:
                yield row


def _row(out: list[str], back: list[str]) -> Row | None:
    """From (src, dst, sport, dport) of both directions; None where nothing was translated."""
    client, server = [_plain(out[0]), int(out[2])], [_plain(out[1]), int(out[3])]
    new_server, new_client = [_plain(back[0]), int(back[2])], [_plain(back[1]), int(back[3])]
    if client == new_client and server == new_server:
        return None
    return [*client, *server, *new_client, *new_server]


def _plain(address: str) -> str:
    """As everywhere else: the table writes IPv6 in full."""
    return str(ipaddress.ip_address(address)) if ":" in address else address


def _dumped() -> Iterator[Row]:
    from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket

    with NFCTSocket() as sock:
        for entry in sock.dump():
            out, back = _tuple(entry, "CTA_TUPLE_ORIG"), _tuple(entry, "CTA_TUPLE_REPLY")
            row = _row(out, back) if out and back else None
            if row:
                yield row


def _tuple(entry: Any, name: str) -> list[str] | None:
    """(src, dst, sport, dport) of one direction, None for what is not TCP."""
    whole = entry.get_attr(name)
    ip, proto = whole.get_attr("CTA_TUPLE_IP"), whole.get_attr("CTA_TUPLE_PROTO")
    if proto.get_attr("CTA_PROTO_NUM") != _TCP:
        return None
    ends = [ip.get_attr(f"CTA_IP_V4_{end}") or ip.get_attr(f"CTA_IP_V6_{end}") for end in ("SRC", "DST")]
    ports = [proto.get_attr(f"CTA_PROTO_{end}_PORT") for end in ("SRC", "DST")]
    return [*map(str, ends), *map(str, ports)]
