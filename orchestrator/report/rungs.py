"""What happened to a connection as moments in order: what each rung of its ladder shows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from orchestrator.model.events import UNKNOWN, Crossing, EndHistory, Event, History, Side, Span
from orchestrator.model.recording import ACK, FIN, RST, SYN
from orchestrator.report import ladder_words as words
from orchestrator.report.harmless import harmless
from orchestrator.report.moments import TELLING, Flight, Kind, Moment, Word

SLOW = 0.001  # seconds that a segment is under way, from which it has a rung for each of its ends
BLOCKED = 0.001  # seconds in a call, from which it has a rung for each of its ends
TOGETHER = 0.0005  # seconds between a segment and the state that it made, beyond the error of its time
ROUGH = 0.001  # seconds that a state's time may be off, from which that is said
AROUND = ("note", "impairment", "exit", "log")
_ORDER: dict[Kind, int] = {
    "begin": 0,
    "across": 1,
    "comes": 2,
    "leaves": 3,
    "whole": 3,
    "state": 4,
    "end": 5,
}

Mark = Callable[[Side, EndHistory | None, Span], str]


def unmarked(_: Side, __: EndHistory | None, ___: Span) -> str:
    """Nothing."""
    return ""


def moments(history: History, around: Sequence[Event] = (), mark: Mark = unmarked) -> list[Moment]:
    """All of them, in order. `mark`: what stands behind a state of which there is more to be said."""
    flights = list(_flights(history.crossings))
    found = [moment for flight in flights for moment in _of_flight(flight)]
    found += _calls(history)
    found += _told(history)
    found += _said(around)
    by_side = _touching(found)
    found += _states("client", history.client, by_side["client"], mark)
    found += _states("server", history.server, by_side["server"], mark)
    found.sort(key=lambda one: (one.t, _ORDER[one.kind]))
    return found


# Segments.


def _flights(crossings: Sequence[Crossing]) -> Iterator[Flight]:
    """Those that are slow, or that cross one of the other direction, have a rung for each end."""
    timed = []
    for one in crossings:
        leaves = one.sent.t if one.sent else one.segment.t
        comes = one.received.t if one.received else one.segment.t
        timed.append((one, leaves, max(leaves, comes)))
    timed.sort(key=lambda one: one[1])
    crossed = _crossed(timed)
    for at, (one, leaves, comes) in enumerate(timed):
        both = one.sent is not None and one.received is not None
        yield Flight(one, leaves, comes, whole=not both or (comes - leaves < SLOW and at not in crossed))


def _crossed(timed: Sequence[tuple[Crossing, float, float]]) -> set[int]:
    """Places of segments that were under way at once in both directions, unless both are pure ACKs or data
    with the ACKs of what came before it: those are many, and say nothing by it."""
    found: set[int] = set()
    for at, (one, left, comes) in enumerate(timed):
        if comes - left >= SLOW:
            continue  # it has two rungs anyway, as those that it crosses
        for later in range(at + 1, len(timed)):
            other, leaves, _ = timed[later]
            if leaves >= comes:
                break
            if other.sender != one.sender and _telling(one) and _telling(other):
                found |= {at, later}
    return found


def _telling(one: Crossing) -> bool:
    segment = one.segment
    return bool(segment.flags & TELLING or segment.length)


def _of_flight(flight: Flight) -> Iterator[Moment]:
    if flight.whole:
        yield Moment(flight.leaves, "whole", flight)
        return
    yield Moment(flight.leaves, "leaves", flight, "leaves")
    yield Moment(flight.comes, "comes", flight, "comes")


# Calls.


def _calls(history: History) -> Iterator[Moment]:
    """One rung for a call that is over at once, two for one that waited: its end may be what came."""
    telling = [one.segment.t for one in history.crossings if _telling(one)]
    for event in history.events:
        if event.source != "call" or event.end is None or event.kind == "state":
            continue
        duration = words.duration_of(event)
        ended = event.t + duration
        waited = duration >= BLOCKED or (
            event.kind in ("connect", "accept") and any(event.t <= t <= ended for t in telling)
        )
        if waited:
            begin = Moment(event.t, "begin")
            begin.beside(event.end).append(Word(words.begun(event), "call"))
            yield begin
        late = waited or event.kind in ("recv", "accept", "connect")
        end = Moment(ended if late else event.t, "end" if late else "begin")
        end.beside(event.end).append(_called(event))
        if event.kind in ("send", "recv") and not words.failed(event):
            end.verb, end.size = event.kind, words.bytes_of(event)
        yield end


def _told(history: History) -> Iterator[Moment]:
    """What the kernel says of segments, where nobody has seen them."""
    for event in history.events if not history.crossings else ():
        if event.source == "tracepoint" and event.kind != "state" and event.end is not None:
            moment = Moment(event.t, "state")
            moment.beside(event.end).append(Word(harmless(event.kind), "call"))
            yield moment


def _called(event: Event) -> Word:
    return Word(words.called(event), "failed" if words.failed(event) else "call")


def _said(around: Iterable[Event]) -> Iterator[Moment]:
    for event in around:
        if event.source in AROUND:
            yield Moment(event.t, "across", across=words.said(event))


# States.

Touch = tuple[float, bool, Moment, int]  # when, whether it left that end, its rung, the segment's flags


def _touching(found: Iterable[Moment]) -> dict[Side, list[Touch]]:
    """The segments that left each end, or came to it."""
    by_side: dict[Side, list[Touch]] = {"client": [], "server": []}
    for moment in found:
        flight = moment.flight
        if not isinstance(flight, Flight):
            continue
        flags, sender = flight.crossing.segment.flags, flight.sender
        receiver: Side = "server" if sender == "client" else "client"
        if moment.part != "comes" and flight.crossing.sent is not None:
            by_side[sender].append((flight.leaves, True, moment, flags))
        if moment.part != "leaves" and flight.crossing.received is not None:
            by_side[receiver].append((flight.comes, False, moment, flags))
    return by_side


def _states(side: Side, end: EndHistory | None, touching: Sequence[Touch], mark: Mark) -> Iterator[Moment]:
    """Each state stands beside the segment that made it, where one did; else it has a rung of its own."""
    for span in end.spans if end else ():
        word, cause = _state(span, mark(side, end, span)), _cause(span, touching)
        if cause is not None:
            cause.beside(side).append(word)
            continue
        moment = Moment(span.began, "state")
        if span.error >= ROUGH:
            word = word._replace(text=f"{word.text} ±{words.seconds(span.error)}")
        moment.beside(side).append(word)
        yield moment
    last = end.spans[-1] if end and end.spans else None
    if last is not None and last.ended is not None and last.state not in ("CLOSE", UNKNOWN):
        moment = Moment(last.ended, "state")
        moment.beside(side).append(Word(words.GONE, "state"))
        yield moment


def _state(span: Span, mark: str) -> Word:
    if span.state == UNKNOWN:
        return Word(f"? {mark}".rstrip(), "unknown")
    return Word(f"{span.state} {mark}".rstrip(), "state")


def _cause(span: Span, touching: Sequence[Touch]) -> Moment | None:
    """The nearest segment that leads to the state (RFC 9293, 3.3.2)."""
    allowed = span.error + TOGETHER
    near = [
        (abs(t - span.began), at)
        for at, (t, left, _, flags) in enumerate(touching)
        if abs(t - span.began) <= allowed and _leads(span.state, left, flags)
    ]
    return touching[min(near)[1]][2] if near else None


def _leads(state: str, left: bool, flags: int) -> bool:
    """Whether a segment with these flags that left an end (or came to it) puts it into the state."""
    came = not left
    wanted: dict[str, tuple[bool, int]] = {
        "FIN_WAIT1": (left, FIN),
        "LAST_ACK": (left, FIN),
        "SYN_RECV": (came, SYN),
        "ESTABLISHED": (came, ACK),
        "FIN_WAIT2": (came, ACK),
        "CLOSE_WAIT": (came, FIN),
        "CLOSING": (came, FIN),
        "TIME_WAIT": (came, FIN | ACK),
        "CLOSE": (came or bool(flags & RST), RST | ACK),
    }
    if state == "SYN_SENT":
        return left and flags & (SYN | ACK) == SYN
    way, any_of = wanted.get(state, (False, 0))
    return way and bool(flags & any_of)
