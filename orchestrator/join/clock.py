"""The clocks of a computer, one mapped to another. Pure.

Packets are stamped by the real-time clock, which may be set while we look; all else goes by the monotonic
one, which stands still while the computer is suspended. A daemon reads both together whenever it takes
packets out of a ring (daemon/clock.py).
"""

from __future__ import annotations

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
