"""A snapshot: the tables of all hosts, read in one pass, and who holds their sockets.

Tables travel as the kernel wrote them; making sense of them is the client's work (`join/`).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from orchestrator import errors, wire
from orchestrator.daemon import diag, holders, listing, sockstat, translate, walkers, zygote
from orchestrator.daemon.hosts import Host
from orchestrator.daemon.incarnations import Incarnations

if TYPE_CHECKING:
    from concurrent.futures import Future

MANY = 2 << 20  # bytes of a host's tables, from which on its descriptors are read by several processes
MOST = 5000  # processes that are named in one request to the zygote
_PIECE = 64 << 10  # bytes of a table, from which on it is a large one


@dataclass(eq=False)
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

    @property
    def size(self) -> int:
        """Bytes of its tables; a socket has about 150."""
        return len(self.tcp) + len(self.tcp6)

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


class Want(NamedTuple):
    """What a snapshot is to have. `quick`: by sock_diag alone, as listing.py has it."""

    holders: bool = True
    quick: bool = False


class Look:
    """A snapshot under way. When all its parts are there: `not_observed` are the hosts that could not be
    seen, `unread` counts processes."""

    def __init__(
        self, hosts: Sequence[Host], want: Want, incarnations: Incarnations, fork: zygote.Zygote
    ) -> None:
        self._hosts, self._want = hosts, want
        self._incarnations, self._fork = incarnations, fork
        self.began = self.ended = time.monotonic()
        self.not_observed: list[str] = []
        self.unread = 0

    def parts(self) -> Iterator[Part]:
        """Each host's part as soon as it is whole. Blocks for as long as reading takes: for a thread.

        All tables are read before the first descriptor is looked at, so that they lie close together.
        """
        self.began = time.monotonic()
        found = []
        for host, part in zip(self._hosts, _read_all(self._hosts, self._want.quick), strict=True):
            if part is None:
                self.not_observed.append(host.name)
            else:
                found.append(part)
        for part in self._held(found) if self._want.holders else found:
            self.ended = time.monotonic()
            part.known = self._incarnations.known(diag.cookies(part.diag)) if part.diag else b""
            yield part

    def _held(self, parts: Sequence[Part]) -> Iterator[Part]:
        """Each with its holders: those of few sockets are read here, those of many by several processes."""
        processes, self.unread = holders.processes({part.host.netns for part in parts})
        many = [part for part in parts if part.size > MANY]
        if sum(len(processes[part.host.netns]) for part in many) > MOST:
            many = []
        for part in parts:
            if part not in many:
                self.unread += part.held.walk(processes[part.host.netns])
                yield part
        if many:
            theirs = [processes[part.host.netns] for part in many]
            for part, own, read in zip(many, theirs, walkers.walk(self._fork, theirs), strict=True):
                part.held.take(own, read.records)
                self.unread += read.unread
                yield part


def _read_all(hosts: Sequence[Host], quick: bool) -> list[Part | None]:
    """The tables of each. With the first large one a second thread starts: the kernel writes two at once."""
    found: dict[int, Part | None] = {}
    todo = deque(enumerate(hosts))
    with contextlib.ExitStack() as stack:
        helped: list[Future[None]] = []

        def work() -> None:
            while todo:
                try:
                    at, host = todo.popleft()
                except IndexError:  # the other was faster
                    return
                found[at] = _tables(host, when_large, quick)

        def when_large() -> None:
            if todo and not helped:
                from concurrent.futures import ThreadPoolExecutor

                helped.append(stack.enter_context(ThreadPoolExecutor(1)).submit(work))

        work()
        for future in helped:
            future.result()
    return [found[at] for at in range(len(hosts))]


def _tables(host: Host, when_large: Callable[[], None], quick: bool) -> Part | None:
    """None where the host has ended: its /proc/PID, held open, is nobody else's."""
    part = Part(host, began=time.monotonic())
    if host.off:
        part.ended = part.began
        return part  # no kernel, no sockets
    if not (quick and _listed(part)) and not _as_written(part, when_large):
        return None
    part.ended = time.monotonic()
    if host.masquerades or host.spec.get("kind") == "router":
        part.translations = translate.rows(host)
    return part


def _listed(part: Part) -> bool:
    """The tables by sock_diag; False where it does not tell: a kernel without, or a host that has ended."""
    if part.host.made.diag is None or not os.path.exists(f"/proc/self/fd/{part.host.proc}/net/tcp"):
        return False
    try:
        part.tcp, part.tcp6, part.diag = listing.take(part.host.made.diag)
    except errors.ObservationError:
        return False
    return True


def _as_written(part: Part, when_large: Callable[[], None]) -> bool:
    """The tables as the kernel writes them, and sock_diag beside them; False where the host has ended."""
    host = part.host
    try:
        has = sockstat.tables(read(host, "net/sockstat"), read(host, "net/sockstat6", optional=True))
        part.tcp = read(host, "net/tcp", when_large) if has.tcp else b""
        part.tcp6 = read(host, "net/tcp6", when_large, optional=True) if has.tcp6 else b""
    except OSError:
        return False
    if host.made.diag is not None and _any(part):
        try:
            part.diag = diag.dump(host.made.diag)
        except errors.ObservationError:
            part.diag = b""  # this kernel has no tcp_diag; the tables say most of it
    return True


def _any(part: Part) -> bool:
    """Has the host any socket? Its tables' first lines are headings."""
    return part.tcp.count(b"\n", 0, 1000) > 1 or part.tcp6.count(b"\n", 0, 1000) > 1


def read(
    host: Host, name: str, when_large: Callable[[], None] = lambda: None, optional: bool = False
) -> bytes:
    """A file of the host's /proc/PID, whole; FileIO.readall loops in C."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=host.proc)
    except FileNotFoundError:
        if optional and os.path.exists(f"/proc/self/fd/{host.proc}/net/tcp"):
            return b""  # a kernel without IPv6
        raise
    with open(fd, "rb", buffering=0) as file:
        pieces, size = [], 0
        while piece := file.read(_PIECE):
            pieces.append(piece)
            size += len(piece)
            if size > _PIECE:
                when_large()
                pieces.append(file.readall())
                break
        return b"".join(pieces)
