"""Who closed a connection first, and by what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from orchestrator.model.events import ClosedBy, Closing, Crossing, Side
from orchestrator.model.recording import FIN, RST, Segment

CLOCK = 20e-6  # seconds between two ends' packets that say nothing about their order


class _End(NamedTuple):
    at: float
    by: ClosedBy
    segment: Segment


def closing(crossings: Iterable[Crossing]) -> Closing:
    """By the order in which FIN and RST were sent."""
    ends: dict[Side, _End] = {}
    for crossing in crossings:
        segment = crossing.segment
        if segment.flags & (FIN | RST) and crossing.sender not in ends:
            ends[crossing.sender] = _End(segment.t, "RST" if segment.flags & RST else "FIN", segment)
    if not ends:
        return Closing()
    first, *others = sorted(ends, key=lambda side: ends[side].at)
    at, by, _ = ends[first]
    if others and ends[others[0]].at - at <= CLOCK and ends[others[0]].by == by:
        return Closing(known=False, why="both closed within the clocks' error", at=at, error=CLOCK)
    return Closing(first=first, by=by, at=at, error=CLOCK)
