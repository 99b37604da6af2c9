"""Entries of all hosts to connections: both ends of each as one row. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from orchestrator.join import ids, roles
from orchestrator.join.ids import Known
from orchestrator.join.pairs import Pair, pairs
from orchestrator.join.roles import Listeners, Side
from orchestrator.join.snapshot import HostTables
from orchestrator.join.spaces import Spaces
from orchestrator.join.translations import Translations, via_of
from orchestrator.model.plan import Plan
from orchestrator.model.rows import Connection, End, Listener, RolesBy, SocketEntry, Status

DOCKER_DNS = "127.0.0.11"  # Docker's own name server inside a container
Cookies = tuple[int, int]  # the client's and the server's; 0: not known


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """All rows of one snapshot. `cookies`: by id; `remembered`: cookie to id, what the daemon knows already;
    `doubtful`: ids of rows whose tables contradict each other."""

    connections: tuple[Connection, ...] = ()
    listeners: tuple[Listener, ...] = ()
    cookies: Mapping[str, Cookies] = {}
    remembered: Mapping[int, int] = {}
    doubtful: frozenset[str] = frozenset()


def join(tables: Sequence[HostTables], plan: Plan, *, everything: bool = False) -> Joined:
    """Connections (sorted by client) and listeners. `everything`: Docker's name server in the hosts too.

    One snapshot alone may have caught a connection between two states: see `looks.confirm`.
    """
    if not all(isinstance(one.entries, list | tuple) for one in tables):
        from orchestrator.join.table import join_large

        return join_large(tables, plan, everything=everything)
    return join_plain(tables, plan, everything=everything)


def join_plain(tables: Sequence[HostTables], plan: Plan, *, everything: bool = False) -> Joined:
    """As `join`, without NumPy."""
    entries = [e for one in tables for e in one.entries if everything or not hidden(e)]
    view = View(tables, plan, [e for e in entries if e.state == "LISTEN"])
    rows = Rows(view)
    rows.add(pairs((e for e in entries if e.state != "LISTEN"), view.spaces, view.translations, view.known))
    return rows.joined()


def hidden(entry: SocketEntry) -> bool:
    """Whether it is of Docker's own name server, which every container has."""
    return DOCKER_DNS in (entry.address, entry.peer_address)


class View:
    """What is looked up while rows are made."""

    def __init__(self, tables: Sequence[HostTables], plan: Plan, listening: Sequence[SocketEntry]) -> None:
        self.spaces = Spaces(plan)
        self.translations = Translations((t for one in tables for t in one.translations), self.spaces)
        self.listeners = Listeners(listening)
        self.listening = {id(entry): listener_of(entry) for entry in listening}
        self._entries = listening  # keeps the ids of these objects theirs
        self.known = Known({one.host: one.known for one in tables})
        self.remembered: dict[int, int] = {}
        for one in tables:
            self.remembered.update(one.known)
        self.observed = {one.host for one in tables}
        self.off = {one.host for one in tables if one.off}

    def listener(self, candidates: tuple[SocketEntry, ...], server: SocketEntry | None) -> Listener | None:
        """The listening socket that took a connection in, as rows show it."""
        entry = roles.chosen(candidates, server)
        return None if entry is None else self.listening[id(entry)]


class Rows:
    """Collects connections."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.connections: list[Connection] = []
        self.cookies: dict[str, Cookies] = {}
        self.doubtful: set[str] = set()

    def add(self, found: Iterable[Pair]) -> None:
        """A row for each pair."""
        for pair in found:
            row, cookies = _both(self._view, pair) if pair.second is not None else _alone(self._view, pair)
            self.connections.append(row)
            self.cookies[row.id] = cookies
            if pair.doubtful:
                self.doubtful.add(row.id)

    def joined(self) -> Joined:
        """All that was collected."""
        return Joined(
            connections=tuple(sorted(self.connections, key=order)),
            listeners=tuple(sorted(self._view.listening.values(), key=listener_order)),
            cookies=self.cookies,
            remembered=self._view.remembered,
            doubtful=frozenset(self.doubtful),
        )


def _both(view: View, pair: Pair) -> tuple[Connection, Cookies]:
    assert pair.second is not None
    a, b = pair.first, pair.second
    at_a, at_b = view.listeners.of(a), view.listeners.of(b)
    forward, by = _roles(pair, at_a, at_b)
    client, server = (a, b) if forward else (b, a)
    row = Connection(
        id=ids.text(view.known.number(client, server)),
        status="joined",
        accepted=roles.accepted(server),
        roles_by=by,
        client=end_of(client, server.host),
        server=end_of(server, client.host),
        listener=None if a is b else view.listener(at_b if forward else at_a, server),
        via=via_of(pair.path),
    )
    return row, (client.cookie or 0, server.cookie or 0)


def _roles(pair: Pair, at_a: tuple[SocketEntry, ...], at_b: tuple[SocketEntry, ...]) -> tuple[bool, RolesBy]:
    a, b = pair.first, pair.second
    if a is b or b is None:
        return True, "unknown"
    if pair.path:
        return True, roles.translated(at_b)
    return roles.first_is_client(_side(a, at_a), _side(b, at_b))


def _side(entry: SocketEntry, listeners: tuple[SocketEntry, ...]) -> Side:
    return Side(entry.host, entry.address, entry.port, entry.state, bool(listeners))


class Other(NamedTuple):
    """Where the end that is missing should be; `host` None: outside the lab."""

    host: str | None
    address: str
    port: int


def _alone(view: View, pair: Pair) -> tuple[Connection, Cookies]:
    entry, other = pair.first, _other(view, pair)
    at_entry = view.listeners.of(entry)
    at_other = view.listeners.at(other.host, other.address, other.port) if other.host is not None else ()
    if pair.path:
        is_client, by = not pair.reverse, roles.translated(at_entry if pair.reverse else at_other)
    else:
        there = Side(other.host or "", other.address, other.port, None, bool(at_other))
        is_client, by = roles.first_is_client(_side(entry, at_entry), there)
    client, server = (entry, None) if is_client else (None, entry)
    end = end_of(entry, other.host)
    row = Connection(
        id=ids.text(view.known.number(client, server)),
        status=_status(is_client, other),
        accepted=roles.accepted(server),
        roles_by=by,
        client=end if is_client else None,
        server=None if is_client else end,
        listener=view.listener(at_other if is_client else at_entry, server),
        via=via_of(pair.path),
        reason=_reason(view, entry, is_client, other, at_other),
    )
    return row, (entry.cookie or 0, 0) if is_client else (0, entry.cookie or 0)


def _other(view: View, pair: Pair) -> Other:
    entry, path = pair.first, pair.path
    if not path:
        host = view.spaces.owner(entry.host, entry.peer_address)
        return Other(host, entry.peer_address, entry.peer_port)
    address, port = path[0].client if pair.reverse else path[-1].new_server
    return Other(view.spaces.owner(path[0 if pair.reverse else -1].host, address), address, port)


def _status(is_client: bool, other: Other) -> Status:
    if other.host is None:
        return "external"
    return "client-only" if is_client else "server-only"


def _reason(
    view: View, entry: SocketEntry, is_client: bool, other: Other, at_other: tuple[SocketEntry, ...]
) -> str:
    if other.host is None:
        return f"{other.address} is no host of this lab"
    if other.host not in view.observed:
        return f"{other.host} was not observed"
    if other.host in view.off:
        return f"{other.host} is off: its power was cut, and nobody was told"
    return roles.reason(entry, is_client, other.host, other.port, at_other)


def end_of(entry: SocketEntry, peer_host: str | None) -> End:
    """The entry as one end of a row."""
    first = entry.holders[0] if entry.holders else None
    return End(
        host=entry.host,
        address=entry.address,
        port=entry.port,
        state=entry.state,
        rx_queue=entry.rx_queue,
        tx_queue=entry.tx_queue,
        timer=entry.timer,
        timer_seconds=entry.timer_seconds,
        retransmits=entry.retransmits,
        uid=entry.uid,
        inode=entry.inode,
        pid=first.pid if first else None,
        process=first.process if first else None,
        fd=first.fd if first else None,
        holders=entry.holders,
        family=entry.family,
        mapped=entry.mapped,
        peer_address=entry.peer_address,
        peer_port=entry.peer_port,
        peer_host=peer_host,
    )


def listener_of(entry: SocketEntry) -> Listener:
    """A LISTEN entry as it is shown."""
    first = entry.holders[0] if entry.holders else None
    return Listener(
        host=entry.host,
        address="*" if entry.address in roles.ANY else entry.address,
        port=entry.port,
        pid=first.pid if first else None,
        process=first.process if first else None,
        fd=first.fd if first else None,
        holders=entry.holders,
        queue=entry.rx_queue,
        limit=entry.limit,
        family=entry.family,
        inode=entry.inode,
    )


def order(row: Connection) -> tuple[str, int, str, str, int, str]:
    """By client host and port; a missing client's place is where the server says that it is."""
    client, server = row.client, row.server
    if client is not None:
        return client.host, client.port, client.address, client.peer_address, client.peer_port, row.id
    assert server is not None
    host = server.peer_host or server.peer_address
    return host, server.peer_port, server.peer_address, server.address, server.port, row.id


def listener_order(listener: Listener) -> tuple[str, int, int, str, int]:
    """By host and port."""
    return listener.host, listener.port, listener.family, listener.address, listener.inode
