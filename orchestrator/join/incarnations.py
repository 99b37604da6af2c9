"""Which records of one tuple are one socket's: a tuple is used again, by another SYN with another first
sequence number (RFC 9293, 3.4.1), or by another cookie."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from orchestrator.join.callers import Called
from orchestrator.join.places import Key, Place, Places
from orchestrator.model.recording import ACK, RST, SYN, Address, CallMade, Change, Segment, Sighting

_MASK = 0xFFFFFFFF
SLACK = (
    0.005  # seconds: a tracepoint's change comes before the SYN that it leads to, while a route is looked up
)
NEAR = 1.0  # seconds from a look to the next
INFINITE = float("inf")
_BEGINNINGS = {("CLOSE", "SYN_SENT"), ("LISTEN", "SYN_RECV")}


class Life:
    """One socket at one end, from the first sign of it to the last. `iss`, `irs`: the first sequence numbers
    that it sent and received, where they were seen."""

    __slots__ = (
        "after",
        "began",
        "called",
        "changes",
        "cookie",
        "ended",
        "host",
        "irs",
        "iss",
        "local",
        "peer",
        "segments",
        "sightings",
    )

    def __init__(self, place: Place, iss: int | None = None, irs: int | None = None) -> None:
        self.host, self.local, self.peer = place.host, place.local, place.peer
        self.iss, self.irs = iss, irs
        self.segments: list[Segment] = []
        self.changes: list[Change] = []
        self.sightings: list[Sighting] = []
        self.cookie: int | None = None
        self.called: Called | None = None
        self.began = self.ended = 0.0  # the first sign of it and the last, once it is complete
        self.after: Life | None = None  # the next that had this tuple

    def first(self) -> float:
        """The first sign of it, by what it has so far."""
        first = INFINITE
        if self.segments:
            first = self.segments[0].t
        if self.changes:
            first = min(first, self.changes[0].t)
        if self.sightings:
            first = min(first, self.sightings[0].ended)
        if self.called is not None:
            first = min(first, self.called.began)
        return first

    def _last(self) -> float:
        last = -INFINITE
        if self.segments:
            last = self.segments[-1].t
        if self.changes:
            last = max(last, self.changes[-1].t)
        if self.sightings:
            last = max(last, self.sightings[-1].ended)
        if self.called is not None:
            last = max(last, self.called.ended)
        return last

    def complete(self) -> None:
        """It has all that there is of it."""
        self.began = self.first()
        self.ended = max(self.began, self._last())

    @property
    def asked_again(self) -> float | None:
        """When a SYN of another socket came or went first: it ends a TIME_WAIT, whether it is answered or not
        (net/ipv4/tcp_ipv4.c, TCP_TW_SYN)."""
        after = self.after
        first = after.segments[0] if after is not None and after.segments else None
        return first.t if first is not None and first.flags & SYN else self.used_again

    @property
    def used_again(self) -> float | None:
        """When the next socket with this tuple was there: at a listener not before a SYN is answered."""
        later = self.after
        while later is not None:
            if not later.segments:
                return later.began
            for segment in later.segments:
                if segment.flags & SYN and segment.source == later.local:
                    return segment.t
            later = later.after
        return None


def lives(place: Place) -> list[Life]:
    """The sockets that had this tuple, in order."""
    found = _Split(place).run(place.segments)
    for words in _sockets(place.changes):
        if _in_vain(words, place.segments):
            continue
        life = _near(found, words[0].t, words[-1].t, SLACK)
        if life is None or life.changes:
            life = Life(place)
            found.append(life)
        life.changes.extend(words)
        life.cookie = next((word.cookie for word in words if word.cookie), None)
    for sighting in _telling(place.sightings):
        _seen(place, found, sighting)
    if len(found) < 2:
        return found
    found.sort(key=Life.first)
    for before, after in itertools.pairwise(found):
        before.after = after
    return found


def _telling(sightings: Sequence[Sighting]) -> Iterator[Sighting]:
    """Of those that show the same one after the other the first and the last: looks follow each other at 3
    ms."""
    before: Sighting | None = None
    kept: Sighting | None = None
    for one in sightings:
        if kept is None or _shown(one) != _shown(kept):
            if before is not kept and before is not None:
                yield before
            kept = one
            yield one
        before = one
    if before is not kept and before is not None:
        yield before


def _shown(one: Sighting) -> tuple[object, ...]:
    return one.state, one.cookie, one.inode, one.rx_queue, one.tx_queue, one.timer


class _Split:
    """Segments of a tuple, told apart by their SYNs. A SYN that came is a request until it is answered."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._found: list[Life] = []
        self._current: Life | None = None
        self._requests: dict[int, Life] = {}

    def run(self, segments: Sequence[Segment]) -> list[Life]:
        """One life for each that shows in them."""
        local = self._place.local
        for segment in segments:
            if segment.flags & (SYN | RST):
                life = self._turn(segment, segment.source == local)
            else:
                life = self._current or self._new()
            life.segments.append(segment)
        return self._found

    def _new(self, iss: int | None = None, irs: int | None = None) -> Life:
        life = self._current = Life(self._place, iss, irs)
        self._found.append(life)
        return life

    def _turn(self, segment: Segment, sent: bool) -> Life:  # noqa: PLR0911
        flags, before = segment.flags, (segment.ack - 1) & _MASK
        if not flags & SYN:
            if sent and flags & ACK and before in self._requests:
                return self._requests[before]  # a request that is refused
            return self._current or self._new()
        if not sent:
            return self._came(segment, before)
        current = self._current
        if current is not None and current.iss == segment.seq:
            return current
        if not flags & ACK:
            return self._new(iss=segment.seq)
        asked = self._requests.get(before)
        if asked is None or asked.iss is not None:
            return self._new(iss=segment.seq, irs=before)
        asked.iss = segment.seq
        self._current = asked
        return asked

    def _came(self, segment: Segment, before: int) -> Life:
        current = self._current
        if segment.flags & ACK:
            life = current or self._new(iss=before)
            if life.iss == before and life.irs is None:
                life.irs = segment.seq
            return life
        if current is not None and (current.irs == segment.seq or _opens(current)):
            current.irs = segment.seq
            return current
        asked = self._requests.get(segment.seq)
        if asked is None:
            asked = self._requests[segment.seq] = Life(self._place, irs=segment.seq)
            self._found.append(asked)
            self._current = current or asked
        return asked


def _opens(life: Life) -> bool:
    """Whether it has sent a SYN and nothing has come yet."""
    return life.iss is not None and all(segment.source == life.local for segment in life.segments)


def _sockets(changes: Sequence[Change]) -> Iterator[list[Change]]:
    """The changes of each socket, in order of their first."""
    found: list[list[Change]] = []
    for change in changes:
        words = _socket_of(found, change)
        if words is None:
            found.append([change])
        else:
            words.append(change)
    return iter(found)


def _in_vain(words: Sequence[Change], segments: Sequence[Segment]) -> bool:
    """Whether connect(2) failed before a SYN was sent, as where another socket has this tuple: it was in
    SYN_SENT for the length of a look into the hash table (net/ipv4/tcp_ipv4.c, tcp_v4_connect)."""
    states = [(word.old, word.new) for word in words if word.kind == "state"]
    if states != [("CLOSE", "SYN_SENT"), ("SYN_SENT", "CLOSE")]:
        return False
    began, ended = words[0].t, words[-1].t
    at = bisect_left(segments, began, key=lambda one: one.t)
    return ended - began < SLACK and not (at < len(segments) and segments[at].t <= ended)


def _socket_of(found: list[list[Change]], change: Change) -> list[Change] | None:
    if (change.old, change.new) in _BEGINNINGS:
        request = found[-1] if found else []
        only_sent = all(word.kind == "retransmit-synack" for word in request)
        return request if request and only_sent and change.old == "LISTEN" else None
    for words in reversed(found):
        if change.cookie is None or words[0].cookie in (None, change.cookie):
            return words
    return None


def attach(sockets: Iterable[Called], places: Places, found: dict[Key, list[Life]]) -> Iterator[CallMade]:
    """Give each life the calls that were made on its socket; the calls of the others are left."""
    by_local: dict[tuple[str, Address], list[Life]] = {}
    for some in found.values():
        for life in some:
            by_local.setdefault((life.host, life.local), []).append(life)
    connecting = [one for one in sockets if not one.accepted]
    accepted = [one for one in sockets if one.accepted]
    connecting.sort(key=lambda one: -one.began)  # the last first: what was seen before it is another's
    for socket in (*connecting, *accepted):
        owner = _of(socket, places, found, by_local)
        if owner is None:
            yield from socket.calls
        else:
            owner.called = socket


def _of(
    socket: Called,
    places: Places,
    found: dict[Key, list[Life]],
    by_local: dict[tuple[str, Address], list[Life]],
) -> Life | None:
    if socket.local is None or not socket.connects or (socket.peer is None and socket.accepted):
        return None
    host, local, peer = socket.host, socket.local, socket.peer
    near = by_local.get((host, local), []) if peer is None else found.get((host, local, peer), [])
    began, accepted = socket.began, socket.accepted
    free = []
    for life in near:
        if life.called is None:
            first = life.first()  # an accept comes after it, a connect is it
            if first <= began + SLACK if accepted else first >= began - SLACK:
                free.append(life)
    if len(free) == 1:
        return free[0]
    if accepted and not free:  # or it was not seen before that, for nobody looked
        unheard = [
            one
            for one in near
            if one.called is None
            and not one.segments
            and not one.changes
            and one.first() <= socket.ended + NEAR
        ]
        return min(unheard, key=Life.first, default=None) or _made(socket, places, found)
    if free:
        return max(free, key=Life.first) if accepted else min(free, key=Life.first)
    return _made(socket, places, found)


def _made(socket: Called, places: Places, found: dict[Key, list[Life]]) -> Life | None:
    """One of which nothing but its calls is known."""
    host, local, peer = socket.host, socket.local, socket.peer
    if local is None or peer is None or not socket.opened:
        return None
    life = Life(places.place(host, local, peer))
    found.setdefault((host, local, peer), []).append(life)
    return life


def _near(found: Sequence[Life], began: float, ended: float, slack: float) -> Life | None:
    """The last that had begun by then; else the first that begins before they end."""
    for life in reversed(found):
        if life.first() <= began + slack:
            return life
    return next((life for life in found if life.first() <= ended + slack), None)


def _seen(place: Place, found: list[Life], sighting: Sighting) -> None:
    cookie = sighting.cookie
    life = None
    if cookie is not None:
        life = next((one for one in found if one.cookie == cookie), None)
    if life is None:
        life = _near(
            [one for one in found if cookie is None or one.cookie is None], sighting.ended, sighting.ended, 0
        )
    if life is None:
        life = Life(place)
        found.append(life)
    life.sightings.append(sighting)
    if cookie is not None:
        life.cookie = cookie
