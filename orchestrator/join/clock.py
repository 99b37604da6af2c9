"""The clocks of a computer, one mapped to another. Pure.

Packets are stamped by the real-time clock, which may be set while we look; all else goes by the monotonic
one, which stands still while the computer is suspended. A daemon reads both together whenever it takes
packets out of a ring (daemon/clock.py).
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any, NamedTuple

from orchestrator.errors import ObservationError

SET = 1_000_000  # ns between two readings that are more than a clock's drift: NTP slews by 0.5 ms/s at most
SUSPENDED = 10_000_000  # ns
DRIFT = (
    100_000  # ns by which the real-time clock may go apart from the monotonic one between two kept readings
)
MOST = 20_000  # readings that are kept: more than two hours at NTP's greatest slew


class Sample(NamedTuple):
    """Nanoseconds: CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME at one moment, within `width`."""

    monotonic: int
    real: int
    boot: int
    width: int


def sample_of(told: Any) -> Sample:
    """What a daemon says of its clocks. Raises ObservationError."""
    if isinstance(told, Sequence) and len(told) == 4 and all(type(one) is int for one in told):
        return Sample(*told)
    raise ObservationError("a computer's clocks cannot be read")


class Mapping(NamedTuple):
    """From stamps of the real-time clock to the monotonic one, for packets that were taken at one reading.
    `before`: the reading before it, where the clock was set in between."""

    now: Sample
    before: Sample | None = None

    @property
    def offset(self) -> int:
        """What is to be added to a stamp, unless the clock was set meanwhile."""
        return self.now.monotonic - self.now.real

    def moment(self, stamp: int) -> tuple[int, int]:
        """(monotonic ns, error ns) of a stamp. Where the clock was set, the stamp may be from before that:
        only what lies between the two readings can be."""
        found = stamp + self.offset
        if self.before is None:
            return found, self.now.width
        first, last = self.before.monotonic, self.now.monotonic
        other = stamp + first - self.before.real
        possible = [one for one in (found, other) if first - SET <= one <= last + SET]
        if len(possible) == 1:
            return possible[0], self.now.width
        if possible:
            return possible[0], abs(found - other)
        return last, last - first


class Readings:
    """The readings of one computer, in their order. `notes`: what happened to its clocks, for people."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._last: Sample | None = None
        self._kept: list[Sample] = []
        self._latest: Sample | None = None

    def mapping(self, told: Any) -> Mapping:
        """For what was taken at this reading. Raises ObservationError."""
        now = sample_of(told)
        before, self._last = self._last, now
        self.keep(now)
        if before is None:
            return Mapping(now)
        suspended = (now.boot - now.monotonic) - (before.boot - before.monotonic)
        was_set = (now.real - now.boot) - (before.real - before.boot)
        if suspended > SUSPENDED:
            self.notes.append(f"the computer was suspended for {suspended / 1e9:.3g} s")
        if abs(was_set) > SET:
            self.notes.append(f"the real-time clock was set by {was_set / 1e9:+.3g} s")
        moved = abs(suspended) > SUSPENDED or abs(was_set) > SET
        return Mapping(now, before if moved else None)

    def keep(self, now: Sample) -> None:
        """Of readings between which nothing happened the first and the last are enough. Where the offset has
        moved, the one before stays, too: it did between these two."""
        before, self._latest = self._latest, now
        if self._kept and abs(_offset(now) - _offset(self._kept[-1])) <= DRIFT:
            return
        if len(self._kept) >= MOST:
            return
        if before is not None and before is not self._kept[-1]:
            self._kept.append(before)
        self._kept.append(now)

    @property
    def kept(self) -> list[Sample]:
        """In order. After MOST of them nothing is known of the clock any more."""
        full = self._latest is None or len(self._kept) >= MOST
        return sorted({*self._kept, *(() if full else (self._latest,))})


def _offset(sample: Sample) -> int:
    return sample.real - sample.monotonic


class Trip(NamedTuple):
    """A question and its answer, in ns: when it was asked and answered by our clock, and what the other's was
    in between."""

    asked: int
    answered: int
    there: int


class Shift(NamedTuple):
    """What is to be added to another computer's monotonic clock to have ours; ns, with its error."""

    add: int = 0
    error: int = 0


def shift_of(trips: Sequence[Trip], same: bool) -> Shift:
    """By the quickest of some round trips. `same`: both are of one boot of one computer, and so one clock,
    unless a trip says otherwise (a time namespace)."""
    if not trips:
        return Shift()
    best = min(trips, key=lambda trip: trip.answered - trip.asked)
    if same and best.asked <= best.there <= best.answered:
        return Shift()
    return Shift((best.asked + best.answered) // 2 - best.there, (best.answered - best.asked + 1) // 2)


# Two computers' monotonic clocks run apart by so much at most: NTP slews by 500 ppm (adjtimex(2)), and each
# quartz is off by some 50.
RATE = 600e-6
STEERED = 1_000_000_000  # ns in which what is known better is taken over: no moment may be told out of order


class Knot(NamedTuple):
    """From `there` on our clock is taken to run as the line from `ours` with `slope`; the truth is within
    `error` at that moment."""

    there: int
    ours: int
    slope: float
    error: int


class Clock:
    """Another computer's monotonic clock, by round trips that are made again and again. Pure.

    A trip says that when the other's clock was `there` ours was between `asked` and `answered`. From one trip
    to the next that interval widens by RATE, and the new trip narrows it. What has been mapped once stays
    so: moments of one computer stay in their order. `same`: it is our own clock.
    """

    def __init__(self) -> None:
        self.same = False
        self.uneven = 0  # ns by which trips contradict each other: the clock ran faster than any should
        self.trips: list[Trip] = []
        self._knots: list[Knot] = []
        self._low = self._high = 0
        self._worst = 0  # ns: error between knots

    def add(self, trips: Sequence[Trip]) -> None:
        """More of them, in their order; of those made together the quickest says most."""
        for trip in trips:
            if self._knots and trip.there <= self._knots[-1].there:
                continue
            self.trips.append(trip)
            self._knot(trip)

    def _knot(self, trip: Trip) -> None:
        if not self._knots:
            self._low, self._high = trip.asked, trip.answered
            middle = (trip.asked + trip.answered) // 2
            self._knots.append(Knot(trip.there, middle, 1.0, trip.answered - middle + 1))
            return
        last = self._knots[-1]
        passed = trip.there - last.there
        apart = int(passed * RATE) + 1
        low = max(self._low + passed - apart, trip.asked)
        high = min(self._high + passed + apart, trip.answered)
        if low > high:
            self.uneven = max(self.uneven, low - high)
            low, high = trip.asked, trip.answered
        self._low, self._high = low, high
        ours = _along(last, trip.there)
        off = (low + high) / 2 - ours
        slope = 1.0 + max(-RATE, min(RATE, off / STEERED))
        self._knots.append(Knot(trip.there, ours, slope, max(ours - low, high - ours, 0) + 1))
        more, errors = int(passed * 2 * RATE), sorted((last.error, self._knots[-1].error))
        self._worst = max(self._worst, min(errors[0] + more, (sum(errors) + more) // 2 + 1))

    def moment(self, there: int) -> tuple[int, int]:
        """(ours, error) of a moment of the other clock, ns."""
        if self.same or not self._knots:
            return there, 0
        at = bisect.bisect_right(self._knots, there, key=_there) - 1
        if at < 0:
            first = self._knots[0]
            before = first.there - there
            return first.ours - before, first.error + int(before * RATE) + self.uneven
        knot = self._knots[at]
        error = knot.error + int((there - knot.there) * 2 * RATE)
        if at + 1 < len(self._knots):
            after = self._knots[at + 1]
            error = min(error, after.error + int((after.there - there) * 2 * RATE))
        return _along(knot, there), error + self.uneven

    def worst(self, began: int, ended: int) -> int:
        """The greatest error of what is between these moments of our clock, ns."""
        if self.same or not self._knots:
            return 0
        first, last = self._knots[0], self._knots[-1]
        edges = (first.there + began - first.ours, last.there + ended - last.ours)
        found = max(self._worst, *(self.moment(edge)[1] for edge in edges))
        return found + int(found * 2 * RATE) + self.uneven  # the edges are known no better

    def seconds(self, there: float) -> float:
        """As `moment`, of seconds; without the error."""
        return self.moment(round(there * 1e9))[0] / 1e9


def _there(knot: Knot) -> int:
    return knot.there


def _along(knot: Knot, there: int) -> int:
    passed = there - knot.there
    return knot.ours + passed + int(passed * (knot.slope - 1.0))
