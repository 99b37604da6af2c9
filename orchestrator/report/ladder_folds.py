"""What a ladder folds: long waits, bulk data, and the middle of a very long one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from orchestrator.model.events import Side
from orchestrator.report.moments import Bundle, Flight, Moment, Word

LONG = 0.1  # seconds without a rung, from which they are said
SEQUENCE = 1 << 32  # numbers are modulo this
BULK = 7  # plain segments in a row, from which they are one arrow


class Wait(NamedTuple):
    """Nothing happened for so long."""

    seconds: float


class LeftOut(NamedTuple):
    """Rungs that are not shown."""

    rungs: int


def folded(found: Sequence[Moment], most: int) -> Iterator[Moment | Wait | LeftOut]:
    """The moments with what is folded."""
    kept = list(bundled(found))
    last = kept[0].t if kept else 0.0
    head, tail = (most - most // 3, most // 3) if len(kept) > most else (len(kept), 0)
    for at, moment in enumerate(kept):
        if head <= at < len(kept) - tail:
            if at == head:
                yield LeftOut(len(kept) - head - tail)
            last = moment.t
            continue
        if moment.t - last >= LONG:
            yield Wait(moment.t - last)
        yield moment
        last = moment.t


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
    flights = list(dict.fromkeys(one.flight for one in run if isinstance(one.flight, Flight)))
    if len(flights) < BULK or data is None or _torn(run):
        yield from run
        return
    first = next(at for at, one in enumerate(run) if one.flight)
    last = next(len(run) - at for at, one in enumerate(reversed(run)) if one.flight)
    yield from run[:first]
    yield from _one_arrow(run[first:last], flights, data)
    yield from run[last:]


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
    return Bundle(sender, len(flights), size, flights[-1].crossing, flights[0].seen, size > known)


def _calls(verb: str, calls: Sequence[Moment], side: Side) -> Word:
    if len(calls) == 1:
        return calls[0].beside(side)[0]
    return Word(f"{len(calls):,} {verb} = {sum(one.size for one in calls):,}", "call")
