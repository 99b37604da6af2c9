"""What a daemon says in answer to `history`, collected: segments, who was watched from when until when, and
what was lost. Pure; used by one thread at a time.

Times are seconds since `origin` (ns, by our own monotonic clock).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from orchestrator.errors import ObservationError
from orchestrator.join import clock, headers
from orchestrator.model.recording import Loss, Reading, Segment, Stage, Watch

TAPPED = 20e-6  # seconds between a segment's passing a tap and what it does to a socket
MOST = 500_000  # segments; what comes then is counted as lost
MOST_RAW = 8 << 20  # bytes of frames that are kept unread
MOST_FLOWS = 200_000  # that are known at once
_WORD = 0xFFFFFFFF
BULK = 64  # segments with data, one way on one connection, after which only what is of interest is kept


class _Raw(NamedTuple):
    tap: int
    mapping: clock.Mapping
    data: bytes


class _Tap(msgspec.Struct, kw_only=True):
    """One interface's. `began`, `ended`: monotonic ns of the daemon's computer."""

    host: str
    device: str
    began: int
    ended: int | None = None
    why: str = ""
    dropped: int = 0
    seen: int = 0  # until when its counts are known, monotonic ns


class Watched:
    """Of one daemon."""

    def __init__(self, origin: int, since: int) -> None:
        self.segments: list[Segment] = []
        self.boot = ""
        self._origin, self._since = origin, since
        self._shift = clock.Shift()
        self._clock: clock.Clock | None = None
        self._readings = clock.Readings()
        self._taps: dict[int, _Tap] = {}
        self._unwatched: dict[str, str] = {}
        self._raw: list[_Raw] = []
        self._raw_size = 0
        self._losses: list[Loss] = []
        self._flows = _Flows()
        self._error = 0  # ns: the greatest of a mapping
        self._beyond = 0  # segments that there was no room for
        self._beyond_since: float | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What happened to the clocks."""
        return tuple(self._readings.notes)

    def read_clock(self, sample: clock.Sample) -> None:
        """A reading that came with no packets."""
        self._readings.keep(sample)

    @property
    def readings(self) -> tuple[Reading, ...]:
        """Of the real-time clock, in order."""
        return tuple(
            Reading(self.time(one.monotonic), one.real, (one.width + self._shift.error) / 1e9)
            for one in self._readings.kept
        )

    @property
    def error(self) -> float:
        """How far the time of a segment may be off, seconds."""
        return TAPPED + (self._error + self._shift.error) / 1e9

    def shift(self, shift: clock.Shift) -> None:
        """How the daemon's monotonic clock is mapped to ours; said before anything else is."""
        self._shift = shift

    def follow(self, its_clock: clock.Clock) -> None:
        """Instead: the clock of a machine, one of several, which is mapped better as time goes on."""
        self._clock = its_clock

    def time(self, monotonic: int) -> float:
        """Seconds of a moment of the daemon's computer."""
        if self._clock is not None:
            return (self._clock.moment(monotonic)[0] - self._origin) / 1e9
        return (monotonic + self._shift.add - self._origin) / 1e9

    def take(self, part: Mapping[str, Any], data: bytes) -> None:
        """A part of the answer. Raises ObservationError for one that cannot be read."""
        try:
            self._take(part, data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ObservationError("the history of a lab cannot be read") from error

    def _take(self, part: Mapping[str, Any], data: bytes) -> None:
        mapping = self._readings.mapping(part["clock"])
        now = mapping.now.monotonic
        if "taps" in part:
            self.boot = str(part.get("boot", ""))
            self._unwatched = {str(host): str(why) for host, why in part["unwatched"].items()}
            for about in part["taps"]:
                self._open(about)
            if (forgotten := part.get("forgotten")) is not None:
                self._forget(int(forgotten[0]), clock.sample_of(forgotten[1]).monotonic)
        elif "opened" in part:
            self._open(part["opened"])
        elif "ended" in part:
            tap = self._taps[part["ended"]]
            tap.ended, tap.why = now, str(part.get("why", ""))
        elif "lost" in part:
            self._lost(self._taps[part["tap"]], int(part["lost"]), "store", now)
        elif "tap" in part:
            tap = self._taps[part["tap"]]
            dropped = int(part["dropped"])
            if dropped > tap.dropped:
                self._lost(tap, dropped - tap.dropped, "ring", now)
            tap.dropped, tap.seen = dropped, now
            self._keep(_Raw(part["tap"], mapping, data))

    def _open(self, about: Mapping[str, Any]) -> None:
        began = clock.sample_of(about["clock"]).monotonic
        ended = about.get("ended")
        number = about["tap"]
        if type(number) is not int:
            raise TypeError
        if number not in self._taps:
            self._taps[number] = _Tap(
                host=str(about["host"]),
                device=str(about["device"]),
                began=began,
                seen=began,
                ended=None if ended is None else clock.sample_of(ended).monotonic,
                why=str(about.get("why", "")),
            )
            self._unwatched.pop(str(about["host"]), None)

    def _lost(self, tap: _Tap, count: int, stage: Stage, now: int) -> None:
        began, ended = self.time(max(tap.seen, tap.began)), self.time(now)
        tap.seen = now
        if ended >= self.time_of_since:
            self._losses.append(
                Loss(source="packet", stage=stage, host=tap.host, count=count, began=began, ended=ended)
            )

    def _forget(self, count: int, last: int) -> None:
        """What had been there before what is kept."""
        began, ended = self.time_of_since, self.time(last)
        if ended >= began:
            loss = Loss(source="packet", stage="store", count=count, began=began, ended=ended)
            self._losses.append(loss)

    @property
    def time_of_since(self) -> float:
        """Since when segments are of interest, seconds."""
        return (self._since - self._origin) / 1e9

    def _keep(self, raw: _Raw) -> None:
        self._raw.append(raw)
        self._raw_size += len(raw.data)
        if self._raw_size > MOST_RAW:
            self.read()

    def read(self) -> None:
        """Read what has come since this was called before."""
        raws, self._raw, self._raw_size = self._raw, [], 0
        for raw in raws:
            for one in self._segments(raw):
                if len(self.segments) < MOST:
                    self.segments.append(one)
                    continue
                self._beyond += 1
                if self._beyond_since is None:
                    self._beyond_since = one.t

    def _segments(self, raw: _Raw) -> Iterator[Segment]:
        tap, mapping, first = self._taps[raw.tap], raw.mapping, self.time_of_since
        add, worst = self._shift.add - self._origin, raw.mapping.now.width
        its_clock = self._clock

        def moment(stamp: int) -> float:
            nonlocal worst
            at, error = mapping.moment(stamp)
            worst = max(worst, error)
            if its_clock is not None:
                at = its_clock.moment(at)[0]
            return (at + add) / 1e9

        for one in headers.segments(raw.data, tap.host, tap.device, moment):
            if one.t >= first and self._flows.wanted(one):
                yield one
        self._error = max(self._error, worst)

    def losses(self, now: float) -> tuple[Loss, ...]:
        """All that is known to be missing."""
        if self._beyond_since is None:
            return tuple(self._losses)
        loss = Loss(
            source="packet", stage="bound", count=self._beyond, began=self._beyond_since, ended=max(now, 0.0)
        )
        return (*self._losses, loss)

    def watches(self, known: float, why: str = "") -> Iterator[Watch]:
        """Of each host's interfaces together: from when all of them were watched until the first was not.
        `known`: until when everything has come in; `why` nothing more does."""
        groups: dict[tuple[str, int | None], list[_Tap]] = {}
        for tap in self._taps.values():
            groups.setdefault((tap.host, tap.ended), []).append(tap)
        for (host, end), group in groups.items():
            ended = known if end is None else min(known, self.time(end))
            if end is not None and self.time(end) < self.time_of_since:
                continue
            began = max(self.time_of_since, *(self.time(tap.began) for tap in group))
            yield Watch(
                source="packet",
                host=host,
                began=min(began, ended),
                ended=ended,
                everything=host not in self._flows.thinned,
                bare=host not in self._flows.thinned,
                error=self.error,
                why=next((tap.why for tap in group if tap.why), why),
            )
        for host, reason in self._unwatched.items():
            yield unwatched(host, known, reason or why)


def unwatched(host: str, now: float, why: str) -> Watch:
    """A host whose packets were not seen."""
    return Watch(source="packet", host=host, began=now, ended=now, everything=False, bare=False, why=why)


class _Flow:
    """One way of a connection, at one interface. `top`: behind the greatest sequence number so far."""

    __slots__ = ("count", "top")

    def __init__(self) -> None:
        self.count = 0
        self.top = 0


class _Flows:
    """Which segments of bulk transfers are passed over: those with new data, and the acknowledgements of
    them, after the first ones and until one end closes. `thinned`: hosts where any was."""

    def __init__(self) -> None:
        self.thinned: set[str] = set()
        self._flows: dict[tuple[Any, ...], _Flow] = {}
        self._closing: set[tuple[Any, ...]] = set()

    def wanted(self, one: Segment) -> bool:
        """Whether it is kept."""
        way = one.host, one.device, one.outgoing, one.source, one.target
        if one.flags & 0x07:  # FIN, SYN, RST
            back = one.host, one.device, not one.outgoing, one.target, one.source
            if one.flags & 0x02:
                self._flows.pop(way, None)
                self._closing.discard(way)
            else:
                if len(self._closing) >= MOST_FLOWS:
                    self._closing.clear()
                self._closing.update((way, back))
            return True
        flow = self._flows.get(way)
        if flow is None:
            if len(self._flows) >= MOST_FLOWS:
                self._flows.clear()
            flow = self._flows[way] = _Flow()
        flow.count += 1
        end = one.seq + one.length
        again = one.length > 0 and flow.count > 1 and (end - flow.top - 1) & _WORD > _WORD >> 1
        if not again:
            flow.top = end & _WORD
        if flow.count <= BULK or again or not one.window or way in self._closing:
            return True
        self.thinned.add(one.host)
        return False
