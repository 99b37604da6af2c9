"""What was recorded of a lab while something happened in it, by source: what a timeline is joined from.

All times are seconds of one monotonic clock, counted from where the recording began (`t` of an event in
the contract); `error` is how far a time may be off, to both sides. None of these can be part of a cycle, and
there may be hundreds of thousands: Python's collector need not look at them (gc=False).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from orchestrator.model.plan import Plan
from orchestrator.model.rows import Translation

Address = tuple[str, int]  # v4-mapped addresses are given as IPv4
Stage = Literal["ring", "socket", "pipe", "store", "bound"]

# Flags of a TCP header (RFC 9293, 3.1), as in its 14th byte.
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10


class Segment(msgspec.Struct, frozen=True, gc=False):
    """A TCP segment as it passed an interface of a host, by AF_PACKET. `length`: bytes of payload. What
    GSO or GRO has bundled is one."""

    t: float
    host: str
    device: str
    outgoing: bool
    source: Address
    target: Address
    flags: int
    seq: int
    ack: int
    length: int
    window: int = 0  # as in the header, not scaled


class CallMade(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A system call of an agent, by its own clock around it. `text`: the step that asked for it."""

    t: float
    duration: float
    host: str
    verb: str
    text: str = ""
    line: int = 0
    step: str | None = None  # the name of the step
    name: str | None = None  # the descriptor's
    fd: int | None = None
    inode: int | None = None
    local: Address | None = None
    peer: Address | None = None
    result: Any = None
    errno: str | None = None
    timed_out: bool = False


class Change(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a tracepoint said of one socket. `kind`: state (sock:inet_sock_set_state), reset-sent,
    reset-received, retransmit, retransmit-synack (tcp:*). `old`, `new`: states, by the kernel's names.
    `reason` of a reset that was sent, by the kernel's names (enum sk_rst_reason). Port 0: it is not known."""

    t: float
    host: str
    kind: str
    cookie: int | None = None
    local: Address
    peer: Address
    old: str | None = None
    new: str | None = None
    reason: str | None = None


class Sighting(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A socket in a host's table, which was read between `began` and `ended`."""

    began: float
    ended: float
    host: str
    local: Address
    peer: Address
    state: str
    inode: int = 0
    cookie: int | None = None
    rx_queue: int = 0
    tx_queue: int = 0
    timer: str | None = None
    retransmits: int = 0
    connection: str | None = None  # the id of the row that it was shown in


class Look(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A host's whole table was read: a socket that no Sighting of this look tells of was not there."""

    began: float
    ended: float
    host: str


class Said(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A line of a log, the end of a program, an impairment made or ended; a note of the scenario."""

    t: float
    error: float = 0.0
    host: str
    source: Literal["log", "exit", "impairment", "note"]
    kind: str  # line, exit, cut, heal, link, note
    text: str
    detail: dict[str, Any] = {}


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """Records of a source that nobody has. `count` None: how many is not known. `host` None: of any host.
    `began`, `ended`: they were lost somewhere between."""

    source: Literal["call", "packet", "tracepoint", "snapshot", "log"]
    stage: Stage
    host: str | None = None
    count: int | None = None
    began: float
    ended: float


BULK = 64  # segments of a connection at one host


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """From when until when a source has watched a host. `everything`: of packets, that none was left out;
    else, of transfers of BULK segments and more, only those of their beginning and end were kept, and what
    had SYN, FIN or RST or was sent again. `bare`: that ACKs without payload were kept where they may end a
    state, of a SYN+ACK and of a FIN. Where a source did not watch, nothing follows from its silence. `error`:
    of its times."""

    source: Literal["packet", "tracepoint", "snapshot", "log"]
    host: str
    began: float
    ended: float
    everything: bool = True
    bare: bool = True
    error: float = 0.0
    why: str = ""  # where it ended early or was not possible (began == ended)


class MachineClock(msgspec.Struct, frozen=True, kw_only=True):
    """One of several machines. All times here are mapped to one clock; those of its hosts are known to
    `error` seconds on it, and to each other as exactly as their sources say. `why`: what makes it worse."""

    machine: str
    hosts: tuple[str, ...]
    error: float
    why: str = ""


class Reading(msgspec.Struct, frozen=True, gc=False):
    """What the real-time clock of the lab's machine was at a moment: `real` in ns since 1970."""

    t: float
    real: int
    error: float


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `began`: when t = 0 was, seconds since 1970. `plan`: the lab as it was deployed, which says
    whose an address is; `translations`: all that routers' conntrack has shown meanwhile. `readings`: of the
    real-time clock, in order, those between which it went as the monotonic one left out (join/clock.py).
    `zone`: what hosts' local time is ahead of UTC, seconds."""

    lab: str
    engine: str
    began: float
    length: float  # seconds
    segments: tuple[Segment, ...] = ()
    calls: tuple[CallMade, ...] = ()
    changes: tuple[Change, ...] = ()
    sightings: tuple[Sighting, ...] = ()
    looks: tuple[Look, ...] = ()
    said: tuple[Said, ...] = ()
    watches: tuple[Watch, ...] = ()
    losses: tuple[Loss, ...] = ()
    clock: tuple[
        str, ...
    ] = ()  # what happened to the clocks meanwhile: "the real-time clock was set by 3.2 s"
    clocks: tuple[MachineClock, ...] = ()  # where the lab is on several machines
    readings: tuple[Reading, ...] = ()
    zone: int = 0
    plan: Plan | None = None
    translations: tuple[Translation, ...] = ()
