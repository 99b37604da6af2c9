"""How long an end was in each state, and where sources disagree about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from orchestrator.join.paths import Claim
from orchestrator.join.steps import Step
from orchestrator.model.events import UNKNOWN, Otherwise, Source, Span

# Seconds between a packet at the tap and the kernel's own change of state: 13 µs were measured at rest, up to
# 140 with both processors busy.
PACKET_ERROR = 200e-6
CHANGE_ERROR = 1e-6  # between the change and the tracepoint's stamp
# Seconds that sources may differ by and still mean the same: what comes while a program is inside a system
# call is taken when that is over (net/core/sock.c, the backlog).
SAME = 0.001


class _Stay(NamedTuple):
    """Another source's word: that state, all of that time."""

    state: str
    began: float
    ended: float


def stays(steps: Sequence[Step], heard: float) -> list[_Stay]:
    """How long a path says that each state lasted, at least. `heard`: when its source said something last."""
    ends = [step.earliest for step in steps[1:]]
    return [
        _Stay(step.state, step.latest, min(end, heard))
        for step, end in zip(steps, [*ends, heard], strict=True)
        if step.state != UNKNOWN and min(end, heard) - step.latest > SAME
    ]


def spans(path: Sequence[Step], errors: Mapping[Source, float]) -> list[Span]:
    """Each step lasts until the next. `errors`: how far a source's times may be off."""
    found: list[Span] = []
    last = len(path) - 1
    middles: list[float] = []
    for step in path:  # times that are known to intervals may overlap
        middle = step.latest if step.earliest == SINCE_EVER else (step.earliest + step.latest) / 2
        middles.append(max(middle, middles[-1]) if middles else middle)
    for at, step in enumerate(path):
        began = middles[at]
        open_ = step.earliest == SINCE_EVER
        apart = 0.0 if open_ else max(began - step.earliest, step.latest - began)
        found.append(
            Span(
                state=step.state,
                began=began,
                ended=None if at == last else middles[at + 1],
                error=errors[step.source] + apart,
                source=step.source,
                why=step.why or (SINCE_WHEN if open_ else ""),
            )
        )
    return found


SINCE_EVER = float("-inf")
SINCE_WHEN = "since when is not known"


def with_others(found: Sequence[Span], source: Source, words: Iterable[_Stay], error: float) -> list[Span]:
    """The spans, with what another source says to the contrary of more than its error."""
    contrary: dict[int, str] = {}
    for word in words:
        for at, span in enumerate(found):
            ended = word.ended if span.ended is None else span.ended
            if at + 1 < len(found):
                ended -= found[at + 1].error  # known as well as the beginning of the next
            slack = SAME + error + span.error
            overlap = min(ended, word.ended) - max(span.began, word.began)
            if span.state not in (word.state, UNKNOWN) and overlap > slack:
                contrary.setdefault(at, word.state)
    return _noted(found, contrary, source)


def with_moments(found: Sequence[Span], claims: Iterable[Claim], length: float) -> list[Span]:
    """The spans, with what was read in tables to the contrary."""
    contrary: dict[int, str] = {}
    at = 0
    for claim in claims:
        if not claim.steady:
            continue
        while at + 1 < len(found) and _until(found[at], length) < claim.began - SAME - found[at + 1].error:
            at += 1
        near = _near(found, at, claim)
        if near and all(found[one].state not in (claim.state, UNKNOWN) for one in near):
            contrary.setdefault(near[0], claim.state)
    return _noted(found, contrary, "snapshot")


def _until(span: Span, length: float) -> float:
    return length if span.ended is None else span.ended


def _near(found: Sequence[Span], at: int, claim: Claim) -> list[int]:
    """Spans that reach into the time in which the claim's moment was."""
    near: list[int] = []
    for one in range(at, len(found)):
        span = found[one]
        if span.began - span.error - SAME > claim.ended:
            break
        near.append(one)
    return near


def _noted(found: Sequence[Span], contrary: dict[int, str], source: Source) -> list[Span]:
    if not contrary:
        return list(found)
    return [
        span
        if at not in contrary
        else Span(
            state=span.state,
            began=span.began,
            ended=span.ended,
            error=span.error,
            source=span.source,
            otherwise=(*span.otherwise, Otherwise(source=source, state=contrary[at])),
            why=span.why,
        )
        for at, span in enumerate(found)
    ]
