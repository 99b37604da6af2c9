"""Static routes: fewest hops over all routers, both families, and never further than the file says.

A host gets the one route "default" where all that it may reach lies behind one router and no network of its
domain leads to the internet: the router itself knows only the lab's networks, so a closed lab stays closed.
Routers get a route for each network; only a host on an `internet` network has a default route out of the lab.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.model.plan import PlannedNetwork, Route
from orchestrator.model.reach import Door, Hop, Reach
from orchestrator.plan.addresses import Key
from orchestrator.plan.expand import Member


class Family:
    """One address family: its subnets, who has which address, and what is reached."""

    def __init__(
        self, subnets: Mapping[str, str], addresses: Mapping[Key, str], routers: Sequence[Member]
    ) -> None:
        self.subnets = subnets
        self.addresses = addresses
        self.reach = Reach(_door(router, subnets) for router in routers)

    def hops(self, on: Sequence[str]) -> dict[str, tuple[Hop, str]]:
        """For each network beyond those: the nearest hop and from which network it is taken."""
        best: dict[str, tuple[Hop, str]] = {}
        for start in on:
            for beyond, hop in self.reach.hops(start).items():
                known = best.get(beyond)
                if beyond not in on and (known is None or hop.distance < known[0].distance):
                    best[beyond] = (hop, start)
        return best

    def routes(self, on: Sequence[str]) -> tuple[Route, ...]:
        """A route for each network beyond, in file order."""
        best = self.hops([network for network in on if network in self.subnets])
        return tuple(
            Route(destination=subnet, via=self.addresses[(best[network][0].router, best[network][1])])
            for network, subnet in self.subnets.items()
            if network in best
        )


def _door(router: Member, subnets: Mapping[str, str]) -> Door:
    nat = router.router.nat if router.router else None
    return Door(router.name, tuple(network for network in router.on if network in subnets), nat)


class Routes:
    """The routes of every member; those on the same networks share one tuple."""

    def __init__(self, networks: Sequence[PlannedNetwork], families: Sequence[Family]) -> None:
        self._networks = {network.name: network for network in networks}
        self._open = {network.domain for network in networks if network.internet}
        self._families = families
        self._known: dict[tuple[tuple[str, ...], bool], tuple[Route, ...]] = {}

    def of(self, member: Member) -> tuple[Route, ...]:
        """IPv4 first."""
        key = (member.on, member.router is not None)
        if key not in self._known:
            self._known[key] = self._choose(*key)
        return self._known[key]

    def _choose(self, on: tuple[str, ...], router: bool) -> tuple[Route, ...]:
        found: list[Route] = []
        closed = not any(self._networks[network].domain in self._open for network in on)
        for family in self._families:
            routes = family.routes(on)
            if not router and closed and len({route.via for route in routes}) == 1:
                routes = (Route(destination="default", via=routes[0].via),)
            found.extend(routes)
        ways_out = (self._networks[network].gateway for network in on if self._networks[network].internet)
        way_out = next(ways_out, None)
        if way_out and not router:
            found.append(Route(destination="default", via=way_out))
        return tuple(found)
