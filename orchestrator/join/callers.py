"""Which calls were made on which socket: by inode, by the descriptor's name, by the addresses it had, and
when.

An inode is one socket's at a time, and used again; a call that closes has only the name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter

from orchestrator.model.recording import Address, CallMade

_OPENS = ("socket", "accept")


class Called:
    """A socket of an agent, and the calls on it, in order. `names`: of every descriptor that it has had.
    `holders`: names that are open still. `shared`: by a child of a fork too."""

    __slots__ = (
        "began",
        "calls",
        "connects",
        "ended",
        "fd",
        "holders",
        "host",
        "inode",
        "local",
        "names",
        "peer",
        "shared",
    )

    def __init__(self, host: str, inode: int | None) -> None:
        self.host, self.inode = host, inode
        self.began = self.ended = 0.0  # when it was asked for, or had been made; and its last call's end
        self.connects = False  # it is of a connection, or tries to be
        self.local: Address | None = None
        self.peer: Address | None = None
        self.fd: int | None = None
        self.calls: list[CallMade] = []
        self.names: dict[str, None] = {}
        self.holders: set[str] = set()
        self.shared = False

    @property
    def opened(self) -> bool:
        """Whether it was of a connection, by what its calls answered."""
        return any(call.verb in ("connect", "accept") and call.errno is None for call in self.calls)

    @property
    def accepted(self) -> bool:
        """Whether it came of an accept."""
        return any(call.verb == "accept" for call in self.calls)

    def add(self, call: CallMade) -> None:
        """A call on it."""
        ended = call.t + call.duration
        if not self.calls:
            self.began = call.t
        if call.verb in ("connect", "accept") and not self.connects:
            self.connects = True
            self.began = ended if call.verb == "accept" else call.t
        self.ended = max(self.ended, ended) if self.calls else ended
        self.calls.append(call)
        self.local = call.local or self.local
        self.peer = call.peer or self.peer
        if call.fd is not None and self.fd is None:
            self.fd = call.fd
        if call.verb == "fork":
            self.shared = True
        if call.name is None:
            return
        if call.verb in ("close", "reset"):
            self.holders.discard(call.name)
        else:
            self.names[call.name] = None
            self.holders.add(call.name)

    def closes(self, call: CallMade) -> bool:
        """Whether with this call its program lets go of the connection: no other descriptor is open."""
        if call.errno is not None or self.shared:
            return False
        if call.verb == "shutdown":
            return "read" not in call.text.split()
        if call.verb not in ("close", "reset"):
            return False
        return not any(
            other.name != call.name and other.t < call.t and not self._closed(other.name, call.t)
            for other in self.calls
            if other.name is not None
        )

    def _closed(self, name: str | None, by: float) -> bool:
        return any(
            call.verb in ("close", "reset") and call.name == name and call.t < by for call in self.calls
        )


def called(calls: Iterable[CallMade]) -> tuple[list[Called], list[CallMade]]:
    """Sockets with their calls, and the calls that were on none."""
    return _Sorting().run(sorted(calls, key=attrgetter("t", "duration", "host", "verb", "line")))


class _Sorting:
    def __init__(self) -> None:
        self._found: list[Called] = []
        self._others: list[CallMade] = []
        self._by_inode: dict[tuple[str, int], Called] = {}
        self._by_name: dict[tuple[str, str], Called] = {}

    def run(self, calls: Iterable[CallMade]) -> tuple[list[Called], list[CallMade]]:
        for call in calls:
            if call.verb == "fork":
                for one in self._of_host(call.host):
                    one.shared = True
            socket = self._socket(call)
            if socket is None:
                self._others.append(call)
                continue
            socket.add(call)
            if call.name is not None:
                self._by_name[call.host, call.name] = socket
        return self._found, self._others

    def _of_host(self, host: str) -> Iterator[Called]:
        return (one for one in self._found if one.host == host and one.holders)

    def _socket(self, call: CallMade) -> Called | None:
        if call.verb == "accept" and call.errno is not None:
            return None
        if call.inode is None:
            return self._by_name.get((call.host, call.name)) if call.name is not None else None
        known = self._by_inode.get((call.host, call.inode))
        if known is None or call.verb in _OPENS or _another(known, call):
            known = self._by_inode[call.host, call.inode] = Called(call.host, call.inode)
            self._found.append(known)
        return known


def _another(known: Called, call: CallMade) -> bool:
    """Whether the inode is used again: by a socket with other addresses, when the first was closed."""
    if known.peer is not None and call.peer is not None:
        return (known.local, known.peer) != (call.local, call.peer)
    return not known.holders and bool(known.names) and call.verb == "connect"
