"""What tracepoints say of a lab, for a recording: from its daemon; or, where that may not and we may (a lab
of root's on the namespaces engine, whose daemon is in a user namespace), by programs of our own.

Nothing here may break or hold up a scenario: where nothing is traced the recording says why.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.errors import LabError, ObservationError
from orchestrator.join.traced import Traced
from orchestrator.model.recording import Change, Loss, Watch
from orchestrator.scenarios.clocks import Clocks
from orchestrator.scenarios.packets import ONE
from orchestrator.wire import Channel

if TYPE_CHECKING:
    from orchestrator.daemon.tracing.tracer import Tracer

BEGIN_SECONDS = 5.0  # for the programs to be attached; the scenario goes on without them
SETTLE_SECONDS = 2.0  # for all that has happened to come in

Open = Callable[[], Channel]


class Taken(msgspec.Struct, frozen=True):
    """What has come in, as a recording has it."""

    changes: tuple[Change, ...] = ()
    watches: tuple[Watch, ...] = ()
    losses: tuple[Loss, ...] = ()


class Traces:
    """`origin`: when t = 0 is, ns of our monotonic clock. `here`: the lab's kernel is ours. `clocks`: of
    several machines, each of which traces for itself."""

    def __init__(
        self,
        open_channel: Open,
        hosts: Iterable[str],
        origin: int,
        *,
        here: bool,
        clocks: Clocks | None = None,
    ) -> None:
        self._clocks = clocks if clocks is not None and clocks.several else None
        self._open, self._planned = open_channel, tuple(hosts)
        self._here = here and self._clocks is None
        self._origin = origin
        self._all: dict[str, Traced] = {}
        if self._clocks is None:
            self._traced = self._all[ONE] = Traced(origin)
        self._lock = threading.Lock()  # of what was traced, and of our own tracer
        self._own: OwnTracer | None = None
        self._channel: Channel | None = None
        self._request = 0
        self._sending = threading.Lock()
        self._marks: dict[int, _Mark] = {}
        self._last = 0
        self._begun = threading.Event()
        self._waiting = {ONE}  # machines that have not said whether they trace
        self._over = False
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)

    @property
    def why(self) -> str:
        """Why nothing is traced (any more); "": it is."""
        whys = [one.why for one in self._all.values()]
        return "" if "" in whys else next(iter(whys), "")

    def start(self) -> None:
        """Returns when what happens is recorded, or it is known that it will not be."""
        self._thread.start()
        if self._begun.wait(BEGIN_SECONDS):
            self._settle()

    def map_clock(self, shift: int) -> None:
        """What is to be added to the daemon's monotonic clock to have ours, ns."""
        with self._lock:
            if self._clocks is None:
                self._traced.shift = 0 if self._own else shift

    def close(self) -> None:
        """Detach everything; the threads end."""
        self._over = True
        channel = self._channel
        if channel is not None:
            channel.hang_up()
        self._thread.join(timeout=SETTLE_SECONDS)
        if self._own is not None:
            self._own.close()

    def taken(self, settle: bool = True) -> Taken:
        """All that has come in; `settle`: all that had happened when this was called."""
        if settle:
            self._settle()
        with self._lock:
            each = [self._taken(machine, traced) for machine, traced in self._all.items()]
        if len(each) == 1:
            return each[0]
        changes = sorted((change for one in each for change in one.changes), key=lambda one: one.t)
        return Taken(
            tuple(changes),
            tuple(watch for one in each for watch in one.watches),
            tuple(loss for one in each for loss in one.losses),
        )

    def _taken(self, machine: str, traced: Traced) -> Taken:
        hosts = self._planned if self._clocks is None else self._clocks.hosts_of(machine)
        try:
            changes = traced.changes()
        except ObservationError as error:
            traced.why, changes = error.message, ()
        return Taken(changes, tuple(traced.watches(hosts)), traced.losses())

    def _settle(self) -> bool:
        """Wait until all that has happened by now has come in. False where it did not in time."""
        if not self._begun.is_set() or self._channel is None or self.why:
            return False
        with self._sending:
            mark = _Mark({machine for machine, one in self._all.items() if not one.why})
            self._last += 1
            self._marks[self._last] = mark
            try:
                self._channel.feed(self._request, mark=self._last)
            except (OSError, LabError):
                return False
        return mark.answered.wait(SETTLE_SECONDS) and not self.why

    def _run(self) -> None:
        try:
            self._channel = self._open()
            if self._over:  # it was closed before there was a channel to close
                return self._channel.close()
            if self._clocks is not None:
                machines = self._channel.machines
                self._waiting = set(machines)
                with self._lock:
                    for machine in machines:
                        clock = self._clocks.of_machine(machine)
                        self._all[machine] = Traced(self._origin, clock, self._clocks.number(machine))
            self._request = self._channel.ask("trace")
            for message, data in self._channel.parts(self._request):
                if "part" in message:
                    self._take(message["part"], data)
            self._end("the daemon said no more")
        except LabError as error:
            self._end(error.message)
        except (OSError, ValueError, KeyError, TypeError) as error:  # among them: closed by `close`
            self._end(f"{type(error).__name__}: {error}")

    def _take(self, part: Mapping[str, Any], data: bytes) -> None:
        machine = str(part.get("machine", ONE)) if self._clocks is not None else ONE
        if "gone" in part:
            return self._went(machine, str(part["gone"]))
        with self._lock:
            if "tracing" in part and not part["tracing"] and self._here and sys.platform == "linux":
                part = self._trace_here()
            if self._own is not None:
                part = self._own.translated(part)
            self._all[machine].take(part, data)
        if "mark" in part:
            self._heard(part["mark"], machine)
        if "tracing" in part:
            self._waiting.discard(machine)
            self._begin()

    def _begin(self) -> None:
        if not self._waiting:
            self._begun.set()

    def _heard(self, number: int, machine: str) -> None:
        mark = self._marks.get(number)
        if mark is not None:
            mark.waiting.discard(machine)
            if not mark.waiting:
                del self._marks[number]
                mark.answered.set()

    def _went(self, machine: str, why: str) -> None:
        """One of several machines says no more; the others go on."""
        with self._lock:
            self._all[machine].why = why
        self._waiting.discard(machine)
        self._begin()
        for number in list(self._marks):
            self._heard(number, machine)

    def _trace_here(self) -> Mapping[str, Any]:
        from orchestrator.daemon.tracing.tracer import Refused

        try:
            tracer = _taken()
        except Refused as refused:
            return {"tracing": False, "why": str(refused)}
        self._own = OwnTracer(tracer, self._traced, self._lock)
        return {"tracing": True, "missing": tracer.missing, "reasons": tracer.reasons}

    def _end(self, why: str) -> None:
        if not self._over:
            for traced in self._all.values():
                traced.why = traced.why or why if self._clocks is not None else why
        self._begun.set()
        for mark in list(self._marks.values()):
            mark.answered.set()


class _Mark:
    """A question whether everything has come in. `waiting`: for these machines."""

    def __init__(self, machines: set[str]) -> None:
        self.waiting = machines
        self.answered = threading.Event()


_at_rest: list[Tracer] = []  # at most one, for the next recording of this process
_resting = threading.Lock()


def _taken() -> Tracer:
    """The one at rest, else one that is attached for us. Raises Refused."""
    from orchestrator.daemon.tracing.tracer import Tracer

    with _resting:
        tracer = _at_rest.pop() if _at_rest else None
    if tracer is None:
        return Tracer()
    try:
        tracer.begin()
    except BaseException:
        tracer.close()
        raise
    return tracer


def _given_back(tracer: Tracer) -> None:
    """It rests, attached: to detach and attach again takes 0.2 s, of these 45 ms of processor, and scenarios
    follow each other. One that cannot rest is closed, and so is one too many."""
    with contextlib.suppress(OSError), _resting:
        tracer.rest()
        if not _at_rest:
            _at_rest.append(tracer)
            return
    tracer.close()


class OwnTracer:
    """Programs that this process has attached, and a thread that takes what they record. `lock` is held by
    whoever calls."""

    def __init__(self, tracer: Tracer, traced: Traced, lock: threading.Lock) -> None:
        self._tracer, self._traced, self._lock = tracer, traced, lock
        self._names: dict[int, str] = {}
        self._lost: dict[int, int] = {}  # 0: it is not known whose
        self._checked = time.monotonic_ns()  # what was lost until then is known
        self._ending, self._end = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="tracer", daemon=True)
        self._thread.start()

    def translated(self, part: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a daemon says that does not trace, as it would be if it did: with times of our own."""
        if "came" in part and not part.get("why"):
            try:
                self._tracer.watch(part["netns"])
            except OSError as error:
                return {**part, "why": f"its network namespace cannot be watched: {error.strerror or error}"}
            self._names[part["netns"]] = str(part["came"])
        elif "went" in part:
            self._drain(thorough=True)
            with contextlib.suppress(OSError):
                self._tracer.unwatch(part["netns"])
            return part  # when it went, by the one clock of this computer
        elif "mark" in part:
            at = time.monotonic_ns()
            self._drain(thorough=True)
            return {**part, "at": at}
        return {**part, "at": time.monotonic_ns()}

    def close(self) -> None:
        """Nothing is recorded any more; not with the lock."""
        os.write(self._end, b"x")
        self._thread.join()
        _given_back(self._tracer)
        for fd in (self._ending, self._end):
            os.close(fd)

    def _run(self) -> None:
        """At rest it sleeps. While something comes in it looks fifty times a second."""
        ready = select.poll()
        ready.register(self._ending, select.POLLIN)
        while True:
            ready.register(self._tracer.ring.fd, select.POLLIN)
            found = dict(ready.poll())
            if self._ending in found:
                return
            with self._lock:
                self._drain()
            ready.unregister(self._tracer.ring.fd)
            if ready.poll(20):
                return

    def _drain(self, *, thorough: bool = False) -> None:
        now = time.monotonic_ns()
        ring, left = self._tracer.ring, self._tracer.ring.fill
        while left > 0 and (taken := ring.take()):
            left -= len(taken)
            self._traced.take({"records": len(taken)}, taken)
        if thorough or ring.was_full:
            ring.was_full = False
            for cookie, count in self._tracer.lost().items():
                self._count(cookie, count)
        self._count(0, self._tracer.not_run())
        self._checked = now

    def _count(self, cookie: int, lost: int) -> None:
        if lost > self._lost.get(cookie, 0):
            about = {"host": self._names.get(cookie), "lost": lost - self._lost.get(cookie, 0)}
            self._traced.take({**about, "since": self._checked, "at": time.monotonic_ns()})
            self._lost[cookie] = lost
