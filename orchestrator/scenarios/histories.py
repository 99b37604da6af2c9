"""Which connections of a timeline an expectation is about, and how one is told as evidence. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from orchestrator.join.apart import Apart
from orchestrator.model.events import UNKNOWN, EndHistory, History, Side, Span, Timeline
from orchestrator.model.recording import Address
from orchestrator.model.rows import endpoint
from orchestrator.model.steps import Between
from orchestrator.scenarios.observation import Descriptor
from orchestrator.scenarios.rows import is_address, plain

MOST_SPANS = 16  # of one end, told as evidence
MOST_DOUBTS = 3
EVERYWHERE = ("0.0.0.0", "::")
EARLY = 0.001  # seconds by which a clock of calls and one of packets may differ within one computer


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """When something was, in seconds of the recording, known to `error` to both sides. `why`: it is not
    known. `host`: whose machine says so, where there are several: `clock` is how far its clock may be off,
    which does not matter beside another moment of that machine."""

    at: float = 0.0
    error: float = 0.0
    host: str | None = None
    clock: float = 0.0
    why: str = ""


def told_by(moment: Moment, host: str | None, apart: Apart) -> Moment:
    """With the clock that it was told by."""
    if not apart or host is None or moment.why:
        return moment
    return msgspec.structs.replace(moment, host=host, clock=apart.error(host))


def end_of(history: History, side: Side) -> EndHistory | None:
    """One of its ends."""
    return history.client if side == "client" else history.server


def side_of(history: History, host: str, local: Address) -> Side | None:
    """Which end a socket of this host with this address is. A server behind a translation has an address of
    its own, and so has a client that is translated."""
    for side in _SIDES:
        end = end_of(history, side)
        if end is not None and end.host == host and is_at(local, (end.address, end.port)):
            return side
    return None


def is_at(local: Address, address: Address) -> bool:
    """Whether a socket with this own address has that one. After a failed connect it has but the port."""
    return local[1] == address[1] and local[0] in (address[0], *EVERYWHERE)


def of_descriptor(host: str, name: str, one: Descriptor, timeline: Timeline) -> list[History]:
    """The connections that it may be an end of: one, unless its addresses were used again and nothing tells
    which time was its."""
    numbered = [history for history in timeline.histories if history.id == one.connection]
    if numbered:
        return numbered
    local = own_address(one)
    peer = None if one.peer is None else (plain(one.peer[0]), one.peer[1])
    if local is None:
        return [] if peer is None else _called(host, name, peer, timeline)
    found = [h for h in timeline.histories if _is_end(h, host, local, peer)]
    named = [h for h in found if name in _names(h, host, local)]
    return _latest(named) if named else [h for h in found if not _names(h, host, local)]


def own_address(one: Descriptor) -> Address | None:
    """None where it has none (yet)."""
    return None if one.local is None or not one.local[1] else (plain(one.local[0]), one.local[1])


def _called(host: str, name: str, peer: Address, timeline: Timeline) -> list[History]:
    """By when it was to be connected: what began during that call, and was to be connected there."""
    calls = [
        one
        for one in timeline.recording.calls
        if (one.host, one.verb) == (host, "connect") and one.name in (name, None)
    ]
    if not calls:
        return []
    call = max(calls, key=lambda one: one.t)
    return [
        history
        for history in timeline.histories
        if history.client is not None
        and history.client.host == host
        and history.server_address == peer
        and call.t - EARLY <= history.began <= call.t + call.duration
    ]


def _is_end(history: History, host: str, local: Address, peer: Address | None) -> bool:
    side = side_of(history, host, local)
    if side is None or peer is None:
        return side is not None
    if side == "client":
        return history.server_address == peer
    client = history.client
    behind = client is not None and client.host is not None  # it may be translated on the way
    return behind or history.client_address == peer


def _names(history: History, host: str, local: Address) -> tuple[str, ...]:
    side = side_of(history, host, local)
    end = end_of(history, side) if side else None
    return end.names if end else ()


def _latest(found: list[History]) -> list[History]:
    """The last connection under a name: it is that of the descriptor which has the name now."""
    return [max(found, key=lambda one: one.began)]


def between(subject: Between, timeline: Timeline) -> list[History]:
    """The connections from a host to a port of a host, in the order of their beginnings. What is left of
    one that had ended before is none."""
    server = subject.client if subject.server.host == "localhost" else subject.server.host
    found = [
        one
        for one in timeline.histories
        if _is_between(one, subject.client, server, subject.server.port) and not _is_left(one)
    ]
    return sorted(found, key=lambda one: one.began)


def _is_left(history: History) -> bool:
    """Nothing is known of it but a row in TIME_WAIT."""
    states = {state for end in (history.client, history.server) if end for state in end.states}
    return bool(states) and states <= {"TIME_WAIT", "CLOSE", UNKNOWN} and "TIME_WAIT" in states


def _is_between(history: History, client: str, server: str, port: int) -> bool:
    if history.client is None or history.client.host != client:
        return False
    if history.server_address[1] == port and is_address(server):
        return plain(server) in (history.server_address[0], history.server.address if history.server else "")
    end = history.server
    return end is not None and end.host == server and port in (end.port, history.server_address[1])


# As evidence.


def told(history: History) -> Iterator[str]:
    """Both ends over time, what closed it, and what is not certain."""
    for side in _SIDES:
        yield f"{side} {_end(end_of(history, side))}"
    yield closing(history)
    yield from history.doubts[:MOST_DOUBTS]


def _end(end: EndHistory | None) -> str:
    if end is None:
        return "was not seen"
    where = f"{end.host} " if end.host else ""
    spans = [span_told(span) for span in end.spans[:MOST_SPANS]]
    more = [f"… {len(end.spans) - MOST_SPANS} more"] if len(end.spans) > MOST_SPANS else []
    return f"{where}{endpoint(end.address, end.port)}: {', '.join([*spans, *more]) or 'no state is known'}"


def span_told(span: Span) -> str:
    """A state and since when; what another source says, or why it is not known."""
    others = [f"{one.source} says {one.state}" for one in span.otherwise]
    why = [span.why] if span.why and span.state == UNKNOWN else []
    more = f" ({', '.join([*others, *why])})" if others or why else ""
    return f"{span.state} at {seconds(span.began)}{more}"


def closing(history: History) -> str:
    """Who closed, by what and when."""
    one = history.closing
    if not one.known:
        return f"who closed it is not known: {one.why}"
    if one.first is None and one.by is None:
        return "not closed"
    first = f"first to close: {one.first}, " if one.first else ""
    when = "" if one.at is None else f" at {seconds(one.at)}"
    return f"{first}closed by {one.by or 'what is not known'}{when}"


def seconds(moment: float) -> str:
    """A moment of the timeline, to the microsecond."""
    return f"{moment:.6f} s"


_SIDES: tuple[Side, Side] = ("client", "server")
