"""An expectation against what has happened, as the timeline has it: pass, fail or unknown, with both ends
over time as evidence. Pure.

It is so far: what has not come may come yet, which is for whoever looks again. What records were lost for,
nobody watched, or two sources contradict each other in is unknown; the timeline says which that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from orchestrator.join.apart import Apart
from orchestrator.model.events import History, Side
from orchestrator.model.runs import Verdict, worst
from orchestrator.model.steps import (
    CLOSED_BY,
    FIRST_TO_CLOSE,
    After,
    Between,
    ByName,
    Check,
    Expectation,
)
from orchestrator.model.steps import Sequence as Order
from orchestrator.scenarios import afterwards, histories
from orchestrator.scenarios.compare import Value, compare, unknown
from orchestrator.scenarios.histories import Moment
from orchestrator.scenarios.observation import Judgement, Observation, Recorded
from orchestrator.scenarios.sequences import Followed, follow

COUNT = "count"
MOST_TOLD = 5  # connections in one judgement's evidence


class _Told(NamedTuple):
    """One check. `at`: when it came to be so."""

    check: Check
    seen: Value
    verdict: Verdict
    at: Moment


def judge(expectation: Expectation, seen: Observation) -> Judgement:
    """The verdict on the checks that are about what happened, as far as it has by this look."""
    if seen.recorded is None:
        return _not_known(expectation, seen.not_recorded)
    subject = expectation.subject
    if isinstance(subject, Between):
        found = histories.between(subject, seen.recorded.timeline)
        return _of_several(expectation, found, seen.recorded, str(subject))
    assert isinstance(subject, ByName)
    each = [_named(expectation, subject.host, name, seen, seen.recorded) for name in subject.names()]
    if any(check.field == COUNT for check in expectation.checks):
        return _counted(expectation, [one for mine, _ in each for one in mine], seen.recorded)
    return _all_of(subject, [judgement for _, judgement in each])


def _named(
    expectation: Expectation, host: str, name: str, seen: Observation, recorded: Recorded
) -> tuple[list[History], Judgement]:
    """What a descriptor is an end of, judged."""
    one = seen.descriptors.get((host, name))
    if one is None:
        return [], _not_known(expectation, f"{host}.{name} was not opened")
    found = histories.of_descriptor(host, name, one, recorded.timeline)
    return found, _of_several(expectation, found, recorded, f"{host}.{name}")


def _all_of(subject: ByName, each: Sequence[Judgement]) -> Judgement:
    """Each of the connections that a name stands for."""
    if len(each) == 1:
        return each[0]
    verdict = worst(tuple(one.verdict for one in each))
    name, shown = next(
        (name, one) for name, one in zip(subject.names(), each, strict=True) if one.verdict == verdict
    )
    alike = sum(one.verdict == verdict for one in each)
    known = [one.since for one in each if one.since is not None]
    return msgspec.structs.replace(
        shown,
        expected=f"{shown.expected}, all {len(each)}",
        observed=f"{subject.host}.{name}: {shown.observed} ({alike} of {len(each)} {verdict})",
        since=max(known) if len(known) == len(each) else None,
        since_error=max(one.since_error for one in each),
        since_clock=max(one.since_clock for one in each),
    )


def _of_several(
    expectation: Expectation, found: Sequence[History], recorded: Recorded, said: str
) -> Judgement:
    """The one connection there is; several where they are counted."""
    if any(check.field == COUNT for check in expectation.checks):
        return _counted(expectation, found, recorded)
    if len(found) == 1:
        return _one(expectation, found[0], recorded)
    if not found:
        return _not_known(expectation, f"nothing was recorded of {said}")
    evidence = [line for one in found[:MOST_TOLD] for line in histories.told(one)]
    return _not_known(expectation, f"{len(found)} connections are {said}", evidence)


def _one(expectation: Expectation, history: History, recorded: Recorded) -> Judgement:
    apart = Apart(recorded.timeline.recording.clocks)
    told = [_check(check, history, apart) for check in expectation.happened]
    extra, evidence = [], list(histories.told(history))
    since = _last([one.at for one in told])
    if expectation.after is not None:
        extra = [_after(expectation.after, told, since, recorded)]
        evidence = [_left(expectation.after, recorded), *evidence]
    return _judgement(expectation, [*told, *extra], evidence, since, recorded)


def _judgement(
    expectation: Expectation,
    told: Sequence[_Told],
    evidence: Sequence[str],
    since: Moment,
    recorded: Recorded,
) -> Judgement:
    verdict = worst(tuple(one.verdict for one in told))
    whys = [one.seen.why or one.seen.doubt for one in told if one.verdict == "unknown"]
    return Judgement(
        verdict=verdict,
        expected=wanted(expectation),
        observed=", ".join(f"{one.check.field} {one.seen}" for one in told),
        evidence=tuple(evidence),
        why=(whys[0] or "it may be on either side") if verdict == "unknown" else "",
        since=None if since.why else recorded.began + since.at,
        since_error=since.error + since.clock,
        since_clock=since.clock,
    )


def wanted(expectation: Expectation) -> str:
    """What must have happened, on one line."""
    words = [f"{check.field} {check.text}" for check in expectation.happened]
    after = expectation.after
    return ", ".join([*words, *([f"after {after.text}"] if after else [])])


def _not_known(expectation: Expectation, why: str, evidence: Sequence[str] = ()) -> Judgement:
    observed = ", ".join(f"{check.field} {unknown(why)}" for check in expectation.happened)
    return Judgement(
        verdict="unknown", expected=wanted(expectation), observed=observed, evidence=tuple(evidence), why=why
    )


def _last(moments: Sequence[Moment]) -> Moment:
    """When all of them had come."""
    why = next((one.why for one in moments if one.why), "")
    if why or not moments:
        return Moment(why=why or "nothing has a moment")
    return max(moments, key=lambda one: one.at)


def _counted(expectation: Expectation, found: Sequence[History], recorded: Recorded) -> Judgement:
    """How many of the connections have done what all other checks say."""
    apart = Apart(recorded.timeline.recording.clocks)
    judged = [(one, [_check(check, one, apart) for check in expectation.happened]) for one in found]
    verdicts = [worst(tuple(told.verdict for told in checks)) for _, checks in judged]
    certain, perhaps = verdicts.count("pass"), verdicts.count("unknown")
    value = Value(value=certain, high=certain + perhaps)
    counts = [check for check in expectation.checks if check.field == COUNT]
    told = [_Told(one, value, compare(one.test, value), Moment(why="it is a number")) for one in counts]
    evidence = [line for one in found[:MOST_TOLD] for line in histories.told(one)]
    judgement = _judgement(expectation, told, evidence or ["no connection"], told[0].at, recorded)
    more = ", ".join(f"{check.field} {check.text}" for check in counts)
    why = _counted_why([checks for _, checks in judged]) if judgement.verdict == "unknown" else ""
    return msgspec.structs.replace(judgement, expected=f"{judgement.expected}, {more}", why=why)


def _counted_why(judged: Sequence[Sequence[_Told]]) -> str:
    """How many could not be judged, and what the first of them lacks."""
    unsure = [one.seen for checks in judged for one in checks if one.verdict == "unknown"]
    number = sum(any(one.verdict == "unknown" for one in checks) for checks in judged)
    reason = next((text for seen in unsure if (text := seen.why or seen.doubt)), "it may be on either side")
    return f"{number} of {len(judged)} connections could not be judged: {reason}"


# One check on one connection.


def _check(check: Check, history: History, apart: Apart) -> _Told:
    if isinstance(check.test, Order):
        told, end = _sequence(check, check.test, history), histories.end_of(history, _side(check))
    elif check.field in (FIRST_TO_CLOSE, CLOSED_BY):
        told = _closing(check, history)
        end = histories.end_of(history, history.closing.first) if history.closing.first else None
    else:
        told, end = _retransmits(check, history), None
    hosts = [one.host for one in (end, history.client, history.server) if one is not None and one.host]
    worst = max(hosts, key=apart.error, default=None) if end is None else end.host
    return told._replace(at=histories.told_by(told.at, worst, apart))


def _side(check: Check) -> Side:
    return "client" if check.field == "client" else "server"


def _sequence(check: Check, test: Order, history: History) -> _Told:
    end = histories.end_of(history, _side(check))
    followed: Followed = follow(test, end)
    states = [span.state for span in end.spans] if end else []
    seen = Value(value=" -> ".join(states) or None)
    if followed.verdict == "unknown":
        seen = Value(value=seen.value, doubt=followed.why) if states else unknown(followed.why)
    return _Told(check, seen, followed.verdict, followed.at)


def _closing(check: Check, history: History) -> _Told:
    closing = history.closing
    said = closing.first if check.field == FIRST_TO_CLOSE else closing.by
    value = Value(value=said)
    if not closing.known and said is None:
        value = unknown(closing.why or "it cannot be told")
    at = Moment(why="it is not closed")
    if closing.at is not None:
        at = Moment(at=closing.at, error=closing.error)
    elif closing.first is None and closing.by is None:
        at = Moment(at=history.began)  # so it has been from the beginning
    return _Told(check, value, compare(check.test, value), at)


def _retransmits(check: Check, history: History) -> _Told:
    """Of both ends. Where one of them is not known in full there were at least those that were seen."""
    ends = [one for one in (history.client, history.server) if one is not None]
    again = sorted(one.segment.t for one in history.crossings if one.again)
    counts = [one.retransmits for one in ends]
    whole = len(ends) == 2 and None not in counts
    least = max(sum(one or 0 for one in counts), len(again))
    doubt = "" if whole else "what an end has sent again is not known in full"
    value = Value(value=least, high=least if whole else float("inf"), doubt=doubt)
    return _Told(check, value, compare(check.test, value), _when(check, least, again, history))


def _when(check: Check, count: int, again: Sequence[float], history: History) -> Moment:
    """Since when there have been as many as the check wants."""
    moments = [history.began, *again]
    number = count
    while number > 0 and compare(check.test, Value(value=number - 1)) == "pass":
        number -= 1
    if number < len(moments):
        return Moment(at=moments[number])
    return Moment(why="when that was is not known")


# After a step.


def _after(after: After, told: Sequence[_Told], came: Moment, recorded: Recorded) -> _Told:
    """So long after the step; as long as it has not come, how long it has been waited for."""
    check = Check(field="after", test=after.test, text=after.text)
    if any(one.verdict != "pass" for one in told):
        return _Told(check, Value(value=None), "pass", came)  # the verdict is theirs
    value, verdict, _ = afterwards.compared(after, came, recorded)
    return _Told(check, value, verdict, came)


def _left(after: After, recorded: Recorded) -> str:
    moment = afterwards.left(after.step, recorded.timeline)
    return moment.why or f"{after.step} had left at {histories.seconds(moment.at)}"
