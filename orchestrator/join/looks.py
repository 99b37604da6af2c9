"""Two looks at a lab: what one may have caught between two states, the second decides. And what of it is
wanted."""

from __future__ import annotations

from functools import cached_property

import msgspec

from orchestrator.join import ids
from orchestrator.join.connections import Cookies, Joined
from orchestrator.model.rows import Connection, End, Listener

ALONE = ("client-only", "server-only")


def needs_second(joined: Joined) -> bool:
    """Whether a second look is to decide: an end is missing, a tuple stood twice in a table, or a socket has
    no inode yet, all of which happen in normal reading too."""
    return bool(joined.doubtful) or any(
        row.status in ALONE or row.accepted is False for row in joined.connections
    )


def confirm(first: Joined, second: Joined) -> Joined:
    """The second look's rows. An end is missing only where both looks say so of the same socket in the same
    state, and a row whose tables contradict themselves again is in transition; ids are those of the first
    look."""
    seen = _Seen(first)
    rows: list[Connection] = []
    cookies: dict[str, Cookies] = {}
    doubtful: set[str] = set()
    for row in second.connections:
        both = second.cookies.get(row.id, (0, 0))
        number = seen.id_of(row, both)
        if (row.status in ALONE and not seen.alone(row, both)) or row.id in second.doubtful:
            doubtful.add(number)
            row = msgspec.structs.replace(row, status="in-transition")  # noqa: PLW2901
        rows.append(row if row.id == number else msgspec.structs.replace(row, id=number))
        cookies[number] = both
    return Joined(
        connections=tuple(rows),
        listeners=second.listeners,
        cookies=cookies,
        remembered=second.remembered,
        doubtful=frozenset(doubtful),
    )


class _Seen:
    """The first look, to be asked about rows of the second."""

    def __init__(self, first: Joined) -> None:
        self._cookies = first.cookies
        self._alone = {_place(row): row for row in first.connections if row.status in ALONE}

    @cached_property
    def _ids(self) -> dict[int, str]:
        return {cookie: id_ for id_, both in self._cookies.items() for cookie in both if cookie}

    def id_of(self, row: Connection, cookies: Cookies) -> str:
        """As the first look called it, known by either end's socket."""
        if row.id in self._cookies:
            return row.id
        return next((self._ids[cookie] for cookie in cookies if cookie in self._ids), row.id)

    def alone(self, row: Connection, cookies: Cookies) -> bool:
        """Whether the first look missed the same end of the same socket."""
        before = self._alone.get(_place(row))
        if before is None or _end(before).state != _end(row).state:
            return False
        then = self._cookies.get(before.id, (0, 0))
        if any(then) and any(cookies):
            return then == cookies
        return _end(before).inode == _end(row).inode


def _place(row: Connection) -> tuple[str, str, int, str, int]:
    end = _end(row)
    return end.host, end.address, end.port, end.peer_address, end.peer_port


def _end(row: Connection) -> End:
    end = row.client or row.server
    assert end is not None
    return end


def remember(joined: Joined) -> bytes:
    """Records for the daemon's `remember`: what it does not know yet of every socket's connection."""
    known = joined.remembered
    new: list[tuple[int, int]] = []
    for id_, (client, server) in joined.cookies.items():
        number = int(id_, 16)
        if client and known.get(client) != number:
            new.append((client, number))
        if server and server != client and known.get(server) != number:
            new.append((server, number))
    return ids.records(new)


def select(
    joined: Joined, *, host: str | None = None, state: str | None = None, port: int | None = None
) -> Joined:
    """What has this host (as an end, a missing end or a router on the way), state and port at one end or the
    other."""
    wanted = state.upper().replace("-", "_") if state else None
    return msgspec.structs.replace(
        joined,
        connections=tuple(r for r in joined.connections if _matches(r, host, wanted, port)),
        listeners=tuple(one for one in joined.listeners if _listener_matches(one, host, wanted, port)),
    )


def _matches(row: Connection, host: str | None, state: str | None, port: int | None) -> bool:
    ends = [end for end in (row.client, row.server) if end is not None]
    return (
        (host is None or host in _hosts(row, ends))
        and (state is None or any(end.state == state for end in ends))
        and (port is None or any(port in (end.port, end.peer_port) for end in ends))
    )


def _hosts(row: Connection, ends: list[End]) -> set[str | None]:
    return {end.host for end in ends} | {end.peer_host for end in ends} | {via.host for via in row.via}


def _listener_matches(listener: Listener, host: str | None, state: str | None, port: int | None) -> bool:
    return host in (None, listener.host) and state in (None, "LISTEN") and port in (None, listener.port)
