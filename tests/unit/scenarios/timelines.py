"""Timelines made by hand: a connection of alice with web, whose times are whatever a test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from orchestrator.model.events import (
    UNKNOWN,
    Closing,
    Crossing,
    EndHistory,
    History,
    Otherwise,
    Side,
    Span,
    Timeline,
)
from orchestrator.model.recording import ACK, FIN, PSH, RST, SYN, CallMade, Recording, Segment, Watch
from orchestrator.scenarios.observation import Observation, Recorded
from tests.unit.scenarios.looks import ALICE, CALL, WEB

BEGAN = 100.0  # of the recording, on the clock of looks
ERROR = 0.0001  # seconds that each time may be off
FLAGS = {"S": SYN, "F": FIN | ACK, "R": RST, "P": PSH | ACK, ".": ACK}
Sent = Sequence[tuple[Side, float, str]]  # who, when, one of FLAGS
CLIENT = "SYN_SENT ESTABLISHED@.001 FIN_WAIT1@1 FIN_WAIT2@1.001 TIME_WAIT@1.5"
SERVER = "SYN_RECV@.0005 ESTABLISHED@.0015 CLOSE_WAIT@1.0005 LAST_ACK@1.4999 CLOSE@1.502"
BY_FIN = Closing(first="client", by="FIN", at=1.0, error=ERROR)
NOT_CLOSED = Closing()


def spans(text: str, error: float = ERROR) -> tuple[Span, ...]:
    """`ESTABLISHED@0.5 ?@1 FIN_WAIT1/CLOSE@2`: states and when each began; `?` is unknown, after `/` stands
    what a snapshot says."""
    parts = [part.partition("@") for part in text.split()]
    begins = [float(at or 0) for _, _, at in parts]
    found = []
    for place, (states, _, _) in enumerate(parts):
        state, _, other = states.partition("/")
        found.append(
            Span(
                state=UNKNOWN if state == "?" else state,
                began=begins[place],
                ended=begins[place + 1] if place + 1 < len(parts) else None,
                error=error,
                source="packet",
                otherwise=(Otherwise(source="snapshot", state=other),) if other else (),
                why="packets were lost" if state == "?" else "",
            )
        )
    return tuple(found)


def an_end(host: str, at: tuple[str, int], states: str, **more: Any) -> EndHistory:
    """One end over time."""
    return EndHistory(host=host, address=at[0], port=at[1], spans=spans(states), **more)


def history(
    client: str | None = CLIENT,
    server: str | None = SERVER,
    closing: Closing = BY_FIN,
    *,
    number: str = "1",
    again: Sequence[tuple[Side, float]] = (),
    sent: Sent = (),
    names: tuple[str, ...] = ("call",),
    retransmits: tuple[int | None, int | None] | None = None,
    doubts: tuple[str, ...] = (),
    began: float = 0.0,
) -> History:
    """A connection. `again`: retransmissions, by whom and when; `sent`: segments that left, with one flag."""
    count = retransmits or (
        sum(side == "client" for side, _ in again),
        sum(side == "server" for side, _ in again),
    )
    crossings = [_crossing(side, at, "P", again=True) for side, at in again]
    crossings += [_crossing(side, at, flag) for side, at, flag in sent]
    return History(
        id=number,
        client=None if client is None else an_end("alice", ALICE, client, names=names, retransmits=count[0]),
        server=None if server is None else an_end("web", WEB, server, names=("conn",), retransmits=count[1]),
        began=began,
        ended=began + 9,
        client_address=ALICE,
        server_address=WEB,
        crossings=tuple(sorted(crossings, key=lambda one: one.segment.t)),
        closing=closing,
        doubts=doubts,
    )


def _crossing(side: Side, at: float, flag: str, *, again: bool = False) -> Crossing:
    source, target = (ALICE, WEB) if side == "client" else (WEB, ALICE)
    host = "alice" if side == "client" else "web"
    length = 5 if flag == "P" else 0
    segment = Segment(at, host, "eth0", True, source, target, FLAGS[flag], 1, 1, length)
    other = "web" if side == "client" else "alice"
    there = msgspec.structs.replace(segment, t=at + ERROR, host=other, outgoing=False)
    return Crossing(sender=side, sent=segment, received=there, again=again)


def call(verb: str, at: float, step: str | None = None, *, duration: float = 0.001, **more: Any) -> CallMade:
    """A call of alice on the connection."""
    fields: dict[str, Any] = {"host": "alice", "local": ALICE, "peer": WEB, "inode": 9, "name": "call"}
    return CallMade(t=at, duration=duration, verb=verb, step=step, **(fields | more))


def seen(
    *found: History,
    calls: Sequence[CallMade] = (),
    until: float = 50.0,
    error: float = ERROR,
    stalled: Callable[[float, float], float] = lambda _began, _ended: 0.0,
    **more: Any,
) -> Observation:
    """A look of which all until then was recorded."""
    watches = [
        Watch(source="packet", host=host, began=0, ended=until, error=error) for host in ("alice", "web")
    ]
    recording = Recording(
        lab="t", engine="fake", began=0.0, length=until, calls=tuple(calls), watches=tuple(watches)
    )
    timeline = Timeline(recording=recording, events=(), histories=found)
    recorded = Recorded(timeline=timeline, until=until, began=BEGAN, stalled=stalled)
    fields: dict[str, Any] = {"descriptors": CALL, "recorded": recorded}
    return Observation(**(fields | more))
