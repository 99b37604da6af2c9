"""`logs`: what programs wrote, and log files of the host, to their end or for as long as someone watches."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping

from orchestrator import wire
from orchestrator.agent.poll import Loop, Timer
from orchestrator.agent.programs import Ring
from orchestrator.agent.requests import Request, guarded

MAX_PATHS = 64
_LOOK = 0.25  # seconds between two looks at a followed file; nothing is looked at while nobody follows
_TAIL = 1 << 20  # how far back the last lines of a file are looked for


class _RingSource:
    """A program's output from some position on."""

    def __init__(self, name: str, ring: Ring, tail: int | None) -> None:
        self.name = name
        self.ring = ring
        self._at = ring.start if tail is None else ring.lines_back(tail)

    def read(self, size: int) -> bytes:
        """What comes next; what was overwritten meanwhile is passed over."""
        self._at = max(self._at, self.ring.start)
        data = self.ring.read(self._at, size)
        self._at += len(data)
        return data

    def looks(self) -> wire.Message:
        """It was not looked for: it came by itself."""
        return {}

    def close(self) -> None:
        """Nothing is open."""


class _FileSource:
    """A log file, also when it is replaced (log rotation) or comes into being later."""

    def __init__(self, path: str, tail: int | None) -> None:
        self.name = path
        self._fd = -1
        self._inode = 0
        began = time.monotonic()
        self._open()
        if self._fd >= 0 and tail is not None:
            self._skip(tail)
        # When nothing more was in it than what has been read; of what was there before nobody knows.
        self._since: float | None = began if self._fd < 0 or tail == 0 else None

    def read(self, size: int) -> bytes:
        """What comes next, b"" where nothing has been added."""
        began = time.monotonic()
        data = self._read(size)
        if not data:
            self._since = began
        return data

    def looks(self) -> wire.Message:
        """When there was nothing more, and now: in between was written what was read last."""
        return {} if self._since is None else {"since": self._since, "at": time.monotonic()}

    def _read(self, size: int) -> bytes:
        if self._fd < 0:
            self._open()
        if self._fd < 0:
            return b""
        data = os.read(self._fd, size)
        if not data and self._replaced():
            self.close()
            self._open()
            return os.read(self._fd, size) if self._fd >= 0 else b""
        return data

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        try:
            fd = os.open(self.name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            os.close(fd)
            return
        self._fd, self._inode = fd, about.st_ino

    def _replaced(self) -> bool:
        try:
            about = os.stat(self.name)
        except OSError:
            return False
        return about.st_ino != self._inode or about.st_size < os.lseek(self._fd, 0, os.SEEK_CUR)

    def _skip(self, lines: int) -> None:
        """To the last `lines` lines."""
        end = os.lseek(self._fd, 0, os.SEEK_END)
        start = max(0, end - _TAIL)
        ring = Ring()
        for offset in range(start, end, wire.CHUNK):
            ring.add(os.pread(self._fd, min(wire.CHUNK, end - offset), offset))
        os.lseek(self._fd, start + ring.lines_back(lines), os.SEEK_SET)


class Logs:
    """One `logs` request."""

    def __init__(self, loop: Loop, request: Request, rings: Mapping[str, Ring]) -> None:
        self._loop = loop
        self._request = request
        self._follow = bool(request.message.get("follow"))
        tail = request.message.get("tail")
        lines = None if tail is None else max(0, int(tail))
        paths = [str(p) for p in (request.message.get("paths") or [])[:MAX_PATHS]]
        files = [_FileSource(p, lines) for p in paths]
        self._rings = [_RingSource(name, ring, lines) for name, ring in rings.items()]
        self._sources: list[_RingSource | _FileSource] = [*self._rings, *files]
        self._timer: Timer | None = None
        self._scheduled = False
        request.on_credit, request.on_cancel = self._schedule, self._close
        if self._follow:
            for source in self._rings:
                source.ring.followers.append(self._schedule)
        if request.message.get("begun"):
            request.part({"begun": True})  # the files are open: what is written from now on will be told
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.soon(lambda: guarded(self._request, self._step))

    def _step(self) -> None:
        """One piece of each source; again at once while there is more."""
        self._scheduled = False
        if not self._request.open or self._request.window <= 0:
            return
        more = [self._pass(source) for source in self._sources]
        if any(more):
            self._schedule()
        elif self._follow:
            self._look_later()
        else:
            self._close()
            self._request.ok({})

    def _pass(self, source: _RingSource | _FileSource) -> bool:
        if self._request.window <= 0:
            return True
        data = source.read(min(wire.CHUNK, self._request.window))
        if data:
            about = source.looks() if self._follow else {}
            self._request.part({"source": source.name, **about}, data)
        return bool(data)

    def _look_later(self) -> None:
        if self._timer:
            self._timer.cancel()
        if len(self._sources) > len(self._rings):
            self._timer = self._loop.after(_LOOK, self._schedule)

    def _close(self) -> None:
        if self._timer:
            self._timer.cancel()
        for ring_source in self._rings:
            if self._schedule in ring_source.ring.followers:
                ring_source.ring.followers.remove(self._schedule)
        for source in self._sources:
            source.close()
