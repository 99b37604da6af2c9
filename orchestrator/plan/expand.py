"""Hosts and routers as written → one member for each that will run: `count` is counted out here."""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.model.topology import Attachment, Host, Router, Topology


class Member(NamedTuple):
    """A host or a router under its final name; `host` is None for a router. `on`: its networks' names."""

    name: str
    attachments: tuple[Attachment, ...]
    on: tuple[str, ...]
    host: Host | None = None
    router: Router | None = None


def expand(topology: Topology) -> tuple[Member, ...]:
    """Routers first, then hosts, each in file order."""
    routers = [Member(one.name, one.attachments, _on(one), router=one) for one in topology.routers]
    hosts = [
        Member(name, one.attachments, on, host=one)
        for one in topology.hosts
        for on in (_on(one),)
        for name in names(one)
    ]
    return (*routers, *hosts)


def _on(one: Host | Router) -> tuple[str, ...]:
    return tuple(attachment.network for attachment in one.attachments)


def names(host: Host) -> tuple[str, ...]:
    """NAME, or NAME-1 … NAME-n."""
    if host.count == 1:
        return (host.name,)
    return tuple(f"{host.name}-{number}" for number in range(1, host.count + 1))
