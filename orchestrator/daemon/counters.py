"""The kernel's counters of hosts, read from outside: nothing in the host has to run for it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from orchestrator.daemon.hosts import Host
from orchestrator.daemon.observe import read

FILES = ("netstat", "snmp", "snmp6")


class Read(NamedTuple):
    """One host's texts, as the kernel wrote them; `at` is in monotonic seconds."""

    host: Host
    at: float
    texts: tuple[bytes, ...]


def take(hosts: Sequence[Host]) -> Iterator[Read | Host]:
    """The counters of each host, or the host itself where it has ended."""
    for host in hosts:
        at = time.monotonic()
        try:
            yield Read(host, at, tuple(read(host, f"net/{name}", optional=name == "snmp6") for name in FILES))
        except OSError:
            yield host
