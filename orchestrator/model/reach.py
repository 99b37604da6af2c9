"""Which networks are reached from which, and by which router first: what reading and planning both ask.

A router that masquerades (`nat`) is a one-way door: from its other networks one gets out through the network
that it names, and from that one no packet is sent in (answers to the masqueraded address come back by it).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple


class Door(NamedTuple):
    """A router, as far as reaching is concerned."""

    name: str
    networks: tuple[str, ...]
    nat: str | None = None

    def lets_in(self, network: str) -> bool:
        """Whether what comes from that network is forwarded to the others."""
        return network != self.nat


class Hop(NamedTuple):
    """How a network is reached: over how many routers, and the first of them."""

    distance: int
    router: str


class Reach:
    """Fewest hops between networks; of equal ones the router that stands first in the file."""

    def __init__(self, doors: Iterable[Door]) -> None:
        self._at: dict[str, list[Door]] = {}
        self._known: dict[str, dict[str, Hop]] = {}
        doors = list(doors)
        for door in doors:
            for network in door.networks:
                self._at.setdefault(network, []).append(door)
        self._parts = domains(self._at, (door.networks for door in doors))
        self._one_way = {self._parts[door.nat] for door in doors if door.nat in self._parts}

    def doors(self, network: str) -> list[Door]:
        """The routers that take on what is sent from that network."""
        return [door for door in self._at.get(network, ()) if door.lets_in(network)]

    def hops(self, start: str) -> Mapping[str, Hop]:
        """Every other network that is reached from `start`; computed once."""
        if start not in self._known:
            self._known[start] = self._search(start)
        return self._known[start]

    def way_out(self, start: str, exits: Collection[str]) -> Hop | None:
        """How the nearest of these routers is reached from `start`: how far it is, and by which router
        first. One is not reached from the network that it masquerades to.
        """
        if not exits:
            return None
        seen, waiting = {start}, deque([(start, Hop(0, ""))])
        while waiting:
            network, so_far = waiting.popleft()
            hops = [
                (door, Hop(so_far.distance + 1, so_far.router or door.name)) for door in self.doors(network)
            ]
            for door, hop in hops:
                if door.name in exits:
                    return hop
            for door, hop in hops:
                waiting.extend((beyond, hop) for beyond in door.networks if beyond not in seen)
                seen.update(door.networks)
        return None

    def reaches(self, start: str, end: str) -> bool:
        """Whether a packet that enters the network `start` can get to `end`."""
        part = self._parts.get(start)
        if start == end or part is None or part != self._parts.get(end):
            return start == end
        return part not in self._one_way or end in self.hops(start)

    def joins(self, starts: Iterable[str], ends: Iterable[str]) -> bool:
        """Whether any of `ends` is reached from any of `starts`."""
        by_part: dict[object, list[str]] = {}
        for end in ends:
            by_part.setdefault(self._parts.get(end, end), []).append(end)
        near = ((start, by_part.get(self._parts.get(start, start), ())) for start in starts)
        return any(self.reaches(start, end) for start, some in near for end in some)

    def _search(self, start: str) -> dict[str, Hop]:
        found: dict[str, Hop] = {}
        passed: set[str] = set()
        waiting = deque([(start, Hop(0, ""))])
        while waiting:
            network, so_far = waiting.popleft()
            for door in self._at.get(network, ()):
                if door.name in passed or not door.lets_in(network):
                    continue
                passed.add(door.name)
                for beyond in door.networks:
                    if beyond != start and beyond not in found:
                        found[beyond] = Hop(so_far.distance + 1, so_far.router or door.name)
                        waiting.append((beyond, found[beyond]))
        return found


def domains(networks: Iterable[str], groups: Iterable[Iterable[str]]) -> dict[str, int]:
    """A number for each network, the same for those that a router or a host is on at once.

    Within one domain an address means one host only; numbers are in file order.
    """
    parent = {name: name for name in networks}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for group in groups:
        members = [root(name) for name in group if name in parent]
        for member in members[1:]:
            parent[member] = members[0]
    numbers: dict[str, int] = {}
    return {name: numbers.setdefault(root(name), len(numbers)) for name in parent}
