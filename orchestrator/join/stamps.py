"""When a line of a log was written, by the time that its program wrote into it. Pure.

That a line has arrived says that it was written before, and not much before. A stamp says that it was not
written earlier: nginx reads the clock once in each turn of its event loop and uses that time for all that it
does in it (ngx_times.c; with `timer_resolution`, only so often), others use a coarse clock of the kernel or
read it before they write. So a stamp is never later than the writing, and may be earlier by as long as the
turn took. Between the two, stamp and arrival, the line was written.

A stamp says no more than its last digit: `04:31:17` of nginx's error log is some time in that second, and it
is the beginning of the second before which the line was not written. Fractions may have been rounded, to
half of their last digit.

What has no zone is local time of the host: it is tried as UTC, which hosts are in, and as the time of the
recording's `zone` (hosts of namespaces have the computer's /etc/localtime). A stamp that does not fit to the
arrival is of another zone, or not the time of the writing, or quoted: then the arrival alone is kept. It is,
too, where the real-time clock is not known from before the writing until the arrival; of what was before the
first reading it is taken that it was as there. A clock that was set and set back between two readings is not
seen to have been.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from msgspec import structs

from orchestrator.join.clock import DRIFT
from orchestrator.model.recording import Reading, Recording, Said

S = 1_000_000_000
CACHED = 1 * S  # ns: how old a time that a program holds is looked for, at the most, across a set clock
MOST_TEXT = 4096  # characters of a line that are looked through
MOST_STAMPS = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CLOCK = r"(?P<{0}h>\d\d):(?P<{0}m>\d\d):(?P<{0}s>\d\d)"
_STAMP = re.compile(
    r"(?<![\d.])(?:"
    # nginx's $msec
    r"(?P<seconds>\d{10})\.(?P<msec>\d{3})"
    # nginx's error log; with a fraction Go's log
    rf"|(?P<ey>\d{{4}})/(?P<eo>\d\d)/(?P<ed>\d\d) {_CLOCK.format('e')}(?:\.(?P<ef>\d{{1,9}}))?"
    # $time_local, the common log format
    rf"|(?P<ld>\d\d)/(?P<lo>{'|'.join(_MONTHS)})/(?P<ly>\d{{4}}):{_CLOCK.format('l')} (?P<lz>[+-]\d{{4}})"
    # ISO 8601: $time_iso8601, RFC 5424 (RFC 3339), Python's logging
    rf"|(?P<iy>\d{{4}})-(?P<io>\d\d)-(?P<id>\d\d)[T ]{_CLOCK.format('i')}"
    r"(?:[.,](?P<if>\d{1,9}))?(?P<iz>Z|[+-]\d\d:?\d\d)?"
    r")(?!\d|\.\d)",
    re.ASCII,
)


class Stamp(NamedTuple):
    """A time as a line has it: not before `first`, before `end` (ns since 1970, of UTC where it has no zone
    of its own)."""

    text: str
    first: int
    end: int
    zoned: bool


def stamps(text: str) -> list[Stamp]:
    """All of a line, in its order."""
    found: list[Stamp] = []
    for one in _STAMP.finditer(text[:MOST_TEXT]):
        if len(found) == MOST_STAMPS:
            break
        stamp = _stamp(one)
        if stamp is not None:
            found.append(stamp)
    return found


def _stamp(found: re.Match[str]) -> Stamp | None:
    """None for what is no time: a 31st of February, or a leap second, which no clock of Linux has."""
    if found["seconds"]:
        return _within(found[0], int(found["seconds"]), found["msec"], True)
    kind = next(kind for kind in "eli" if found[kind + "y"])
    month = _MONTHS.index(found["lo"]) + 1 if kind == "l" else int(found[kind + "o"])
    year, day, hour, minute, second = (int(found[kind + part]) for part in "ydhms")
    try:
        at = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    zone = None if kind == "e" else found[kind + "z"]
    fraction = None if kind == "l" else found[kind + "f"]
    seconds = (at - _EPOCH) // timedelta(seconds=1) - _ahead(zone or "Z")
    return _within(found[0], seconds, fraction, zone is not None)


def _ahead(zone: str) -> int:
    """Seconds that a zone is ahead of UTC."""
    if zone == "Z":
        return 0
    digits = zone[1:].replace(":", "")
    return int(zone[0] + "1") * (int(digits[:2]) * 3600 + int(digits[2:]) * 60)


def _within(text: str, seconds: int, fraction: str | None, zoned: bool) -> Stamp:
    if not fraction:
        return Stamp(text, seconds * S, (seconds + 1) * S, zoned)
    unit = 10 ** (9 - len(fraction))
    at = seconds * S + int(fraction) * unit
    return Stamp(text, at - unit // 2, at + unit, zoned)


class Clock:
    """The real-time clock of a recording. All in ns of the recording but real time."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        found = sorted(readings, key=lambda one: one.t)
        self._times = [round(one.t * S) for one in found]
        self._offsets = [one.real - at for one, at in zip(found, self._times, strict=True)]
        self._errors = [round(one.error * S) + DRIFT for one in found]

    def earliest(self, stamp: Stamp, zone: int, first: int, last: int) -> int | None:
        """When the clock first showed that, of all moments until `last` and not long before `first` at which
        it can have; None where it did not. `zone`: ns ahead of UTC."""
        after = bisect.bisect_left(self._times, last)
        if after == len(self._times):
            return None  # who knows what it was then
        before = max(0, bisect.bisect_right(self._times, first - CACHED) - 1)
        found: list[int] = []
        for at in range(before, after + 1):
            # The offset of a reading may have begun after the reading before, and ended before the next.
            begin = self._times[at - 1] if at > before else first - CACHED
            end = min(last, self._times[at + 1] if at < after else last)
            add = -zone - self._offsets[at]
            shown, over = stamp.first + add - self._errors[at], stamp.end + add + self._errors[at]
            if shown <= end and over >= begin:
                found.append(max(shown, begin))
        return min(found, default=None)


def placed(recording: Recording) -> Iterator[Said]:
    """What was said, lines of logs with the time at which they were written."""
    clock, zones = Clock(recording.readings), {0, recording.zone}
    for said in recording.said:
        yield written(said, clock, zones) if said.source == "log" else said


def written(said: Said, clock: Clock, zones: set[int]) -> Said:
    """A line with its time by the stamp that says most of those that fit: the finest, of those the first.
    `zones`: of stamps that have none, seconds ahead of UTC."""
    first, last = round((said.t - said.error) * S), round((said.t + said.error) * S)
    for stamp in sorted(stamps(said.text), key=lambda one: one.end - one.first):
        shown = (
            clock.earliest(stamp, zone * S, first, last) for zone in ({0} if stamp.zoned else sorted(zones))
        )
        possible = [one for one in shown if one is not None and first < one]
        if possible:
            began, detail = min(possible), {**said.detail, "stamp": stamp.text}
            return structs.replace(
                said, t=(began + last) / 2 / S, error=(last - began) / 2 / S, detail=detail
            )
    return said
