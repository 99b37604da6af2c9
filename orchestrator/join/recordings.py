"""A recording as bytes and back: lines of JSON, one for each record, so that also the beginning of one can be
read. Pure.

    {"lab recording": 1, "lab": …, "engine": …, "began": …, "length": …, "clock": […], "plan": …}
    ["loss", {…}] ["watch", {…}] ["reading", {…}] ["said", {…}] …
    ["p", t, host, device, outgoing, source, port, target, port, flags, seq, ack, length, window]
    ["end", number of records]

Packets come last, for they are the most, and a bound cuts them first. What is read may be anything: a line
that is not understood is an ObservationError, but for the last, which may be cut off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from orchestrator.errors import ObservationError
from orchestrator.garbage import no_collection
from orchestrator.model.plan import Plan
from orchestrator.model.recording import (
    CallMade,
    Change,
    Look,
    Loss,
    MachineClock,
    Reading,
    Recording,
    Said,
    Segment,
    Sighting,
    Watch,
)
from orchestrator.model.rows import Translation

FORMAT = "lab recording"
VERSION = 1
MOST = 64 << 20  # bytes of one
MOST_LINE = 16 << 20  # bytes: a plan of very many hosts
_RESERVED = 4096  # bytes for what is said of a cut
_SEGMENT = "p"

# kind: (field of Recording, its type), in the order in which they are written
_KINDS: dict[str, tuple[str, type[msgspec.Struct]]] = {
    "loss": ("losses", Loss),
    "watch": ("watches", Watch),
    "reading": ("readings", Reading),
    "said": ("said", Said),
    "call": ("calls", CallMade),
    "translation": ("translations", Translation),
    "change": ("changes", Change),
    "look": ("looks", Look),
    "sighting": ("sightings", Sighting),
}


class Head(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first line."""

    version: int = msgspec.field(name=FORMAT)
    lab: str
    engine: str
    began: float
    length: float
    clock: tuple[str, ...] = ()
    clocks: tuple[MachineClock, ...] = ()
    zone: int = 0
    plan: Plan | None = None


def encode(recording: Recording, most: int = MOST) -> bytes:
    """At most so many bytes: what has no room is counted as lost."""
    encoder = msgspec.json.Encoder()
    head = Head(
        version=VERSION,
        lab=recording.lab,
        engine=recording.engine,
        began=recording.began,
        length=recording.length,
        clock=recording.clock,
        clocks=recording.clocks,
        zone=recording.zone,
        plan=recording.plan,
    )
    lines = [encoder.encode(head)]
    left = most - len(lines[0]) - _RESERVED
    losses: dict[Any, Loss] = {}
    with no_collection():
        for source, t, record in _records(recording):
            line = _encoded(encoder, record)
            left -= len(line) + 1
            if left >= 0 and line:
                lines.append(line)
            elif (before := losses.get(source)) is None:
                losses[source] = Loss(source=source, stage="store", count=1, began=t, ended=recording.length)
            else:
                losses[source] = msgspec.structs.replace(before, count=(before.count or 0) + 1)
    lines += [encoder.encode(("loss", loss)) for loss in losses.values()]
    lines.append(encoder.encode(("end", len(lines) - 1)))
    return b"\n".join((*lines, b""))


def _encoded(encoder: msgspec.json.Encoder, record: Any) -> bytes:
    """Nothing for what has no form in JSON: an agent's answer may hold what no agent of ours would give."""
    try:
        return encoder.encode(record)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return b""


def _records(recording: Recording) -> Iterator[tuple[Any, float, Any]]:
    """Each with its source and time."""
    of = {"call": "call", "change": "tracepoint", "look": "snapshot", "sighting": "snapshot"}
    for kind, (field, _) in _KINDS.items():
        for one in getattr(recording, field):
            yield of.get(kind, "log"), getattr(one, "t", getattr(one, "began", 0.0)), (kind, one)
    for one in recording.segments:
        yield "packet", one.t, _flat(one)


def _flat(one: Segment) -> tuple[Any, ...]:
    way = one.t, one.host, one.device, one.outgoing, *one.source, *one.target
    return _SEGMENT, *way, one.flags, one.seq, one.ack, one.length, one.window


def decode(data: bytes) -> Recording:
    """The recording of these bytes. Raises ObservationError."""
    if len(data) > MOST:
        raise ObservationError(f"a recording of more than {MOST} bytes")
    lines = data.split(b"\n")
    rest = lines.pop()  # nothing, or what was cut off
    try:
        head = msgspec.json.decode(lines[0], type=Head)
        if head.version != VERSION:
            raise ObservationError(f"a recording of version {head.version}, which this lab does not know")
        found: dict[str, list[Any]] = {kind: [] for kind in (*_KINDS, _SEGMENT)}
        with no_collection():
            whole = _read(lines[1:], found)
    except (msgspec.MsgspecError, LookupError, ValueError, TypeError, RecursionError) as error:
        raise ObservationError("this is no recording, or it is damaged") from error
    if not whole or rest:
        found["loss"] += _cut_off(head.length)
    return Recording(
        lab=head.lab,
        engine=head.engine,
        began=head.began,
        length=head.length,
        clock=head.clock,
        clocks=head.clocks,
        zone=head.zone,
        plan=head.plan,
        segments=tuple(found[_SEGMENT]),
        **{field: tuple(found[kind]) for kind, (field, _) in _KINDS.items()},
    )


def _read(lines: list[bytes], found: dict[str, list[Any]]) -> bool:
    """All lines; whether the end is there."""
    decoder = msgspec.json.Decoder()
    for number, line in enumerate(lines):
        if len(line) > MOST_LINE:
            raise ValueError
        kind, *values = decoder.decode(line)
        if kind == _SEGMENT:
            found[kind].append(_segment(values))
        elif kind == "end":
            return bool(values == [number] and number == len(lines) - 1)
        else:
            (value,) = values
            found[kind].append(msgspec.convert(value, _KINDS[kind][1]))
    return False


def _segment(values: list[Any]) -> Segment:
    t, host, device, outgoing, source, sport, target, dport, *numbers = values
    made = Segment(t, host, device, outgoing, (source, sport), (target, dport), *numbers)
    if not (
        type(t) in {float, int}
        and all(type(one) is str for one in (host, device, source, target))
        and all(type(one) is int for one in (sport, dport, *numbers))
        and type(outgoing) is bool
    ):
        raise TypeError
    return made


def _cut_off(length: float) -> Iterator[Loss]:
    sources: tuple[Any, ...] = ("call", "packet", "tracepoint", "snapshot", "log")
    for source in sources:
        yield Loss(source=source, stage="store", count=None, began=0.0, ended=length)
