"""What was seen: entries of the kernel's tables, who holds them, and the rows that they make together.

The JSON of a Connection is the contract with users' programs (`lab conns --json`). None of these can be part
of a cycle, and there may be a million: Python's collector need not look at them (gc=False).
"""

from __future__ import annotations

from typing import Literal

import msgspec

# include/net/tcp_states.h: the numbers of column `st`. 12 (NEW_SYN_RECV) is shown by the kernel as SYN_RECV.
STATES: dict[int, str] = {
    1: "ESTABLISHED",
    2: "SYN_SENT",
    3: "SYN_RECV",
    4: "FIN_WAIT1",
    5: "FIN_WAIT2",
    6: "TIME_WAIT",
    7: "CLOSE",
    8: "CLOSE_WAIT",
    9: "LAST_ACK",
    10: "LISTEN",
    11: "CLOSING",
    12: "SYN_RECV",
}

# What follows each state (RFC 9293, figure 5, and what resets and time limits do to it). A socket that
# listens is no end of a connection, and with CLOSE the connection has ended.
FOLLOWING: dict[str, tuple[str, ...]] = {
    "SYN_SENT": ("ESTABLISHED", "SYN_RECV", "CLOSE"),
    "SYN_RECV": ("ESTABLISHED", "FIN_WAIT1", "CLOSE_WAIT", "CLOSE"),
    "ESTABLISHED": ("FIN_WAIT1", "CLOSE_WAIT", "CLOSE"),
    "FIN_WAIT1": ("FIN_WAIT2", "CLOSING", "TIME_WAIT", "CLOSE"),
    "FIN_WAIT2": ("TIME_WAIT", "CLOSE"),
    "CLOSING": ("TIME_WAIT", "CLOSE"),
    "TIME_WAIT": ("CLOSE",),
    "CLOSE_WAIT": ("LAST_ACK", "CLOSE"),
    "LAST_ACK": ("CLOSE",),
    "CLOSE": (),
}

# net/ipv4/tcp_ipv4.c, get_tcp4_sock(): column `tr`; 2 is keepalive (sk_timer).
TIMERS: dict[int, str | None] = {
    0: None,
    1: "retransmission",
    2: "keepalive",
    3: "time-wait",
    4: "zero-window-probe",
}

Status = Literal["joined", "client-only", "server-only", "in-transition", "external"]
RolesBy = Literal["listener", "handshake", "port", "unknown"]


class Holder(msgspec.Struct, frozen=True, gc=False):
    """A process that has the socket open; pid as seen inside the host."""

    pid: int
    process: str
    fd: int


class SocketEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row of one host's table. v4-mapped addresses are given as IPv4, with `mapped` set."""

    host: str
    family: Literal[4, 6] = 4  # the table: tcp or tcp6
    mapped: bool = False
    address: str
    port: int
    peer_address: str
    peer_port: int
    state: str
    rx_queue: int = 0  # bytes; of a LISTEN row: connections waiting for accept
    tx_queue: int = 0  # bytes not acknowledged
    timer: str | None = None
    timer_seconds: float = 0.0  # until it expires
    retransmits: int = 0
    uid: int = 0
    inode: int = 0  # 0: no descriptor (request socket, not accepted, orphan, TIME_WAIT)
    cookie: int | None = None  # sock_diag(7): one socket's whole life, over accept and TIME_WAIT
    limit: int | None = None  # LISTEN only: the accept queue's limit (backlog), by sock_diag
    holders: tuple[Holder, ...] = ()


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """One connection in a router's conntrack: the tuple as the client sent it, and as it left."""

    host: str  # the router
    client: tuple[str, int]  # original source
    server: tuple[str, int]  # original destination
    new_client: tuple[str, int]  # source after translation
    new_server: tuple[str, int]  # destination after translation


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """When a machine's tables were read: seconds of its monotonic clock."""

    began: float
    ended: float


class End(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One end of a connection, as the contract shows it. pid, process, fd are the first holder's."""

    host: str
    address: str
    port: int
    state: str
    rx_queue: int
    tx_queue: int
    timer: str | None
    timer_seconds: float
    retransmits: int
    uid: int
    inode: int
    pid: int | None
    process: str | None
    fd: int | None
    holders: tuple[Holder, ...]
    family: int = 4
    mapped: bool = False
    peer_address: str = ""  # what this socket itself says of its peer: behind NAT not the other end's address
    peer_port: int = 0
    peer_host: str | None = None  # the host of this lab that has that address (translations undone), if any


class Via(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A router that translated the connection, and the tuple behind it."""

    host: str
    client: str  # "10.20.2.1:41812"
    server: str


def endpoint(address: str, port: int) -> str:
    """`10.20.2.80:80`, `[fd20:2::80]:80`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Listener(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A listening socket: `*:80, *:*` is no connection. `queue` of at most `limit` wait for accept."""

    host: str
    address: str  # "*" for any
    port: int
    pid: int | None
    process: str | None
    fd: int | None
    holders: tuple[Holder, ...]
    queue: int
    limit: int | None
    family: int = 4
    inode: int = 0


class Connection(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A pair of sockets. An end that is missing is None; `reason` says why where that is known."""

    id: str
    protocol: Literal["tcp"] = "tcp"
    status: Status
    accepted: bool | None
    roles_by: RolesBy
    client: End | None
    server: End | None
    listener: Listener | None = None  # the socket that took it in: clientfd -> listenfd -> connfd
    via: tuple[Via, ...] = ()
    reason: str = ""
