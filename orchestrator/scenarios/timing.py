"""When an expectation is true: by a deadline, or all the while, judged on looks at moments. Pure.

`looks` are taken in order, and only as far as is needed: whoever observes can give an iterator that looks at
the lab when it is asked for the next one. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar

import msgspec

from orchestrator.scenarios.observation import Judgement

APART = 0.020  # seconds between two looks, at most, for what must be so all the while
STALL = 0.100  # seconds without a look, at most, for "it never was so"

Seen = TypeVar("Seen")
Judge = Callable[[Seen], Judgement]


class Look(NamedTuple, Generic[Seen]):
    """What was seen. `began`, `ended`: the tables were read between these."""

    began: float
    ended: float
    seen: Seen


class _Judged(NamedTuple):
    began: float
    ended: float
    judgement: Judgement


def within(judge: Judge[Seen], looks: Iterable[Look[Seen]], began: float, seconds: float) -> Judgement:
    """Whether it is so at one moment at least from `began` on, not later than `seconds` after it.

    `looks` must go on to the deadline or beyond, else it is unknown. It fails where no look showed it and
    none was missing for longer than STALL; a look in which it could not be observed is no look.
    """
    deadline = began + seconds
    known: list[_Judged] = []
    last: Judgement | None = None
    for look in looks:
        if look.began < began:
            continue
        judgement = judge(look.seen)
        if judgement.verdict == "pass":
            return _first_pass(judgement, look, began, deadline)
        last = judgement
        if judgement.verdict == "fail":
            known.append(_Judged(look.began, look.ended, judgement))
        if look.began >= deadline:
            break
    return _never(last, known, began, deadline)


def _first_pass(judgement: Judgement, look: Look[Seen], began: float, deadline: float) -> Judgement:
    """It was seen. Seen only after the deadline it may have become so before, since the last look."""
    noted = _noted(judgement, f"seen after {look.ended - began:.3f} s")
    if look.ended <= deadline:
        return noted
    return _unknown(noted, f"it became so about the deadline, {deadline - began:g} s, or after it")


def happened(judge: Judge[Seen], looks: Iterable[Look[Seen]], began: float, seconds: float) -> Judgement:
    """Whether it has come to be so by `began` + `seconds`, judged on what was recorded until each look.

    Nothing is missed between two looks: what counts is the first that shows it, and when it was by the
    record itself; else the one after the deadline.
    """
    deadline = began + seconds
    last: Judgement | None = None
    for look in looks:
        last = judge(look.seen)
        if last.verdict == "pass":
            return _in_time(last, look, began, deadline)
        if look.began >= deadline:
            return last
    return (
        _never(last, (), began, deadline) if last is None else _unknown(last, "nobody looked at the deadline")
    )


def _in_time(judgement: Judgement, look: Look[Seen], began: float, deadline: float) -> Judgement:
    """It has come; looked at after the deadline, the record says whether it had by then."""
    if look.ended <= deadline:
        return judgement
    if judgement.since is None:
        return _unknown(judgement, f"it came about the deadline, {deadline - began:g} s, or after it")
    late = judgement.since - deadline
    if late <= -judgement.since_error:
        return judgement
    noted = _noted(judgement, f"it came {max(0.0, late):.3f} s after the deadline")
    if late > judgement.since_error:
        return _changed(noted, "fail", "")
    return _unknown(noted, "it came about the deadline")


def stood(judgement: Judgement, began: float) -> Judgement:
    """What is so by the record, and cannot have been otherwise since it came: whether it was so from `began`
    on."""
    if judgement.verdict != "pass":
        return judgement
    if judgement.since is None:
        return _unknown(judgement, "since when it is so is not known")
    late = judgement.since - began
    if late <= -judgement.since_error or judgement.since + judgement.since_clock <= began:
        return _noted(judgement, "so all the while, judged on the timeline")
    noted = _noted(judgement, f"judged on the timeline: so only after {late:.3f} s")
    if late > judgement.since_error:
        return _changed(noted, "fail", "")
    return _unknown(noted, "it came to be so about the beginning")


def _never(last: Judgement | None, known: Sequence[_Judged], began: float, deadline: float) -> Judgement:
    if last is None:
        return Judgement(verdict="unknown", expected="", observed="", why="nobody looked")
    if not known:
        return _unknown(last, last.why or "it could not be observed")
    gap = _widest(known, began, deadline)
    final = known[-1].judgement
    if known[-1].ended < deadline:
        return _unknown(final, last.why or "nobody looked at the deadline")
    if gap > STALL:
        why = last.why if last.verdict == "unknown" and last.why else f"nobody looked for {gap:.3f} s"
        return _unknown(final, why)
    return final


def _widest(known: Sequence[_Judged], began: float, ended: float) -> float:
    """The longest time without a look between these two moments."""
    times = [began, *(min(max(one.began, began), ended) for one in known), ended]
    return max(later - earlier for earlier, later in pairwise(times))


def lasting(judge: Judge[Seen], looks: Iterable[Look[Seen]], began: float, seconds: float) -> Judgement:
    """Whether it is so from `began` on for `seconds`, in all looks, which are APART at most.

    One look in which it is not so fails it. `looks` must go on to the end; where nobody looked for longer
    than APART, or it could not be observed for so long, it is unknown. Unless what the looks before and
    after have in common cannot have been over meanwhile (`still`): a busy computer hides nothing then.
    """
    end = began + seconds
    known: list[_Judged] = []
    last: Judgement | None = None
    for look in looks:
        if look.began < began:
            continue
        judgement = judge(look.seen)
        if look.began > end:
            if judgement.verdict == "pass":
                known.append(_Judged(look.began, look.ended, judgement))
            break
        if judgement.verdict == "fail":
            return _noted(judgement, f"not so after {look.began - began:.3f} s")
        last = judgement
        if judgement.verdict == "pass":
            known.append(_Judged(look.began, look.ended, judgement))
    return _all_the_while(last, known, began, end)


def _all_the_while(last: Judgement | None, known: Sequence[_Judged], began: float, end: float) -> Judgement:
    inside = [one for one in known if one.began <= end]
    if last is None or not inside:
        why = (last.why if last else "") or "nobody looked"
        return _unknown(last or Judgement(verdict="unknown", expected="", observed=""), why)
    judged = inside[-1].judgement
    gap = _widest(inside, began, end)
    if gap <= APART:
        return _noted(judged, f"so in {len(inside)} looks, at most {gap * 1000:.0f} ms apart")
    gap = _widest_open(known, began, end)
    if gap > APART:
        why = last.why if last.verdict == "unknown" and last.why else f"nobody looked for {gap:.3f} s"
        return _unknown(judged, why)
    return _noted(judged, f"so in {len(inside)} looks, between which it cannot have been over and so again")


def _widest_open(known: Sequence[_Judged], began: float, end: float) -> float:
    """The longest time without a look during which it may have been otherwise."""
    gaps = [known[0].began - began, end - known[-1].began]
    gaps += [
        min(later.began, end) - earlier.began
        for earlier, later in pairwise(known)
        if not earlier.judgement.still or earlier.judgement.still != later.judgement.still
    ]
    return max(gaps)


def longest_stall(beats: Sequence[float], began: float, ended: float, period: float) -> float:
    """How long the observer was not running at a stretch between two moments, by its heartbeat.

    `beats` (in order) are the moments at which it was; one is due each `period` seconds, so only what a gap
    has over that is a stall. Without a beat since, it has been stalled from the last one on.
    """
    times = [began, *(beat for beat in beats if began < beat < ended), ended]
    before = max((beat for beat in beats if beat <= began), default=None)
    after = min((beat for beat in beats if beat >= ended), default=None)
    times[0] = began if before is None else max(before, began - period)
    times[-1] = ended if after is None else min(after, ended + period)
    return max(0.0, max(later - earlier for earlier, later in pairwise(times)) - period)


def stalled(judgement: Judgement, stall: float, tolerance: float) -> Judgement:
    """The judgement of a timing during which the observer stalled so long: unknown where that is longer than
    the tolerance."""
    if stall <= tolerance:
        return judgement
    return _unknown(judgement, f"the observer stalled for {stall:.3f} s, the tolerance is {tolerance:g} s")


def _noted(judgement: Judgement, note: str) -> Judgement:
    return msgspec.structs.replace(judgement, evidence=(note, *judgement.evidence))


def _changed(judgement: Judgement, verdict: str, why: str) -> Judgement:
    return msgspec.structs.replace(judgement, verdict=verdict, why=why)


def _unknown(judgement: Judgement, why: str) -> Judgement:
    return _changed(judgement, "unknown", why)
