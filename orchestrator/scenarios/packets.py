"""Packets of a lab as they come, for a recording: the daemon's history from a moment on, followed by a
thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from orchestrator.daemon.clock import boot_id
from orchestrator.errors import LabError, ObservationError
from orchestrator.join import clock
from orchestrator.join.watched import Watched, unwatched
from orchestrator.model.plan import Plan
from orchestrator.model.recording import Loss, Reading, Segment, Watch
from orchestrator.wire import Channel

BEGIN_SECONDS = 5.0  # for the taps of a lab to be open; the scenario goes on without them
SETTLE_SECONDS = 2.0  # for all that has happened to come in
TRIPS = 5  # by which the daemon's clock is mapped to ours

Open = Callable[[], Channel]


class Taken(msgspec.Struct, frozen=True):
    """What has come in, as a recording has it."""

    segments: tuple[Segment, ...] = ()
    watches: tuple[Watch, ...] = ()
    losses: tuple[Loss, ...] = ()
    clock: tuple[str, ...] = ()
    readings: tuple[Reading, ...] = ()


class Packets:
    """The part of the daemon's history from `since` on; both moments in ns of the monotonic clock. `opening`:
    hosts that are not watched are from now on, those of `about` before others."""

    def __init__(
        self,
        open_channel: Open,
        plan: Plan,
        origin: int,
        since: int,
        *,
        opening: bool = True,
        about: tuple[str, ...] = (),
    ) -> None:
        self._opening, self._about = opening, about
        self._open, self._plan, self._origin, self._since = open_channel, plan, origin, since
        self._watched = Watched(origin, since)
        self.shift = clock.Shift()
        self._channel: Channel | None = None
        self._request = 0
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._begun = threading.Event()
        self._marks: dict[int, _Mark] = {}
        self._trips: list[clock.Trip] = []
        self._last = 0
        self._known = since  # everything until then has come in
        self._why = "the fake engine has no packets" if plan.engine == "fake" else ""  # nothing will come
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Returns when packets are seen, or it is known that they will not be."""
        if self._why:
            return
        self._thread.start()
        if not self._begun.wait(BEGIN_SECONDS):
            return
        for _ in range(TRIPS):
            if not self._settle():
                return
        self.shift = clock.shift_of(self._trips, self._watched.boot == boot_id() != "")
        with self._lock:
            self._watched.shift(self.shift)

    def close(self) -> None:
        """Leave the daemon alone. The thread ends with its channel."""
        channel = self._channel
        if channel is not None:
            channel.hang_up()
        if self._thread.ident is not None:
            self._thread.join(timeout=SETTLE_SECONDS)

    def taken(self, settle: bool) -> Taken:
        """All that has come in; `settle`: all that had happened when this was called."""
        if settle:
            self._settle()
        known = (self._known - self._origin) / 1e9
        with self._lock:
            try:
                self._watched.read()
            except ObservationError as error:
                self._why = error.message
            segments = self._watched.segments
            segments.sort(key=lambda one: one.t)
            watches = tuple(self._watched.watches(known, self._why))
            return Taken(
                tuple(segments),
                (*watches, *self._missing(watches, known)),
                self._watched.losses(known),
                self._watched.notes,
                self._watched.readings,
            )

    def _missing(self, watches: tuple[Watch, ...], now: float) -> Iterator[Watch]:
        """Hosts of which nothing is said."""
        why = self._why or "it could not be watched in time"
        for name in {host.name for host in self._plan.hosts} - {one.host for one in watches}:
            yield unwatched(name, now, why)

    def _settle(self) -> bool:
        """Wait until all that had happened when this was called has come in. False where it did not."""
        if self._why or not self._begun.is_set():
            return False
        mark = _Mark(time.monotonic_ns())
        with self._sending:
            self._last += 1
            self._marks[self._last] = mark
            try:
                assert self._channel is not None
                self._channel.feed(self._request, mark=self._last)
            except (OSError, LabError):
                return False
        if not mark.answered.wait(SETTLE_SECONDS) or self._why:
            return False
        self._known = max(self._known, mark.asked)
        return True

    def _run(self) -> None:
        try:
            self._channel = self._open()
            since, first = self._since, list(self._about)
            self._request = self._channel.ask(
                "history", hosts=None, since=since, open=self._opening, first=first
            )
            for message, data in self._channel.parts(self._request):
                if "part" in message:
                    self._take(message["part"], data)
            self._end("the daemon said no more")
        except LabError as error:
            self._end(error.message)
        except (OSError, ValueError) as error:  # closed by `close`
            self._end(f"{type(error).__name__}: {error}")

    def _take(self, part: Mapping[str, Any], data: bytes) -> None:
        if "mark" not in part:
            with self._lock:
                self._watched.take(part, data)
            self._begun.set()
            return
        mark = self._marks.pop(part["mark"], None)
        if mark is not None:
            there = clock.sample_of(part.get("clock"))
            if len(self._trips) < TRIPS:
                self._trips.append(clock.Trip(mark.asked, time.monotonic_ns(), there.monotonic))
            with self._lock:
                self._watched.read_clock(there)
            mark.answered.set()

    def _end(self, why: str) -> None:
        self._why = why
        self._begun.set()
        for mark in list(self._marks.values()):
            mark.answered.set()


class _Mark:
    """A question whether everything has come in; `asked` in ns."""

    def __init__(self, asked: int) -> None:
        self.asked = asked
        self.answered = threading.Event()
