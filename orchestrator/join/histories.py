"""Both ends of a connection to its history: states, what crossed, what happened, who closed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter

from orchestrator.join import happened, ids
from orchestrator.join.apart import Apart
from orchestrator.join.closing import Ends, closing
from orchestrator.join.crossings import ON_THE_WAY, Expected, crossings, in_order
from orchestrator.join.incarnations import Life
from orchestrator.join.mates import Mates
from orchestrator.join.packet_states import whole
from orchestrator.join.spaces import Spaces
from orchestrator.join.states import EndStates, States
from orchestrator.join.watching import Watching
from orchestrator.model.events import Crossing, EndHistory, Event, History, Side, Span
from orchestrator.model.recording import FIN, RST, SYN, Recording, Segment

Isns = Sequence[int | None]
_NOTHING = EndStates((), None)


class Histories:
    """Made one after the other, in the order of their first signs: a tuple without cookie that is used again
    gets another number."""

    def __init__(
        self, recording: Recording, spaces: Spaces, watching: Watching, states: States, apart: Apart
    ) -> None:
        self._apart = apart
        self._length = watching.length
        self._spaces, self._watching, self._states = spaces, watching, states
        self._numbers: dict[str, int] = {}

    def of(self, mates: Mates) -> History:
        """One connection's."""
        client, server = mates
        at_client, at_server = (self._states.of(life) if life else _NOTHING for life in mates)
        ends = (self._end(client, server, at_client), self._end(server, client, at_server))
        isns = _isn(client, server), _isn(server, client)
        number = self._number(mates)
        crossed = self._crossed(mates, (at_client, at_server))
        events: list[Event] = []
        if client is not None:
            events += self._events(client, ends[0], number, "client", isns)
        if server is not None:
            events += self._events(server, ends[1], number, "server", isns[::-1])
        events.sort(key=attrgetter("t"))
        one = client or server
        assert one is not None
        began, ended = mates.began, mates.ended
        return History(
            id=number,
            client=ends[0],
            server=ends[1],
            began=began,
            ended=ended,
            client_address=one.local if one is client else one.peer,
            server_address=one.peer if one is client else one.local,
            crossings=crossed,
            events=tuple(events),
            closing=closing(
                crossed,
                self._closes(client, ends[0], began),
                self._closes(server, ends[1], began),
                apart=self._apart.between(ends[0].host, ends[1].host),
            ),
            isn_client=isns[0],
            isn_server=isns[1],
            doubts=self._watching.doubts(
                (end.host for end in ends if end.host), began, self._until(ends, ended)
            ),
        )

    def _until(self, ends: Iterable[EndHistory], ended: float) -> float:
        """Until when something of it may have been missed."""
        for end in ends:
            if end.spans and end.spans[-1].state != "CLOSE":
                return self._length
        return ended

    def _closes(self, life: Life | None, end: EndHistory, began: float) -> Ends:
        if life is None or end.host is None:
            return Ends(life, end, 0.0, False)
        packets = self._states.host(end.host).packets
        return Ends(life, end, packets.error, packets.watched and packets.whole(began, life.ended))

    def _crossed(self, mates: Mates, states: Sequence[EndStates]) -> tuple[Crossing, ...]:
        client, server = mates
        (sent_c, came_c), (sent_s, came_s) = _ways(client), _ways(server)
        again_c, again_s = (one.machine.again if one.machine else () for one in states)
        hosts = (life.host if life is not None else None for life in mates)
        clocks = {"until": self._length, "apart": self._apart.between(*hosts)}
        return in_order(
            crossings("client", sent_c, came_s, again_c, self._expected(server, client), **clocks)
            + crossings("server", sent_s, came_c, again_s, self._expected(client, server), **clocks)
        )

    def _expected(self, receiver: Life | None, sender: Life | None) -> Expected | None:
        """Whether a segment would have been seen at its receiver, had it come."""
        if sender is None:
            return None
        host = receiver.host if receiver else self._spaces.owner(sender.host, sender.peer[0])
        if host is None:
            return None
        packets, length = self._states.host(host).packets, self._length
        off = self._apart.between(host, sender.host)
        everything = packets.everything or (receiver is not None and whole(receiver))
        if not packets.watched:
            return None

        def expected(segment: Segment) -> bool:
            kept = everything or segment.flags & (SYN | FIN | RST)
            return bool(kept) and packets.whole(segment.t - off, min(segment.t + ON_THE_WAY + off, length))

        return expected

    def _end(self, life: Life | None, other: Life | None, states: EndStates) -> EndHistory:
        if life is None:
            assert other is not None
            address, port = other.peer
            return EndHistory(
                host=self._spaces.owner(other.host, address), address=address, port=port, retransmits=None
            )
        socket = life.called
        return EndHistory(
            host=life.host,
            address=life.local[0],
            port=life.local[1],
            spans=states.spans,
            cookie=life.cookie,
            retransmits=self._retransmits(life, states),
            fd=socket.fd if socket else None,
            names=tuple(socket.names) if socket else (),
        )

    def _retransmits(self, life: Life, states: EndStates) -> int | None:
        """By the kernel's own word where that was heard all the time, else by sequence numbers."""
        host, began, ended = self._states.host(life.host), life.began, life.ended
        if life.changes and host.changes.watched and host.changes.whole(began, ended):
            return sum(change.kind in ("retransmit", "retransmit-synack") for change in life.changes)
        if states.machine is None or not host.packets.watched or not host.packets.whole(began, ended):
            return None
        return len(states.machine.again) if host.packets.everything or whole(life) else None

    def _events(self, life: Life, end: EndHistory, number: str, side: Side, isns: Isns) -> list[Event]:
        error = self._states.host(life.host).packets.error
        found = happened.of_segments(life.segments, life.local, number, side, isns, error=error)
        found += [happened.of_span(span, before, end, number, side) for before, span in _changes(end.spans)]
        found += [happened.of_change(one, number, side) for one in life.changes if one.kind != "state"]
        if life.sightings:
            found += happened.of_sightings(life.sightings, number, side)
        if life.called is not None:
            found += [happened.of_call(call, number, side) for call in life.called.calls]
        return [self._apart.stamped(event) for event in found] if self._apart else found

    def _number(self, mates: Mates) -> str:
        """The row's, where it was seen in one; else by a cookie, else by what is known of it. Each once."""
        number = self._found(mates)
        again = self._numbers[number] = self._numbers.get(number, -1) + 1
        return ids.text(ids.hashed((number, again))) if again else number

    def _found(self, mates: Mates) -> str:
        for life in mates:
            for sighting in life.sightings if life is not None else ():
                if sighting.connection is not None:
                    return sighting.connection
        for life in mates:
            if life is not None and life.cookie:
                return ids.text(ids.from_cookie(life.cookie))
        life = mates.client or mates.server
        assert life is not None
        return ids.text(ids.hashed((life.host, life.local, life.peer, life.iss, life.irs)))


def _ways(life: Life | None) -> tuple[list[Segment], list[Segment]]:
    """What it has sent, and what came."""
    if life is None:
        return [], []
    local = life.local
    sent: list[Segment] = []
    came: list[Segment] = []
    for segment in life.segments:
        (sent if segment.source == local else came).append(segment)
    return sent, came


def _isn(life: Life | None, other: Life | None) -> int | None:
    if life is not None and life.iss is not None:
        return life.iss
    return other.irs if other is not None else None


def _changes(spans: Sequence[Span]) -> Iterable[tuple[Span | None, Span]]:
    return zip((None, *spans), spans, strict=False)
