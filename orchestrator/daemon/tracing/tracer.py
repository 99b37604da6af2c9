"""Changes of TCP sockets as the kernel makes them, of hosts whose network namespaces are named.

It takes a kernel with BTF (Linux 5.14, and not all are built so) and CAP_BPF with CAP_PERFMON, or
CAP_SYS_ADMIN, in the computer's own user namespace. Where one is missing `Refused` says why, and nothing is
left. Everything vanishes with the process that has it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

from orchestrator.daemon.tracing import bpf
from orchestrator.daemon.tracing.btf import Btf, Missing
from orchestrator.daemon.tracing.hits import Hits
from orchestrator.daemon.tracing.programs import (
    KINDS,
    NAMES,
    NOTE_SIZE,
    REASONS,
    STATE,
    TRACEPOINTS,
    Maps,
    Tracepoint,
    program,
)
from orchestrator.daemon.tracing.ring import Ring

BTF = "/sys/kernel/btf/vmlinux"
RING_SIZE = 1 << 23  # bytes: 95,000 records, those of 9,500 connections from beginning to end
MOST_HOSTS = 4096
_NOTES = (
    1 << 12
)  # those of a few programs at work; one is left behind now and then, and the oldest is dropped
_SO_NETNS_COOKIE = 71  # asm-generic/socket.h, Linux 5.14
_FORBIDDEN = "it takes CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN, on the computer itself"


class Refused(Exception):
    """Why nothing can be traced here."""


@functools.cache
def _types(path: str) -> Btf:
    """The running kernel's types, which do not change: 5 MB, read in some 60 ms."""
    with open(path, "rb") as file:
        return Btf(file.read(), NAMES)


class Tracer:
    """Attached when it is made. Raises Refused."""

    def __init__(self, size: int = RING_SIZE) -> None:
        self.missing: dict[str, str] = {}  # tracepoints that are not there, and why
        self.reasons: dict[int, str] = {}  # of resets; none before Linux 6.10
        self._programs: dict[tuple[str, bool], int] = {}
        self._links: list[int] = []
        self._maps: list[int] = []
        self._watched: set[int] = set()
        self._ring: Ring | None = None
        self._hits: dict[Tracepoint, Hits] = {}
        self._not_run_before: dict[Tracepoint, int] = {}
        try:
            self._open(size)
        except (OSError, Missing, ValueError, struct.error) as error:
            self.close()
            raise Refused(_why(error)) from error
        except BaseException:
            self.close()
            raise

    def _open(self, size: int) -> None:
        self._ring = Ring(size)
        self._maps = [
            bpf.make_map(bpf.HASH, "lab_hosts", 8, 8, MOST_HOSTS),
            bpf.make_map(bpf.LRU_HASH, "lab_notes", NOTE_SIZE, 8, _NOTES),
            bpf.make_map(bpf.ARRAY, "lab_ran", 4, 8 * KINDS, 1),
        ]
        btf = _types(BTF)  # when it is known that we may
        with contextlib.suppress(Missing):
            self.reasons = {n: name.removeprefix("SK_RST_REASON_") for n, name in btf.values(REASONS).items()}
        maps = Maps(self._maps[0], self._ring.fd, self._maps[1], self._maps[2])
        for tracepoint in TRACEPOINTS:
            try:
                self._attach(tracepoint, btf, maps)
            except (OSError, Missing) as error:
                if tracepoint.kind == STATE:
                    raise
                self.missing[tracepoint.name] = _why(error)
        with contextlib.suppress(OSError, ValueError):  # then it is not known what was not run
            for one in TRACEPOINTS:
                if one.name not in self.missing:
                    self._hits[one] = Hits(one.path)
            self._not_run_before = self._not_run()

    def _attach(self, tracepoint: Tracepoint, btf: Btf, maps: Maps) -> None:
        """Both of its programs, the first before the second: they run in this order."""
        loaded = []
        for second in False, True:
            code = program(tracepoint, btf, maps, second=second)
            name = f"lab_{tracepoint.name.removeprefix('inet_sock_').removeprefix('tcp_')}"
            one = self._programs[tracepoint.name, second] = bpf.load(
                name, code, btf.typedef(tracepoint.typedef)
            )
            loaded.append(one)
        self._links += [bpf.attach(one) for one in loaded]

    @property
    def ring(self) -> Ring:
        """Where the records are."""
        assert self._ring is not None
        return self._ring

    def watch(self, netns: int) -> None:
        """Sockets of this network namespace are recorded from now on; by its cookie. Raises OSError."""
        if netns not in self._watched:
            bpf.put(self._maps[0], netns, 0)
            self._watched.add(netns)

    def unwatch(self, netns: int) -> int:
        """No more of them; how many records of it were lost."""
        lost = self.lost().get(netns, 0)
        if netns in self._watched:
            self._watched.remove(netns)
            bpf.delete(self._maps[0], netns)
        return lost

    def lost(self) -> dict[int, int]:
        """Records that found no room in the ring, so far, by network namespace; none where none were."""
        counts = {netns: bpf.get(self._maps[0], netns) for netns in self._watched}
        return {netns: count for netns, count in counts.items() if count}

    def not_run(self) -> int:
        """How often the kernel passed a tracepoint and did not run the program, so far, though it was not
        running already: for any socket of the computer."""
        now = self._not_run()
        return sum(max(0, now[one] - before) for one, before in self._not_run_before.items())

    def _not_run(self) -> dict[Tracepoint, int]:
        hits = {one: counter.count() for one, counter in self._hits.items()}
        ran = bpf.numbers(
            self._maps[2], KINDS
        )  # later: what happens meanwhile must not look as if it was lost
        return {
            one: count - ran[one.kind] - bpf.misses(self._programs[one.name, False])
            for one, count in hits.items()
        }

    def rest(self) -> None:
        """No host is watched any more; it stays attached, for another to go on with (`begin`)."""
        for netns in tuple(self._watched):
            self.unwatch(netns)

    def begin(self) -> None:
        """As if it had just been made: what was recorded and lost before is forgotten."""
        while self.ring.fill and self.ring.take():
            pass
        self.ring.was_full = False
        self._not_run_before = self._not_run() if self._hits else {}

    def passed_over(self) -> dict[tuple[str, bool], int]:
        """How often each program did not run since it was running already: of all sockets of the computer."""
        return {key: bpf.misses(one) for key, one in self._programs.items()}

    def close(self) -> None:
        """Idempotent. The kernel takes some ms for each program that it detaches."""
        links = [*self._links, *(fd for counter in self._hits.values() for fd in counter.taken())]
        self._links, self._hits = [], {}
        with ThreadPoolExecutor(max_workers=max(len(links), 1)) as threads:
            list(threads.map(os.close, links))
        for fd in (*self._programs.values(), *self._maps):
            os.close(fd)
        self._programs, self._maps = {}, []
        if self._ring is not None:
            self._ring.close()


def cookie_of(sock: socket.socket) -> int:
    """The cookie of the network namespace that this socket is of: never another's, until the computer starts
    again. Raises OSError."""
    return int(struct.unpack("=Q", sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8))[0])


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"this kernel has no {BTF}"
    if isinstance(error, OSError):
        known = {
            errno.EPERM: _FORBIDDEN,
            errno.ENOSYS: "this kernel, or a filter of system calls, has no bpf(2)",
        }
        return known.get(error.errno or 0, str(error.strerror or error))
    return str(error.args[0] if error.args else error)
