"""Who closed a connection first, and by what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.join import evidence
from orchestrator.join.incarnations import Life
from orchestrator.join.packet_states import GIVEN_UP
from orchestrator.model.events import UNKNOWN, ClosedBy, Closing, Crossing, EndHistory, Side
from orchestrator.model.recording import ACK, FIN, RST, Segment

_MASK = 0xFFFFFFFF
_HALF = 0x80000000
_ENDED = ("CLOSE", "TIME_WAIT", "LAST_ACK", "CLOSE_WAIT", "FIN_WAIT1", "FIN_WAIT2", "CLOSING")
TOGETHER = "both closed at the same time, as far as the clocks can tell"
NOBODY = "a reset came that the other end has not sent: something between them did"


class _End(NamedTuple):
    """How one side closed. `segment`: its FIN or RST. `exact`: it is known when it was sent."""

    at: float
    error: float
    by: ClosedBy
    segment: Segment | None = None
    exact: bool = True


class Ends(NamedTuple):
    """One side, as far as it is known. `whole`: every segment that it sent was seen."""

    life: Life | None
    history: EndHistory
    error: float
    whole: bool


def closing(crossings: Sequence[Crossing], client: Ends, server: Ends, *, apart: float = 0.0) -> Closing:
    """By the order in which FIN and RST were sent; without packets, by the order of the changes or calls.
    `apart`: how far the clocks of the two may be apart.
    """
    ends: dict[Side, _End] = {}
    sides: dict[Side, Ends] = {"client": client, "server": server}
    for crossing in crossings:
        flags = crossing.segment.flags
        if flags & (FIN | RST) and crossing.sender not in ends:
            sender = sides[crossing.sender]
            off = 0.0 if crossing.sent is not None else apart
            if flags & RST and _still_asking(sender, crossing.segment.t, off):
                continue
            if flags & RST and crossing.sent is None and sender.whole:
                return Closing(by="RST", at=crossing.segment.t, known=False, why=NOBODY)
            ends[crossing.sender] = _End(
                crossing.segment.t,
                sender.error,
                "RST" if flags & RST else "FIN",
                crossing.segment,
                crossing.sent is not None,
            )
    for side, one in sides.items():
        if side not in ends:
            told = _told(one)
            if told is not None:
                ends[side] = told
    return _first(ends, apart) if ends else _unseen(sides)


def _still_asking(sender: Ends, at: float, off: float) -> bool:
    """Whether its RST was about another connection: in SYN_SENT it answers so what does not acknowledge its
    SYN, and goes on (RFC 9293, 3.10.7.3)."""
    return any(
        span.state == "SYN_SENT"
        and span.began < at
        and (span.ended is None or span.ended > at + span.error + off)
        for span in sender.history.spans
    )


def _told(end: Ends) -> _End | None:
    """By what the kernel or a call says of it, where no packet was seen."""
    if end.life is None or end.whole:
        return None
    for change in end.life.changes:
        if change.kind == "reset-sent":
            return _End(change.t, end.error, "RST")
        if change.new in ("FIN_WAIT1", "LAST_ACK"):
            return _End(change.t, end.error, "FIN")
    if end.life.segments:
        return None
    for call in evidence.closings(end.life.called):
        return _End(call.t + call.duration / 2, call.duration / 2, "FIN")
    return None


def _first(ends: dict[Side, _End], apart: float) -> Closing:
    first, *others = sorted(ends, key=lambda side: (ends[side].at, side))
    one = ends[first]
    if others:
        other = ends[others[0]]
        if _answers(one, other):
            first, one, other = others[0], other, one
        elif not _answers(other, one):
            error = one.error + other.error + apart
            if other.at - one.at <= error or not (one.exact and other.exact):
                by = one.by if one.by == other.by else None
                return Closing(by=by, at=one.at, error=error, known=False, why=TOGETHER)
    return Closing(first=first, by=one.by, at=one.at, error=one.error)


def _answers(one: _End, other: _End) -> bool:
    """Whether the first was sent when the other's FIN had come."""
    if one.segment is None or other.segment is None or other.by != "FIN" or not one.segment.flags & ACK:
        return False
    behind_fin = (other.segment.seq + other.segment.length + 1) & _MASK
    return (one.segment.ack - behind_fin) & _MASK < _HALF


def _unseen(sides: dict[Side, Ends]) -> Closing:
    """Neither FIN nor RST was seen."""
    for side, end in sides.items():
        spans = end.history.spans
        if not spans:
            continue
        last = spans[-1]
        if last.state == "CLOSE" and (last.why == GIVEN_UP or _timed_out(end)):
            return Closing(first=side, by="timeout", at=last.began, error=last.error)
        if last.state == "CLOSE" and len(spans) > 1 and spans[-2].state == "SYN_SENT":
            return Closing(
                first=side,
                at=last.began,
                error=last.error,
                why="it was closed while it connected",
            )
    for end in sides.values():
        if any(span.state in _ENDED for span in end.history.spans):
            return Closing(known=False, why="the FIN or reset that closed it was not seen")
    for end in sides.values():
        doubtful = next((span for span in end.history.spans if span.state == UNKNOWN), None)
        if doubtful is not None and end.history.host is not None:
            return Closing(known=False, why=doubtful.why)
    return Closing()


def _timed_out(end: Ends) -> bool:
    called = end.life.called if end.life is not None else None
    return called is not None and any(call.errno in evidence.REFUSED[1:] for call in called.calls)
