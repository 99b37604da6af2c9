"""What has happened so far to the connections of one expectation: their part of the recording, joined.

A look at the past must not take longer because much has happened to others: only records of the sockets that
the expectation is about are joined, and only again when there are new ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

import msgspec

from orchestrator.join.timeline import timeline
from orchestrator.model.events import Timeline
from orchestrator.model.recording import Address, CallMade, Recording
from orchestrator.model.rows import Translation
from orchestrator.model.steps import Between, ByName, Expectation
from orchestrator.scenarios.histories import EVERYWHERE, own_address
from orchestrator.scenarios.observation import Descriptor, Name, Recorded
from orchestrator.scenarios.rows import plain

Stalled = Callable[[float, float], float]


class Records(Protocol):
    """Whoever records."""

    def recording(self, settle: bool = True) -> Recording:
        """All that has happened until this was called."""
        ...


class Past:
    """Of one expectation. `began`: when t = 0 of the recording is, on the clock of looks."""

    def __init__(self, expectation: Expectation, records: Records, began: float, stalled: Stalled) -> None:
        self._expectation, self._records = expectation, records
        self._began, self._stalled = began, stalled
        self._joined: tuple[tuple[int, ...], Timeline] | None = None

    def until_now(self, descriptors: Mapping[Name, Descriptor]) -> Recorded:
        """All that had happened when this was called."""
        asked = time.monotonic()
        mine = of_expectation(self._expectation, self._records.recording(settle=True), descriptors)
        return Recorded(
            timeline=self._timeline(mine), until=asked - self._began, began=self._began, stalled=self._stalled
        )

    def _timeline(self, mine: Recording) -> Timeline:
        size = tuple(
            len(records)
            for records in (mine.segments, mine.calls, mine.changes, mine.sightings, mine.looks, mine.losses)
        )
        if self._joined is None or self._joined[0] != size:
            self._joined = (size, timeline(mine))
        return self._joined[1]


def of_expectation(
    expectation: Expectation, recording: Recording, descriptors: Mapping[Name, Descriptor]
) -> Recording:
    """The records of the sockets that it is about."""
    calls, subject = recording.calls, expectation.subject
    found: list[Address] = []
    if isinstance(subject, ByName):
        found += _ends(descriptors.get((subject.host, name)) for name in subject.names())
    if expectation.after is not None:
        step = expectation.after.step
        found += [
            _plain(one.local) for one in calls if (one.host, one.step) == (step.host, step.name) and one.local
        ]
    ports = {port for address, port in found if address in EVERYWHERE}
    ends = set(found)
    ends |= set(_translated(ends, recording.translations))
    if isinstance(subject, Between):
        ports |= _beyond(subject.server.port, recording.translations)

    return _kept(recording, ends, ports)


def _ends(found: Iterable[Descriptor | None]) -> Iterator[Address]:
    """Their own addresses; of one that has none, where it was to be connected."""
    for one in found:
        if one is not None:
            own = own_address(one)
            if own is not None or one.peer is not None:
                yield own or _plain(one.peer)


def _plain(address: Address | None) -> Address:
    assert address is not None
    return plain(address[0]), address[1]


def _translated(ends: set[Address], translations: Iterable[Translation]) -> Iterator[Address]:
    """What these clients are called beyond a router, and before it."""
    for one in translations:
        if one.client in ends:
            yield one.new_client
        if one.new_client in ends:
            yield one.client


def _beyond(port: int, translations: Iterable[Translation]) -> set[int]:
    """What this port of a server is called on the other side of a router, too."""
    both = [(one.server[1], one.new_server[1]) for one in translations]
    return {port} | {other for pair in both if port in pair for other in pair}


def _kept(recording: Recording, ends: set[Address], ports: set[int]) -> Recording:
    """What has one of these at either end. There may be hundreds of thousands, at each look."""

    def wanted(one: Address | None, other: Address | None) -> bool:
        if one in ends or other in ends:
            return True
        return bool(ports) and (
            (one is not None and one[1] in ports) or (other is not None and other[1] in ports)
        )

    def called(one: CallMade) -> bool:
        if one.local is None and one.peer is None:
            return True
        return wanted(one.local and _plain(one.local), one.peer and _plain(one.peer))

    segments = recording.segments
    if ports:
        kept = [one for one in segments if wanted(one.source, one.target)]
    else:
        kept = [one for one in segments if one.source in ends or one.target in ends]
    return msgspec.structs.replace(
        recording,
        segments=tuple(kept),
        calls=tuple(one for one in recording.calls if called(one)),
        changes=tuple(one for one in recording.changes if wanted(one.local, one.peer)),
        sightings=tuple(one for one in recording.sightings if wanted(one.local, one.peer)),
        said=(),
    )
