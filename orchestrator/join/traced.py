"""What a daemon says in answer to `trace`, collected: the changes, who was watched from when until when, and
what was lost. Pure; used by one thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from orchestrator.errors import ObservationError
from orchestrator.join.clock import Clock
from orchestrator.join.traces import SLOT, Changes
from orchestrator.model.recording import Change, Loss, Stage, Watch

MOST = 1_000_000  # records; what comes then is counted as lost
ERROR = 2e-6  # seconds: the kernel calls a tracepoint within the change itself


class _Host(msgspec.Struct, kw_only=True):
    """One network namespace of a host's; in ns of the monotonic clock of the computer that traces."""

    name: str
    began: int
    ended: int | None = None


class _Lost(NamedTuple):
    """Records that nobody has; times as in _Host."""

    stage: Stage
    host: str | None
    records: int
    began: int
    ended: int


class Traced:
    """Of one daemon. `origin`: when t = 0 is, ns by our own monotonic clock. `clock`: of its machine, one of
    several, in whose cookies `machine` is set."""

    def __init__(self, origin: int, clock: Clock | None = None, machine: int = 0) -> None:
        self._clock, self._machine = clock, machine
        self.why = "it is not known whether anything is traced"  # nothing is, or no longer
        self.shift = 0  # ns: what is added to the daemon's monotonic clock to have ours
        self._origin = origin
        self._names: dict[int, str] = {}
        self._gone: dict[int, int] = {}
        self._changes = self._new_changes()
        self._hosts: dict[int, _Host] = {}  # by the cookie of the network namespace
        self._unwatched: dict[str, str] = {}
        self._missing = ""  # tracepoints
        self._raw: list[bytes] = []
        self._count = 0  # of records
        self._lost: list[_Lost] = []
        self._known: int | None = None  # until then all has come in, and what was lost is known
        self._beyond = 0
        self._beyond_since: int | None = None

    @property
    def tracing(self) -> bool:
        """Whether changes come in."""
        return not self.why

    def take(self, part: Mapping[str, Any], data: bytes = b"") -> None:
        """A part of the answer. Raises ObservationError for one that cannot be read."""
        try:
            self._take(part, data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ObservationError("what is said of tracepoints cannot be read") from error

    def _take(self, part: Mapping[str, Any], data: bytes) -> None:
        if "tracing" in part:
            self.why = "" if part["tracing"] else str(part.get("why") or "nobody says why")
            missing = part.get("missing") or {}
            self._missing = "; ".join(f"{name} is not traced: {why}" for name, why in missing.items())
            reasons = {int(number): str(name) for number, name in (part.get("reasons") or {}).items()}
            self._changes = self._new_changes(reasons)
        elif "records" in part:
            self._keep(data)
        elif "came" in part:
            self._came(str(part["came"]), part)
        elif "went" in part:
            if (one := self._hosts.get(part["netns"])) and one.ended is None:
                one.ended = self._gone[part["netns"]] = int(part["at"])
        elif "lost" in part:
            self._lose(part)
        elif "mark" in part:
            self._known = max(self._known or 0, int(part["at"]))

    def _new_changes(self, reasons: Mapping[int, str] | None = None) -> Changes:
        moment = self._time if self._clock is not None else None
        return Changes(self._names, reasons, self._gone, moment=moment, machine=self._machine)

    def _came(self, name: str, part: Mapping[str, Any]) -> None:
        if why := part.get("why"):
            self._unwatched[name] = str(why)
            return
        cookie, at = int(part["netns"]), int(part["at"])
        self._hosts[cookie] = _Host(name=name, began=at)
        self._names[cookie] = name
        self._unwatched.pop(name, None)
        self._known = max(self._known or 0, at) if len(self._hosts) == 1 else self._known

    def _keep(self, data: bytes) -> None:
        room = max(0, MOST - self._count) * SLOT
        if len(data) > room:
            self._beyond += (len(data) - room) // SLOT
            if self._beyond_since is None:
                self._beyond_since = self._known
            data = data[:room]
        if data:
            self._count += len(data) // SLOT
            self._raw.append(data)

    def _lose(self, part: Mapping[str, Any]) -> None:
        host = None if part["host"] is None else str(part["host"])
        self._lost.append(_Lost("ring", host, int(part["lost"]), int(part["since"]), int(part["at"])))

    def _time(self, at: int) -> float:
        """Seconds of the recording, of a moment of the daemon's computer."""
        if self._clock is not None:
            return (self._clock.moment(at)[0] - self._origin) / 1e9
        return (at + self.shift - self._origin) / 1e9

    def changes(self) -> tuple[Change, ...]:
        """All of them, in the order of their times. Raises ObservationError."""
        raw, self._raw = self._raw, []
        for data in raw:
            self._changes.add(data, (self.shift - self._origin) / 1e9)
        return self._changes.changes()

    def losses(self) -> tuple[Loss, ...]:
        """All that is known to be missing."""
        lost = list(self._lost)
        if self._beyond and self._known is not None:
            lost.append(_Lost("bound", None, self._beyond, self._beyond_since or self._known, self._known))
        return tuple(
            Loss(
                source="tracepoint",
                stage=one.stage,
                host=one.host,
                count=one.records,
                began=self._time(one.began),
                ended=self._time(one.ended),
            )
            for one in lost
        )

    def watches(self, hosts: Iterable[str]) -> Iterator[Watch]:
        """From when until when each network namespace was watched; and why others of these hosts were not."""
        if self._known is None or (self.why and not self._count):
            for name in hosts:
                yield Watch(source="tracepoint", host=name, began=0, ended=0, everything=False, why=self.why)
            return
        for one in self._hosts.values():
            ended = self._known if one.ended is None else min(one.ended, self._known)
            began, until = self._time(min(one.began, ended)), self._time(ended)
            yield Watch(
                source="tracepoint",
                host=one.name,
                began=began,
                ended=until,
                everything=not self._missing,
                error=ERROR,
                why=self._missing or self.why if one.ended is None else "it ended, or was made anew",
            )
        now = self._time(self._known)
        for name in {*hosts, *self._unwatched} - {one.name for one in self._hosts.values()}:
            why = self._unwatched.get(name) or self.why or "it was not there"
            yield Watch(source="tracepoint", host=name, began=now, ended=now, everything=False, why=why)
