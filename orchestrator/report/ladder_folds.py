"""What a ladder folds: long waits, bulk data, and the middle of a very long one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from orchestrator.model.events import Side
from orchestrator.model.recording import FIN, SYN
from orchestrator.report.moments import Bundle, Flight, Moment, Word

LONG = 0.1  # seconds without a rung, from which they are said
SEQUENCE = 1 << 32  # numbers are modulo this
BULK = 7  # plain segments in a row, from which they are one arrow


class Wait(NamedTuple):
    """Nothing happened for so long."""

    seconds: float


class Unseen(NamedTuple):
    """So many bytes of an end were sent, and nobody has their segments."""

    sender: Side
    size: int


class LeftOut(NamedTuple):
    """Rungs that are not shown."""

    rungs: int


Fold = Wait | Unseen | LeftOut


def folded(found: Sequence[Moment], most: int) -> Iterator[Moment | Fold]:
    """The moments with what is folded, or is not there."""
    kept = list(bundled(found))
    following: dict[Side, int] = {}
    last = kept[0].t if kept else 0.0
    head, tail = (most - most // 3, most // 3) if len(kept) > most else (len(kept), 0)
    for at, moment in enumerate(kept):
        if head <= at < len(kept) - tail:
            if at == head:
                yield LeftOut(len(kept) - head - tail)
            _jump(moment, following)
            last = moment.t
            continue
        if moment.t - last >= LONG:
            yield Wait(moment.t - last)
        jump = _jump(moment, following)
        if jump:
            yield jump
        yield moment
        last = moment.t


def _jump(moment: Moment, following: dict[Side, int]) -> Unseen | None:
    """What of the sender's numbers has been passed over. `following`: its next one."""
    flight = moment.flight
    if flight is None or moment.part == "comes" or (isinstance(flight, Bundle) and flight.after is None):
        return None
    if isinstance(flight, Bundle):
        after = flight.after or 0
        begin = (after - flight.size) % SEQUENCE
    else:
        segment = flight.crossing.segment
        begin = segment.seq
        after = segment.seq + segment.length + bool(segment.flags & SYN) + bool(segment.flags & FIN)
    before = following.get(flight.sender, begin)
    forward = (after - before) % SEQUENCE < SEQUENCE // 2
    following[flight.sender] = after % SEQUENCE if forward else before
    jump = (begin - before) % SEQUENCE
    return Unseen(flight.sender, jump) if 0 < jump < SEQUENCE // 2 else None


def bundled(found: Sequence[Moment]) -> Iterator[Moment]:
    """Runs of plain segments, whose data go one way, as one arrow and one of their ACKs; sends and receives
    between them as one line each."""
    run: list[Moment] = []
    data: Side | None = None
    seen: tuple[bool, bool] | None = None
    for moment in found:
        way = _way(moment)
        here = moment.flight.seen if moment.flight is not None else seen
        if way is None or (way != "any" and data not in (None, way)) or here != (seen or here):
            yield from _folded_run(run, data)
            run, data, seen = [], None, None
        if way is None:
            yield moment
            continue
        run.append(moment)
        seen = here
        if way in ("client", "server"):
            data = "client" if way == "client" else "server"
    yield from _folded_run(run, data)


def _way(moment: Moment) -> str | None:
    """Which way its data go; `any` where it has none; None where it breaks a run."""
    flight = moment.flight
    if isinstance(flight, Flight):
        if not flight.plain or moment.left or moment.right:
            return None
        return flight.sender if flight.crossing.segment.length else "any"
    return "any" if moment.verb else None


def _folded_run(run: Sequence[Moment], data: Side | None) -> Iterator[Moment]:
    first = next((at for at, one in enumerate(run) if _has_data(one)), len(run))
    last = next((len(run) - at for at, one in enumerate(reversed(run)) if one.flight), first)
    folding = run[first:last]
    flights = list(dict.fromkeys(one.flight for one in folding if isinstance(one.flight, Flight)))
    if len(flights) < BULK or data is None or _torn(folding):
        yield from run
        return
    yield from run[:first]
    yield from _one_arrow(folding, flights, data)
    yield from run[last:]


def _has_data(moment: Moment) -> bool:
    return isinstance(moment.flight, Flight) and moment.flight.crossing.segment.length > 0


def _torn(run: Sequence[Moment]) -> bool:
    """Whether of a segment only one end's rung is in it: what is between them is to be seen."""
    parts = [one.part for one in run if isinstance(one.flight, Flight)]
    return parts.count("leaves") != parts.count("comes")


def _one_arrow(run: Sequence[Moment], flights: Sequence[Flight], data: Side) -> Iterator[Moment]:
    there = [one for one in flights if one.sender == data]
    back = [one for one in flights if one.sender != data]
    whole = Moment(run[0].t, "whole", _bundle(data, there))
    for side in ("client", "server"):
        calls = [one for one in run if one.verb and one.beside(side)]
        for verb in dict.fromkeys(one.verb for one in calls):
            whole.beside(side).append(_calls(verb, [one for one in calls if one.verb == verb], side))
    yield whole
    if back:
        other: Side = "client" if data == "server" else "server"
        yield Moment(run[-1].t, "whole", _bundle(other, back))


def _bundle(sender: Side, flights: Sequence[Flight]) -> Bundle:
    data = [one.crossing.segment for one in flights if one.crossing.segment.length]
    size = known = sum(one.length for one in data)
    if data:
        size = (data[-1].seq + data[-1].length - data[0].seq) % SEQUENCE
    after = (data[-1].seq + data[-1].length) % SEQUENCE if data else None
    return Bundle(sender, len(flights), size, flights[-1].crossing, after, flights[0].seen, size > known)


def _calls(verb: str, calls: Sequence[Moment], side: Side) -> Word:
    if len(calls) == 1:
        return calls[0].beside(side)[0]
    return Word(f"{len(calls):,} {verb} = {sum(one.size for one in calls):,}", "call")
