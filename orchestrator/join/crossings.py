"""Segments on their way: what one end sent and what came of it at the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from operator import itemgetter

from orchestrator.model.events import Crossing, Side
from orchestrator.model.recording import FIN, RST, SYN, Segment

Timed = tuple[float, Crossing]
Form = tuple[int, int, int, int]  # what stays of a segment on its way, translated or not
ON_THE_WAY = 1.0  # seconds after which what has not come is lost, or held for long

Expected = Callable[[Segment], bool]


def crossings(
    sender: Side,
    sent: Sequence[Segment],
    received: Sequence[Segment],
    again: Collection[int],
    expected: Expected | None,
    *,
    until: float,
) -> list[Timed]:
    """(when it was first seen, the crossing) of one direction. `again`: places in `sent` of what had been
    sent before. `expected`: whether a segment would have been seen if it had come; None: none would.
    `until`: when the recording ended."""
    if len(sent) == len(received):
        found = _straight(sender, sent, received, again)
        if found is not None:
            return found
    waiting: dict[Form, list[Segment]] = {}
    for segment in reversed(received):
        waiting.setdefault(_form(segment), []).append(segment)
    last = max(received[-1].t if received else float("-inf"), until - ON_THE_WAY)
    copies = {_bytes(sent[place]): sent[place].t for place in sorted(again) if place < len(sent)}
    found = []
    for place, segment in enumerate(sent):
        came = waiting.get(_form(segment))
        there = came.pop() if came else None
        missing = (
            there is None
            and expected is not None
            and segment.t < max(last, copies.get(_bytes(segment), last))
            and expected(segment)
        )
        crossing = Crossing(
            sender=sender, sent=segment, received=there, again=place in again, missing=missing
        )
        found.append((segment.t, crossing))
    for left in waiting.values():
        found += [(one.t, Crossing(sender=sender, sent=None, received=one)) for one in left]
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


def _bytes(segment: Segment) -> tuple[int, int, int]:
    """The same of what is sent again: by then its sender has given it up."""
    return segment.seq, segment.length, segment.flags & (SYN | FIN | RST)


def in_order(found: list[Timed]) -> tuple[Crossing, ...]:
    """By when each was first seen."""
    found.sort(key=itemgetter(0))
    return tuple(crossing for _, crossing in found)
