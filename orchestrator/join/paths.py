"""What one source says of an end completed by what another knows: tracepoint before packets before tables and
calls, each filling in only what the ones before it leave unknown."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from orchestrator.join.steps import NO_SIGN, SILENT, STUCK, Step
from orchestrator.model.events import UNKNOWN, Source

# How far each state is on its way: none is entered twice, none behind another of a higher rank.
RANK = {
    "SYN_SENT": 0,
    "SYN_RECV": 1,
    "ESTABLISHED": 2,
    "FIN_WAIT1": 3,
    "CLOSE_WAIT": 3,
    "FIN_WAIT2": 4,
    "CLOSING": 4,
    "LAST_ACK": 4,
    "TIME_WAIT": 5,
    "CLOSE": 6,
}
# Steps between which nothing else can have been (RFC 9293, 3.3.2).
DIRECT = frozenset(
    {
        ("SYN_SENT", "ESTABLISHED"),
        ("SYN_RECV", "ESTABLISHED"),
        ("ESTABLISHED", "FIN_WAIT1"),
        ("ESTABLISHED", "CLOSE_WAIT"),
        ("FIN_WAIT1", "FIN_WAIT2"),
        ("FIN_WAIT1", "CLOSING"),
        ("FIN_WAIT2", "TIME_WAIT"),
        ("CLOSING", "TIME_WAIT"),
        ("CLOSE_WAIT", "LAST_ACK"),
        ("LAST_ACK", "CLOSE"),
        ("TIME_WAIT", "CLOSE"),
    }
)
INFINITE = float("inf")


class Claim(NamedTuple):
    """At some moment between these it was in that state. `steady`: it was read there, and lasted;
    else it is only known that it came through.
    `causes`: it came into the state in that time."""

    began: float
    ended: float
    state: str
    source: Source
    steady: bool = True
    causes: bool = False


class _Gap(NamedTuple):
    before: Step | None  # the last that is known
    step: Step
    after: Step | None


def _gaps(path: Sequence[Step]) -> Iterator[tuple[Step, _Gap | None]]:
    known: Step | None = None
    for at, step in enumerate(path):
        if step.state != UNKNOWN:
            known = step
            yield step, None
        else:
            yield step, _Gap(known, step, path[at + 1] if at + 1 < len(path) else None)


def merged(path: Iterable[Step]) -> list[Step]:
    """Without steps from a state to itself."""
    found: list[Step] = []
    for step in path:
        if not found or found[-1].state != step.state:
            found.append(step)
        elif step.why and not found[-1].why:
            found[-1].why = step.why
    return found


def filled(path: Sequence[Step], other: Sequence[Step]) -> list[Step]:
    """The path, its unknown parts and what was before its beginning taken from another."""
    if not path or not other:
        return list(path or other)
    found = _lead(path[0], other)
    for step, gap in _gaps(path):
        if gap is None:
            found.append(step)
        else:
            found += _inside(gap, other) or [step]
    return merged(found)


def _lead(first: Step, other: Sequence[Step]) -> list[Step]:
    if first.earliest > -INFINITE and first.state != UNKNOWN:
        return []
    rank = RANK.get(first.state, 9)
    found = [step for step in other if step.earliest < first.latest and RANK.get(step.state, -1) <= rank]
    while found and found[-1].state == UNKNOWN:
        found.pop()
    return found


def _inside(gap: _Gap, other: Sequence[Step]) -> list[Step]:
    """What the other path says of the gap, if it says anything that can be true there."""
    began, ended = gap.step.latest, INFINITE if gap.after is None else gap.after.earliest
    least = RANK[gap.before.state] if gap.before else 0
    most = RANK[gap.after.state] if gap.after and gap.after.state in RANK else 9
    found: list[Step] = []
    for step in other:
        if step.earliest >= ended:
            break
        if step.latest <= began:
            found = []
            if step.state != UNKNOWN and least <= RANK[step.state] <= most:
                found = [Step(step.state, gap.step.earliest, began, source=step.source)]
        elif step.state == UNKNOWN or least <= RANK[step.state] <= most:
            found.append(step)
    return [] if all(step.state == UNKNOWN for step in found) else found


def completed(path: Sequence[Step], claims: Sequence[Claim], length: float) -> list[Step]:
    """The path, its unknown parts filled with single moments at which the state is known. `claims`: in order
    of their times."""
    if not claims:
        return list(path)
    if not path:
        first = claims[0]
        path = [Step(UNKNOWN, first.began, first.began, source=first.source)]
    found: list[Step] = []
    for step, gap in _gaps(path):
        if gap is None:
            found.append(step)
        else:
            found += _from_moments(gap, claims, length, not found)
    return merged(found)


def _from_moments(gap: _Gap, claims: Sequence[Claim], length: float, first: bool) -> list[Step]:
    began, ended = gap.step.latest, INFINITE if gap.after is None else gap.after.earliest
    state = gap.before.state if gap.before else None
    most = RANK[gap.after.state] if gap.after and gap.after.state in RANK else 9
    found: list[Step] = []
    used = False
    for claim in claims:
        rank = RANK.get(claim.state)
        if claim.ended < began or claim.began > ended or rank is None or rank > most:
            continue
        if state is not None and rank < RANK[state]:
            continue
        used = used or claim.steady
        if claim.state != state:
            hidden = gap.step.why != SILENT and (state, claim.state) not in DIRECT
            if state is not None and hidden:
                found.append(_unknown(gap, began, found))
                began = max(began, claim.began)
            elif state is None and not first:
                began = max(began, claim.began)
            if gap.step.why == NO_SIGN and claim.state == "ESTABLISHED":  # so it was
                found.append(Step(claim.state, gap.step.earliest, gap.step.latest))
            else:
                found.append(Step(claim.state, min(began, claim.ended), claim.ended, source=claim.source))
            state = claim.state
        began = max(began, claim.began)
    if _is_over(gap, state, used and length - began < TAIL):
        return found
    return [*found, _unknown(gap, began, found)]


def _is_over(gap: _Gap, state: str | None, until_now: bool) -> bool:
    """Whether after the last state that was found in a gap nothing is unknown any more."""
    if gap.after is not None:
        return state == gap.after.state or (state, gap.after.state) in DIRECT
    if gap.step.why == NO_SIGN:  # what comes after is seen
        return state is not None and RANK[state] >= RANK["ESTABLISHED"]
    if gap.step.why in (STUCK, SILENT):  # all that could hide there was a call that closes
        return until_now or state in ("FIN_WAIT1", "LAST_ACK", "CLOSE")
    return until_now or state == "CLOSE"


def _unknown(gap: _Gap, began: float, found: Sequence[Step]) -> Step:
    if found:
        began = max(began, found[-1].latest)
    return Step(UNKNOWN, began, began, source=gap.step.source, why=gap.step.why)


TAIL = 0.25  # seconds at a recording's end that looks may be behind


def narrowed(path: Sequence[Step], claims: Sequence[Claim]) -> None:
    """Steps whose times are known to an interval only: what else is known of those times makes it smaller."""
    for before, step in itertools.pairwise([None, *path]):
        assert step is not None
        if step.latest - step.earliest < 1e-4 or step.state == UNKNOWN:
            continue
        for claim in claims:
            if claim.state == step.state and step.earliest <= claim.ended < step.latest:
                step.latest = claim.ended
            if claim.causes and claim.state == step.state:
                if step.earliest < claim.began <= step.latest:
                    step.earliest = claim.began
            elif before is not None and claim.state == before.state and claim.steady:
                step.earliest = max(step.earliest, min(claim.began, step.latest))
