"""Whatever a recording holds, a timeline comes of it that is one: from random records, most of which no
kernel would make."""

from __future__ import annotations

import random

import pytest
from msgspec import structs

from orchestrator.join.timeline import timeline
from orchestrator.model.events import EndHistory, Timeline
from orchestrator.model.recording import Address, CallMade, Change, Look, Loss, Recording, Segment, Sighting
from orchestrator.model.rows import STATES
from tests.unit.join.scripts import watched
from tests.unit.join.worlds import ALICE, PLAN, WEB

LENGTH = 10.0
HOSTS = {"alice": ALICE, "web": WEB, "edge": "10.20.1.1", "nowhere": "192.0.2.7"}
VERBS = ("socket", "connect", "accept", "send", "recv", "shutdown", "close", "reset", "dup", "fork", "listen")
ERRORS = (None, None, None, "ECONNRESET", "ETIMEDOUT", "ECONNREFUSED", "EINPROGRESS", "EAGAIN")
KINDS = ("state", "state", "state", "reset-sent", "reset-received", "retransmit", "retransmit-synack")


class Chance:
    """Makes records."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def time(self) -> float:
        """Often one that something else has too."""
        return round(self.random.random() * LENGTH, self.random.choice((0, 1, 3, 6)))

    def end(self) -> Address:
        """Few, so that records meet."""
        return self.random.choice(list(HOSTS.values())), self.random.choice((0, 80, 40000))

    def host(self) -> str:
        """Any."""
        return self.random.choice(list(HOSTS))

    def number(self) -> int:
        """A sequence number, around the places where they go round."""
        return (self.random.choice((0, 100, 2**31, 2**32 - 3)) + self.random.randrange(6)) & 0xFFFFFFFF

    def segment(self) -> Segment:
        """One."""
        chance = self.random
        return Segment(
            self.time(),
            self.host(),
            chance.choice(("eth0", "eth1", "lo")),
            chance.random() < 0.5,
            self.end(),
            self.end(),
            chance.choice((2, 18, 16, 24, 17, 4, 20, 0, 3, 255)),
            self.number(),
            self.number(),
            chance.choice((0, 0, 1, 5, 70_000)),
            chance.choice((0, 1, 500, 65535)),
        )

    def change(self) -> Change:
        """One."""
        states = [*STATES.values(), None, "NEW"]
        return Change(
            t=self.time(),
            host=self.host(),
            kind=self.random.choice(KINDS),
            cookie=self.random.choice((None, 1, 2, 3)),
            local=self.end(),
            peer=self.end(),
            old=self.random.choice(states),
            new=self.random.choice(states),
        )

    def sighting(self) -> Sighting:
        """One."""
        at = self.time()
        return Sighting(
            began=at,
            ended=at + self.random.choice((0.0, 0.001, 0.5)),
            host=self.host(),
            local=self.end(),
            peer=self.end(),
            state=self.random.choice([*STATES.values(), "NEW"]),
            inode=self.random.randrange(4),
            cookie=self.random.choice((None, 1, 2, 3)),
            connection=self.random.choice((None, "000000000001", "000000000002")),
        )

    def call(self) -> CallMade:
        """One."""
        chance = self.random
        return CallMade(
            t=self.time(),
            duration=chance.choice((0.0, 0.001, 3.0)),
            host=self.host(),
            verb=chance.choice(VERBS),
            text="x: shutdown write",
            name=chance.choice((None, "a", "b")),
            fd=chance.choice((None, 4, 5)),
            inode=chance.choice((None, 1, 2)),
            local=chance.choice((None, self.end())),
            peer=chance.choice((None, self.end())),
            errno=chance.choice(ERRORS),
            timed_out=chance.random() < 0.1,
        )

    def recording(self) -> Recording:
        """Some of everything."""
        chance = self.random
        many = [chance.choice((0, 3, 40)) for _ in range(5)]
        watches = watched(
            chance.choice(("packet", "tracepoint")), "alice", "web", ended=chance.choice((4.0, 10.0))
        )
        losses = (Loss(source="packet", stage="ring", host="web", began=2.0, ended=3.0),)
        return Recording(
            lab="any",
            engine="fake",
            began=0.0,
            length=LENGTH,
            plan=PLAN,
            segments=tuple(self.segment() for _ in range(many[0])),
            changes=tuple(self.change() for _ in range(many[1])),
            sightings=tuple(self.sighting() for _ in range(many[2])),
            calls=tuple(self.call() for _ in range(many[3])),
            looks=tuple(Look(host="alice", began=at, ended=at) for at in map(float, range(many[4] % 11))),
            watches=watches if chance.random() < 0.8 else (),
            losses=losses if chance.random() < 0.3 else (),
        )


@pytest.mark.parametrize("seed", range(300))
def test_a_timeline_comes_of_it(seed: int) -> None:
    one = Chance(seed).recording()
    found = timeline(one)
    check(found, one)
    shuffled = random.Random(seed).sample(one.segments, len(one.segments))
    assert timeline(structs.replace(one, segments=tuple(shuffled))).histories == found.histories


def check(found: Timeline, one: Recording) -> None:
    """What holds of every timeline."""
    times = [event.t for event in found.events]
    assert times == sorted(times)
    ids = [history.id for history in found.histories]
    assert len(ids) == len(set(ids))
    known = set(ids)
    assert {event.connection for event in found.events} <= known | {None}
    assert sum(event.source == "call" and event.kind != "state" for event in found.events) == len(one.calls)
    for history in found.histories:
        assert history.client is not None or history.server is not None
        assert history.began <= history.ended
        for end in (history.client, history.server):
            if end is not None:
                check_end(end)
        for event in history.events:
            assert event.connection == history.id
            event.document()


def check_end(end: EndHistory) -> None:
    """Its spans follow each other, and no state follows itself."""
    for before, after in zip(end.spans, end.spans[1:], strict=False):
        assert before.state != after.state
        assert before.ended == after.began
        assert before.began <= after.began
    assert all(span.error >= 0 for span in end.spans)
    assert not end.spans or end.spans[-1].ended is None
