"""Which two sockets are the two ends of one connection: each has received the other's first
sequence number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from orchestrator.join import roles
from orchestrator.join.incarnations import Life
from orchestrator.join.spaces import Space, Spaces
from orchestrator.join.translations import Translations
from orchestrator.model.recording import ACK, SYN, Address


class Mates(NamedTuple):
    """A connection's sockets, as far as there is any sign of them. One at least is not None."""

    client: Life | None
    server: Life | None


class Mating:
    """Finds for each life its mate."""

    def __init__(self, found: Sequence[Life], spaces: Spaces, translations: Translations) -> None:
        self._spaces, self._translations = spaces, translations
        self._lives = found
        self._at: dict[tuple[Space, Address, Address], list[Life]] = {}
        for life in found:
            self._at.setdefault(self._key(life), []).append(life)

    def _key(self, life: Life) -> tuple[Space, Address, Address]:
        return self._spaces.space(life.host, life.local[0]), life.local, life.peer

    def run(self) -> Iterator[Mates]:
        """Every life in exactly one of these, by when it began."""
        left = {id(life): life for life in self._lives}
        for life in sorted(self._lives, key=lambda one: one.began):
            if left.pop(id(life), None) is None:
                continue
            mate = next((one for one in self._candidates(life) if id(one) in left and fits(life, one)), None)
            if mate is not None:
                left.pop(id(mate))
            yield self._mates(life, mate)

    def _candidates(self, life: Life) -> Iterator[Life]:
        space, local, peer = self._key(life)
        yield from self._at.get((space, peer, local), ())
        if not self._translations:
            return
        for path in self._translations.onward(space, local, peer):
            for where in (space, path[-1].host):
                yield from self._at.get((where, path[-1].new_server, path[-1].new_client), ())
        for path in self._translations.back(space, local, peer):
            for where in (space, path[0].host):
                yield from self._at.get((where, path[0].client, path[0].server), ())

    def _mates(self, life: Life, mate: Life | None) -> Mates:
        return Mates(life, mate) if is_client(life, mate) else Mates(mate, life)


def fits(a: Life, b: Life) -> bool:
    """Whether both can be of one incarnation."""
    if a is b:
        return False
    known = [(one, other) for one, other in ((a.iss, b.irs), (b.iss, a.irs)) if None not in (one, other)]
    if known:
        return all(one == other for one, other in known)
    return a.began <= b.ended + 1.0 and b.began <= a.ended + 1.0


def is_client(life: Life, mate: Life | None) -> bool:
    """Whether it is the first's SYN that was answered."""
    for one, answer in ((life, True), (mate, False)):
        said = None if one is None else _opened(one)
        if said is not None:
            return said is answer
    side = roles.Side(life.host, *life.local, None, False)
    other = roles.Side(mate.host if mate else "", *life.peer, None, False)
    return roles.first_is_client(side, other)[0]


def _opened(life: Life) -> bool | None:
    for change in life.changes:
        if change.new in ("SYN_SENT", "SYN_RECV"):
            return change.new == "SYN_SENT"
    for segment in life.segments:
        if segment.flags & SYN:
            return (segment.source == life.local) is not bool(segment.flags & ACK)
    return None


def order(found: Iterable[Mates]) -> list[Mates]:
    """By the first sign of either end."""
    return sorted(found, key=lambda mates: min(life.began for life in mates if life is not None))
