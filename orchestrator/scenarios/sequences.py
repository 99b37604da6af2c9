"""A sequence of states against what an end has been in. Pure.

The end may have been in others before the first and after the last; between them none may be missing. What is
not known in between may have been anything, and where two sources disagree either may be right.
"""

from __future__ import annotations

from collections.abc import Sequence as Several
from typing import NamedTuple

from orchestrator.model.events import UNKNOWN, EndHistory, Span
from orchestrator.model.rows import FOLLOWING
from orchestrator.model.runs import Verdict
from orchestrator.model.steps import Sequence
from orchestrator.scenarios.histories import Moment, span_told


class Followed(NamedTuple):
    """What came of it. `at`: when the last of the states began; `why`: of an unknown."""

    verdict: Verdict
    at: Moment = Moment(why="it was not so")
    why: str = ""


def follow(test: Sequence, end: EndHistory | None) -> Followed:
    """Whether the end was in these states, one directly after the other."""
    if end is None:
        return Followed("unknown", why="nothing was seen of that end")
    spans = merged(end.spans)
    tried = [_from(test.states, spans, start) for start in range(len(spans))]
    for verdict in ("pass", "unknown"):
        for one in tried:
            if one.verdict == verdict:
                return one
    if not spans:
        return Followed("unknown", why="no state of that end is known")
    return Followed("fail")


def merged(spans: Several[Span]) -> list[Span]:
    """One after the other in the same state, with no doubt, are one."""
    found: list[Span] = []
    for span in spans:
        before = found[-1] if found else None
        if before is not None and before.state == span.state != UNKNOWN and not span.otherwise:
            continue
        found.append(span)
    return found


def _from(states: tuple[tuple[str, ...], ...], spans: Several[Span], start: int) -> Followed:
    """Beginning with that span."""
    doubt = ""
    for place, wanted in enumerate(states, start):
        if place >= len(spans):
            return Followed("fail")  # it has not come so far
        span = spans[place]
        fits = _fits(span, wanted)
        if fits is None and span.state == UNKNOWN and not _can_follow(spans[:place], wanted):
            return Followed("fail")
        if fits is None:
            doubt = doubt or span_told(span)
            if span.state == UNKNOWN:
                return Followed("unknown", why=doubt)  # any number of states may be in there
        elif not fits:
            return Followed("fail")
    last = spans[start + len(states) - 1]
    at = Moment(at=last.began, error=last.error)
    return Followed("unknown", at, doubt) if doubt else Followed("pass", at)


def _can_follow(before: Several[Span], wanted: tuple[str, ...]) -> bool:
    """Whether one of these can come, sooner or later, after the last state that is known."""
    known = [span for span in before if span.state in FOLLOWING and not span.otherwise]
    if not known:
        return True
    reached, new = {known[-1].state}, {known[-1].state}
    while new:
        new = {after for one in new for after in FOLLOWING[one]} - reached
        reached |= new
    return not (reached - {known[-1].state}).isdisjoint(wanted)


def _fits(span: Span, wanted: tuple[str, ...]) -> bool | None:
    """Whether it is one of these states; None: that cannot be told."""
    if span.state == UNKNOWN:
        return None
    said = {span.state, *(one.state for one in span.otherwise)}
    if said <= set(wanted):
        return True
    return None if said & set(wanted) else False
