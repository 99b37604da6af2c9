"""Records to events: the contract's form of each thing that happened.

kind, by source: `sent`, `received`, `forwarded` of a packet; the call's verb; of a tracepoint `reset-sent`,
`reset-received`, `retransmit`, `retransmit-synack`; `seen` of a snapshot, where it shows something new;
`state` of whichever source knows best when an end came into a state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from orchestrator.join.spaces import Space, Spaces
from orchestrator.join.spans import CHANGE_ERROR
from orchestrator.model.events import EndHistory, Event, History, Side, Span
from orchestrator.model.recording import (
    ACK,
    FIN,
    PSH,
    RST,
    SYN,
    Address,
    CallMade,
    Change,
    Said,
    Segment,
    Sighting,
)

_MASK = 0xFFFFFFFF
_NAMES = ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (PSH, "PSH"), (ACK, "ACK"))
FLAGS = tuple(" ".join(name for bit, name in _NAMES if flags & bit) for flags in range(256))


def of_segments(
    segments: Iterable[Segment],
    local: Address,
    connection: str,
    end: Side,
    isns: Sequence[int | None],
    *,
    error: float,
) -> list[Event]:
    """Of one end. `error`: of its tap's times. `isns`: its own first sequence number and the other's, which
    numbers are relative to."""
    own, other = (0 if isn is None else isn for isn in isns)
    found: list[Event] = []
    for one in segments:
        sent = one.source == local
        first, second = (own, other) if sent else (other, own)
        detail: dict[str, Any] = {
            "flags": FLAGS[one.flags & 255],
            "seq": (one.seq - first) & _MASK,
            "length": one.length,
        }
        if one.flags & ACK:
            detail["ack"] = (one.ack - second) & _MASK
        found.append(
            Event(
                t=one.t,
                error_s=error,
                host=one.host,
                source="packet",
                connection=connection,
                end=end,
                kind="sent" if sent else "received",
                detail=detail,
            )
        )
    return found


def of_span(span: Span, before: Span | None, end: EndHistory, connection: str, side: Side) -> Event:
    """An end came into a state."""
    detail: dict[str, Any] = {"state": span.state, "from": None if before is None else before.state}
    if span.why:
        detail["why"] = span.why
    if span.otherwise:
        detail["otherwise"] = [{"source": one.source, "state": one.state} for one in span.otherwise]
    return Event(
        t=span.began,
        error_s=span.error,
        host=end.host or "",
        source=span.source,
        connection=connection,
        end=side,
        kind="state",
        detail=detail,
    )


def of_change(change: Change, connection: str | None, end: Side | None) -> Event:
    """A tracepoint's word."""
    detail = {"from": change.old, "state": change.new} if change.kind == "state" else {}
    return Event(
        t=change.t,
        error_s=CHANGE_ERROR,
        host=change.host,
        source="tracepoint",
        connection=connection,
        end=end,
        kind=change.kind,
        detail=detail,
    )


def of_call(call: CallMade, connection: str | None, end: Side | None) -> Event:
    """A system call; its time is when it began."""
    detail: dict[str, Any] = {"text": call.text, "line": call.line, "duration": call.duration}
    detail |= {"result": call.result, "errno": call.errno, "name": call.name, "fd": call.fd}
    if call.timed_out:
        detail["timed_out"] = True
    return Event(
        t=call.t,
        error_s=0.0,
        host=call.host,
        source="call",
        connection=connection,
        end=end,
        kind=call.verb,
        detail=detail,
    )


def of_sightings(sightings: Iterable[Sighting], connection: str | None, end: Side | None) -> Iterator[Event]:
    """One for the first, and for each that shows something else than the one before."""
    before: tuple[Any, ...] | None = None
    for one in sightings:
        shown = (one.state, one.rx_queue, one.tx_queue, one.timer, bool(one.inode))
        if shown == before:
            continue
        before = shown
        detail = {"state": one.state, "rx_queue": one.rx_queue, "tx_queue": one.tx_queue, "timer": one.timer}
        yield Event(
            t=(one.began + one.ended) / 2,
            error_s=(one.ended - one.began) / 2,
            host=one.host,
            source="snapshot",
            connection=connection,
            end=end,
            kind="seen",
            detail=detail,
        )


def of_said(said: Said) -> Event:
    """A line of a log, the end of a program, an impairment, a note."""
    return Event(
        t=said.t,
        error_s=said.error,
        host=said.host,
        source=said.source,
        kind=said.kind,
        detail={"text": said.text, **said.detail},
    )


def of_forwarded(
    segments: Sequence[Segment], histories: Iterable[History], spaces: Spaces, error: Callable[[str], float]
) -> Iterator[Event]:
    """What passed a router. It is of the connection that has these addresses there at that time, if one
    has: behind a translation none does. `error`: of a host's taps."""
    if not segments:
        return
    found: dict[tuple[Space, Address, Address], list[History]] = {}
    for history in histories:
        for end in (history.client, history.server):
            if end is not None and end.host is not None:
                space = spaces.domain(end.host)
                ends = history.client_address, history.server_address
                found.setdefault((space, *ends), []).append(history)
                found.setdefault((space, *ends[::-1]), []).append(history)
                break
    for one in segments:
        near = found.get((spaces.domain(one.host), one.source, one.target), ())
        known = next((h.id for h in reversed(near) if h.began <= one.t), None)
        yield Event(
            t=one.t,
            error_s=error(one.host),
            host=one.host,
            source="packet",
            connection=known,
            kind="forwarded",
            detail={"flags": FLAGS[one.flags & 255], "length": one.length, "device": one.device},
        )
