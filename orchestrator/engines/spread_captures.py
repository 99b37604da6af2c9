"""A capture on several machines as one: their interfaces in one row of numbers, and a moment before which all
of them have told everything. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.engines.spread_answers import Answers, Kind
from orchestrator.engines.spread_where import by_hosts
from orchestrator.wire import Frame, Message


class Capture:
    """Of one request. Parts that come before every machine has told of its interfaces are kept until then.
    `clocks`: ns that are added to each machine's stamps to have those of whoever asks.
    """

    def __init__(self, machines: list[str], clocks: Mapping[str, int]) -> None:
        self._machines = machines  # that go on telling
        self._clocks = clocks
        self._heads: dict[str, Message] = {}
        self._first: dict[str, int] = {}  # the number of a machine's first interface
        self._early: list[tuple[str, Message, bytes]] = []
        self._until: dict[str, int] = {}
        self._told = 0
        self.counts: dict[str, Any] = {}

    def part(self, machine: str, part: Message, data: bytes) -> Iterator[Frame]:
        """What is given on of a machine's part."""
        if "interfaces" in part:
            self._heads[machine] = part
            yield from self._begin()
        elif not self._first:
            self._early.append((machine, part, data))
        else:
            yield from self._later(machine, part, data)

    def _begin(self) -> Iterator[Frame]:
        if self._first or not self._heads or any(one not in self._heads for one in self._machines):
            return
        interfaces: list[Message] = []
        for machine, head in self._heads.items():
            self._first[machine] = len(interfaces)
            about = {"machine": machine, "shift": self._clocks.get(machine, 0)}
            interfaces += [{**one, **about} for one in head["interfaces"]]
        yield Frame({"part": {"interfaces": interfaces, "snap": next(iter(self._heads.values()))["snap"]}})
        early, self._early = self._early, []
        for machine, part, data in early:
            yield from self._later(machine, part, data)

    def _later(self, machine: str, part: Message, data: bytes) -> Iterator[Frame]:
        if "interface" in part:
            yield Frame({"part": {**part, "interface": part["interface"] + self._first[machine]}}, data)
            return
        self._until[machine] = part["until"] + self._clocks.get(machine, 0)
        yield from self._until_all()

    def _until_all(self) -> Iterator[Frame]:
        """The least of what each has told, as soon as it grows."""
        following = [one for one in self._machines if one in self._first]
        least = min((self._until.get(one, 0) for one in following), default=0)
        if least > self._told:
            self._told = least
            yield Frame({"part": {"until": least}})

    def ended(self, machine: str, value: Message | None) -> Iterator[Frame]:
        """A machine has told all that it will: its counts, or None where it is gone."""
        known = len(self._heads.get(machine, {}).get("interfaces", ()))
        told = value.get("interfaces", ()) if value is not None else ()
        self.counts[machine] = [*told] if len(told) == known else [None] * known
        self._machines = [one for one in self._machines if one != machine]
        yield from self._begin()
        if self._machines:
            yield from self._until_all()

    def value(self) -> Message:
        """The end of the answer, in the order of the interfaces."""
        nothing = {"received": None, "dropped": None}
        return {"interfaces": [one or nothing for machine in self._first for one in self.counts[machine]]}


def _unused(_: Answers) -> Message:
    raise AssertionError("a capture's end is Capture.value")


CAPTURE = Kind(by_hosts, _unused, tolerant=True)
