"""A channel to the daemons of several machines, which answers as one daemon of the whole lab would.

A request about a host goes to that host's machine, and its answer comes back as it is. One about all goes to
all, side by side, and is answered when the last has answered, or is known to be away: within SILENT seconds,
where a daemon should answer at once. What is asked how is in spread_answers.py.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from orchestrator import wire
from orchestrator.engines import spread_answers as answers
from orchestrator.engines.spread_answers import KINDS, Answers, Kind
from orchestrator.engines.spread_captures import CAPTURE, Capture
from orchestrator.engines.spread_line import Line, Open, named
from orchestrator.engines.spread_where import Parts, Unplaced, Where
from orchestrator.errors import DaemonError, DaemonGone, DaemonSilent, LabError
from orchestrator.wire import Channel, Frame, Message

SILENT = 10.0  # seconds after which a daemon that should answer at once is passed over
MOST_HELD = 64 << 20  # bytes that have come and nobody has taken: then the machines have to wait


class Whereabouts:
    """Where the hosts of a lab are, for all of its channels: a plan that is changed changes it for all."""

    def __init__(self, where: Where, unplaced: Unplaced = None) -> None:
        self.where = where
        self._unplaced = unplaced

    def learn(self, hosts: Iterable[Message]) -> None:
        """A new plan's."""
        self.where = self.where.moved(hosts, self._unplaced)


class _Asked:
    """A request under way. `waiting`: the machines that have not ended their answers; `rest`: those that may
    be asked instead."""

    def __init__(self, message: Message, kind: Kind, where: Where, parts: Parts) -> None:
        self.number = message["id"]
        self.message, self.kind, self.where = message, kind, where
        self.rest: list[str] = []
        machines = list(parts)
        if kind.one:
            machines, self.rest = machines[:1], machines[1:]
        self.parts = parts
        self.waiting = dict.fromkeys(machines, time.monotonic())  # since when
        self.values: dict[str, Message] = {}
        self.errors: dict[str, LabError] = {}
        self.capture = Capture(list(parts), message.get("clocks") or {}) if kind is CAPTURE else None

    def part(self, machine: str, message: Message, data: bytes) -> Iterator[Frame]:
        """A part of one machine's answer."""
        if self.capture is not None:
            yield from self.capture.part(machine, message["part"], data)
        else:
            part = answers.numbered(str(self.message.get("op")), message["part"], machine, self.where)
            yield Frame({"part": part}, data)

    def ended(self, machine: str, message: Message) -> Iterator[Frame]:
        """One machine has answered. The last thing that is given is the end, when it was the last machine."""
        self.waiting.pop(machine, None)
        if "error" in message:
            self.errors[machine] = named(machine, wire.to_error(message["error"]))
            if self.kind.stamped:
                yield from answers.went(machine, self.errors[machine])
        else:
            value = message.get("ok")
            self.values[machine] = value if isinstance(value, dict) else {}
            if self.kind.told:
                yield from answers.said(machine, self.values[machine], self.where)
        if self.capture is not None:
            yield from self.capture.ended(machine, self.values.get(machine))
        if not self.waiting:
            yield Frame(self._whole())

    def _whole(self) -> Message:
        if self.capture is not None and self.values:
            return {"ok": self.capture.value()}
        values = {m: self.values[m] for m in self.where.machines if m in self.values}
        return answers.whole(self.kind, Answers(self.message, self.where, values, self.errors))


class SpreadChannel(Channel):
    """See wire.Channel. `openers`: how each machine's channel is opened, or the open channel."""

    def __init__(self, openers: Mapping[str, Open | Channel], whereabouts: Whereabouts) -> None:
        self._whereabouts = whereabouts
        self._lines = {
            machine: Line(machine, opener, self._took, self._lost) for machine, opener in openers.items()
        }
        self._changed = threading.Condition()
        self._asked: dict[int, _Asked] = {}
        self._came: deque[Frame] = deque()
        self._held = 0
        self._closed = False
        self._timeout: float | None = None

    # wire.Channel

    def send(self, message: Message, data: bytes = b"") -> None:
        """A request, or more input of one."""
        if self._closed:
            raise DaemonGone("the channel to the lab is closed")
        if "in" in message:
            self._feed(message, data)
            return
        try:
            asked = self._begun(message)
        except LabError as error:
            self._give([Frame({"id": message["id"], "error": wire.error_message(error)})])
            return
        pieces = answers.remembered(data, asked.where) if message["op"] == "remember" else None
        for machine in list(asked.waiting):
            mine = data if pieces is None else pieces.get(machine, b"")
            self._tell(machine, asked, mine)

    def receive(self) -> Frame:
        """The next frame of any machine."""
        until = None if self._timeout is None else time.monotonic() + self._timeout
        with self._changed:
            while not self._came:
                if self._closed:
                    raise DaemonGone("the channel to the lab is closed")
                if not self._asked and all(line.gone for line in self._lines.values()):
                    raise DaemonGone("the daemons of the lab are gone", "`lab status` shows what is left")
                self._wait(until)
            frame = self._came.popleft()
            self._held -= len(frame.data)
            self._changed.notify_all()
            return frame

    def settimeout(self, seconds: float | None) -> None:
        """Of `receive`."""
        self._timeout = seconds

    def close(self) -> None:
        """Leave all daemons."""
        self.hang_up()

    def hang_up(self) -> None:
        """All threads end, and whoever waits in `receive`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for line in self._lines.values():
            line.hang_up()

    @property
    def machines(self) -> tuple[str, ...]:
        """Those that have something of the lab."""
        return self._whereabouts.where.machines

    @property
    def away(self) -> dict[str, str]:
        """Machines that are known not to answer, and why."""
        found = {m: line.gone.message for m, line in self._lines.items() if line.gone is not None}
        silent = {m: _silence(m).message for m, line in self._lines.items() if line.silent}
        return silent | found

    # Requests.

    def _begun(self, message: Message) -> _Asked:
        """Registered before it is sent: an answer may come at once."""
        op = message["op"]
        if op == "set_plan":
            self._learn(message)
        kind = CAPTURE if op == "capture" else KINDS.get(op)
        if kind is None:
            raise DaemonError(f"no request {op!r} is known")
        where = self._whereabouts.where
        asked = _Asked(message, kind, where, kind.split(message, where))
        with self._changed:
            self._asked[asked.number] = asked
        if not asked.waiting:  # of no host
            self._give(self._completed(asked, [Frame(answers.whole(kind, Answers(message, where, {}, {})))]))
        return asked

    def _learn(self, message: Message) -> None:
        """A plan says where hosts are from now on."""
        if isinstance(message.get("plan"), dict):
            self._whereabouts.learn(message["plan"].get("hosts", ()))

    def _tell(self, machine: str, asked: _Asked, data: bytes) -> None:
        line = self._lines[machine]
        try:
            if asked.kind.bounded and line.silent:
                raise _silence(machine)
            line.send(asked.parts[machine], data)
        except LabError as error:
            self._failed(machine, asked, error)

    def _feed(self, message: Message, data: bytes) -> None:
        with self._changed:
            asked = self._asked.get(message["id"])
            machines = list(asked.waiting) if asked is not None else []
        for machine in machines:
            try:
                self._lines[machine].send(message, data)
            except LabError as error:
                assert asked is not None
                self._failed(machine, asked, error)

    # Answers: by the threads of the lines.

    def _took(self, line: Line, frame: Frame) -> None:
        message, data = frame
        with self._changed:
            asked = self._asked.get(message.get("id", -1))
            if asked is None or line.machine not in asked.waiting:
                return  # it was given up
            if asked.kind.routed and "part" in message:
                found = [frame]
            elif asked.kind.routed:
                del self._asked[asked.number]
                found = [frame]
            elif "part" in message:
                found = [_of(asked, one) for one in asked.part(line.machine, message, data)]
            else:
                found = self._completed(asked, asked.ended(line.machine, message))
            self._give(found)
            while self._held > MOST_HELD and not self._closed:
                self._changed.wait()

    def _lost(self, line: Line, error: LabError) -> None:
        with self._changed:
            under_way = [one for one in self._asked.values() if line.machine in one.waiting]
        for asked in under_way:
            self._failed(line.machine, asked, error)
        with self._changed:
            self._changed.notify_all()

    def _failed(self, machine: str, asked: _Asked, error: LabError) -> None:
        """A machine will not answer this. Another one may."""
        instead = ""
        with self._changed:
            if machine not in asked.waiting:
                return
            if asked.rest:
                instead = asked.rest.pop(0)
                del asked.waiting[machine]
                asked.waiting[instead] = time.monotonic()
            else:
                ended = asked.ended(machine, {"error": wire.error_message(named(machine, error))})
                self._give(self._completed(asked, ended))
        if instead:
            self._tell(instead, asked, b"")

    def _completed(self, asked: _Asked, found: Iterator[Frame] | Sequence[Frame]) -> list[Frame]:
        given = [_of(asked, one) for one in found]
        if not asked.waiting:
            self._asked.pop(asked.number, None)
        return given

    def _give(self, frames: Sequence[Frame]) -> None:
        with self._changed:
            for frame in frames:
                self._came.append(frame)
                self._held += len(frame.data)
            if frames:
                self._changed.notify_all()

    def _wait(self, until: float | None) -> None:
        """For something to come, or a daemon to be silent for too long. Raises TimeoutError."""
        late = [*self._late()]
        ends = [one for one, _, _ in late] + ([until] if until is not None else [])
        now = time.monotonic()
        for _, machine, asked in [one for one in late if one[0] <= now]:
            self._lines[machine].silent = True
            self._failed(machine, asked, _silence(machine))
        if self._came:
            return
        if until is not None and until <= now:
            raise TimeoutError("no machine has answered")
        self._changed.wait(max(0.0, min(ends) - now) if ends else None)

    def _late(self) -> Iterator[tuple[float, str, _Asked]]:
        """When each answer that is waited for is late."""
        for asked in list(self._asked.values()):
            if asked.kind.bounded:
                for machine, since in asked.waiting.items():
                    yield max(since, self._lines[machine].heard) + SILENT, machine, asked


def _of(asked: _Asked, frame: Frame) -> Frame:
    return Frame({"id": asked.number, **frame.message}, frame.data)


def _silence(machine: str) -> LabError:
    return DaemonSilent(
        f"{machine}: the daemon of the lab does not answer within {SILENT:.0f} s",
        "the machine is stopped, cut off or very busy",
    )
