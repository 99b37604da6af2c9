"""A snapshot: the tables of all hosts, read in one pass, and who holds their sockets.

Tables travel as the kernel wrote them; making sense of them is the client's work (`join/`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator import errors, wire
from orchestrator.daemon import diag, holders, sockstat, translate
from orchestrator.daemon.hosts import Host
from orchestrator.daemon.incarnations import Incarnations


@dataclass
class Part:
    """What was read of one host; times are monotonic seconds around its tables."""

    host: Host
    began: float = 0.0
    ended: float = 0.0
    tcp: bytes = b""
    tcp6: bytes = b""
    diag: bytes = b""
    known: bytes = b""
    held: holders.Held = field(default_factory=holders.Held)
    translations: list[translate.Row] = field(default_factory=list)

    def message(self) -> tuple[wire.Message, list[bytes]]:
        """As it travels: docs/architecture.md, 'A host's part of a snapshot'."""
        sections = {
            "tcp": self.tcp,
            "tcp6": self.tcp6,
            "diag": self.diag,
            "holders": self.held.records(),
            "known": self.known,
        }
        off = self.host.off
        head = {"host": self.host.name, "began": self.began, "ended": self.ended, "off": off}
        head |= {"netns": 0 if off else self.host.netns}
        sizes = {name: len(data) for name, data in sections.items()}
        more = {"sizes": sizes, "processes": self.held.processes, "translations": self.translations}
        return {**head, **more}, list(sections.values())


@dataclass
class Taken:
    """A whole snapshot; `not_observed` are the hosts that could not be seen, `unread` counts processes."""

    began: float
    ended: float = 0.0
    parts: list[Part] = field(default_factory=list)
    not_observed: list[str] = field(default_factory=list)
    unread: int = 0


def take(hosts: Sequence[Host], want_holders: bool, incarnations: Incarnations) -> Taken:
    """Read everything. Blocks for as long as that takes: called in a thread."""
    taken = Taken(began=time.monotonic())
    for host in hosts:
        part = _tables(host)
        if part is None:
            taken.not_observed.append(host.name)
        else:
            taken.parts.append(part)
    if want_holders:
        running = [part for part in taken.parts if not part.host.off]
        taken.unread = holders.walk({part.host.netns: part.held for part in running})
    taken.ended = time.monotonic()
    for part in taken.parts:
        part.known = incarnations.known(diag.cookies(part.diag)) if part.diag else b""
    return taken


def _tables(host: Host) -> Part | None:
    """None where the host has ended: its /proc/PID, held open, is nobody else's."""
    part = Part(host, began=time.monotonic())
    if host.off:
        part.ended = part.began
        return part  # no kernel, no sockets
    try:
        has = sockstat.tables(read(host, "net/sockstat"), read(host, "net/sockstat6", optional=True))
        part.tcp = read(host, "net/tcp") if has.tcp else b""
        part.tcp6 = read(host, "net/tcp6", optional=True) if has.tcp6 else b""
    except OSError:
        return None
    if host.made.diag is not None and _any(part):
        try:
            part.diag = diag.dump(host.made.diag)
        except errors.ObservationError:
            part.diag = b""  # this kernel has no tcp_diag; the tables say most of it
    part.ended = time.monotonic()
    if host.masquerades or host.spec.get("kind") == "router":
        part.translations = translate.rows(host)
    return part


def _any(part: Part) -> bool:
    """Has the host any socket? Its tables' first lines are headings."""
    return part.tcp.count(b"\n", 0, 1000) > 1 or part.tcp6.count(b"\n", 0, 1000) > 1


def read(host: Host, name: str, optional: bool = False) -> bytes:
    """A file of the host's /proc/PID, whole; FileIO.readall loops in C."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=host.proc)
    except FileNotFoundError:
        if optional and os.path.exists(f"/proc/self/fd/{host.proc}/net/tcp"):
            return b""  # a kernel without IPv6
        raise
    with open(fd, "rb", buffering=0) as file:
        return file.readall()
