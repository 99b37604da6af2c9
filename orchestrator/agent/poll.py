"""What the agent waits with: descriptors, timers and children on one epoll(7), in one thread.

Nothing here polls: an agent without work sleeps in the kernel.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable
from functools import cached_property, partial

from orchestrator.agent import signals

Callback = Callable[[], None]
_FAULTS, _FAULT = 10, 200  # how many, how long
_READ = select.EPOLLIN | select.EPOLLRDHUP
_WAKES_READER = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_WAKES_WRITER = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR


class Timer:
    """Something that is due at a moment, unless it is cancelled."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callback) -> None:
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Never call back; harmless when it is too late."""
        self.callback = None


class Loop:
    """One reader and one writer for each descriptor; whoever closes a descriptor calls `forget` before.

    A descriptor that is closed while a child still holds its file would go on reporting events under a number
    that may mean something else by then (epoll(7), Q6).
    """

    def __init__(self) -> None:
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._soon: deque[Callback] = deque()
        self._children: dict[int, Callable[[int], None]] = {}
        self._running = True
        self._fresh: set[int] = set()  # registered since the last poll
        self.faults: list[str] = []  # what callbacks raised that should not have; the first few

    @cached_property
    def _epoll(self) -> select.epoll:
        """From when it is first needed on: a loop may be made before a fork, which would share it."""
        return select.epoll()

    def reading(self, fd: int, callback: Callback | None) -> None:
        """Call back whenever `fd` can be read (or has hung up); None: no more."""
        self._set(fd, self._readers, callback)

    def writing(self, fd: int, callback: Callback | None) -> None:
        """Call back whenever `fd` can be written (or is broken); None: no more."""
        self._set(fd, self._writers, callback)

    def forget(self, fd: int) -> None:
        """Nothing of this descriptor any more; it is about to be closed."""
        self.reading(fd, None)
        self.writing(fd, None)

    def after(self, seconds: float, callback: Callback) -> Timer:
        """Call back once, `seconds` from now."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def soon(self, callback: Callback) -> None:
        """Call back in the next round, after what is ready now: for long work in pieces."""
        self._soon.append(callback)

    def child(self, pid: int, callback: Callable[[int], None]) -> None:
        """Call back with the wait status (wait(2)) when child `pid` has ended."""
        self._children[pid] = callback

    def stop(self) -> None:
        """Leave `run` after this round."""
        self._running = False

    def run(self) -> None:
        """Go on until `stop`."""
        wake, woken = self._catch_children()
        try:
            while self._running:
                self._round()
        finally:
            signal.set_wakeup_fd(-1)
            for fd in (wake, woken):
                os.close(fd)
            self._epoll.close()

    def _round(self) -> None:
        self._fresh.clear()
        for fd, events in self._epoll.poll(self._timeout()):
            if fd not in self._fresh:  # else it is of an earlier descriptor of that number
                self._dispatch(fd, events)
        self._run_timers()
        for _ in range(len(self._soon)):
            self._call(self._soon.popleft())

    def _set(self, fd: int, table: dict[int, Callback], callback: Callback | None) -> None:
        known = fd in self._readers or fd in self._writers
        if callback is None:
            if table.pop(fd, None) is None:
                return
        else:
            table[fd] = callback
        mask = (_READ if fd in self._readers else 0) | (select.EPOLLOUT if fd in self._writers else 0)
        if not mask:
            self._epoll.unregister(fd)
        elif known:
            self._epoll.modify(fd, mask)
        else:
            self._register(fd, mask, table)

    def _register(self, fd: int, mask: int, table: dict[int, Callback]) -> None:
        self._fresh.add(fd)
        try:
            self._epoll.register(fd, mask)
        except OSError:
            del table[fd]
            raise

    def _dispatch(self, fd: int, events: int) -> None:
        if events & _WAKES_READER and (reader := self._readers.get(fd)) and not self._call(reader):
            self.reading(fd, None)
        if events & _WAKES_WRITER and (writer := self._writers.get(fd)) and not self._call(writer):
            self.writing(fd, None)

    def _call(self, callback: Callback) -> bool:
        """False where it raised: one mistake about one descriptor must not end a whole host."""
        try:
            callback()
        except Exception as error:
            if len(self.faults) < _FAULTS:
                self.faults.append(f"{type(error).__name__}: {error}"[:_FAULT])
            return False
        return True

    def _timeout(self) -> float:
        """Seconds to sleep for; -1: until something happens."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        if self._soon:
            return 0
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            callback = heapq.heappop(self._timers)[2].callback
            if callback:
                self._call(callback)

    def _catch_children(self) -> tuple[int, int]:
        """The two ends of a pipe that tells of a child's end."""
        wake, woken = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signals.catch()

        def reap() -> None:
            os.read(wake, 4096)
            self._reap()

        self.reading(wake, reap)
        self._reap()
        return wake, woken

    def _reap(self) -> None:
        """Every child that has ended, also those that came to us as pid 1 and that nobody asks after."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if callback := self._children.pop(pid, None):
                self._call(partial(callback, status))
