"""Which records of one tuple are one socket's: a tuple is used again, by another SYN with another first
sequence number (RFC 9293, 3.4.1), or by another cookie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from orchestrator.join.callers import Called
from orchestrator.join.places import Key, Place, Places
from orchestrator.model.recording import ACK, RST, SYN, Address, CallMade, Change, Segment, Sighting

_MASK = 0xFFFFFFFF
SLACK = (
    0.005  # seconds: a tracepoint's change comes before the SYN that it leads to, while a route is looked up
)
_BEGINNINGS = {("CLOSE", "SYN_SENT"), ("LISTEN", "SYN_RECV")}


class Life:
    """One socket at one end, from the first sign of it to the last. `iss`, `irs`: the first sequence numbers
    that it sent and received, where they were seen."""

    __slots__ = (
        "called",
        "changes",
        "cookie",
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

    @property
    def began(self) -> float:
        """The first sign."""
        firsts = []
        if self.segments:
            firsts.append(self.segments[0].t)
        if self.changes:
            firsts.append(self.changes[0].t)
        if self.sightings:
            firsts.append(self.sightings[0].began)
        if self.called is not None:
            firsts.append(self.called.began)
        return min(firsts)

    @property
    def ended(self) -> float:
        """The last."""
        lasts = []
        if self.segments:
            lasts.append(self.segments[-1].t)
        if self.changes:
            lasts.append(self.changes[-1].t)
        if self.sightings:
            lasts.append(self.sightings[-1].ended)
        if self.called is not None:
            lasts.append(max(call.t + call.duration for call in self.called.calls))
        return max(lasts)

    @property
    def address(self) -> Address:
        """Its own."""
        return self.local


def lives(place: Place) -> list[Life]:
    """The sockets that had this tuple, in order."""
    found = _Split(place).run(place.segments)
    for words in _sockets(place.changes):
        life = _near(found, words[0].t, words[-1].t, SLACK)
        if life is None or life.changes:
            life = Life(place)
            found.append(life)
        life.changes.extend(words)
        life.cookie = next((word.cookie for word in words if word.cookie), None)
    for sighting in place.sightings:
        _seen(place, found, sighting)
    found.sort(key=lambda life: life.began)
    return found


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
            return current or self._new(iss=before)
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


def _socket_of(found: list[list[Change]], change: Change) -> list[Change] | None:
    if (change.old, change.new) in _BEGINNINGS:
        return None
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
    for socket in sockets:
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
    free = [life for life in near if life.called is None]
    if free:
        began = socket.began
        # an accept comes after its life's first sign, a connect is that
        before = [life for life in free if life.began <= began + SLACK]
        if socket.accepted:
            return before[-1] if before else None
        return min(free, key=lambda life: abs(life.began - began))
    if peer is None or not socket.opened:
        return None
    life = Life(places.place(host, local, peer))
    found.setdefault((host, local, peer), []).append(life)
    return life


def _near(found: Sequence[Life], began: float, ended: float, slack: float) -> Life | None:
    """The last that had begun by then; else the first that begins before they end."""
    for life in reversed(found):
        if life.began <= began + slack:
            return life
    return next((life for life in found if life.began <= ended + slack), None)


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
