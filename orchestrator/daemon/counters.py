"""The kernel's counters of hosts, read from outside: nothing in the host has to run for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from orchestrator import wire
from orchestrator.daemon.clients import ClientRequest
from orchestrator.daemon.hosts import Host
from orchestrator.daemon.observe import read
from orchestrator.daemon.threads import in_thread, shielded

FILES = ("netstat", "snmp", "snmp6")


class Read(NamedTuple):
    """One host's texts, as the kernel wrote them; `at` is in monotonic seconds."""

    host: Host
    at: float
    texts: tuple[bytes, ...]


async def counters(request: ClientRequest, hosts: Sequence[Host], observing: asyncio.Lock) -> wire.Message:
    """The request of this name: a part for each host; who was not observed."""
    async with observing:
        taken = await shielded(in_thread(lambda: list(take(hosts))))
    for one in taken:
        if isinstance(one, Read):
            sizes = dict(zip(FILES, map(len, one.texts), strict=True))
            await request.part({"host": one.host.name, "at": one.at, "sizes": sizes}, *one.texts)
    return {"not_observed": [one.name for one in taken if isinstance(one, Host)]}


def take(hosts: Sequence[Host]) -> Iterator[Read | Host]:
    """The counters of each host, or the host itself where it has ended."""
    for host in hosts:
        at = time.monotonic()
        try:
            yield Read(host, at, tuple(read(host, f"net/{name}", optional=name == "snmp6") for name in FILES))
        except OSError:
            yield host
