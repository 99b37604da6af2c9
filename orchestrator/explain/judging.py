"""Ideas held against what was seen: the ones that fit, those that do not and why, and what would tell more.

A time limit is never blamed where its moment is off by more than the tolerance. A line of the log that
only one of them writes decides; that a line is missing which would be there counts against.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from orchestrator.explain.ideas import EARLY, LATE, Idea, Sign, Since
from orchestrator.explain.logs import ErrorLine
from orchestrator.explain.times import said
from orchestrator.model.explanations import Cause, Certainty, Decision

LOGGED = 1.0  # seconds: by how much it may be off where the log says that it was it


class Moment(NamedTuple):
    """What is to be explained: `by` and `late` as in Ending."""

    t: float
    error: float
    by: str
    late: bool = False


class Words(NamedTuple):
    """What the error log says of a moment. `sure`: the lines are this connection's and no other's; `whole`:
    none is missing. `at`: whether a line of a level would be there."""

    lines: Sequence[ErrorLine]
    sure: bool
    whole: bool
    at: Callable[[str], bool]


def judged(moment: Moment, ideas: Iterable[Idea], words: Words) -> list[Cause]:
    """Each as a cause; what speaks against it is in it."""
    every = list(ideas)
    found = list(_one_each([_cause(one, moment, words) for one in every if not one.weak]))
    weak = [_cause(one, moment, words) for one in every if one.weak]
    better = next((one for one in found if not one.against), None)
    if better is not None:
        weak = [
            msgspec.structs.replace(one, against=(*one.against, f"{better.name} fits better")) for one in weak
        ]
    return _told_apart([*found, *weak])


def _cause(idea: Idea, moment: Moment, words: Words) -> Cause:
    because, against = list(idea.because), list(idea.against)
    line = _line(idea.sign, words) if idea.sign else None
    due = _due(idea, moment.t)
    if due is not None:
        logged = LOGGED if line is not None else 0.0
        allowed = math.inf if moment.late else max(LATE + idea.late, logged)
        said_of_it, too_far = _held_against(due, moment, allowed, logged)
        (against if too_far else because).append(said_of_it)
    elif idea.kind == "timer" and not idea.proven:
        against.append("what it counts from was not seen")
    if moment.by not in idea.manners:
        manners = " or ".join(sorted(idea.manners))
        against.append(f"it ends a connection by {manners}, this one by {moment.by}")
    if idea.sign is not None:
        _by_the_log(idea.sign, line, words, because, against)
    return Cause(
        name=idea.name,
        kind=idea.kind,
        value=_value(idea),
        where=idea.value.where if idea.value else "",
        scope=idea.scope,
        counts=due.since.words if due else "",
        since=due.since.t if due else None,
        due=due.first if due else None,
        because=tuple(because),
        against=tuple(against),
        proven=(idea.proven or (line is not None and words.sure)) and not against,
    )


def _value(idea: Idea) -> str:
    if idea.value is None:
        return ""
    return idea.value.text if idea.value.seconds is None or idea.kind != "timer" else said(idea.value.seconds)


class _Due(NamedTuple):
    """When it would have come about: between `first` and `last`, by what it counts from."""

    since: Since
    first: float
    last: float

    def away(self, t: float) -> float:
        """How far a moment is from it."""
        return max(0.0, self.first - t, t - self.last)


def _due(idea: Idea, t: float) -> _Due | None:
    """By the moment that is nearest of those that it may count from."""
    if idea.value is None or idea.value.seconds is None or not idea.since:
        return None
    seconds = idea.value.seconds
    found = [_Due(one, one.t + seconds, (one.until or one.t) + seconds) for one in idea.since]
    return min(found, key=lambda one: one.away(t))


def _held_against(due: _Due, moment: Moment, allowed: float, logged: float) -> tuple[str, bool]:
    """How far it was from when it was due, and whether that is too far. `allowed`: how late it may be;
    `logged`: how early, since what it counts from is not known better than the log's own word."""
    off = min(0.0, moment.t - due.first) or max(0.0, moment.t - due.last)
    words = f"it was due at {due.first:.3f} s"
    if off < -(max(EARLY, logged) + moment.error):
        return f"{words}, and this was {-off * 1000:.0f} ms before", True
    if off > allowed + moment.error:
        return f"{words}, and this was {off * 1000:.0f} ms later", True
    return f"{words}, this was {_off(off)}", False


def _off(off: float) -> str:
    return "then" if abs(off) < 0.0005 else f"{abs(off) * 1000:.0f} ms {'later' if off > 0 else 'before'}"


def _line(sign: Sign, words: Words) -> ErrorLine | None:
    for one in words.lines:
        action = any(each in one.text for each in sign.actions) if sign.actions else True
        if sign.words in one.text and action:
            return one
    return None


def _by_the_log(
    sign: Sign, line: ErrorLine | None, words: Words, because: list[str], against: list[str]
) -> None:
    if line is not None:
        whose = "" if words.sure else " (or that is of another connection of this client)"
        because.append(f"the error log says: {line.said}{whose}")
        return
    contrary = next((one for one in words.lines if "timed out" in one.text), None)
    if contrary is not None and words.sure:
        against.append(f"the error log says something else: {contrary.said}")
    elif words.whole and words.at(sign.level):
        against.append(f"the error log has no line of it, and takes level {sign.level}")


def _one_each(found: list[Cause]) -> Iterable[Cause]:
    """The same directive of the same line once: the reading of it that fits."""
    met: dict[tuple[str, str, str], Cause] = {}
    for one in found:
        key = (one.name, one.where, one.value)
        before = met.get(key)
        if before is None or (before.against and not one.against):
            met[key] = one
    return met.values()


def _told_apart(found: list[Cause]) -> list[Cause]:
    """Where something proves one, the others were not it, but for what is proven, too."""
    if not any(one.proven for one in found):
        return found
    first = next(one for one in found if one.proven)
    return [
        one
        if one.proven or one.against
        else msgspec.structs.replace(one, against=(f"the evidence names {first.name}",))
        for one in found
    ]


def decision(
    what: str, moment: Moment, how: str, causes: Sequence[Cause], *, why: str = "", doubt: str = ""
) -> Decision:
    """With the smallest set that fits. `doubt`: why nothing may follow from what was seen."""
    fitting = list(_once(one for one in causes if not one.against))
    excluded = list(_once(one for one in causes if one.against))
    fitting.sort(key=lambda one: (not one.proven, one.kind == "other", _distance(one, moment.t)))
    excluded.sort(key=lambda one: (one.kind == "other", _distance(one, moment.t)))
    names = {one.name for one in fitting}
    certainty: Certainty = "named" if len(names) == 1 else "several" if names else "unknown"
    if doubt and certainty == "named" and not fitting[0].proven:
        certainty = "unknown"
    if doubt and certainty == "several":
        certainty = "unknown"
    return Decision(
        what=what,
        at=moment.t,
        error=moment.error,
        how=how,
        certainty=certainty,
        causes=tuple(fitting) if certainty != "unknown" or not doubt else (),
        excluded=tuple(excluded),
        decides=tuple(_decides(fitting)) if len(names) > 1 or certainty == "unknown" else (),
        why=doubt or (why or "no time limit that is in force was due then" if not names else ""),
    )


def _once(causes: Iterable[Cause]) -> Iterable[Cause]:
    """The same of two connections that were ended together is one; so is one word for it by two signs."""
    met: dict[tuple[str, str, str], Cause] = {}
    for one in causes:
        key = one.name, one.where, one.value
        before = met.get(key)
        more = one.because if before is None else (*before.because, *one.because)
        against = one.against if before is None else (*before.against, *one.against)
        proven = one.proven or (before is not None and before.proven)
        met[key] = msgspec.structs.replace(
            before or one,
            because=tuple(dict.fromkeys(more)),
            against=tuple(dict.fromkeys(against)),
            proven=proven,
        )
    return met.values()


def _distance(one: Cause, t: float) -> float:
    return abs(one.due - t) if one.due is not None else 1e9


LOUD = ("client_header_timeout", "client_body_timeout", "send_timeout", "proxy_timeout", "preread_timeout")


def _decides(fitting: Sequence[Cause]) -> Iterable[str]:
    """What would tell them apart."""
    timers = [one for one in fitting if one.kind == "timer"]
    if any(one.name in LOUD for one in timers):
        yield "`error_log … info;`: nginx says there which of them it was"
    if len({one.value for one in timers}) < len(timers):
        values = ", ".join(f"{one.name} {one.value}" for one in timers)
        yield f"different values: now {values}"
    if any(one.kind == "other" for one in fitting) and not timers:
        yield "a recording of a scenario (`lab run`), which has steps, ends of programs and impairments, too"
