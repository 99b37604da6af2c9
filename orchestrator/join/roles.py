"""Which end is the client, whether the server has accepted, and why an end may be missing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from orchestrator.model.rows import RolesBy, SocketEntry

EPHEMERAL = 32768  # ip(7), ip_local_port_range: where a client's port is taken from unless it chose one
PRIVILEGED = 1024  # ip(7), ip_unprivileged_port_start: a server's, nearly always
ANY = ("0.0.0.0", "::")


class Listeners:
    """The listening sockets of all hosts."""

    def __init__(self, entries: Iterable[SocketEntry]) -> None:
        self._at: dict[tuple[str, int], list[SocketEntry]] = {}
        for entry in sorted(entries, key=_listener_order):
            self._at.setdefault((entry.host, entry.port), []).append(entry)

    def ports(self) -> Iterable[tuple[str, int]]:
        """(host, port) of each."""
        return self._at.keys()

    def of(self, entry: SocketEntry) -> tuple[SocketEntry, ...]:
        """Those that could have taken this socket in; several with SO_REUSEPORT."""
        near = self._at.get((entry.host, entry.port))
        if near is None:
            return ()
        return _best([one for one in near if one.family == entry.family], entry.address, entry.mapped)

    def at(self, host: str, address: str, port: int) -> tuple[SocketEntry, ...]:
        """Those that would take in a connection to this address of the host."""
        near = self._at.get((host, port))
        if near is None:
            return ()
        plain = _best([one for one in near if one.family == (6 if ":" in address else 4)], address, False)
        return plain or _best([one for one in near if one.family == 6], address, ":" not in address)


def _listener_order(entry: SocketEntry) -> tuple[str, int, str, int]:
    return entry.host, entry.port, entry.address, entry.inode


def _best(near: list[SocketEntry], address: str, mapped: bool) -> tuple[SocketEntry, ...]:
    """The kernel prefers a socket bound to the very address (inet_hashtables.c, compute_score)."""
    exact = tuple(one for one in near if one.address == address and one.mapped == mapped)
    return exact or tuple(one for one in near if _takes_any(one, mapped))


def _takes_any(listener: SocketEntry, mapped: bool) -> bool:
    """`::` takes v4-mapped ones too unless IPV6_V6ONLY is set, which no table tells."""
    return listener.address in ANY and (listener.mapped == mapped or listener.address == "::")


def chosen(candidates: tuple[SocketEntry, ...], server: SocketEntry | None) -> SocketEntry | None:
    """The one listener, or of several (SO_REUSEPORT) the only one whose process holds the connection too."""
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    pids = {holder.pid for holder in server.holders} if server else set()
    near = [one for one in candidates if pids.intersection(holder.pid for holder in one.holders)]
    return near[0] if len(near) == 1 else None


class Side(NamedTuple):
    """What is known of one end for telling the roles; `state` None: its socket is missing."""

    host: str
    address: str
    port: int
    state: str | None
    listens: bool


def first_is_client(a: Side, b: Side) -> tuple[bool, RolesBy]:  # noqa: PLR0911
    """Whether `a` is the client, and what says so."""
    if a.listens != b.listens:
        return b.listens, "listener"
    if (a.state == "SYN_SENT") != (b.state == "SYN_SENT"):
        return a.state == "SYN_SENT", "handshake"
    if a.state == "SYN_SENT":  # simultaneous open: both are
        return _order(a) < _order(b), "unknown"
    if (a.state == "SYN_RECV") != (b.state == "SYN_RECV"):
        return b.state == "SYN_RECV", "handshake"
    if (a.port >= EPHEMERAL) != (b.port >= EPHEMERAL):
        return a.port >= EPHEMERAL, "port"
    if (a.port < PRIVILEGED) != (b.port < PRIVILEGED):
        return b.port < PRIVILEGED, "port"
    return _order(a) < _order(b), "unknown"


def translated(at_server: tuple[SocketEntry, ...]) -> RolesBy:
    """What says who is who where a router translated: its conntrack saw who sent the SYN."""
    return "listener" if at_server else "handshake"


def _order(side: Side) -> tuple[int, str, str]:
    """Any order will do that does not depend on which was read first: the higher port is the client's."""
    return -side.port, side.host, side.address


def accepted(server: SocketEntry | None) -> bool | None:
    """Whether the server's program has the connection: it has an inode then. An orphan or TIME_WAIT tells
    nothing."""
    return None if server is None else accepted_by(server.state, server.inode)


def accepted_by(state: str, inode: int) -> bool | None:
    """As `accepted`, of a state and an inode."""
    if state == "SYN_RECV":
        return False
    if inode:
        return state not in ("SYN_SENT", "CLOSE") or None
    return False if state in ("ESTABLISHED", "CLOSE_WAIT") else None


_CLIENT_ALONE = {
    "SYN_SENT": "SYN unanswered",
    "SYN_RECV": "simultaneous open, and the other end is gone",
    "ESTABLISHED": "{peer} has no such socket: it closed or was reset and that was lost, or a SYN cookie",
    "FIN_WAIT1": "the FIN is not acknowledged, and {peer} has no such socket",
    "FIN_WAIT2": "{peer} has no such socket: its FIN was lost, or it was reset",
    "CLOSING": "{peer} has closed; the last ACK is awaited",
    "TIME_WAIT": "{peer} has closed; TIME_WAIT here",
    "CLOSE_WAIT": "{peer} has closed for good; the program here has not",
    "LAST_ACK": "{peer} is gone; the last ACK is awaited",
}
_SERVER_ALONE = {**_CLIENT_ALONE, "SYN_RECV": "SYN+ACK unanswered: {peer} has no such socket"}


def reason(
    alone: SocketEntry, is_client: bool, peer: str, port: int, listeners: tuple[SocketEntry, ...]
) -> str:
    """Why the other end is missing, as far as the state of this one tells. `listeners` are those at the
    server."""
    if is_client and alone.state == "SYN_SENT":
        return _unanswered(f"{peer}:{port}", listeners)
    texts = _CLIENT_ALONE if is_client else _SERVER_ALONE
    return texts.get(alone.state, "{peer} has no such socket").format(peer=peer)


def _unanswered(peer: str, listeners: tuple[SocketEntry, ...]) -> str:
    if not listeners:
        return f"SYN unanswered: nothing listens at {peer}, and no reset came"
    full = [one for one in listeners if one.limit is not None and one.rx_queue > one.limit]
    if len(full) == len(listeners):
        queue = f"{full[0].rx_queue} wait, limit {full[0].limit}"
        return f"SYN unanswered: the accept queue of {peer} is full ({queue})"
    return "SYN unanswered"
