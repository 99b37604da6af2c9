"""Which two sockets are the two ends of one connection: each has received the other's first sequence number;
where no SYN was seen, each has the other's addresses at the same time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from orchestrator.join import roles
from orchestrator.join.apart import Apart
from orchestrator.join.incarnations import Life
from orchestrator.join.spaces import Space, Spaces
from orchestrator.join.translations import Translations
from orchestrator.model.recording import ACK, SYN, Address

NEAR = 1.0  # seconds that signs of two ends may be apart
Key = tuple[Space, Address, Address]


class Mates(NamedTuple):
    """A connection's sockets, as far as there is any sign of them. One at least is not None."""

    client: Life | None
    server: Life | None

    @property
    def began(self) -> float:
        """The first sign of either."""
        return min(life.began for life in self if life is not None)

    @property
    def ended(self) -> float:
        """The last."""
        return max(life.ended for life in self if life is not None)


class Mating:
    """Finds for each life its mate. `listens`: (host, port) where something was seen to listen."""

    def __init__(
        self,
        found: Sequence[Life],
        spaces: Spaces,
        translations: Translations,
        listens: frozenset[tuple[str, int]] = frozenset(),
        apart: Apart | None = None,
    ) -> None:
        self._apart = apart or Apart()
        self._spaces, self._translations, self._listens = spaces, translations, listens
        self._lives = found
        self._at: dict[Key, list[Life]] = {}
        self._by_irs: dict[int, list[Life]] = {}
        for life in found:
            self._at.setdefault(self._key(life), []).append(life)
            if life.irs is not None:
                self._by_irs.setdefault(life.irs, []).append(life)

    def _key(self, life: Life) -> Key:
        return self._spaces.space(life.host, life.local[0]), life.local, life.peer

    def run(self) -> list[Mates]:
        """Every life in exactly one of these, by their first signs."""
        found: list[Mates] = []
        taken: set[int] = set()
        for life in sorted(self._lives, key=_order):
            if id(life) in taken:
                continue
            taken.add(id(life))
            mate = self._mate(life, taken)
            if mate is not None:
                taken.add(id(mate))
            found.append(self._mates(life, mate))
        return found

    def _mate(self, life: Life, taken: set[int]) -> Life | None:
        near = (one for one in self._candidates(life) if id(one) not in taken)
        fitting = [one for one in near if fits(life, one, self._apart.between(life.host, one.host))]
        if not fitting:
            return None
        return min(fitting, key=lambda one: (not _certain(life, one), abs(one.began - life.began)))

    def _candidates(self, life: Life) -> Iterator[Life]:
        space, local, peer = self._key(life)
        yield from self._at.get((space, peer, local), ())
        if space != life.host:  # both inside of one host, one of them at an address that no plan has
            yield from self._at.get((life.host, peer, local), ())
        if life.iss is not None:  # behind a translation that no conntrack has told of
            for one in self._by_irs.get(life.iss, ()):
                if one.local[1] == peer[1] or one.peer[1] == local[1]:
                    yield one
        if not self._translations:
            return
        for path in self._translations.onward(space, local, peer):
            for where in (space, path[-1].host):
                yield from self._at.get((where, path[-1].new_server, path[-1].new_client), ())
        for path in self._translations.back(space, local, peer):
            for where in (space, path[0].host):
                yield from self._at.get((where, path[0].client, path[0].server), ())

    def _mates(self, life: Life, mate: Life | None) -> Mates:
        return Mates(life, mate) if self._is_client(life, mate) else Mates(mate, life)

    def _is_client(self, life: Life, mate: Life | None) -> bool:
        for one, answer in ((life, True), (mate, False)):
            said = None if one is None else opened(one)
            if said is not None:
                return said is answer
        return roles.first_is_client(self._side(life), self._other(life, mate))[0]

    def _side(self, life: Life) -> roles.Side:
        return roles.Side(life.host, *life.local, None, (life.host, life.local[1]) in self._listens)

    def _other(self, life: Life, mate: Life | None) -> roles.Side:
        if mate is not None:
            return self._side(mate)
        host = self._spaces.owner(life.host, life.peer[0]) or ""
        return roles.Side(host, *life.peer, None, (host, life.peer[1]) in self._listens)


def _order(life: Life) -> tuple[float, str, Address, Address]:
    return life.began, life.host, life.local, life.peer


def fits(a: Life, b: Life, apart: float = 0.0) -> bool:
    """Whether both can be of one incarnation. `apart`: how far their clocks may be apart."""
    if a is b:
        return False
    if _certain(a, b):
        return True
    for one, other in ((a.iss, b.irs), (b.iss, a.irs)):
        if one is not None and other is not None and one != other:
            return False
    rows = [{one.connection for one in life.sightings} - {None} for life in (a, b)]
    if all(rows) and not rows[0] & rows[1]:
        return False
    near = NEAR + apart
    return a.began <= b.ended + near and b.began <= a.ended + near


def _certain(a: Life, b: Life) -> bool:
    return (a.iss is not None and a.iss == b.irs) or (b.iss is not None and b.iss == a.irs)


def opened(life: Life) -> bool | None:
    """Whether it asked for the connection (True) or was asked for it; None: that was not seen."""
    if life.iss is not None or life.irs is not None:
        for segment in life.segments:
            if segment.flags & SYN:
                return (segment.source == life.local) is not bool(segment.flags & ACK)
    for change in life.changes:
        if change.new in ("SYN_SENT", "SYN_RECV"):
            return change.new == "SYN_SENT"
    for sighting in life.sightings:
        if sighting.state == "SYN_SENT":
            return True
    return None if life.called is None else not life.called.accepted


def copies(found: Iterable[Life], routers: frozenset[str]) -> list[Life]:
    """Lives at routers that are no sockets of theirs: another host has sent the very SYN that they seem to
    have sent, which was translated on its way."""
    sent: dict[int, set[str]] = {}
    lives = list(found)
    for life in lives:
        if life.iss is not None:
            sent.setdefault(life.iss, set()).add(life.host)
    return [
        life
        for life in lives
        if life.host in routers and life.iss is not None and sent[life.iss] - {life.host}
    ]
