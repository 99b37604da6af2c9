"""Static routes: fewest hops over all routers, both families, and never further than the file says.

Where no network of its domain leads to the internet, a host gets the route "default" by the router behind
which most networks lie, and one for each of the rest: the router itself knows only the lab's networks, so a
closed lab stays closed. Out of a lab lead an `internet` network, for hosts that are on it, and the routers
that masquerade to one (`nat`), for what is behind them: what they pass on has an address that the computer
knows. IPv4 only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from orchestrator.model.plan import PlannedNetwork, Route
from orchestrator.model.reach import Door, Hop, Reach
from orchestrator.plan.addresses import Key
from orchestrator.plan.expand import Member

MOST_LISTED = 16  # routes by one next hop that a person still reads one by one


class Family:
    """One address family: its subnets, who has which address, and what is reached."""

    def __init__(
        self, subnets: Mapping[str, str], addresses: Mapping[Key, str], routers: Sequence[Member]
    ) -> None:
        self.subnets = subnets
        self.addresses = addresses
        self.reach = Reach(_door(router, subnets) for router in routers)
        parsed = {network: ip_network(subnet) for network, subnet in subnets.items()}
        self._ranges = {name: (int(one.network_address), one.num_addresses) for name, one in parsed.items()}
        self._texts = {self._ranges[network]: subnet for network, subnet in subnets.items()}
        self._order = {name: number for number, name in enumerate(subnets)}
        self._bits = next((one.max_prefixlen for one in parsed.values()), 32)

    def like(
        self, subnets: Mapping[str, str], addresses: Mapping[Key, str], routers: Sequence[Member]
    ) -> Family:
        """The other family of the lab; what is reached is computed once where the networks are the same."""
        other = Family(subnets, addresses, routers)
        if set(subnets) == set(self.subnets):
            other.reach = self.reach
        return other

    def hops(self, on: Sequence[str]) -> dict[str, tuple[Hop, str]]:
        """For each network beyond those: the nearest hop and from which network it is taken.

        From a network whose routers lead only to others of `on`, nothing is nearer than from those. For a
        router on 2,500 networks that is each of them, and each answer would be as long.
        """
        best: dict[str, tuple[Hop, str]] = {}
        beyond_own = self._leading_beyond(on)
        for start in on:
            if not any(door.name in beyond_own for door in self.reach.doors(start)):
                continue
            for beyond, hop in self.reach.hops(start).items():
                known = best.get(beyond)
                if beyond not in on and (known is None or hop.distance < known[0].distance):
                    best[beyond] = (hop, start)
        return best

    def _leading_beyond(self, on: Sequence[str]) -> set[str]:
        """The routers on these networks that are on others, too."""
        own = set(on)
        doors = {door.name: door for network in on for door in self.reach.doors(network)}
        return {name for name, door in doors.items() if any(one not in own for one in door.networks)}

    def _only_way(self, on: Sequence[str]) -> str | None:
        """The next hop to all there is beyond, where one router alone leads on: as for nearly every host.
        Then nobody needs to look where to."""
        doors = [(door, start) for start in on for door in self.reach.doors(start)]
        if len({door.name for door, _ in doors}) != 1 or not self._leading_beyond(on):
            return None
        door, start = doors[0]
        return self.addresses[(door.name, start)]

    def routes(self, on: Sequence[str], default: bool) -> Iterator[Route]:
        """To each network beyond; with `default`, the commonest next hop (the first of equals) as that."""
        behind: dict[str, list[str]] = {}
        on = [network for network in on if network in self.subnets]
        if default and (only := self._only_way(on)):
            yield Route(destination="default", via=only)
            return
        best = self.hops(on)
        for network, (hop, start) in sorted(best.items(), key=lambda item: self._order[item[0]]):
            behind.setdefault(self.addresses[(hop.router, start)], []).append(network)
        if default and behind:
            via = max(behind, key=lambda via: len(behind[via]))
            del behind[via]
            yield Route(destination="default", via=via)
        for via, networks in behind.items():
            for destination in self._destinations(networks):
                yield Route(destination=destination, via=via)

    def _destinations(self, networks: Sequence[str]) -> Sequence[str]:
        """Their subnets; where there are many, neighbours as one, exactly as much as before."""
        if len(networks) <= MOST_LISTED:
            return [self.subnets[network] for network in networks]
        merged: list[tuple[int, int]] = []
        for start, size in sorted(self._ranges[network] for network in networks):
            merged.append((start, size))
            while len(merged) > 1 and _halves(*merged[-2:]):
                _, (_, half) = merged[-2], merged.pop()
                merged[-1] = (merged[-1][0], 2 * half)
        return [self._text(start, size) for start, size in merged]

    def _text(self, start: int, size: int) -> str:
        if (start, size) in self._texts:
            return self._texts[(start, size)]
        length = self._bits - size.bit_length() + 1
        return str(IPv4Network((start, length)) if self._bits == 32 else IPv6Network((start, length)))


def _halves(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Whether two (start, size) are the halves of one subnet."""
    start, size = first
    return second == (start + size, size) and start % (2 * size) == 0


def _door(router: Member, subnets: Mapping[str, str]) -> Door:
    nat = router.router.nat if router.router else None
    return Door(router.name, tuple(network for network in router.on if network in subnets), nat)


class Routes:
    """The routes of every member; those on the same networks share one tuple."""

    def __init__(
        self, networks: Sequence[PlannedNetwork], families: Sequence[Family], routers: Sequence[Member]
    ) -> None:
        self._networks = {network.name: network for network in networks}
        self._open = {network.domain for network in networks if network.internet}
        self._families = families
        self._exits = {one.name for one in routers if one.router and self._leads_out(one.router.nat)}
        self._known: dict[tuple[tuple[str, ...], bool, str | None], tuple[Route, ...]] = {}

    def of(self, member: Member) -> tuple[Route, ...]:
        """IPv4 first."""
        key = (member.on, member.router is not None, member.router.nat if member.router else None)
        if key not in self._known:
            self._known[key] = self._choose(*key)
        return self._known[key]

    def _leads_out(self, network: str | None) -> bool:
        return network is not None and self._networks[network].internet

    def _choose(self, on: tuple[str, ...], router: bool, nat: str | None) -> tuple[Route, ...]:
        found: list[Route] = []
        closed = not any(self._networks[network].domain in self._open for network in on)
        for family in self._families:
            found.extend(family.routes(on, default=closed and not router))
        direct = [nat] if router else on
        gateways = (self._networks[one].gateway for one in direct if one and self._leads_out(one))
        if via := next(gateways, None) or self._by_exit(on):
            found.append(Route(destination="default", via=via))
        return tuple(found)

    def _by_exit(self, on: Sequence[str]) -> str | None:
        """The next hop to the nearest router that masquerades to the internet."""
        four = self._families[0]
        ways = [(hop, start) for start in on if (hop := four.reach.way_out(start, self._exits))]
        if not ways:
            return None
        hop, start = min(ways, key=lambda way: way[0].distance)
        return four.addresses[(hop.router, start)]
