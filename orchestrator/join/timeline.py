"""A recording joined: everything that happened in order, and each connection's part. Pure.

From records to places (a host's tuple), from these to lives (one socket's), to mates (both ends of a
connection), to histories.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter

from orchestrator.garbage import no_collection
from orchestrator.join import happened
from orchestrator.join.apart import Apart
from orchestrator.join.callers import called
from orchestrator.join.histories import Histories
from orchestrator.join.incarnations import Life, attach, lives
from orchestrator.join.mates import Mating, copies
from orchestrator.join.places import Places
from orchestrator.join.spaces import Spaces
from orchestrator.join.stamps import placed
from orchestrator.join.states import States
from orchestrator.join.translations import Translations
from orchestrator.join.watching import Watching, tampered
from orchestrator.model.events import Event, Timeline
from orchestrator.model.plan import LabKey, Plan
from orchestrator.model.recording import Loss, Recording
from orchestrator.model.rows import Translation

NOWHERE = Plan(key=LabKey(owner="", name=""), engine="")


def timeline(
    recording: Recording, plan: Plan | None = None, translations: Iterable[Translation] = ()
) -> Timeline:
    """`plan`: where the recording has none. `translations`: beside those of the recording."""
    with no_collection():
        return _joined(recording, plan or recording.plan or NOWHERE, (*recording.translations, *translations))


def _joined(recording: Recording, plan: Plan, translated: tuple[Translation, ...]) -> Timeline:
    spaces = Spaces(plan)
    translations = Translations(translated, spaces)
    places = Places(plan, spaces, recording)
    for one in translated:
        places.pass_by(one.host, one.client, one.server)
        places.pass_by(one.host, one.new_client, one.new_server)
    places.add(recording)
    found = {key: lives(place) for key, place in places.found.items()}
    sockets, elsewhere = called(recording.calls)
    elsewhere += attach(sockets, places, found)
    flat = _without_copies([life for one in found.values() for life in one], plan, places)
    for life in flat:
        life.complete()
    apart = Apart(recording.clocks)
    mates = Mating(flat, spaces, translations, places.listens, apart).run()
    watching = Watching(recording)
    cookies = frozenset(h.name for h in plan.hosts if h.sysctls.get("net.ipv4.tcp_syncookies") == "2")
    states = States(recording, watching, tampered(recording), cookies)
    histories = Histories(recording, spaces, watching, states, apart)
    joined = tuple(histories.of(one) for one in mates)
    others: list[Event] = [happened.of_call(call, None, None) for call in elsewhere]
    others += [happened.of_said(said) for said in placed(recording)]
    others += [happened.of_change(change, None, None) for change in places.nameless]
    others += happened.of_forwarded(
        places.forwarded, joined, spaces, lambda host: watching.of("packet", host).error
    )
    events = [event for history in joined for event in history.events]
    events += [apart.stamped(event) for event in others] if apart else others
    events.sort(key=attrgetter("t"))
    return Timeline(recording=recording, events=tuple(events), histories=joined, losses=_losses(recording))


def _without_copies(found: list[Life], plan: Plan, places: Places) -> list[Life]:
    """What a router only translates is no socket of it."""
    routers = frozenset(host.name for host in plan.hosts if host.kind == "router")
    if not routers:
        return found
    dropped: Mapping[int, Life] = {id(life): life for life in copies(found, routers)}
    for life in dropped.values():
        places.forwarded += life.segments
    return [life for life in found if id(life) not in dropped]


def _losses(recording: Recording) -> tuple[Loss, ...]:
    return tuple(sorted(recording.losses, key=lambda one: (one.began, one.ended, one.source, one.stage)))
