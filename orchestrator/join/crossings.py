"""Segments on their way: what one end sent and what came of it at the other."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Collection, Sequence
from operator import itemgetter

from orchestrator.model.events import Crossing, Side
from orchestrator.model.recording import FIN, RST, SYN, Segment

Timed = tuple[float, Crossing]
Form = tuple[int, int, int, int]  # what stays of a segment on its way, translated or not
NOWHERE = -1
_HALF = 1 << 31  # of the sequence numbers
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
    apart: float = 0.0,
) -> list[Timed]:
    """(when it was first seen, the crossing) of one direction. `again`: places in `sent` of what had been
    sent before. `expected`: whether a segment would have been seen if it had come; None: none would.
    `until`: when the recording ended. `apart`: how far the clocks of the two ends may be apart."""
    if len(sent) == len(received):
        found = _straight(sender, sent, received, again)
        if found is not None:
            return found
    came = _arrivals(sent, received, apart)
    last = max(received[-1].t if received else float("-inf"), until - ON_THE_WAY)
    copies = {_bytes(sent[place]): sent[place].t for place in sorted(again) if place < len(sent)}
    otherwise = _Pieces([one for place, one in came.items() if place < 0])
    found = []
    for place, segment in enumerate(sent):
        there = came.pop(place, None)
        missing = (
            there is None
            and expected is not None
            and segment.t + apart < max(last, copies.get(_bytes(segment), last))
            and expected(segment)
            and not otherwise.have(segment)
        )
        crossing = Crossing(
            sender=sender, sent=segment, received=there, again=place in again, missing=missing
        )
        found.append((segment.t, crossing))
    found += [(one.t, Crossing(sender=sender, sent=None, received=one)) for one in came.values()]
    return found


class _Pieces:
    """What came and nobody saw leave like that: on the way segments are put together and taken apart."""

    def __init__(self, found: Sequence[Segment]) -> None:
        self._zero = found[0].seq - _HALF if found else 0
        spans = sorted((self._at(one.seq), self._at(one.seq) + one.length) for one in found if one.length)
        self._begins = [begin for begin, _ in spans]
        self._ends = list(itertools.accumulate((end for _, end in spans), max))

    def _at(self, number: int) -> int:
        return (number - self._zero) % (2 * _HALF)

    def have(self, segment: Segment) -> bool:
        """Whether its first byte came in one of them."""
        if not self._begins or not segment.length:
            return False
        at = self._at(segment.seq)
        before = bisect.bisect_right(self._begins, at)
        return before > 0 and self._ends[before - 1] > at


def _arrivals(sent: Sequence[Segment], received: Sequence[Segment], apart: float) -> dict[int, Segment]:
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
                place = max((one for one in left if sent[one].t <= segment.t + apart), default=NOWHERE)
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


def _bytes(segment: Segment) -> tuple[int, int, int]:
    """The same of what is sent again: by then its sender has given it up."""
    return segment.seq, segment.length, segment.flags & (SYN | FIN | RST)


def in_order(found: list[Timed]) -> tuple[Crossing, ...]:
    """By when each was first seen."""
    found.sort(key=itemgetter(0))
    return tuple(crossing for _, crossing in found)
