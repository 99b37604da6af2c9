"""Ids of connections (docs/architecture.md): one incarnation of a tuple has one id for as long as it can be
seen."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from itertools import chain

from orchestrator.model.rows import SocketEntry

BITS = 48  # of an id; cookies count up from 1 (net/core/sock_diag.c, sock_gen_cookie)
HASHED = 1 << (BITS - 1)  # set where there was no cookie to take it from
MACHINE = 36  # bits of a cookie; those above say on which machine of several the socket is: 0 is the first
OF_MACHINE = (1 << MACHINE) - 1


class Known:
    """What the daemons remember: the id of a socket's connection, by host and cookie."""

    def __init__(self, by_host: Mapping[str, Mapping[int, int]]) -> None:
        self._by_host = by_host

    def of(self, entry: SocketEntry | None) -> int | None:
        """The id that the socket's connection was given when it was first seen."""
        return None if entry is None else self._of(entry.host, entry.cookie)

    def _of(self, host: str, cookie: int | None) -> int | None:
        return self._by_host.get(host, {}).get(cookie) if cookie else None

    def of_host(self, host: str) -> Mapping[int, int]:
        """Cookie to id, of one host."""
        return self._by_host.get(host, {})

    def number(self, client: SocketEntry | None, server: SocketEntry | None) -> int:
        """A connection's id; where there is no cookie at all, one from what the row says."""
        ends = [(end.host, end.cookie) if end is not None else ("", None) for end in (client, server)]
        found = self.by_cookies(*ends)
        return _hashed(client or server) if found is None else found

    def by_cookies(self, client: tuple[str, int | None], server: tuple[str, int | None]) -> int | None:
        """The id remembered for either end's (host, cookie), else the client's cookie, else the server's."""
        for end in (client, server):
            found = self._of(*end)
            if found is not None:
                return found
        cookie = client[1] or server[1]
        return from_cookie(cookie) if cookie else None


def from_cookie(cookie: int) -> int:
    """The id of a connection that is first seen by this socket."""
    return cookie & (HASHED - 1)


def _hashed(entry: SocketEntry | None) -> int:
    """Without sock_diag(7): of tuple and inode. A tuple used again is told apart only by its inode."""
    if entry is None:
        return HASHED
    return hashed((entry.host, entry.address, entry.port, entry.peer_address, entry.peer_port, entry.inode))


def hashed(known: tuple[object, ...]) -> int:
    """The id of a connection of which no cookie is known: of what is."""
    from hashlib import blake2b  # 10 ms that hardly any look needs

    return HASHED | int.from_bytes(blake2b(repr(known).encode(), digest_size=8).digest()) & (HASHED - 1)


def text(number: int) -> str:
    """How an id is shown: 12 hexadecimal digits."""
    return f"{number & ((1 << BITS) - 1):012x}"


def records(cookies: Iterable[tuple[int, int]]) -> bytes:
    """(cookie, id) as the daemon's `remember` takes them."""
    flat = [*chain.from_iterable(cookies)]
    return struct.pack(f"<{len(flat)}Q", *flat)
