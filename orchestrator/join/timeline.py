"""A recording joined: everything that happened in order, and each connection's part. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

from orchestrator.garbage import no_collection
from orchestrator.join import happened, ids
from orchestrator.join.closing import closing
from orchestrator.join.crossings import crossings, in_order
from orchestrator.join.incarnations import Life, lives
from orchestrator.join.mates import Mates, Mating, order
from orchestrator.join.places import Places
from orchestrator.join.spaces import Spaces
from orchestrator.join.spans import PACKET_ERROR, spans
from orchestrator.join.tcp import Machine
from orchestrator.join.translations import Translations
from orchestrator.model.events import EndHistory, Event, History, Side, Timeline
from orchestrator.model.plan import LabKey, Plan
from orchestrator.model.recording import Recording, Segment
from orchestrator.model.rows import Translation

NOWHERE = Plan(key=LabKey(owner="", name=""), engine="")


def timeline(
    recording: Recording, plan: Plan | None = None, translations: Iterable[Translation] = ()
) -> Timeline:
    """`plan`: where the recording has none. `translations`: beside those of the recording."""
    with no_collection():
        return _Joining(recording, plan or recording.plan or NOWHERE, translations).run()


class _Joining:
    """The state of one run."""

    def __init__(self, recording: Recording, plan: Plan, translations: Iterable[Translation]) -> None:
        self._recording = recording
        self._spaces = Spaces(plan)
        self._places = Places(plan, self._spaces)
        found = (*recording.translations, *translations)
        self._translations = Translations(found, self._spaces)
        for one in found:
            self._places.pass_by(one.host, one.client, one.server)
            self._places.pass_by(one.host, one.new_client, one.new_server)
        self._events: list[Event] = []

    def run(self) -> Timeline:
        """All of it."""
        self._places.add(self._recording)
        found = [life for place in self._places.found.values() for life in lives(place)]
        mates = order(Mating(found, self._spaces, self._translations).run())
        histories = tuple(self._history(one) for one in mates)
        self._events += [happened.of_call(call, None, None) for call in self._recording.calls]
        self._events += [happened.of_said(said) for said in self._recording.said]
        self._events.sort(key=attrgetter("t", "host", "source", "kind"))
        return Timeline(
            recording=self._recording,
            events=tuple(self._events),
            histories=histories,
            losses=self._recording.losses,
        )

    def _history(self, mates: Mates) -> History:
        client, server = mates
        number = _number(mates)
        client_isn = _isn(client, server)
        server_isn = _isn(server, client)
        machines = [_machine(life) for life in mates]
        events: list[Event] = []
        if client is not None:
            events += _events(client, number, "client", client_isn, server_isn)
        if server is not None:
            events += _events(server, number, "server", server_isn, client_isn)
        events.sort(key=attrgetter("t", "host", "source", "kind"))
        self._events += events
        crossed = in_order(
            crossings("client", *_both(client, server), machines[0].again, watched=False)
            + crossings("server", *_both(server, client), machines[1].again, watched=False)
        )
        known = client or server
        assert known is not None
        there = known.local if known is client else known.peer
        here = known.peer if known is client else known.local
        return History(
            id=number,
            client=self._end(client, machines[0], server),
            server=self._end(server, machines[1], client),
            began=min(life.began for life in mates if life is not None),
            ended=max(life.ended for life in mates if life is not None),
            client_address=there,
            server_address=here,
            crossings=crossed,
            events=tuple(events),
            closing=closing(crossed),
            isn_client=client_isn,
            isn_server=server_isn,
        )

    def _end(self, life: Life | None, machine: Machine, other: Life | None) -> EndHistory:
        if life is None:
            assert other is not None
            address, port = other.peer
            return EndHistory(host=self._spaces.owner(other.host, address), address=address, port=port)
        return EndHistory(
            host=life.host,
            address=life.local[0],
            port=life.local[1],
            spans=spans(machine.steps, "packet", PACKET_ERROR),
            cookie=life.cookie,
            retransmits=len(machine.again),
        )


def _events(life: Life, number: str, side: Side, isn: int | None, other: int | None) -> list[Event]:
    local = life.local
    found = [
        happened.of_segment(one, sent=True, connection=number, end=side, first=isn, other=other)
        if one.source == local
        else happened.of_segment(one, sent=False, connection=number, end=side, first=other, other=isn)
        for one in life.segments
    ]
    found += [happened.of_change(change, number, side) for change in life.changes]
    found += happened.of_sightings(life.sightings, number, side)
    return found


def _machine(life: Life | None) -> Machine:
    machine = Machine()
    if life is not None:
        sent = 0
        for segment in life.segments:
            if segment.source == life.local:
                machine.sent(segment, sent)
                sent += 1
            else:
                machine.received(segment)
    return machine


def _both(sender: Life | None, receiver: Life | None) -> tuple[list[Segment], list[Segment]]:
    sent = [one for one in sender.segments if one.source == sender.local] if sender else []
    came = [one for one in receiver.segments if one.source != receiver.local] if receiver else []
    return sent, came


def _isn(life: Life | None, other: Life | None) -> int | None:
    if life is not None and life.iss is not None:
        return life.iss
    return other.irs if other is not None else None


def _number(mates: Mates) -> str:
    for life in mates:
        if life is not None:
            for sighting in life.sightings:
                if sighting.connection is not None:
                    return sighting.connection
    for life in mates:
        if life is not None and life.cookie:
            return ids.text(ids.from_cookie(life.cookie))
    return ids.text(ids.HASHED | hash_of(mates))


def hash_of(mates: Mates) -> int:
    """Of what is known of it, where nothing has given it a number."""
    from hashlib import blake2b

    life = mates.client or mates.server
    assert life is not None
    said = (life.host, life.local, life.peer, life.iss, life.irs, life.began)
    return int.from_bytes(blake2b(repr(said).encode(), digest_size=8).digest()) & (ids.HASHED - 1)
