"""Units of hosts → machines: evenly by free memory and CPU, and then those of one network side by side.

How full a machine is: the larger of two parts, of its free memory and of its CPUs. Of units that need the
same and may be on the same machines, first it is found only how many each machine gets: one after the other
goes where it leaves the machine least full. Which of them these are is then free, and chosen so that a
network is on few machines. So balance is never given up for nearness.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from orchestrator.model.machines import Capacity
from orchestrator.model.topology import Resources
from orchestrator.plan.solving import bits

USUAL_MEMORY = 32 << 20  # bytes of a host that says nothing: an idle one of docker's with its shim and agent
USUAL_CPUS = 0.02  # a host mostly waits: fifty keep a CPU busy
UNSEEN = Capacity(memory_free=8 << 30, cpus=4)  # of a machine that nobody has looked at, where none was
PORTS = (
    1_022  # hosts of one network on one machine: a bridge has 1,023 (BR_MAX_PORTS, net/bridge/br_private.h;
)
# port 0 is kept, br_if.c), and one of them is the fabric's


Where = dict[str, dict[int, int]]  # network → machine → its hosts there; one for all machines


class Need(NamedTuple):
    """What a unit takes. `at_least`: CPUs that the machine must have, as docker wants them for `cpus`."""

    memory: int
    cpus: float
    at_least: float = 0.0


class Unit(NamedTuple):
    """Hosts that are on one machine, whichever it is; `on`: their networks, once for each host."""

    names: tuple[str, ...]
    need: Need
    on: tuple[str, ...]
    mask: int
    router: bool = False


def need_of(resources: Resources | None) -> Need:
    """What one host takes: what the file says, else what is usual."""
    limits = resources or Resources()
    return Need(limits.memory or USUAL_MEMORY, limits.cpus or USUAL_CPUS, limits.cpus or 0.0)


class Room:
    """One machine while it is filled."""

    def __init__(self, number: int, seen: Capacity, usual: Capacity, where: Where) -> None:
        self.number = number
        self.limit = seen.memory_free  # None: not known
        self.memory = max(1, seen.memory_free or usual.memory_free or 1)
        self.cpus = seen.cpus or usual.cpus or 1.0
        self.cpus_known = seen.cpus
        self.used_memory = 0
        self.used_cpus = seen.hosts * USUAL_CPUS
        self.where = where

    def fits(self, need: Need, before: int = 0) -> bool:
        """Whether one more has room, after `before` alike."""
        memory = self.used_memory + need.memory * (before + 1)
        return (self.limit is None or memory <= self.limit) and self.big_enough(need)

    def big_enough(self, need: Need) -> bool:
        """Whether there would be room if it were empty."""
        return (self.limit is None or need.memory <= self.limit) and (
            self.cpus_known is None or need.at_least <= self.cpus_known
        )

    def full(self, need: Need, more: int = 0) -> float:
        """How full it is with so many more of these; 1: completely."""
        memory = (self.used_memory + need.memory * more) / self.memory
        return max(memory, (self.used_cpus + need.cpus * more) / self.cpus)

    def ports(self, on: Iterable[str]) -> int:
        """How many more hosts all of these networks take here."""
        here = (self.where.get(network, {}).get(self.number, 0) for network in on)
        return min((PORTS - many for many in here), default=PORTS)

    def take(self, unit: Unit, *, runs: bool = False) -> None:
        """It is here. What `runs` is in the memory already that was seen to be taken."""
        self.used_memory += 0 if runs else unit.need.memory
        self.used_cpus += unit.need.cpus
        for network in unit.on:
            here = self.where.setdefault(network, {})
            here[self.number] = here.get(self.number, 0) + 1


def rooms(capacities: Sequence[Capacity]) -> list[Room]:
    """The machines, empty; one that was not looked at is taken for the mean of the others."""
    memory = [one.memory_free for one in capacities if one.memory_free is not None]
    cpus = [one.cpus for one in capacities if one.cpus is not None]
    usual = Capacity(
        memory_free=sum(memory) // len(memory) if memory else UNSEEN.memory_free,
        cpus=sum(cpus) / len(cpus) if cpus else UNSEEN.cpus,
    )
    where: Where = {}
    return [Room(number, one, usual, where) for number, one in enumerate(capacities)]


class NoRoom(Exception):
    """`unit` fits on none of its machines; `ports`: memory there is, but no port of a bridge."""

    def __init__(self, unit: Unit, ports: bool) -> None:
        super().__init__(unit)
        self.unit, self.ports = unit, ports


def spread(units: Sequence[Unit], machines: Sequence[Room]) -> dict[str, int]:
    """Host → number of its machine. Raises NoRoom. Those with the least choice first, then the largest."""
    alike: dict[tuple[int, Need], list[Unit]] = {}
    for unit in units:
        alike.setdefault((unit.mask, unit.need), []).append(unit)
    found: dict[str, int] = {}
    for mask, need in sorted(alike, key=lambda one: (one[0].bit_count(), [-part for part in one[1]])):
        _spread_alike(alike[(mask, need)], [machines[number] for number in bits(mask)], found)
    return found


def _spread_alike(units: Sequence[Unit], machines: Sequence[Room], found: dict[str, int]) -> None:
    need = units[0].need
    counts = _counts(need, len(units), machines)
    if sum(counts.values()) < len(units):
        raise NoRoom(units[-1], ports=False)
    by_number = {machine.number: machine for machine in machines}
    for unit, number in _deal(units, counts, by_number):
        by_number[number].take(unit)
        found.update(dict.fromkeys(unit.names, number))


def _counts(need: Need, wanted: int, machines: Sequence[Room]) -> dict[int, int]:
    """How many each machine gets: each next one goes where it leaves the machine least full."""
    counts = dict.fromkeys((machine.number for machine in machines), 0)
    by_number = {machine.number: machine for machine in machines}
    heap = [(machine.full(need, 1), machine.number) for machine in machines if machine.fits(need)]
    heapq.heapify(heap)
    for _ in range(wanted):
        if not heap:
            break
        number = heap[0][1]
        counts[number] += 1
        if by_number[number].fits(need, counts[number]):
            heapq.heapreplace(heap, (by_number[number].full(need, counts[number] + 1), number))
        else:
            heapq.heappop(heap)
    return counts


def _deal(
    units: Sequence[Unit], counts: Mapping[int, int], machines: Mapping[int, Room]
) -> Iterable[tuple[Unit, int]]:
    """Which unit goes where, once it is known how many each machine gets."""
    blocks: dict[tuple[str, ...], list[Unit]] = {}
    for unit in sorted(units, key=lambda unit: unit.router):  # routers last: then it is seen who is where
        blocks.setdefault((*unit.on, unit.names[0]) if unit.router else unit.on, []).append(unit)
    left = _Left(counts)
    over: list[Unit] = []
    for block in blocks.values():
        yield from _deal_block(block, left, machines, over)
    for unit in over:
        free = [one for one in machines.values() if one.fits(unit.need) and one.ports(unit.on) > 0]
        if not free:
            raise NoRoom(unit, ports=True)
        yield unit, min(free, key=lambda one: (one.full(unit.need, 1), one.number)).number


def _deal_block(
    block: list[Unit], left: _Left, machines: Mapping[int, Room], over: list[Unit]
) -> Iterable[tuple[Unit, int]]:
    """Units on the same networks: to machines that have these, then to the one that just takes the rest."""
    on = set(block[0].on)
    here: dict[int, int] = {}
    where = next(iter(machines.values())).where
    for network in on:
        for there, hosts in where.get(network, {}).items():
            here[there] = here.get(there, 0) + hosts
    near = sorted((one for one in here if one in left.counts), key=lambda one: (-here[one], one))
    at, full = 0, set[int]()
    while at < len(block):
        close = next((one for one in near if left.counts[one] and one not in full), None)
        number = left.for_so_many(len(block) - at, full) if close is None else close
        if number is None:
            over.extend(block[at:])
            return
        each = max(block[at].on.count(network) for network in on) if on else 1
        many = min(len(block) - at, left.counts[number], machines[number].ports(on) // each)
        if many < left.counts[number]:
            full.add(number)
        left.take(number, many)
        for unit in block[at : at + many]:
            yield unit, number
        at += many


class _Left:
    """How many each machine is still to get."""

    def __init__(self, counts: Mapping[int, int]) -> None:
        self.counts = dict(counts)
        self._sorted = sorted((many, -number) for number, many in counts.items() if many)

    def for_so_many(self, many: int, not_on: set[int]) -> int | None:
        """The machine that takes as many and has the fewest left; else the one with the most left."""
        at = bisect_left(self._sorted, (many, -len(self.counts)))
        choice = (*range(at, len(self._sorted)), *range(at - 1, -1, -1))
        return next((n for place in choice if (n := -self._sorted[place][1]) not in not_on), None)

    def take(self, number: int, many: int) -> None:
        """So many are there now."""
        self._sorted.remove((self.counts[number], -number))
        self.counts[number] -= many
        if self.counts[number]:
            insort(self._sorted, (self.counts[number], -number))
