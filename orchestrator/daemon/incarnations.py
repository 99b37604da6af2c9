"""Which incarnation of a connection a socket belongs to, by its cookie (sock_diag(7)).

Clients come and go; the daemon remembers for them. Bounded: the oldest are forgotten first.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable

from orchestrator import errors

MOST = 1 << 21  # both ends of a million connections
_RECORD = struct.Struct("<QQ")  # cookie, id


class Incarnations:
    """Cookies and the ids of their connections. Told by the loop and asked by a snapshot's thread."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._ids: dict[int, int] = {}  # in the order in which they were learnt

    def remember(self, records: bytes) -> int:
        """Learn these; how many are known now."""
        if len(records) % _RECORD.size:
            raise errors.ProtocolError("records of another size")
        with self._lock:
            for cookie, number in _RECORD.iter_unpack(records):
                self._ids.pop(cookie, None)
                self._ids[cookie] = number
            for cookie in list(self._ids)[: max(0, len(self._ids) - self._most)]:
                del self._ids[cookie]
            return len(self._ids)

    def known(self, cookies: Iterable[int]) -> bytes:
        """The records of those that are known."""
        ids, pack = self._ids, _RECORD.pack
        if not ids:
            return b""
        with self._lock:
            return b"".join([pack(cookie, ids[cookie]) for cookie in cookies if cookie in ids])
