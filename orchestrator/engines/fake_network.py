"""The fake engine's network: hosts, their addresses, and the way from one to another. A model, not a kernel.

What it keeps of the real thing: connected subnets, static routes, longest prefix first, forwarding by routers
only, masquerading, separate domains, and a way back without which nothing is answered. It leaves out time.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Spec = Mapping[str, Any]  # a PlannedHost or PlannedNetwork as JSON
Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network
HOPS = 64  # the TTL that Linux sends with


def canonical(address: str) -> str:
    """The usual spelling; v4-mapped becomes IPv4. Raises ValueError for what is no address."""
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def is_loopback(address: str) -> bool:
    """127.0.0.0/8 or ::1."""
    return ipaddress.ip_address(address).is_loopback


@dataclass(frozen=True)
class Attached:
    """One interface of a node: the network, its subnet in one family, and the node's own address on it."""

    network: str
    subnet: Subnet
    address: str


@dataclass(eq=False)
class Node:
    """A host as the network sees it."""

    name: str
    forwards: bool
    nat: str | None
    attached: tuple[Attached, ...]
    routes: tuple[tuple[Subnet, str], ...]  # longest prefix first
    translations: dict[tuple[str, int, str, int], list[Any]] = field(default_factory=dict)

    @property
    def addresses(self) -> frozenset[str]:
        """All of its own, without loopback."""
        return frozenset(a.address for a in self.attached)

    def owns(self, address: str) -> bool:
        """Whether a packet to this address goes no further."""
        return is_loopback(address) or any(a.address == address for a in self.attached)


@dataclass(frozen=True)
class Way:
    """Where a packet ends: `node` is None where nobody has the address. `source` is what the first hop sends
    from, `seen` what the last one receives from, `via` the routers that translated it."""

    node: Node | None
    source: str
    seen: str
    via: tuple[tuple[Node, str], ...] = ()  # router, source address behind it


def make_node(spec: Spec) -> Node:
    """The node of a PlannedHost. Raises ValueError for addresses that are none."""
    attached = []
    for link in spec.get("interfaces", ()):
        for address, prefix in (
            (link.get("address"), link["prefix"]),
            (link.get("address6"), link["prefix6"]),
        ):
            if address:
                subnet = ipaddress.ip_network(f"{address}/{prefix}", strict=False)
                attached.append(Attached(link["network"], subnet, canonical(address)))
    routes = [entry for route in spec.get("routes", ()) for entry in _route(route)]
    routes.sort(key=lambda entry: -entry[0].prefixlen)
    router = spec.get("kind") == "router"
    return Node(spec["name"], router, spec.get("nat"), tuple(attached), tuple(routes))


def _route(route: Spec) -> Sequence[tuple[Subnet, str]]:
    via = canonical(route["via"])
    destination = route["destination"]
    if destination == "default":
        destination = "::/0" if ":" in via else "0.0.0.0/0"
    return [(ipaddress.ip_network(destination, strict=False), via)]


class Network:
    """Who has which address on which network, and the way to it."""

    def __init__(self) -> None:
        self.networks: dict[str, Spec] = {}
        self._at: dict[tuple[str, str], Node] = {}

    def add(self, node: Node) -> None:
        """This node is reachable now."""
        for attached in node.attached:
            self._at[attached.network, attached.address] = node

    def discard(self, node: Node) -> None:
        """… and now it is not."""
        for attached in node.attached:
            self._at.pop((attached.network, attached.address), None)

    def way(self, node: Node, destination: str, source: str | None = None) -> Way | None:
        """The way of a packet from `node` to an address; None without a route."""
        if node.owns(destination):
            own = source or destination
            return Way(node, own, own)
        here, seen = node, source
        via: list[tuple[Node, str]] = []
        for _ in range(HOPS):
            step = self._step(here, destination)
            if step is None:
                return None
            out, following = step
            source = source or out.address
            seen = seen or source
            if here is not node and here.nat == out.network:
                seen = out.address
                via.append((here, seen))
            if following is None or following.owns(destination):
                return Way(following, source, seen, tuple(via))
            if not following.forwards:
                return None
            here = following
        return None

    def _step(self, node: Node, destination: str) -> tuple[Attached, Node | None] | None:
        """The interface a packet leaves by and who gets it (None: nobody answers on that network)."""
        target = ipaddress.ip_address(destination)
        for attached in node.attached:
            if target in attached.subnet:
                return attached, self._at.get((attached.network, destination))
        for subnet, via in node.routes:
            if target in subnet:
                hop = ipaddress.ip_address(via)
                out = next((a for a in node.attached if hop in a.subnet), None)
                following = self._at.get((out.network, via)) if out else None
                return (out, following) if out and following else None
        return None
