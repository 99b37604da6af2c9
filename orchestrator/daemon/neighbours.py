"""Who is told whose hardware address beforehand: pure, from the plan.

The kernel keeps one neighbour table for all network namespaces, and drops what exceeds gc_thresh3 (commonly
1,024 entries): 1,000 clients of one server would not all connect. Permanent entries are exempt. All pairs
would be quadratic, so on each network everybody and the few that everybody talks to (routers, servers)
know each other; and besides these whoever the plan says connects.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from orchestrator.daemon.maker import Spec

CENTRAL = 8  # how many of a network everybody knows: up stays linear in the number of hosts

Table = Mapping[tuple[str, str], str]  # (device, neighbour's address): its MAC


class _Port(NamedTuple):
    host: str
    device: str
    mac: str
    addresses: tuple[str, ...]


def desired(hosts: Iterable[Spec]) -> dict[str, dict[tuple[str, str], str]]:
    """The permanent neighbours of every host that has any."""
    specs = list(hosts)
    networks, owners = _ports(specs)
    tables: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    rank = {spec["name"]: _rank(spec) for spec in specs}
    for ports in networks.values():
        for center in sorted((p for p in ports if rank[p.host] < 2), key=lambda p: rank[p.host])[:CENTRAL]:
            for port in ports:
                _introduce(tables, port, center)
    for spec in specs:
        peers = {c["address"] for c in spec.get("connect", ())} | {r["via"] for r in spec.get("routes", ())}
        for interface in spec["interfaces"]:
            here = _port(spec["name"], interface)
            for peer in peers:
                there = owners.get((interface["network"], peer))
                if there is not None:
                    _introduce(tables, here, there)
    return dict(tables)


def _rank(spec: Spec) -> int:
    if spec.get("kind") == "router":
        return 0
    return 1 if spec.get("role") == "server" or spec.get("listen") else 2


def _port(host: str, interface: Mapping[str, Any]) -> _Port:
    addresses = (interface.get("address"), interface.get("address6"))
    return _Port(host, interface["device"], interface["mac"], tuple(a for a in addresses if a))


def _ports(specs: Iterable[Spec]) -> tuple[dict[str, list[_Port]], dict[tuple[str, str], _Port]]:
    """The ports of each network, and whose an address of a network is."""
    networks: dict[str, list[_Port]] = defaultdict(list)
    owners: dict[tuple[str, str], _Port] = {}
    for spec in specs:
        for interface in spec["interfaces"]:
            port = _port(spec["name"], interface)
            networks[interface["network"]].append(port)
            owners.update({(interface["network"], a): port for a in port.addresses})
    return networks, owners


def _introduce(tables: dict[str, dict[tuple[str, str], str]], one: _Port, other: _Port) -> None:
    """Each learns the other's addresses of the families that it has itself."""
    if one.host == other.host:
        return
    for learner, known in ((one, other), (other, one)):
        families = {":" in a for a in learner.addresses}
        for address in known.addresses:
            if (":" in address) in families:
                tables[learner.host][learner.device, address] = known.mac
