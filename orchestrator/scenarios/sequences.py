"""A sequence of states against what an end has been in. Pure.

There are few ways from the beginning of a connection to its end (FOLLOWING), so all are looked at that the
end may have gone by what is known of it: what is not known in between may have been anything that leads on,
and where two sources disagree either may be right. The sequence is so if it is in each of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Sequence as Several
from functools import cache
from typing import NamedTuple

from orchestrator.model.events import UNKNOWN, EndHistory, Span
from orchestrator.model.rows import FOLLOWING
from orchestrator.model.runs import Verdict
from orchestrator.model.steps import Sequence
from orchestrator.scenarios.histories import Moment, span_told

BEGINNINGS = ("SYN_SENT", "SYN_RECV")
NOT_SO = "it was not so"
UNSEEN = "what it was in before is not known: nothing was recorded of that"
_LETTER = {state: chr(ord("a") + at) for at, state in enumerate(FOLLOWING)}


class Followed(NamedTuple):
    """What came of it. `at`: when the last of the states began; `why`: of an unknown."""

    verdict: Verdict
    at: Moment = Moment(why=NOT_SO)
    why: str = ""


def follow(test: Sequence, end: EndHistory | None) -> Followed:
    """Whether the end was in these states, one directly after the other."""
    if end is None:
        return Followed("unknown", why="nothing was seen of that end")
    if not end.spans:
        return Followed("unknown", why="no state of that end is known")
    asked = re.compile("".join(_one_of(states) for states in test.states))
    ways = list(_ways(end.spans))
    so = sum(asked.search(way) is not None for way in ways)
    if not ways:
        return Followed("unknown", why="what is known of it does not fit together")
    if not so:
        return Followed("fail")
    at = _when(end.spans, test.states[-1])
    return Followed("pass", at) if so == len(ways) else Followed("unknown", at, _doubt(end.spans))


def _one_of(states: Several[str]) -> str:
    return f"[{''.join(_LETTER[state] for state in states if state in _LETTER)}]"


def _ways(spans: Several[Span]) -> Iterator[str]:
    """All that it may have gone, a letter for each state."""
    parts = [] if _begins(spans[0]) else [".*"]
    for span in spans:
        part = ".*" if span.state == UNKNOWN else _one_of((span.state, *_others(span)))
        if not parts or parts[-1] != part:  # one state after itself, by two sources
            parts.append(part)
    known = re.compile("".join(parts))
    return (way for way in _all_ways() if known.fullmatch(way))


def _others(span: Span) -> tuple[str, ...]:
    return tuple(one.state for one in span.otherwise)


def _begins(first: Span) -> bool:
    return {first.state, *_others(first)} <= {*BEGINNINGS, UNKNOWN}


@cache
def _all_ways() -> tuple[str, ...]:
    """From a beginning to wherever it has come."""
    found: list[str] = []
    new: list[tuple[str, ...]] = [(state,) for state in BEGINNINGS]
    while new:
        found += ["".join(_LETTER[state] for state in way) for way in new]
        new = [(*way, after) for way in new for after in FOLLOWING[way[-1]]]
    return tuple(found)


def _when(spans: Several[Span], states: tuple[str, ...]) -> Moment:
    for span in spans:
        if {span.state, *_others(span)} <= set(states):
            return Moment(at=span.began, error=span.error)
    return Moment(why="when that was is not known")


def _doubt(spans: Several[Span]) -> str:
    """What is not known, or not agreed on."""
    for span in spans:
        if span.state == UNKNOWN or span.otherwise:
            return span_told(span)
    return UNSEEN
