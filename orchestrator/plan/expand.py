"""Hosts and routers as written → one member for each that will run: `count` is counted out here."""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.model.topology import Attachment, Host, Router, Topology


class Member(NamedTuple):
    """A host or a router under its final name; `host` is None for a router."""

    name: str
    attachments: tuple[Attachment, ...]
    host: Host | None = None
    router: Router | None = None

    @property
    def on(self) -> tuple[str, ...]:
        """The names of its networks."""
        return tuple(one.network for one in self.attachments)


def expand(topology: Topology) -> tuple[Member, ...]:
    """Routers first, then hosts, each in file order."""
    routers = [Member(one.name, one.attachments, router=one) for one in topology.routers]
    hosts = [Member(name, one.attachments, host=one) for one in topology.hosts for name in names(one)]
    return (*routers, *hosts)


def names(host: Host) -> tuple[str, ...]:
    """NAME, or NAME-1 … NAME-n."""
    if host.count == 1:
        return (host.name,)
    return tuple(f"{host.name}-{number}" for number in range(1, host.count + 1))
