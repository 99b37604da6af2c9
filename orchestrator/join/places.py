"""Records of one host about one tuple, put together: what each socket's place in a lab has sent, received
and been seen in. Which of them are one socket is `incarnations`' to say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter, lt

from orchestrator.join.spaces import Spaces, is_loopback
from orchestrator.model.plan import Plan
from orchestrator.model.recording import Address, Change, Recording, Segment, Sighting

Key = tuple[str, Address, Address]  # host, the socket's own address and port, and its peer's


class Place:
    """A tuple, as one host has it; its records in the order of their times."""

    __slots__ = ("changes", "host", "local", "peer", "segments", "sightings")

    def __init__(self, host: str, local: Address, peer: Address) -> None:
        self.host, self.local, self.peer = host, local, peer
        self.segments: list[Segment] = []
        self.changes: list[Change] = []
        self.sightings: list[Sighting] = []


class Places:
    """All of a recording. `forwarded`: segments that only passed a router. `nameless`: changes of sockets
    whose port is not known. `listens`: (host, port) where something has listened."""

    def __init__(self, plan: Plan, spaces: Spaces, recording: Recording) -> None:
        self._routers = {host.name for host in plan.hosts if host.kind == "router"}
        self._spaces = spaces
        self._own: dict[tuple[str, str], bool] = {}
        self.found: dict[Key, Place] = {}
        self.forwarded: list[Segment] = []
        self.nameless: list[Change] = []
        self.listens = frozenset(_listening(recording, plan))
        self._passing: set[Key] = set()
        self._senders: set[tuple[str, str]] = set()

    def pass_by(self, host: str, first: Address, second: Address) -> None:
        """What has this tuple at this router is translated there: it is not the router's own."""
        self._passing.add((host, first, second))
        self._passing.add((host, second, first))

    def place(self, host: str, local: Address, peer: Address) -> Place:
        """The one of this tuple."""
        key = (host, local, peer)
        found = self.found.get(key)
        if found is None:
            found = self.found[key] = Place(host, local, peer)
        return found

    def add(self, recording: Recording) -> None:
        """Every record that is of one tuple."""
        self._senders = {(one.host, one.source[0]) for one in recording.segments if one.outgoing}
        self._segments(_in_order(recording.segments))
        changes = sorted(recording.changes, key=attrgetter("t", "host", "local", "peer", "kind"))
        ports = {(one.host, one.cookie): one.local for one in changes if one.cookie and one.local[1]}
        for change in changes:
            if "LISTEN" in (change.old, change.new) and change.new != "SYN_RECV":
                self.nameless.append(change)  # of a socket that listens
                continue
            local: Address | None = change.local
            if not change.local[1]:  # a port is chosen after SYN_SENT (net/ipv4/tcp_ipv4.c, tcp_v4_connect)
                local = ports.get((change.host, change.cookie)) if change.cookie else None
            if local is None:
                self.nameless.append(change)
            else:
                self.place(change.host, local, change.peer).changes.append(change)
        for sighting in sorted(
            recording.sightings, key=attrgetter("began", "ended", "host", "local", "peer")
        ):
            if sighting.state != "LISTEN":
                self.place(sighting.host, sighting.local, sighting.peer).sightings.append(sighting)

    def _segments(self, segments: Iterable[Segment]) -> None:
        found = self.found
        for segment in segments:
            host = segment.host
            inside = segment.device == "lo"
            if segment.outgoing or inside:
                local, peer = segment.source, segment.target
            else:
                local, peer = segment.target, segment.source
            key = (host, local, peer)
            place = found.get(key)
            if place is None:
                if not self._is_end(key):
                    if host in self._routers:
                        self.forwarded.append(segment)
                    continue
                place = self.place(host, local, peer)
            place.segments.append(segment)
            if inside and local != peer:
                self.place(host, peer, local).segments.append(segment)

    def _is_end(self, key: Key) -> bool:
        """Whether a socket of the host itself can have this tuple. Not what a router forwards, or a bridge
        shows to all that are on it."""
        host, local, _ = key
        if key in self._passing:
            return False
        own = self._own.get((host, local[0]))
        if own is None:
            own = self._own[host, local[0]] = self._has(host, local[0])
        return own

    def _has(self, host: str, address: str) -> bool:
        """Whether the address is the host's: by the plan, or since it sends from there what nobody else's
        address is."""
        if is_loopback(address):
            return True
        owner = self._spaces.owner(host, address)
        if owner is not None or host in self._routers:
            return owner == host
        return (host, address) in self._senders


def _listening(recording: Recording, plan: Plan) -> Iterator[tuple[str, int]]:
    """(host, port) of every listener that is known of."""
    for host in plan.hosts:
        yield from ((host.name, one.port) for one in host.listen)
    yield from ((one.host, one.local[1]) for one in recording.sightings if one.state == "LISTEN")
    yield from (
        (call.host, call.local[1]) for call in recording.calls if call.verb == "listen" and call.local
    )


def _in_order(segments: Sequence[Segment]) -> Sequence[Segment]:
    """By their times, which are in order already as a rule; those of one time in an order of their own."""
    times = [segment.t for segment in segments]
    if all(map(lt, times, times[1:])):
        return segments
    return sorted(segments, key=attrgetter("t", "host", "outgoing", "seq", "ack"))
