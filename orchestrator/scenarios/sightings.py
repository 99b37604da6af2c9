"""What looks have shown, for a recording: whole tables, each kept when it differs from the one before.

Looks follow each other at some ms and mostly show the same. Of a host's looks that do, the first and the last
are kept, so that it is known how long it was so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from orchestrator.join.connections import Joined
from orchestrator.join.snapshot import HostTables
from orchestrator.model.recording import Look, Loss, Sighting
from orchestrator.model.rows import SocketEntry, Translation

Moment = Callable[[str, float], float]  # from a host and seconds of its machine
MOST = 200_000  # sightings
MOST_TRANSLATIONS = 100_000


class Kept:
    """Records of a source, up to a bound; those beyond it are counted."""

    def __init__(self, source: Any, most: int) -> None:
        self.records: list[Any] = []
        self.beyond = 0
        self._source, self._most, self._since = source, most, 0.0

    def add(self, records: Any, now: float) -> None:
        """As many as there is room for."""
        room = self._most - len(self.records)
        self.records += records[:room]
        if len(records) > room:
            self._since = self._since if self.beyond else now
            self.beyond += len(records) - room

    def loss(self, now: float) -> Loss:
        """What there was no room for."""
        return Loss(source=self._source, stage="bound", count=self.beyond, began=self._since, ended=now)


class Seen(msgspec.Struct, frozen=True):
    """As a recording has it."""

    sightings: tuple[Sighting, ...]
    looks: tuple[Look, ...]
    translations: tuple[Translation, ...]


class _Table(msgspec.Struct):
    """A host's table as it was last seen, and how often the same was seen since it was kept."""

    how: tuple[Any, ...]
    entries: Sequence[SocketEntry]
    ids: dict[Any, str]
    began: float = 0.0
    ended: float = 0.0
    again: bool = False


class Sightings:
    """All looks of a recording."""

    def __init__(self) -> None:
        self._kept = Kept("snapshot", MOST)
        self._looks: list[Look] = []
        self._tables: dict[str, _Table] = {}
        self._translations: dict[Translation, None] = {}

    @property
    def beyond(self) -> int:
        """How many there was no room for."""
        return self._kept.beyond

    def loss(self, now: float) -> Loss:
        """Of these."""
        return self._kept.loss(now)

    def saw(self, tables: Iterable[HostTables], joined: Joined, moment: Moment) -> None:
        """One look; `moment`: from its times to those of the recording."""
        ids: dict[Any, str] = {}
        for one in tables:
            how = tuple(_how(entry) for entry in one.entries)
            began, ended = moment(one.host, one.taken.began), moment(one.host, one.taken.ended)
            before = self._tables.get(one.host)
            if before is not None and before.how == how:
                before.began, before.ended, before.again = began, ended, True
                continue
            if before is not None and before.again:
                self._keep(one.host, before)
            ids = ids or _ids(joined)
            table = self._tables[one.host] = _Table(how, one.entries, ids, began, ended)
            self._keep(one.host, table)
            if one.translations and len(self._translations) < MOST_TRANSLATIONS:
                self._translations |= dict.fromkeys(one.translations)

    def taken(self) -> Seen:
        """All of them, in order."""
        for host, table in self._tables.items():
            if table.again:
                self._keep(host, table)
                table.again = False
        self._kept.records.sort(key=lambda one: one.began)
        self._looks.sort(key=lambda one: one.began)
        return Seen(tuple(self._kept.records), tuple(self._looks), tuple(self._translations))

    def _keep(self, host: str, table: _Table) -> None:
        found = [_sighting(entry, table) for entry in table.entries]
        beyond = self._kept.beyond
        self._kept.add(found, table.ended)
        if self._kept.beyond == beyond:
            self._looks.append(Look(began=table.began, ended=table.ended, host=host))


def _how(entry: SocketEntry) -> tuple[Any, ...]:
    """All that a sighting says."""
    return (
        entry.address,
        entry.port,
        entry.peer_address,
        entry.peer_port,
        entry.state,
        entry.inode,
        entry.rx_queue,
        entry.tx_queue,
        entry.timer,
        entry.retransmits,
    )


def _ids(joined: Joined) -> dict[Any, str]:
    """The row of each socket."""
    return {
        (end.host, end.address, end.port, end.peer_address, end.peer_port): row.id
        for row in joined.connections
        for end in (row.client, row.server)
        if end is not None
    }


def _sighting(entry: SocketEntry, table: _Table) -> Sighting:
    key = entry.host, entry.address, entry.port, entry.peer_address, entry.peer_port
    return Sighting(
        began=table.began,
        ended=table.ended,
        host=entry.host,
        local=(entry.address, entry.port),
        peer=(entry.peer_address, entry.peer_port),
        state=entry.state,
        inode=entry.inode,
        cookie=entry.cookie,
        rx_queue=entry.rx_queue,
        tx_queue=entry.tx_queue,
        timer=entry.timer,
        retransmits=entry.retransmits,
        connection=table.ids.get(key),
    )
