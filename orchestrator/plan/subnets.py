"""Which subnets the networks get: the given ones, what runs already, and free ones for the rest."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from orchestrator.errors import PlanError
from orchestrator.model.plan import Plan, PlannedNetwork
from orchestrator.model.topology import Network

Subnet = IPv4Network | IPv6Network
# RFC 1918, in the order of search; 10.20 first, as in the lessons. RFC 4193 for IPv6 (its random part is
# given up: a lab is closed, and fd20:1:: can be read aloud).
_POOLS = tuple(
    ip_network(text) for text in ("10.20.0.0/14", "10.24.0.0/13", "172.20.0.0/14", "192.168.0.0/16")
)
_POOL6 = ip_network("fd20::/16")
_USUAL = 24  # prefix length of a chosen subnet, unless it must hold more
_ROOMY = 200  # hosts that a /24 is chosen for; beyond, twice the room that is needed


class Blocked:
    """Ranges of addresses that must not be chosen; ascending search stays fast with thousands of them."""

    def __init__(self, subnets: Iterable[Subnet]) -> None:
        ranges = sorted((int(one.network_address), int(one.broadcast_address)) for one in subnets)
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            if self._ends and start <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)

    def until(self, first: int, last: int) -> int | None:
        """Where the blocked range ends that touches [first, last]; None if that is free."""
        at = bisect_right(self._starts, last) - 1
        return self._ends[at] if at >= 0 and self._ends[at] >= first else None


class Search:
    """Free ranges of a pool, ascending. Its very first is left out: it is what others choose first too."""

    def __init__(self, pool: Subnet, blocked: Blocked) -> None:
        self._at = int(pool.network_address) + 1
        self._last = int(pool.broadcast_address)
        self._blocked = blocked

    def take(self, size: int) -> int | None:
        """The first address of the next range of this size (a power of two); None where there is none."""
        at = -(-self._at // size) * size
        while at + size - 1 <= self._last:
            end = self._blocked.until(at, at + size - 1)
            if end is None:
                self._at = at + size
                return at
            at = -(-(end + 1) // size) * size
        return None


def _length(hosts: int) -> int:
    """The prefix length of a subnet chosen for so many hosts."""
    return _USUAL if hosts <= _ROOMY else 32 - (2 * hosts).bit_length()


def choose(
    networks: Sequence[Network], wanted: Mapping[str, int], running: Plan | None, taken: Sequence[str]
) -> dict[str, tuple[str, str | None]]:
    """The subnets of each network, for `wanted` hosts each. A running network keeps its own."""
    known = {one.name: one for one in running.networks} if running else {}
    four = {net.name: net.subnet or _running(known.get(net.name), 4) for net in networks}
    six = {
        net.name: _running(known.get(net.name), 6) if net.subnet6 == "auto" else net.subnet6
        for net in networks
    }
    others = [_parse(text) for text in taken]
    _choose4(four, wanted, others)
    _choose6(six, [net.name for net in networks if net.subnet6 == "auto"], others)
    return {net.name: (four[net.name] or "", six[net.name]) for net in networks}


def _running(network: PlannedNetwork | None, version: int) -> str | None:
    if network is None:
        return None
    return network.subnet if version == 4 else network.subnet6


def _parse(text: str) -> Subnet:
    """A subnet in use, as the machine lists it (host bits and zones are possible there)."""
    try:
        return ip_network(text.partition("%")[0], strict=False)
    except ValueError as error:
        raise PlanError(f"`{text}` is no subnet in use") from error


def _choose4(found: dict[str, str | None], wanted: Mapping[str, int], others: Sequence[Subnet]) -> None:
    """Fill in the missing IPv4 subnets, in file order."""
    blocked = _blocked(found, others, 4)
    searches = [Search(pool, blocked) for pool in _POOLS]
    for name in [name for name, subnet in found.items() if subnet is None]:
        length = _length(wanted.get(name, 0))
        starts = (search.take(1 << (32 - length)) for search in searches)
        start = next((start for start in starts if start is not None), None)
        if start is None:
            raise PlanError(f"no free IPv4 subnet is left for network `{name}`", "give it a `subnet`")
        found[name] = str(IPv4Network((start, length)))


def _choose6(found: dict[str, str | None], asked: Sequence[str], others: Sequence[Subnet]) -> None:
    """Fill in the missing IPv6 subnets of those networks that ask for one: fd20:1::/64, fd20:2::/64 …"""
    search = Search(_POOL6, _blocked(found, others, 6))
    for name in [name for name in asked if found[name] is None]:
        start = search.take(1 << 96)
        if start is None:
            raise PlanError(f"no free IPv6 subnet is left for network `{name}`", "give it a `subnet6`")
        found[name] = str(IPv6Network((start, 64)))


def _blocked(found: Mapping[str, str | None], others: Sequence[Subnet], version: int) -> Blocked:
    """What is in use; routes to nearly everything (a default route, a VPN's halves) are no subnets in use."""
    in_use = [one for one in others if one.version == version and one.prefixlen >= 8]
    return Blocked([*in_use, *(ip_network(subnet) for subnet in found.values() if subnet)])


def clashes(networks: Sequence[PlannedNetwork], apart: bool) -> None:
    """Raise PlanError where subnets overlap that must not.

    `apart`: the engine can keep equal subnets of different domains apart (namespaces can, docker cannot).
    """
    for family in ("subnet", "subnet6"):
        last: dict[int, tuple[Subnet, str]] = {}
        having = [(ip_network(getattr(n, family)), n) for n in networks if getattr(n, family)]
        for subnet, network in sorted(having, key=lambda pair: int(pair[0].network_address)):
            group = network.domain if apart else 0
            other = last.get(group)
            if other and other[0].overlaps(subnet):
                why = "" if apart else "; docker cannot have both"
                raise PlanError(
                    f"{subnet} of network `{network.name}` overlaps {other[0]} of network `{other[1]}`{why}",
                    f"give one of them another {family}"
                    + ("" if apart else ", or use the namespaces engine"),
                )
            if not other or int(other[0].broadcast_address) < int(subnet.broadcast_address):
                last[group] = (subnet, network.name)
