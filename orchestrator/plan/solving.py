"""Constraints → for each host the machines that it may be put on, such that any choice among them holds.

Hosts that must be together are one. Of those that must be apart, all with the same company to shun are one
question: its answer is a machine for the first of them, found by search, and then as many more machines as
leave the others theirs. So a thousand clients and a thousand servers are two questions, not two thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from orchestrator.plan.constraints import Constraint

MOST_TRIES = 20_000  # of the search, about 0.3 s: beyond, it is given up
MOST_REORDERED = 300  # questions: so few are asked in the best order, found anew at each step

Part = tuple[int, int]  # an `apart`, and which of its parts


class Solved(NamedTuple):
    """`units`: hosts that are together, by the name of their first; `masks`: the machines for each."""

    units: Mapping[str, tuple[str, ...]]
    masks: Mapping[str, int]


class Question(NamedTuple):
    """Units with the same machines to choose from and the same parts of groups."""

    mask: int
    parts: frozenset[Part]


def solve(names: Sequence[str], wanted: Sequence[Constraint], speeds: Sequence[float]) -> Solved | None:
    """None where not all can hold, or where the search was given up. `speeds`: how much each machine can
    take, in any unit."""
    units = _together(names, wanted)
    leader = {name: first for first, many in units.items() for name in many}
    everywhere = (1 << len(speeds)) - 1
    masks = dict.fromkeys(units, everywhere)
    parts: dict[str, dict[int, int]] = {}
    for number, one in enumerate(wanted):
        for place, part in enumerate(one.parts if one.kind != "together" else ()):
            for name in part:
                if one.kind == "only":
                    masks[leader[name]] &= one.mask
                elif parts.setdefault(leader[name], {}).setdefault(number, place) != place:
                    return None  # together with whom it must shun
    if not all(masks.values()):
        return None
    asked: dict[Question, list[str]] = {}
    for first, mine in parts.items():
        asked.setdefault(Question(masks[first], frozenset(mine.items())), []).append(first)
    search = _Search(list(asked), [len(many) for many in asked.values()], speeds)
    answers = search.answers()
    if answers is None:
        return None
    for question, mask in zip(asked, answers, strict=True):
        masks.update(dict.fromkeys(asked[question], mask))
    return Solved(units, masks)


def conflict(wanted: Sequence[Constraint], holds: Callable[[Sequence[Constraint]], bool]) -> list[Constraint]:
    """A least set that cannot hold, of one that cannot: without any one of them the others can.

    U. Junker, QuickXplain, AAAI 2004: about log(n) questions for each of the set.
    """

    def least(fixed: list[Constraint], fresh: bool, rest: Sequence[Constraint]) -> list[Constraint]:
        if fresh and not holds(fixed):
            return []
        if len(rest) == 1:
            return list(rest)
        first, second = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        mine = least([*fixed, *first], True, second)
        return [*least([*fixed, *mine], bool(mine), first), *mine]

    return least([], False, wanted)


def _together(names: Sequence[str], wanted: Sequence[Constraint]) -> dict[str, tuple[str, ...]]:
    """The units, in file order; disjoint sets whose root is the earliest of them."""
    order = {name: number for number, name in enumerate(names)}
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := parent.get(name, name)) != name:
            parent[name] = parent.get(above, above)
            name = above
        return name

    for one in wanted:
        for part in one.parts if one.kind == "together" else ():
            for name in part[1:]:
                early, late = sorted((root(part[0]), root(name)), key=order.__getitem__)
                if early != late:
                    parent[late] = early
    units: dict[str, list[str]] = {}
    for name in names:
        units.setdefault(root(name) if parent else name, []).append(name)
    return {first: tuple(many) for first, many in units.items()}


class _Step(NamedTuple):
    """A question that is being answered: what is left to try, and what the present answer has taken."""

    number: int
    machines: Iterator[int]
    done: list[tuple[Part | None, int]]


class _Search:
    """A machine for each question; within a group no machine belongs to two parts."""

    def __init__(self, questions: list[Question], sizes: list[int], speeds: Sequence[float]) -> None:
        self.questions, self.sizes, self.speeds = questions, sizes, speeds
        self.own: dict[Part, int] = {}  # the machines of a part of a group
        self.taken: dict[int, int] = {}  # those of all its parts
        self.load = [0.0] * len(speeds)

    def answers(self) -> list[int] | None:
        """The machines of each question."""
        if not self._enough():
            return None
        found = self._first_machines()
        return None if found is None else self._more_machines(found)

    def left(self, question: Question) -> int:
        """The machines on which nobody is whom it shuns."""
        mask = question.mask
        for part in question.parts:
            mask &= ~(self.taken.get(part[0], 0) & ~self.own.get(part, 0))
        return mask

    def _enough(self) -> bool:
        """Whether each group alone has a machine for each of its parts: a matching. A search would try all
        orders of twenty on nineteen machines before it said so."""
        groups: dict[int, dict[Part, int]] = {}
        for question in self.questions:
            for part in question.parts:
                masks = groups.setdefault(part[0], {})
                masks[part] = min(masks.get(part, question.mask), question.mask, key=int.bit_count)
        return all(_matched(list(masks.values())) for masks in groups.values())

    def _first_machines(self) -> list[int] | None:
        """By search, the question with the fewest machines left first, then back where there is none."""
        found = [0] * len(self.questions)
        waiting = sorted(range(len(found)), key=lambda number: self.questions[number].mask.bit_count())
        steps: list[_Step] = []
        forward = True
        for _ in range(MOST_TRIES + len(found)):
            if forward and not waiting:
                return found
            if forward:
                number = self._next(waiting)
                waiting.remove(number)
                steps.append(_Step(number, self._by_load(self.left(self.questions[number])), []))
            step = steps[-1]
            self._undo(step)
            machine = next(step.machines, None)
            forward = machine is not None
            if machine is not None:
                found[step.number] = 1 << machine
                self._do(step, machine)
                continue
            waiting.insert(0, steps.pop().number)
            if not steps:
                return None
        return None

    def _next(self, waiting: list[int]) -> int:
        if len(waiting) > MOST_REORDERED:
            return waiting[0]
        return min(waiting, key=lambda number: self.left(self.questions[number]).bit_count())

    def _by_load(self, mask: int) -> Iterator[int]:
        """The machines of a mask, the least loaded first."""
        return iter(sorted(bits(mask), key=lambda machine: (self.load[machine], machine)))

    def _do(self, step: _Step, machine: int) -> None:
        self.load[machine] += 1 / self.speeds[machine]
        step.done.append((None, machine))
        for part in self.questions[step.number].parts:
            if not self.own.get(part, 0) & (1 << machine):
                step.done.append((part, machine))
                self._take(part, machine)

    def _take(self, part: Part, machine: int) -> None:
        self.own[part] = self.own.get(part, 0) | 1 << machine
        self.taken[part[0]] = self.taken.get(part[0], 0) | 1 << machine

    def _undo(self, step: _Step) -> None:
        for part, machine in step.done:
            if part is None:
                self.load[machine] -= 1 / self.speeds[machine]
            else:
                self.own[part] &= ~(1 << machine)
                self.taken[part[0]] &= ~(1 << machine)
        step.done.clear()

    def _more_machines(self, found: list[int]) -> list[int]:
        """Each machine also to the question that has the fewest for its hosts, of those that may have it."""
        room = [sum(self.speeds[machine] for machine in bits(mask)) for mask in found]
        for machine in range(len(self.speeds)):
            several = [number for number, size in enumerate(self.sizes) if size > found[number].bit_count()]
            for number in sorted(several, key=lambda number: (-self.sizes[number] / room[number], number)):
                question = self.questions[number]
                if self.left(question) & ~found[number] & (1 << machine):
                    found[number] |= 1 << machine
                    room[number] += self.speeds[machine]
                    for part in question.parts:
                        self._take(part, machine)
        return found


def _matched(masks: list[int]) -> bool:
    """Whether each mask can have a machine of its own (H. W. Kuhn, 1955; by augmenting ways)."""
    holder: dict[int, int] = {}

    def augment(number: int, seen: set[int], held: int) -> bool:
        free = masks[number] & ~held
        for machine in bits(free or masks[number]):
            if machine not in seen:
                seen.add(machine)
                if free or augment(holder[machine], seen, held):
                    holder[machine] = number
                    return True
        return False

    everyone = 0
    for mask in masks:
        everyone |= mask
    return len(masks) <= everyone.bit_count() and all(
        augment(number, set(), sum(1 << machine for machine in holder)) for number in range(len(masks))
    )


def bits(mask: int) -> Iterator[int]:
    """The numbers of the machines of a mask."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
