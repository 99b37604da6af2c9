"""Whether an end was in a state all the while, by the timeline, which also has what no look has caught. Pure.

Looks go on meanwhile: they know what no record tells (an end that its own time limit has ended sends
nothing). So what a look has shown not to be so has failed; what the timeline does not know is theirs to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from orchestrator.join.apart import Apart
from orchestrator.model.events import UNKNOWN, History, Side, Span
from orchestrator.model.steps import Between, ByName, Check, Expectation, Words
from orchestrator.scenarios import checks, histories
from orchestrator.scenarios.histories import seconds, span_told
from orchestrator.scenarios.observation import Judgement, Observation, Recorded

BY_TIMELINE = "judged on the timeline"


class _Break(NamedTuple):
    """An end was in another state. `certain`: for longer than the times may be off."""

    check: Check
    span: Span
    certain: bool


def tells(expectation: Expectation) -> bool:
    """Whether it is about nothing but states that an end is in: what the timeline may know all the while."""
    return expectation.kind == "connection" and all(
        check.field in _SIDES and isinstance(check.test, Words) and None not in check.test.any_of
        for check in expectation.checks
    )


def judge(expectation: Expectation, looks: Judgement, seen: Observation, began: float) -> Judgement:
    """The verdict of the looks, or the timeline's where that knows: of the expectation's `lasting` seconds
    from `began` on (on the clock of looks). `seen`: recorded after them."""
    recorded, length = seen.recorded, expectation.lasting or 0.0
    if recorded is None or looks.verdict == "fail" or not tells(expectation):
        return looks
    first = began - recorded.began
    last = first + length
    found, others = _connections(expectation, seen, recorded, first)
    if not found or recorded.until < last:
        return looks
    apart = Apart(recorded.timeline.recording.clocks)
    told = [_breaks(expectation, history, first, last, apart) for history in found]
    for history, breaks in zip(found, told, strict=True):
        certain = next((one for one in breaks or () if one.certain), None)
        if certain is not None:
            return _failed(looks, certain, history, first)
    if others or any(breaks is None or breaks for breaks in told):
        return looks  # it is not known there, or not well enough
    if looks.verdict == "unknown" and checks.judge(expectation, seen).verdict != "pass":
        return looks  # an end that gave up would have said nothing
    states = " and ".join(f"{check.field} {check.text}" for check in expectation.checks)
    note = f"{BY_TIMELINE}: {states} all the while, from {seconds(first)} to {seconds(last)}"
    return msgspec.structs.replace(looks, verdict="pass", why="", evidence=(note, *looks.evidence))


def _connections(
    expectation: Expectation, seen: Observation, recorded: Recorded, first: float
) -> tuple[list[History], bool]:
    """One for each name; none where that is not clear. Of `alice -> web:80` the one that was there at first,
    and whether there were others, which looks tell of."""
    subject = expectation.subject
    if isinstance(subject, Between):
        found = histories.between(subject, recorded.timeline)
        there = [one for one in found if _was_there(one, first)]
        return (there if len(there) == 1 else []), len(found) > 1
    assert isinstance(subject, ByName)
    each = []
    for name in subject.names():
        one = seen.descriptors.get((subject.host, name))
        mine = [] if one is None else histories.of_descriptor(subject.host, name, one, recorded.timeline)
        if len(mine) != 1:
            return [], False
        each += mine
    return each, False


def _was_there(history: History, moment: float) -> bool:
    ends = [end for end in (history.client, history.server) if end is not None]
    spans = [span for end in ends for span in end.spans if span.state != "CLOSE"]
    return any(span.began <= moment and (span.ended is None or span.ended >= moment) for span in spans)


def _breaks(
    expectation: Expectation, history: History, first: float, last: float, apart: Apart
) -> list[_Break] | None:
    """When an end was in another state between the two moments; None where that is not known throughout."""
    found: list[_Break] = []
    unknown = False
    for check in expectation.checks:
        end = histories.end_of(history, "client" if check.field == "client" else "server")
        off = apart.error(end.host) if end else 0.0
        spans = list(_during(end.spans if end else (), first, last, off))
        unknown = unknown or not spans or spans[0][0].began - spans[0][0].error - off > first
        for span, certain in spans:
            fits = _fits(span, check)
            unknown = unknown or fits is None
            if fits is False:
                found.append(_Break(check, span, certain))
    return found if found or not unknown else None


def _during(spans: Sequence[Span], first: float, last: float, off: float) -> Iterator[tuple[Span, bool]]:
    """The spans that may have been between the two, and whether some of it certainly was, however the times
    are off: a span's end is known as well as the beginning of the next. `off`: of the clock of its machine.
    """
    for at, span in enumerate(spans):
        error = off + (spans[at + 1].error if at + 1 < len(spans) else span.error)
        began = off + span.error
        if span.began - began <= last and (span.ended is None or span.ended + error >= first):
            yield span, span.began + began < last and (span.ended is None or span.ended - error > first)


def _fits(span: Span, check: Check) -> bool | None:
    assert isinstance(check.test, Words)
    said = {span.state, *(one.state for one in span.otherwise)}
    if UNKNOWN in said:
        return None
    if said <= set(check.test.any_of):
        return True
    return None if said & set(check.test.any_of) else False


def _failed(looks: Judgement, one: _Break, history: History, first: float) -> Judgement:
    until = "" if one.span.ended is None else f" until {seconds(one.span.ended)}"
    note = (
        f"{BY_TIMELINE}: {one.check.field} {span_told(one.span)}{until}, "
        f"{max(0.0, one.span.began - first):.6f} s after the beginning"
    )
    return msgspec.structs.replace(
        looks,
        verdict="fail",
        why="",
        observed=f"{one.check.field} {one.span.state}",
        evidence=(note, *histories.told(history)),
    )


_SIDES: tuple[Side, Side] = ("client", "server")
