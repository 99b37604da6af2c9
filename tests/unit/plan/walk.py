"""Follows a packet through a plan by addresses and routes alone, as kernels would."""

from __future__ import annotations

from collections import deque
from ipaddress import ip_address, ip_network

from orchestrator.model.plan import Plan, PlannedHost


def owner_of(plan: Plan, network: str, address: str) -> PlannedHost | None:
    """Who answers for an address on one segment."""
    for host in plan.hosts:
        for link in host.interfaces:
            if link.network == network and address in (link.address, link.address6):
                return host
    return None


def follow(plan: Plan, host: PlannedHost, address: str) -> PlannedHost | None:
    """Where a packet ends that the host sends to an address; None where it is dropped. A loop is an error."""
    for _ in range(len(plan.hosts) + 1):
        if any(address in (link.address, link.address6) for link in host.interfaces):
            return host
        hop = _next(host, plan, address)
        if hop is None:
            return None
        network, via = hop
        found = owner_of(plan, network, via)
        if found is None or via == address:
            return found
        if found.kind != "router":
            raise AssertionError(f"{host.name} sends by {found.name}, which does not forward")
        host = found
    raise AssertionError(f"a packet to {address} goes round")


def leaves(plan: Plan, host: PlannedHost) -> bool:
    """Whether a packet of the host to an address outside gets to the computer. A loop is an error."""
    gateways = {net.name: net.gateway for net in plan.networks if net.internet}
    for _ in range(len(plan.hosts) + 1):
        hop = _next(host, plan, "198.51.100.1")
        if hop is None:
            return False
        network, via = hop
        if gateways.get(network) == via:
            return True
        found = owner_of(plan, network, via)
        assert found is not None
        assert found.kind == "router"
        host = found
    raise AssertionError("a packet to the outside goes round")


def _next(host: PlannedHost, plan: Plan, address: str) -> tuple[str, str] | None:
    """Network and next hop: connected subnets first, then the longest prefix."""
    subnets = {net.name: (net.subnet, net.subnet6) for net in plan.networks}
    version = ip_address(address).version
    for link in host.interfaces:
        if any(s and ip_address(address) in ip_network(s) for s in subnets[link.network]):
            return link.network, address
    best: tuple[int, str] | None = None
    for route in host.routes:
        if ip_address(route.via).version != version:
            continue
        whole = "::/0" if version == 6 else "0.0.0.0/0"
        target = ip_network(whole if route.destination == "default" else route.destination)
        if ip_address(address) in target and (best is None or target.prefixlen > best[0]):
            best = (target.prefixlen, route.via)
    if best is None:
        return None
    for link in host.interfaces:
        if any(s and ip_address(best[1]) in ip_network(s) for s in subnets[link.network]):
            return link.network, best[1]
    raise AssertionError(f"{host.name} has a route by {best[1]}, which is on none of its networks")


def reached(plan: Plan, start: str, six: bool) -> set[str]:
    """The networks that a packet from a network may get to: a plain search, one router after the other."""
    having = {net.name for net in plan.networks if not six or net.subnet6}
    found, waiting = {start}, deque([start])
    while waiting:
        here = waiting.popleft()
        for router in plan.hosts:
            on = [link.network for link in router.interfaces if link.network in having]
            if router.kind == "router" and here in on and router.nat != here:
                waiting.extend(beyond for beyond in on if beyond not in found)
                found.update(on)
    return found
