"""Segments on their way: what one end sent and what came of it at the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from operator import itemgetter

from orchestrator.model.events import Crossing, Side
from orchestrator.model.recording import Segment

Timed = tuple[float, Crossing]
Form = tuple[int, int, int, int]  # what stays of a segment on its way, translated or not
NOWHERE = -1
ON_THE_WAY = 1.0  # seconds after which what has not come is lost, or held for long

Expected = Callable[[Segment], bool]


def crossings(
    sender: Side,
    sent: Sequence[Segment],
    received: Sequence[Segment],
    again: Collection[int],
    expected: Expected | None,
) -> list[Timed]:
    """(when it was first seen, the crossing) of one direction. `again`: places in `sent` of what had been
    sent before. `expected`: whether a segment would have been seen if it had come; None: none would."""
    if len(sent) == len(received):
        found = _straight(sender, sent, received, again)
        if found is not None:
            return found
    came = _arrivals(sent, received)
    last = received[-1].t if received else float("-inf")
    found = []
    for place, segment in enumerate(sent):
        there = came.pop(place, None)
        missing = there is None and expected is not None and _is_late(segment, last, expected)
        crossing = Crossing(
            sender=sender, sent=segment, received=there, again=place in again, missing=missing
        )
        found.append((segment.t, crossing))
    found += [(one.t, Crossing(sender=sender, sent=None, received=one)) for one in came.values()]
    return found


def _arrivals(sent: Sequence[Segment], received: Sequence[Segment]) -> dict[int, Segment]:
    """What came, by its place in `sent`; by a negative number what nobody saw leave."""
    leaving: dict[Form, list[int]] = {}
    arriving: dict[Form, list[Segment]] = {}
    for at, segment in enumerate(sent):
        leaving.setdefault(_form(segment), []).append(at)
    for segment in received:
        arriving.setdefault(_form(segment), []).append(segment)
    found: dict[int, Segment] = {}
    for form, came in arriving.items():
        left = leaving.get(form, [])
        for at, segment in enumerate(came):
            if len(left) > len(came) - at:  # of copies the latest that can be this one
                place = max((one for one in left if sent[one].t <= segment.t), default=NOWHERE)
            else:
                place = left[0] if left else NOWHERE
            if place == NOWHERE:
                found[-1 - len(found)] = segment
            else:
                left.remove(place)
                found[place] = segment
    return found


def _straight(
    sender: Side, sent: Sequence[Segment], received: Sequence[Segment], again: Collection[int]
) -> list[Timed] | None:
    """Where all came in the order in which they were sent, which is the rule."""
    found: list[Timed] = []
    for place, (one, other) in enumerate(zip(sent, received, strict=True)):
        if one.seq != other.seq or one.flags != other.flags or one.length != other.length:
            return None
        if one.ack != other.ack:
            return None
        found.append((one.t, Crossing(sender=sender, sent=one, received=other, again=place in again)))
    return found


def _form(segment: Segment) -> Form:
    return segment.seq, segment.length, segment.flags, segment.ack


def _is_late(segment: Segment, last: float, expected: Expected) -> bool:
    """`last`: when anything came last; what was sent before that has been overtaken."""
    return segment.t < last and expected(segment)


def in_order(found: list[Timed]) -> tuple[Crossing, ...]:
    """By when each was first seen."""
    found.sort(key=itemgetter(0))
    return tuple(crossing for _, crossing in found)
