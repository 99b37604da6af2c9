"""Segments on their way: what one end sent and what came of it at the other."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from operator import itemgetter

from orchestrator.model.events import Crossing, Side
from orchestrator.model.recording import Segment

Form = tuple[int, int, int, int]  # what stays of a segment on its way, translated or not


def form(segment: Segment) -> Form:
    """Its numbers, length and flags."""
    return segment.seq, segment.length, segment.flags, segment.ack


def crossings(
    sender: Side, sent: Sequence[Segment], received: Sequence[Segment], again: Collection[int], watched: bool
) -> list[tuple[float, Crossing]]:
    """(when it was first seen, the crossing) of one direction. `again`: places in `sent` of what had been
    sent before. `watched`: whether all that came was seen, so that what is not there has not come."""
    waiting: dict[Form, list[Segment]] = {}
    for segment in reversed(received):
        waiting.setdefault((segment.seq, segment.length, segment.flags, segment.ack), []).append(segment)
    last = received[-1].t if received else float("-inf")
    found: list[tuple[float, Crossing]] = []
    for place, segment in enumerate(sent):
        came = waiting.get((segment.seq, segment.length, segment.flags, segment.ack))
        there = came.pop() if came else None
        missing = there is None and watched and segment.t < last
        crossing = Crossing(
            sender=sender, sent=segment, received=there, again=place in again, missing=missing
        )
        found.append((segment.t, crossing))
    for left in waiting.values():
        found += [(one.t, Crossing(sender=sender, sent=None, received=one)) for one in left]
    return found


def in_order(found: list[tuple[float, Crossing]]) -> tuple[Crossing, ...]:
    """By when each was first seen."""
    found.sort(key=itemgetter(0))
    return tuple(crossing for _, crossing in found)
