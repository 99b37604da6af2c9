"""A kernel's own counters of one host, by the names that nstat(8) gives them. Pure.

Sources: net/ipv4/proc.c snmp_seq_show(), netstat_seq_show(); net/ipv6/proc.c snmp6_seq_show(). `netstat` and
`snmp` are pairs of lines, names and then values after the same prefix; `snmp6` is a name and a value a line:

    TcpExt: SyncookiesSent … ListenOverflows ListenDrops …         Ip6InReceives                    28
    TcpExt: 0 … 2 2 …

A counter that the kernel does not print (IcmpMsg: types that were never seen) is missing, not 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import msgspec

from orchestrator.errors import ObservationError

PIECES = ("netstat", "snmp", "snmp6")
_PAIR = re.compile(r"([A-Za-z0-9]{1,40}):((?: \S+)*) ?")
_SINGLE = re.compile(r"([A-Za-z0-9]{1,80})\s+(\S+)\s*")
_NAME = re.compile(r"[A-Za-z0-9]{1,80}")
_NUMBER = re.compile(r"-?[0-9]{1,20}")
_SHOWN = 80  # characters of a refused line that its error shows


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """One host's counters, read at one moment (monotonic seconds). Without an entry: not known."""

    host: str
    at: float
    values: Mapping[str, int]


def read_part(part: Mapping[str, Any], data: bytes) -> Counters:
    """A part of the daemon's answer to `counters` (docs/architecture.md). Raises ObservationError."""
    host, at, sizes = part.get("host"), part.get("at"), part.get("sizes")
    if not isinstance(host, str) or not isinstance(at, int | float) or not isinstance(sizes, Mapping):
        raise ObservationError("a part of counters without host, at or sizes")
    lengths = [sizes.get(name) for name in PIECES]
    whole = [n for n in lengths if isinstance(n, int) and not isinstance(n, bool) and n >= 0]
    if len(whole) != len(PIECES) or sum(whole) != len(data):
        raise ObservationError(f"{host}: {len(data)} bytes of counters where {lengths} were announced")
    first, second = whole[0], whole[0] + whole[1]
    return Counters(host=host, at=float(at), values=parse(data[:first], data[first:second], data[second:]))


def parse(netstat: bytes, snmp: bytes, snmp6: bytes = b"") -> dict[str, int]:
    """The texts of /proc/PID/net/netstat, snmp, snmp6 (empty: a kernel without). Raises ObservationError."""
    found: dict[str, int] = {}
    for name, value in (*_pairs(netstat), *_pairs(snmp), *_singles(snmp6)):
        if not _NUMBER.fullmatch(value) or not _NAME.fullmatch(name):
            raise ObservationError(f"counter {name[:_SHOWN]!r} is {value[:_SHOWN]!r}")
        found[name] = int(value)
    return found


def _lines(text: bytes) -> list[str]:
    return text.decode("ascii", "replace").splitlines()


def _pairs(text: bytes) -> Iterator[tuple[str, str]]:
    """Two lines at a time: `Prefix: names` and `Prefix: values`."""
    lines = _lines(text)
    if len(lines) % 2:
        raise ObservationError(f"counters: a line of names without values: {lines[-1][:_SHOWN]!r}")
    for number, (names, values) in enumerate(pairwise(lines)):
        if number % 2 == 0:
            yield from _pair(names, values)


def _pair(names: str, values: str) -> Iterator[tuple[str, str]]:
    said, had = _PAIR.fullmatch(names), _PAIR.fullmatch(values)
    if not said or not had or said[1] != had[1] or len(said[2].split()) != len(had[2].split()):
        raise ObservationError(f"counters: these lines are no pair: {names[:_SHOWN]!r}, {values[:_SHOWN]!r}")
    for name, value in zip(said[2].split(), had[2].split(), strict=True):
        yield said[1] + name, value


def _singles(text: bytes) -> Iterator[tuple[str, str]]:
    for line in _lines(text):
        found = _SINGLE.fullmatch(line)
        if not found:
            raise ObservationError(f"counters: {line[:_SHOWN]!r} is no name and value")
        yield found[1], found[2]
