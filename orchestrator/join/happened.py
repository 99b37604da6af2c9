"""Records to events: the contract's form of each thing that happened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.join.spans import PACKET_ERROR
from orchestrator.model.events import Event, Side
from orchestrator.model.recording import ACK, FIN, PSH, RST, SYN, CallMade, Change, Said, Segment, Sighting

_MASK = 0xFFFFFFFF
_NAMES = ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (PSH, "PSH"), (ACK, "ACK"))
FLAGS = tuple(" ".join(name for bit, name in _NAMES if flags & bit) for flags in range(256))
_CHANGE_ERROR = 1e-6


def of_segment(
    segment: Segment,
    *,
    sent: bool,
    connection: str | None,
    end: Side | None,
    first: int | None,
    other: int | None,
) -> Event:
    """`first`, `other`: the first sequence numbers of who sent it and of the other end, which numbers are
    relative to."""
    seq = segment.seq if first is None else (segment.seq - first) & _MASK
    detail: dict[str, Any] = {"flags": FLAGS[segment.flags & 255], "seq": seq, "length": segment.length}
    if segment.flags & ACK:
        detail["ack"] = segment.ack if other is None else (segment.ack - other) & _MASK
    return Event(
        t=segment.t,
        error_s=PACKET_ERROR,
        host=segment.host,
        source="packet",
        connection=connection,
        end=end,
        kind="sent" if sent else "received",
        detail=detail,
    )


def of_change(change: Change, connection: str | None, end: Side | None) -> Event:
    """A tracepoint's word."""
    detail = {"from": change.old, "state": change.new} if change.kind == "state" else {}
    return Event(
        t=change.t,
        error_s=_CHANGE_ERROR,
        host=change.host,
        source="tracepoint",
        connection=connection,
        end=end,
        kind=change.kind,
        detail=detail,
    )


def of_call(call: CallMade, connection: str | None, end: Side | None) -> Event:
    """A system call; its time is when it began."""
    detail = {
        "text": call.text,
        "line": call.line,
        "duration": call.duration,
        "result": call.result,
        "errno": call.errno,
        "name": call.name,
        "fd": call.fd,
    }
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


def of_sightings(sightings: list[Sighting], connection: str | None, end: Side | None) -> Iterator[Event]:
    """One for the first, and for each that shows something else than the one before."""
    before: tuple[Any, ...] | None = None
    for one in sightings:
        shown = (one.state, one.rx_queue, one.tx_queue, one.timer, bool(one.inode))
        if shown != before:
            before = shown
            yield Event(
                t=(one.began + one.ended) / 2,
                error_s=(one.ended - one.began) / 2,
                host=one.host,
                source="snapshot",
                connection=connection,
                end=end,
                kind="seen",
                detail={
                    "state": one.state,
                    "rx_queue": one.rx_queue,
                    "tx_queue": one.tx_queue,
                    "timer": one.timer,
                },
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
