"""Which rows an expectation is about, what their fields are, and when a row that is missing is known to be
missing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from orchestrator.model.rows import Connection, End, Listener, endpoint
from orchestrator.model.steps import Between, ByName, Expectation, ListenerAt
from orchestrator.scenarios.compare import Value, unknown
from orchestrator.scenarios.observation import Descriptor, Name, Observation

NO_ROW = Value(value=None)
OUTSIDE = "the other end is no host of this lab"
MOVING = "its tables changed while they were read"
_FOR_GOOD = frozenset(("client", "server", "accepted", "status")) | {
    f"{end}.{name}"
    for end in ("client", "server")
    for name in ("host", "address", "port", "peer_address", "peer_port", "family", "mapped")
}


def is_address(host: str) -> bool:
    """Whether it is an address, no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=1 << 14)
def plain(address: str) -> str:
    """As rows have it: v4-mapped addresses as IPv4, no scope."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(found)


def of_descriptor(host: str, one: Descriptor, seen: Observation) -> list[Connection]:
    """The rows one of whose ends the descriptor is, or was. Where its addresses were used again, another
    socket's row is not its."""
    ends = seen.ends
    if one.connection is not None and one.connection in ends.by_id:
        return [ends.by_id[one.connection]]
    if one.local is None:
        return []
    local = (plain(one.local[0]), one.local[1])
    peer = None if one.peer is None else (plain(one.peer[0]), one.peer[1])
    return [row for row in ends.of(host, local, peer) if _may_be_of(one, host, local, row, seen)]


def _may_be_of(
    one: Descriptor, host: str, local: tuple[str, int], row: Connection, seen: Observation
) -> bool:
    """By the inode, or by whose the row was when it had one. A row that was its and is gone does not come
    back: an id is of one connection."""
    ends = (row.client, row.server)
    own = next((end for end in ends if end and (end.host, end.address, end.port) == (host, *local)), None)
    if own is not None and own.inode and one.inode is not None:
        return own.inode == one.inode
    others = seen.claimed.get((host, row.id), frozenset())
    return one.connection is None and (one.inode is None or not others or one.inode in others)


def between(subject: Between, seen: Observation) -> list[Connection]:
    """The rows from a host to a port of a host (or of an address)."""
    server = subject.client if subject.server.host == "localhost" else subject.server.host
    return [row for row in seen.connections if _is_between(row, subject.client, server, subject.server.port)]


def _is_between(row: Connection, client: str, server: str, port: int) -> bool:
    """Ends that are there say it themselves; of one that is missing its peer says it."""
    from_host = row.client.host if row.client else row.server.peer_host if row.server else None
    if from_host != client:
        return False
    if row.server is not None:
        return row.server.port == port and server in (row.server.host, row.server.address)
    if row.client is None or row.client.peer_port != port:
        return False
    return server in (row.client.peer_host, row.client.peer_address)


def listening(subject: ListenerAt, seen: Observation) -> list[Listener]:
    """The listening sockets there."""
    return [one for one in seen.listeners if one.host == subject.host and one.port == subject.port]


def why_not_missing(seen: Observation, hosts: tuple[str, ...], one: Descriptor | None = None) -> str:
    """Why it is not known that there is no row, or nothing where it is. `hosts`: where a row would be; the
    other end of a descriptor's connection may be anywhere."""
    unseen = seen.not_observed if one is not None else seen.not_observed.intersection(hosts)
    if unseen:
        return f"{', '.join(sorted(unseen))} was not observed"
    if one is not None and seen.translating and one.connection is None:
        return "its other end may be listed under a translated address"
    return ""


def why_not_all_between(subject: Between, seen: Observation) -> str:
    """Why there may be more rows between these two than were found, or nothing."""
    server = subject.server.host
    hosts = tuple(seen.not_observed) if is_address(server) else (subject.client, server)
    why = why_not_missing(seen, hosts)
    if why or not seen.translating:
        return why
    halves = [row.server for row in seen.connections if row.client is None and not row.via and row.server]
    if any(end.port == subject.server.port and server in (end.host, end.address) for end in halves):
        return "a row with a translated address may be one of them"
    return ""


def connection_field(row: Connection | None, field: str, seen: Observation) -> Value:
    """A field of a row; None: there is no row, which is known."""
    if row is None:
        return NO_ROW
    side, _, name = field.partition(".")
    if side in ("client", "server"):
        return _end_field(row, row.client if side == "client" else row.server, name or "state", seen)
    if field == "accepted":
        return _accepted(row, seen)
    if field == "via":
        hosts = tuple(via.host for via in row.via)
        return Value(value=", ".join(hosts) or None, any_of=hosts)
    doubt = MOVING if field == "status" and row.status == "in-transition" else ""
    return Value(value=getattr(row, field), doubt=doubt)


def goes_outside(one: Descriptor, seen: Observation) -> bool:
    """Whether what a descriptor was to be connected to is an address that no host of the lab has."""
    if one.peer is None or not seen.addresses:
        return False
    address = plain(one.peer[0])
    return is_address(address) and address not in seen.addresses and not ip_address(address).is_loopback


def outside_field(field: str) -> Value:
    """Of a connection to outside that has no row here (any more): what is there cannot be seen."""
    return unknown(OUTSIDE) if field == "accepted" or field.partition(".")[0] == "server" else NO_ROW


def still(row: Connection | Listener | None, fields: Iterable[str]) -> tuple[object, ...]:
    """What these fields are, if a connection that has left them never comes back to them; else nothing.

    No TCP state is entered twice (RFC 9293, figure 5) and no accept is undone. Not so in SYN_SENT: a socket
    whose connect failed may connect again.
    """
    if not isinstance(row, Connection) or row.status in ("in-transition", "external"):
        return ()
    ends = [(end.state, end.inode) if end else None for end in (row.client, row.server)]
    if not _FOR_GOOD.issuperset(fields) or any(end and end[0] == "SYN_SENT" for end in ends):
        return ()
    return (row.id, row.accepted, *ends)


def _end_field(row: Connection, end: End | None, name: str, seen: Observation) -> Value:
    if row.status == "in-transition":
        return unknown(MOVING)
    if end is None:
        return _missing_end(row, seen)
    if name == "holders":
        return Value(value=len(end.holders))
    if name in ("address", "peer_address"):
        return Value(value=plain(getattr(end, name)))
    return Value(value=getattr(end, name))


def _missing_end(row: Connection, seen: Observation) -> Value:
    """An end without a row: none, unless it could not have been seen."""
    other = row.client or row.server
    if row.status == "external" or other is None or other.peer_host is None:
        return unknown(row.reason or OUTSIDE)
    if other.peer_host in seen.not_observed:
        return unknown(f"{other.peer_host} was not observed")
    if seen.translating and not row.via and any(_may_be_other(row, one) for one in seen.connections):
        return unknown("a row with a translated address may be its other end")
    return NO_ROW


def _may_be_other(row: Connection, other: Connection) -> bool:
    """Whether two rows of one end each may be one connection whose translation was not found."""
    ends = (row.client, other.server) if row.client is not None else (other.client, row.server)
    if None in ends or (other.client is not None and other.server is not None) or other.via:
        return False
    client, server = ends
    assert client is not None and server is not None  # noqa: PT018
    return (client.peer_address, client.peer_port) == (server.address, server.port)


def _accepted(row: Connection, seen: Observation) -> Value:
    if row.status == "in-transition":
        return unknown(MOVING)
    if row.server is None:
        return _missing_end(row, seen)
    if row.accepted is None:
        return unknown("it cannot be told from its state")
    return Value(value=row.accepted)


def listener_field(row: Listener | None, field: str) -> Value:
    """A field of a listener's row; None: there is none, which is known."""
    if row is None:
        return NO_ROW
    if field == "state":
        return Value(value="LISTEN")
    if field == "holders":
        return Value(value=len(row.holders))
    if field == "limit" and row.limit is None:
        return unknown("sock_diag did not tell")
    return Value(value=getattr(row, field))


def as_text(row: Connection | Listener) -> str:
    """A row as evidence, on one line."""
    if isinstance(row, Listener):
        return (
            f"{row.host} {endpoint(row.address, row.port)} LISTEN, queue {row.queue} of {_or_none(row.limit)}"
        )
    ends = f"{_end(row.client)} <=> {_end(row.server)}"
    more = [
        row.status,
        *(["not accepted"] if row.accepted is False else []),
        *([row.reason] if row.reason else []),
    ]
    return f"{ends} ({', '.join(more)})"


def _end(end: End | None) -> str:
    if end is None:
        return "no row"
    queues = f" rx {end.rx_queue}" * bool(end.rx_queue) + f" tx {end.tx_queue}" * bool(end.tx_queue)
    return f"{end.host} {endpoint(end.address, end.port)} {end.state}{queues}"


def _or_none(value: int | None) -> str:
    return "?" if value is None else str(value)


def hosts_of(expectation: Expectation, descriptors: Mapping[Name, Descriptor]) -> tuple[str, ...]:
    """The hosts whose last calls explain a verdict: at both ends of a connection, else the subject's own."""
    subject = expectation.subject
    if isinstance(subject, Between):
        return tuple(dict.fromkeys((subject.client, subject.server.host)))
    if expectation.kind != "connection" or not isinstance(subject, ByName):
        return (subject.host,)
    mine = descriptors.get((subject.host, subject.names()[0]))
    others = [
        host
        for (host, _), one in descriptors.items()
        if mine is not None and host != subject.host and _same_connection(mine, one)
    ]
    return tuple(dict.fromkeys((subject.host, *others)))


def _same_connection(one: Descriptor, other: Descriptor) -> bool:
    if one.connection is not None and one.connection == other.connection:
        return True
    return one.local is not None and one.local == other.peer and one.peer == other.local
