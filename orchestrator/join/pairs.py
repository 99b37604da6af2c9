"""Which two rows are the two ends of one connection: by their addresses, within the space where those are
unique.

The rules: FACTS of the kernel's reading (a table is not one instant, so a tuple may stand in it twice), and
that a wrong pair is worse than two rows with an end missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from orchestrator.join.ids import Known
from orchestrator.join.spaces import Space, Spaces
from orchestrator.join.translations import Path, Translations
from orchestrator.model.rows import SocketEntry

Key = tuple[Space, str, int, str, int]  # space, local address and port, peer's address and port

# RFC 9293, 3.3.2: whoever is in TIME_WAIT has the other end's FIN and the acknowledgement of its own; whoever
# is in
# SYN_SENT has had no answer. With any other state at the other end these are two incarnations of the tuple.
_ONLY_WITH = {
    "TIME_WAIT": frozenset({"TIME_WAIT", "LAST_ACK", "CLOSING"}),
    "SYN_SENT": frozenset({"SYN_SENT", "SYN_RECV"}),
}
# Of one socket seen twice the row furthest on is the later one.
_STAGE = (
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT1",
    "CLOSE_WAIT",
    "FIN_WAIT2",
    "CLOSING",
    "LAST_ACK",
)


class Pair(NamedTuple):
    """Two ends, or one. `path`: the translations from `first` to `second`, and `first` is then the client."""

    first: SocketEntry
    second: SocketEntry | None
    path: Path = ()
    reverse: bool = False  # a lone server's end behind translations: `path` leads back to its client
    doubtful: bool = False  # the tables contradict each other: a second look decides


def compatible(a: str, b: str) -> bool:
    """Whether two states can be those of one connection's ends at (about) one time."""
    only_a, only_b = _ONLY_WITH.get(a), _ONLY_WITH.get(b)
    return (only_a is None or b in only_a) and (only_b is None or a in only_b)


def pairs(
    entries: Iterable[SocketEntry], spaces: Spaces, translations: Translations, known: Known
) -> Iterator[Pair]:
    """Every entry (give it no LISTEN rows) in exactly one pair; one of each tuple seen twice."""
    return Pairing(entries, spaces, translations, known).run()


class Pairing:
    """The state of one run of `pairs`."""

    def __init__(
        self, entries: Iterable[SocketEntry], spaces: Spaces, translations: Translations, known: Known
    ) -> None:
        self._spaces, self._translations, self._known = spaces, translations, known
        self._by_key: dict[Key, SocketEntry] = {}
        self._twice: set[Key] = set()
        for entry in entries:
            self._add(entry)
        self._left: dict[Key, SocketEntry] = dict(self._by_key)

    def _add(self, entry: SocketEntry) -> None:
        key = (
            self._spaces.space(entry.host, entry.address),
            entry.address,
            entry.port,
            entry.peer_address,
            entry.peer_port,
        )
        before = self._by_key.get(key)
        if before is not None:
            self._twice.add(key)
            entry = later(before, entry)
        self._by_key[key] = entry

    def run(self) -> Iterator[Pair]:
        """Translated ones first, for a translation says for certain who is whose; then mirrored tuples; the
        rest."""
        if self._translations:
            yield from self._translated()
        yield from self._mirrored()
        yield from self._inside_hosts()
        yield from self._alone()

    def _translated(self) -> Iterator[Pair]:
        for key, entry in self._by_key.items():
            if key not in self._left or not self._translations.starts(key[0], *_ends(entry)):
                continue
            for path in self._translations.onward(key[0], *_ends(entry)):
                mate = self._behind(path, key[0])
                if mate is not None and self._fits(entry, self._left[mate]):
                    yield self._take(key, mate, path)
                    break

    def _behind(self, path: Path, space: Space) -> Key | None:
        client, server = path[-1].new_client, path[-1].new_server
        for where in (space, path[-1].host):
            key = (where, *server, *client)
            if key in self._left:
                return key
        return None

    def _mirrored(self) -> Iterator[Pair]:
        for key in self._by_key:
            if key not in self._left:
                continue
            space, address, port, peer_address, peer_port = key
            mate = (space, peer_address, peer_port, address, port)
            if mate in self._left and (mate == key or self._fits(self._left[key], self._left[mate])):
                yield self._take(key, mate)

    def _inside_hosts(self) -> Iterator[Pair]:
        """Both ends in one host, one of them at an address that the plan does not know."""
        inside = {(entry.host, *key[1:]): key for key, entry in self._left.items()}
        for mirrored, key in inside.items():
            host, address, port, peer_address, peer_port = mirrored
            mate = inside.get((host, peer_address, peer_port, address, port))
            if mate is None or mate == key or key not in self._left or mate not in self._left:
                continue
            if self._fits(self._left[key], self._left[mate]):
                yield self._take(key, mate)

    def _alone(self) -> Iterator[Pair]:
        for key, entry in self._left.items():
            if not self._translations:
                yield Pair(entry, None, doubtful=key in self._twice)
                continue
            onward = self._longest(self._translations.onward(key[0], *_ends(entry)))
            back = self._longest(self._translations.back(key[0], *_ends(entry)))
            yield Pair(entry, None, onward or back, bool(back and not onward), key in self._twice)

    @staticmethod
    def _longest(paths: Iterable[Path]) -> Path:
        return max(paths, key=len, default=())

    def _take(self, key: Key, mate: Key, path: Path = ()) -> Pair:
        first = self._left.pop(key)
        second = first if mate == key else self._left.pop(mate)
        doubtful = key in self._twice or mate in self._twice
        return Pair(first, second, path, False, doubtful)

    def _fits(self, a: SocketEntry, b: SocketEntry) -> bool:
        if compatible(a.state, b.state):
            return True
        ids = self._known.of(a), self._known.of(b)
        return ids[0] is not None and ids[0] == ids[1]


def _ends(entry: SocketEntry) -> tuple[tuple[str, int], tuple[str, int]]:
    return (entry.address, entry.port), (entry.peer_address, entry.peer_port)


def later(a: SocketEntry, b: SocketEntry) -> SocketEntry:
    """Of one tuple seen twice in a table, the row to believe until a second look.

    One socket (by its cookie, else its inode) went on while it was read: the state furthest on. Of two
    sockets the TIME_WAIT is the old one, and the one with an inode is more than the request that it came
    from.
    """
    same = a.cookie == b.cookie if a.cookie and b.cookie else bool(a.inode) and a.inode == b.inode
    return max(a, b, key=_progress if same else _liveness)


def _progress(entry: SocketEntry) -> tuple[int, int, int]:
    return _stage(entry.state), entry.inode, entry.cookie or 0


def _liveness(entry: SocketEntry) -> tuple[bool, int, int, int]:
    return entry.state != "TIME_WAIT", entry.inode, _stage(entry.state), entry.cookie or 0


def _stage(state: str) -> int:
    return _STAGE.index(state) if state in _STAGE else len(_STAGE)
