"""A whole recording: whose is what, across routers and names, in any order of its records."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import structs

from orchestrator.join.timeline import timeline
from orchestrator.model.events import Event, Timeline
from orchestrator.model.plan import Plan
from orchestrator.model.recording import Address, Loss, Recording, Said, Segment, Sighting
from orchestrator.model.rows import Translation
from tests.unit.join.scripts import ENDS, call, history, joined, packets, recording, seen, told, watched
from tests.unit.join.test_kernel_words import KERNEL
from tests.unit.join.test_tcp import CLOSED_BY_CLIENT, OPENED
from tests.unit.join.worlds import ALICE, EDGE_IN, EDGE_OUT, PLAN, WEB

ROUTED = structs.replace(
    PLAN, hosts=tuple(structs.replace(h, kind="router") if h.name == "edge" else h for h in PLAN.hosts)
)
BEHIND: Address = (EDGE_OUT, 61000)  # alice's port, as the router's masquerading shows it
MASQUERADED = Translation(
    host="edge", client=ENDS["alice"], server=ENDS["web"], new_client=BEHIND, new_server=ENDS["web"]
)


def at_router(segments: Sequence[Segment], in_: str, out: str, after: float = 5e-6) -> list[Segment]:
    """How a router sees what comes in by one interface and goes out by another."""
    found = []
    for one in segments:
        if one.outgoing:
            came = structs.replace(one, t=one.t + after, host="edge", device=in_, outgoing=False)
            found += [came, structs.replace(came, t=came.t + after, device=out, outgoing=True)]
    return found


def masqueraded(text: str) -> tuple[Segment, ...]:
    """Alice's connection to web through a router that puts its own address for hers."""
    inside = packets(text)
    found = []
    for one in inside:
        if one.host == "web":
            source, target = (BEHIND if end == ENDS["alice"] else end for end in (one.source, one.target))
            found.append(structs.replace(one, source=source, target=target))
        else:
            found.append(one)
    from_alice = [one for one in inside if one.host == "alice" and one.outgoing]
    for one in at_router(from_alice, "eth0", "eth1"):
        found.append(structs.replace(one, source=BEHIND) if one.outgoing else one)
    from_web = [one for one in inside if one.host == "web" and one.outgoing]
    for one in at_router(from_web, "eth1", "eth0"):
        found.append(one if one.outgoing else structs.replace(one, target=BEHIND))
    return tuple(found)


def through_router(translations: tuple[Translation, ...]) -> Timeline:
    """Of such a connection."""
    watches = watched("packet", "alice", "web", "edge")
    one = recording(watches=watches, translations=translations)
    return timeline(structs.replace(one, segments=masqueraded(CLOSED_BY_CLIENT), plan=ROUTED))


@pytest.mark.parametrize("told_by", ["conntrack", "numbers"])
def test_both_ends_behind_a_translation_are_one_connection(told_by: str) -> None:
    """By what the router's conntrack said, or by the first sequence numbers, which no translation changes."""
    (found,) = through_router((MASQUERADED,) if told_by == "conntrack" else ()).histories
    assert found.client is not None
    assert found.server is not None
    assert (found.client.host, found.server.host) == ("alice", "web")
    assert found.client.states[-1] == "TIME_WAIT"
    assert found.server.states[-1] == "CLOSE"
    assert all(one.sent and one.received for one in found.crossings)
    assert (found.client_address, found.server_address) == (ENDS["alice"], ENDS["web"])


def test_what_a_router_forwards_is_an_event_of_the_connection() -> None:
    watches = watched("packet", "alice", "web", "edge")
    plain = packets(OPENED)
    passed = [one for one in plain if one.outgoing]
    segments = (*plain, *at_router(passed, "eth0", "eth1"))
    found = timeline(structs.replace(recording(watches=watches), segments=segments, plan=ROUTED))
    (one,) = found.histories
    forwarded = [event for event in found.events if event.kind == "forwarded"]
    assert len(forwarded) == 6
    assert {(event.connection, event.end) for event in forwarded} == {(one.id, None)}


def test_a_routers_own_connections_are_its_own() -> None:
    ends = {"edge": (EDGE_IN, 50000), "alice": (ALICE, 22)}
    segments = packets(OPENED.replace("alice", "x").replace("web", "alice").replace("x", "edge"), ends)
    watches = watched("packet", "alice", "edge")
    (found,) = timeline(structs.replace(recording(watches=watches), segments=segments, plan=ROUTED)).histories
    assert found.client is not None
    assert found.client.host == "edge"


def test_equal_addresses_in_networks_without_a_common_router() -> None:
    """`twin` has alice's address in a network of its own, and talks to another server by the same tuple."""
    plan = PLAN
    ends = {"twin": (ALICE, 40000), "twin-web": ("10.20.1.80", 80)}
    numbers = {"twin": 1000, "twin-web": 2000}
    text = OPENED.replace("alice", "twin").replace("web", "twin-web")
    segments = (*packets(OPENED), *packets(text, ends, numbers))
    watches = watched("packet", "alice", "web", "twin", "twin-web")
    found = timeline(structs.replace(recording(watches=watches), segments=segments, plan=plan)).histories
    pairs = {(one.client.host, one.server.host) for one in found if one.client and one.server}
    assert pairs == {("alice", "web"), ("twin", "twin-web")}
    assert len({one.id for one in found}) == 2


def test_a_frame_that_a_bridge_shows_to_all_is_of_nobody_there() -> None:
    first = packets(OPENED)[1]
    flooded = structs.replace(first, host="bob", t=first.t - 1e-6)
    found = timeline(structs.replace(recording(OPENED), segments=(*packets(OPENED), flooded)))
    assert len(found.histories) == 1
    assert not any(event.host == "bob" for event in found.events)


def test_inside_of_one_host() -> None:
    """On lo a packet is seen once, as it comes in, and is of both ends."""
    ends = {"alice": ("127.0.0.1", 40000), "web": ("127.0.0.1", 80)}
    inside = [one for one in packets(CLOSED_BY_CLIENT, ends) if one.outgoing]
    segments = tuple(structs.replace(one, host="alice", device="lo", outgoing=False) for one in inside)
    (found,) = timeline(structs.replace(recording(), segments=segments)).histories
    assert found.client is not None
    assert found.server is not None
    assert found.client.states[-1] == "TIME_WAIT"
    assert found.server.states[-1] == "CLOSE"
    assert all(one.sent == one.received for one in found.crossings)


def test_an_end_outside_of_the_lab() -> None:
    ends = {**ENDS, "web": ("192.0.2.1", 443)}
    segments = tuple(one for one in packets(OPENED, ends) if one.host == "alice")
    (found,) = timeline(structs.replace(recording(), segments=segments)).histories
    assert found.server is not None
    assert (found.server.host, found.server.address, found.server.port) == (None, "192.0.2.1", 443)
    assert found.client is not None
    assert found.client.states == ("SYN_SENT", "ESTABLISHED")


def test_an_id_is_that_of_the_row() -> None:
    rows = (seen(0.05, "alice", "ESTABLISHED", cookie=7, connection="00000000abcd"),)
    assert history(CLOSED_BY_CLIENT, sightings=rows).id == "00000000abcd"
    unnamed = (seen(0.05, "alice", "ESTABLISHED", cookie=7),)
    assert history(CLOSED_BY_CLIENT, sightings=unnamed).id == "000000000007"


def test_who_listens_is_the_server_where_nobody_saw_who_began() -> None:
    rows = (
        structs.replace(seen(1.0, "alice", "ESTABLISHED"), local=(ALICE, 9)),
        structs.replace(seen(1.0, "web", "ESTABLISHED"), peer=(ALICE, 9)),
    )
    listens = structs.replace(seen(1.0, "web", "LISTEN"), peer=("0.0.0.0", 0))
    (found,) = joined(sightings=(*rows, listens)).histories
    assert found.client is not None
    assert found.client.host == "alice"


# Events.


def of_kind(events: Sequence[Event], *kinds: str) -> list[Event]:
    """Those events."""
    return [event for event in events if event.kind in kinds]


def test_events_are_in_order_and_say_whose_they_are() -> None:
    note = Said(t=0.15, host="", source="note", kind="note", text="now it closes")
    calls = (
        call(0.0, "alice", "connect"),
        call(0.09, "alice", "close"),
        call(0.0, "bob", "listen", name="l"),
    )
    found = joined(CLOSED_BY_CLIENT, calls=calls, said=(note,))
    times = [event.t for event in found.events]
    assert times == sorted(times)
    assert {event.source for event in found.events} == {"packet", "call", "note"}
    (one,) = found.histories
    whose = {
        (event.kind, event.connection, event.end) for event in of_kind(found.events, "connect", "listen")
    }
    assert whose == {("connect", one.id, "client"), ("listen", None, None)}


def test_an_event_of_a_packet_has_relative_numbers() -> None:
    events = of_kind(history(CLOSED_BY_CLIENT).events, "sent")
    assert [(e.detail["flags"], e.detail["seq"], e.detail.get("ack")) for e in events[:3]] == [
        ("SYN", 0, None),
        ("SYN ACK", 0, 1),
        ("ACK", 1, 1),
    ]


def test_every_step_is_an_event() -> None:
    found = history(CLOSED_BY_CLIENT)
    assert found.client is not None
    steps = [event for event in of_kind(found.events, "state") if event.end == "client"]
    assert tuple(event.detail["state"] for event in steps) == found.client.states
    assert [event.t for event in steps] == [span.began for span in found.client.spans]


def test_a_look_is_an_event_where_it_shows_something_new() -> None:
    rows = tuple(seen(at / 100, "alice", "ESTABLISHED", rx_queue=at // 5) for at in range(1, 10))
    assert len(of_kind(history(CLOSED_BY_CLIENT, sightings=rows).events, "seen")) == 2


def test_the_document_of_an_event_is_the_contracts() -> None:
    event = of_kind(history(CLOSED_BY_CLIENT).events, "sent")[0].document()
    assert list(event)[:8] == ["t", "error_s", "machine", "host", "source", "connection", "end", "kind"]


# The order in which records come in.


def mixed() -> Recording:
    """Something of every source."""
    segments = (*masqueraded(CLOSED_BY_CLIENT),)
    rows: list[Sighting] = [seen(at / 50, "alice", "ESTABLISHED", cookie=11) for at in range(1, 5)]
    rows += [seen(0.5 + at / 50, "alice", "TIME_WAIT", cookie=11) for at in range(5)]
    more: dict[str, Any] = {
        "changes": tuple(structs.replace(c, peer=BEHIND) if c.host == "web" else c for c in told(KERNEL)),
        "calls": (call(0.0, "alice", "connect"), call(0.0999, "alice", "close")),
        "sightings": tuple(rows),
        "said": (Said(t=0.3, host="web", source="log", kind="line", text="closed"),),
        "losses": (
            Loss(source="packet", stage="ring", host="alice", count=1, began=0.12, ended=0.13),
            Loss(source="tracepoint", stage="pipe", count=None, began=0.4, ended=0.5),
        ),
        "watches": watched("packet", "alice", "web", "edge") + watched("tracepoint", "alice", "web"),
        "translations": (MASQUERADED,),
    }
    return structs.replace(recording(**more), segments=segments, plan=ROUTED)


@pytest.mark.parametrize("seed", range(20))
def test_the_order_of_arrival_changes_nothing(seed: int) -> None:
    one, chance = mixed(), random.Random(seed)
    expected = timeline(one)
    shuffled = {
        name: tuple(chance.sample(records, len(records)))
        for name in ("segments", "calls", "changes", "sightings", "looks", "said", "watches", "losses")
        if (records := getattr(one, name)) is not None
    }
    found = timeline(structs.replace(one, **shuffled))
    assert found.events == expected.events
    assert found.histories == expected.histories
    assert found.losses == expected.losses


def test_nothing_at_all() -> None:
    empty = Recording(lab="x", engine="fake", began=0.0, length=0.0)
    assert timeline(empty) == Timeline(recording=empty, events=(), histories=())


def test_without_a_plan_every_host_is_alone() -> None:
    found = timeline(structs.replace(recording(OPENED), plan=None))
    assert {one.client.host for one in found.histories if one.client} <= {"alice", "web", None}


def test_the_plan_may_be_given_beside() -> None:
    bare = structs.replace(recording(OPENED), plan=None)
    plan: Plan = PLAN
    assert timeline(bare, plan).histories == timeline(recording(OPENED)).histories
    assert ENDS["web"] == (WEB, 80)
