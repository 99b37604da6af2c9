"""Counters for tests: as nstat(8) says them, and as a lab's daemon does."""

from __future__ import annotations

from orchestrator.join.counters import Counters, read_part
from tests.support.rig import Rig

# what nstat(8) leaves out: settings and present states, which only look like counters (misc/nstat.c)
UNSHOWN = {"IpForwarding", "IpDefaultTTL", "TcpRtoAlgorithm", "TcpRtoMin", "TcpRtoMax", "TcpMaxConn"}
UNSHOWN |= {"TcpCurrEstab"}


def nstat(text: str) -> dict[str, int]:
    """The counters of `nstat -az`."""
    rows = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return {row[0]: int(row[1]) for row in rows}


def counters(lab: Rig, *hosts: str) -> dict[str, Counters]:
    """By host; all hosts where none is named."""
    request = lab.channel.ask("counters", hosts=list(hosts) or None)
    parts = [(m["part"], data) for m, data in lab.channel.parts(request) if "part" in m]
    return {str(part["host"]): read_part(part, data) for part, data in parts}
