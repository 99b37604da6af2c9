"""Packets of a lab as they come, for a recording: the history of each of its daemons from a moment on,
followed by a thread."""

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
from orchestrator.scenarios.clocks import Clocks
from orchestrator.wire import Channel

BEGIN_SECONDS = 5.0  # for the taps of a lab to be open; the scenario goes on without them
SETTLE_SECONDS = 2.0  # for all that has happened to come in
TRIPS = 5  # by which the daemon's clock is mapped to ours
ONE = ""  # what the machine of a lab is called that has but one

Open = Callable[[], Channel]


class Taken(msgspec.Struct, frozen=True):
    """What has come in, as a recording has it."""

    segments: tuple[Segment, ...] = ()
    watches: tuple[Watch, ...] = ()
    losses: tuple[Loss, ...] = ()
    clock: tuple[str, ...] = ()
    readings: tuple[Reading, ...] = ()


class _Source:
    """One machine's part. `known`: everything until then has come in, by our clock; `why` nothing more
    will."""

    def __init__(self, watched: Watched, known: int) -> None:
        self.watched, self.known = watched, known
        self.why = ""
        self.begun = False


class Packets:
    """The part of the daemons' history from `since` on; both moments in ns of the monotonic clock. `opening`:
    hosts that are not watched are from now on, those of `about` before others. `clocks`: of several machines,
    measured by whoever gives them."""

    def __init__(
        self,
        open_channel: Open,
        plan: Plan,
        origin: int,
        since: int,
        *,
        opening: bool = True,
        about: tuple[str, ...] = (),
        clocks: Clocks | None = None,
    ) -> None:
        self._opening, self._about = opening, about
        self._open, self._plan, self._origin, self._since = open_channel, plan, origin, since
        self._clocks = clocks if clocks is not None and clocks.several else None
        self._sources: dict[str, _Source] = {}
        self.shift = clock.Shift()
        self._channel: Channel | None = None
        self._request = 0
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._begun = threading.Event()
        self._marks: dict[int, _Mark] = {}
        self._trips: list[clock.Trip] = []
        self._last = 0
        self._why = "the fake engine has no packets" if plan.engine == "fake" else ""  # nothing will come
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        if self._clocks is None:
            self._source(ONE)

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
        if self._clocks is None:
            watched = self._sources[ONE].watched
            self.shift = clock.shift_of(self._trips, watched.boot == boot_id() != "")
            with self._lock:
                watched.shift(self.shift)

    def close(self) -> None:
        """Leave the daemons alone. The thread ends with its channel."""
        channel = self._channel
        if channel is not None:
            channel.hang_up()
        if self._thread.ident is not None:
            self._thread.join(timeout=SETTLE_SECONDS)

    def taken(self, settle: bool) -> Taken:
        """All that has come in; `settle`: all that had happened when this was called."""
        if settle:
            self._settle()
        with self._lock:
            each = [self._taken(machine, source) for machine, source in self._sources.items()]
        segments = each[0].segments if len(each) == 1 else [s for one in each for s in one.segments]
        watches = tuple(watch for one in each for watch in one.watches)
        known = max((source.known for source in self._sources.values()), default=self._since)
        return Taken(
            tuple(segments if len(each) == 1 else sorted(segments, key=lambda one: one.t)),
            (*watches, *self._missing(watches, (known - self._origin) / 1e9)),
            tuple(loss for one in each for loss in one.losses),
            tuple(note for one in each for note in one.clock),
            each[0].readings if self._clocks is None else (),  # a real-time clock of each of several
        )

    def _taken(self, machine: str, source: _Source) -> Taken:
        known = (source.known - self._origin) / 1e9
        watched = source.watched
        try:
            watched.read()
        except ObservationError as error:
            source.why = error.message
        watched.segments.sort(key=lambda one: one.t)
        return Taken(
            tuple(watched.segments),
            tuple(watched.watches(known, source.why or self._why)),
            watched.losses(known),
            tuple(f"{machine}: {note}" if machine else note for note in watched.notes),
            watched.readings,
        )

    def _missing(self, watches: tuple[Watch, ...], now: float) -> Iterator[Watch]:
        """Hosts of which nothing is said."""
        for name in {host.name for host in self._plan.hosts} - {one.host for one in watches}:
            yield unwatched(name, now, self._why or "it could not be watched in time")

    def _settle(self) -> bool:
        """Wait until all that had happened when this was called has come in. False where it did not."""
        if self._why or not self._begun.is_set():
            return False
        with self._sending:
            live = [machine for machine, one in self._sources.items() if not one.why]
            mark = _Mark(time.monotonic_ns(), live)
            self._last += 1
            self._marks[self._last] = mark
            try:
                assert self._channel is not None
                self._channel.feed(self._request, mark=self._last)
            except (OSError, LabError):
                return False
        return mark.answered.wait(SETTLE_SECONDS) and not self._why

    def _run(self) -> None:
        try:
            self._channel = self._open()
            with self._lock:
                for machine in self._channel.machines if self._clocks is not None else ():
                    self._source(machine)
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

    def _source(self, machine: str) -> _Source:
        found = self._sources.get(machine)
        if found is None:
            found = self._sources[machine] = _Source(Watched(self._origin, self._since), self._since)
            if self._clocks is not None:
                found.watched.follow(self._clocks.of_machine(machine))
        return found

    def _take(self, part: Mapping[str, Any], data: bytes) -> None:
        machine = str(part.get("machine", ONE)) if self._clocks is not None else ONE
        source = self._source(machine)
        if "gone" in part:
            self._went(machine, source, str(part["gone"]))
        elif "mark" not in part:
            with self._lock:
                source.watched.take(part, data)
            self._began(source)
        elif (mark := self._marks.get(part["mark"])) is not None:
            there = clock.sample_of(part.get("clock"))
            if len(self._trips) < TRIPS:
                self._trips.append(clock.Trip(mark.asked, time.monotonic_ns(), there.monotonic))
            with self._lock:
                source.watched.read_clock(there)
            source.known = max(source.known, mark.asked)
            self._heard(part["mark"], mark, machine)

    def _heard(self, number: int, mark: _Mark, machine: str) -> None:
        mark.waiting.discard(machine)
        if not mark.waiting:
            self._marks.pop(number, None)
            mark.answered.set()

    def _began(self, source: _Source) -> None:
        source.begun = True
        if all(one.begun or one.why for one in self._sources.values()):
            self._begun.set()

    def _went(self, machine: str, source: _Source, why: str) -> None:
        """One of several machines says no more; the others go on."""
        source.why = why
        self._began(source)
        for number, mark in list(self._marks.items()):
            self._heard(number, mark, machine)

    def _end(self, why: str) -> None:
        self._why = why
        self._begun.set()
        for mark in list(self._marks.values()):
            mark.answered.set()


class _Mark:
    """A question whether everything has come in; `asked` in ns. `waiting`: for these machines."""

    def __init__(self, asked: int, machines: list[str]) -> None:
        self.asked = asked
        self.waiting = set(machines)
        self.answered = threading.Event()
