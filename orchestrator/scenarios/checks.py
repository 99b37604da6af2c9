"""An expectation against one look at a lab: pass, fail or unknown, with what shows it. Pure.

Nothing passes that was not seen. That there is no row passes only where every table was read in which it
would stand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, assert_never

import msgspec

from orchestrator.model.rows import Connection, Listener
from orchestrator.model.runs import Verdict, worst
from orchestrator.model.steps import (
    TIMED_OUT,
    Between,
    ByName,
    Check,
    Contains,
    CounterOf,
    Expectation,
    ListenerAt,
    LogOf,
    Matches,
    Number,
)
from orchestrator.scenarios import happened, rows
from orchestrator.scenarios.compare import Value, compare, found, unknown
from orchestrator.scenarios.observation import (
    Judgement,
    Log,
    Observation,
    Received,
    StepResult,
)

MOST_EVIDENCE = 20  # rows or lines in one judgement
COUNT = "count"
Field = Callable[[Check], Value]


class _Checked(NamedTuple):
    """One field, judged."""

    check: Check
    seen: Value
    verdict: Verdict


def judge(expectation: Expectation, seen: Observation) -> Judgement:
    """The verdict of this one look, and of what has happened until then."""
    if expectation.happened:
        return _with_the_past(expectation, seen)
    subject = expectation.subject
    if isinstance(subject, CounterOf):
        return _judged(expectation, _counter(subject, seen))
    if isinstance(subject, LogOf):
        return _log(expectation, subject, seen)
    if isinstance(subject, ListenerAt):
        why = rows.why_not_missing(seen, (subject.host,))
        return _rows(expectation, rows.listening(subject, seen), seen, why)
    if isinstance(subject, Between):
        return _rows(expectation, rows.between(subject, seen), seen, rows.why_not_all_between(subject, seen))
    if isinstance(subject, ByName):
        return _named(expectation, subject, seen)
    assert_never(subject)


def expected(expectation: Expectation) -> str:
    """What must be so, on one line."""
    after = [] if expectation.after is None else [f"after {expectation.after.text}"]
    return ", ".join([*(f"{check.field} {check.text}" for check in expectation.checks), *after])


def _with_the_past(expectation: Expectation, seen: Observation) -> Judgement:
    """What happened, and what this look shows beside it. What is counted is counted there."""
    now = expectation.seen
    past = happened.judge(expectation, seen)
    if not now or any(check.field == COUNT for check in now):
        return past
    look = judge(msgspec.structs.replace(expectation, checks=now), seen)
    return Judgement(
        verdict=worst((past.verdict, look.verdict)),
        expected=expected(expectation),
        observed=f"{past.observed}, {look.observed}",
        evidence=(*past.evidence, *look.evidence)[:MOST_EVIDENCE],
        why=(past.why or look.why) if "fail" not in (past.verdict, look.verdict) else "",
    )


def _judged(expectation: Expectation, field: Field, evidence: Sequence[str] = ()) -> Judgement:
    """All fields of one thing."""
    checked = [_Checked(check, field(check), "unknown") for check in expectation.checks]
    checked = [one._replace(verdict=compare(one.check.test, one.seen)) for one in checked]
    return _together(expectation, checked, evidence)


def _together(expectation: Expectation, checked: Sequence[_Checked], evidence: Sequence[str]) -> Judgement:
    verdict = worst(tuple(one.verdict for one in checked)) if checked else "unknown"
    not_known = [one.seen for one in checked if one.verdict == "unknown"]
    doubts = [seen.why or seen.doubt or "it may be on either side" for seen in not_known]
    return Judgement(
        verdict=verdict,
        expected=expected(expectation),
        observed=", ".join(f"{one.check.field} {one.seen}" for one in checked),
        evidence=tuple(evidence[:MOST_EVIDENCE]),
        why=doubts[0] if doubts and verdict == "unknown" else "",
    )


def _not_seen(expectation: Expectation, why: str, evidence: Sequence[str] = ()) -> Judgement:
    return _judged(expectation, lambda _: unknown(why), evidence)


# Rows: connections and listeners.


def _rows(
    expectation: Expectation, found_rows: Sequence[Connection | Listener], seen: Observation, why: str
) -> Judgement:
    """A row, or how many there are. `why`: why a row could be there and was not seen, if so."""
    evidence = [rows.as_text(row) for row in found_rows]
    if any(check.field == COUNT for check in expectation.checks):
        return _counted(expectation, found_rows, seen, why)
    if expectation.kind == "listener":
        found_rows = _selected(expectation, found_rows, seen)
    if len(found_rows) > 1:
        return _not_seen(expectation, f"{len(found_rows)} rows are {expectation.subject}", evidence)
    if not found_rows and why:
        return _not_seen(expectation, why)
    row = found_rows[0] if found_rows else None
    judgement = _judged(
        expectation, lambda check: _field(expectation, row, check.field, seen), evidence or ("no row",)
    )
    still = rows.still(row, [check.field for check in expectation.checks])
    return msgspec.structs.replace(judgement, still=still)


def _field(
    expectation: Expectation, row: Connection | Listener | None, name: str, seen: Observation
) -> Value:
    if expectation.kind == "listener":
        return rows.listener_field(row if isinstance(row, Listener) else None, name)
    return rows.connection_field(row if isinstance(row, Connection) else None, name, seen)


def _selected(
    expectation: Expectation, found_rows: Sequence[Connection | Listener], seen: Observation
) -> Sequence[Connection | Listener]:
    """Of several listeners of one port those with the address and family that are asked for, if there are."""
    wanted = [check for check in expectation.checks if check.field in ("address", "family")]
    these = [
        row
        for row in found_rows
        if all(compare(c.test, _field(expectation, row, c.field, seen)) == "pass" for c in wanted)
    ]
    return these or found_rows


def _counted(
    expectation: Expectation, found_rows: Sequence[Connection | Listener], seen: Observation, why: str
) -> Judgement:
    """How many of the rows are as all other checks say."""
    others = [check for check in expectation.checks if check.field != COUNT]
    verdicts: list[Verdict] = []
    for row in found_rows:
        each = tuple(compare(check.test, _field(expectation, row, check.field, seen)) for check in others)
        verdicts.append(worst(each))
    certain = verdicts.count("pass")
    value = Value(value=certain, high=float("inf") if why else certain + verdicts.count("unknown"))
    checked = [
        _Checked(check, value, compare(check.test, value))
        for check in expectation.checks
        if check.field == COUNT
    ]
    judgement = _together(expectation, checked, [rows.as_text(row) for row in found_rows] or ["no row"])
    if judgement.verdict != "unknown":
        return judgement
    return _because(judgement, why or f"{verdicts.count('unknown')} rows could not be judged")


def _because(judgement: Judgement, why: str) -> Judgement:
    return Judgement(
        verdict=judgement.verdict,
        expected=judgement.expected,
        observed=judgement.observed,
        evidence=judgement.evidence,
        why=why,
    )


# What goes by a name: connections and listeners by a descriptor, steps, what was received.


def _named(expectation: Expectation, subject: ByName, seen: Observation) -> Judgement:
    """Each of the things that the name stands for, or how many of them."""
    if expectation.kind == "connection" and any(check.field == COUNT for check in expectation.checks):
        return _count_named(expectation, subject, seen)
    judge_one = {
        "connection": _connection,
        "listener": _listener,
        "received": _received,
        "step": _step,
    }[expectation.kind]
    each = [(name, judge_one(expectation, (subject.host, name), seen)) for name in subject.names()]
    if len(each) == 1:
        return each[0][1]
    verdict = worst(tuple(one.verdict for _, one in each))
    name, shown = next((name, one) for name, one in each if one.verdict == verdict)
    alike = sum(one.verdict == verdict for _, one in each)
    return Judgement(
        verdict=verdict,
        expected=f"{shown.expected}, all {len(each)}",
        observed=f"{subject.host}.{name}: {shown.observed} ({alike} of {len(each)} {verdict})",
        evidence=shown.evidence,
        why=shown.why,
        still=tuple(one.still for _, one in each) if all(one.still for _, one in each) else (),
    )


def _count_named(expectation: Expectation, subject: ByName, seen: Observation) -> Judgement:
    """How many of the connections that a name stands for have a row that is as the other checks say."""
    found_rows: dict[str, Connection] = {}
    doubts = []
    for name in subject.names():
        one = seen.descriptors.get((subject.host, name))
        mine = [] if one is None else rows.of_descriptor(subject.host, one, seen)
        found_rows |= {row.id: row for row in mine}
        if not mine:
            doubts.append("it was not opened" if one is None else rows.why_not_missing(seen, (), one))
    return _counted(expectation, list(found_rows.values()), seen, next(filter(None, doubts), ""))


def _connection(expectation: Expectation, name: tuple[str, str], seen: Observation) -> Judgement:
    one = seen.descriptors.get(name)
    if one is None:
        return _not_seen(expectation, f"{'.'.join(name)} was not opened")
    why = rows.why_not_missing(seen, (name[0],), one)
    mine = rows.of_descriptor(name[0], one, seen)
    if not mine and not why and rows.goes_outside(one, seen):
        return _judged(expectation, lambda check: rows.outside_field(check.field), ("no row",))
    return _rows(expectation, mine, seen, why)


def _listener(expectation: Expectation, name: tuple[str, str], seen: Observation) -> Judgement:
    """By the descriptor that listens: of several at one port (SO_REUSEPORT) the one that it is, and none that
    was opened there later."""
    one = seen.descriptors.get(name)
    if one is None or one.local is None:
        return _not_seen(expectation, f"{'.'.join(name)} was not opened, or not bound")
    if one.inode is None:
        return _not_seen(expectation, f"which socket {'.'.join(name)} is was not told")
    at_port = rows.listening(ListenerAt(host=name[0], port=one.local[1]), seen)
    mine = [row for row in at_port if row.inode == one.inode]
    return _rows(expectation, mine, seen, rows.why_not_missing(seen, (name[0],)))


def _step(expectation: Expectation, name: tuple[str, str], seen: Observation) -> Judgement:
    one = seen.steps.get(name)
    if one is None:
        return _not_seen(expectation, f"{'.'.join(name)} has not begun")
    if one.lost:
        return _not_seen(expectation, one.lost)
    judgement = _judged(expectation, lambda check: _step_field(one, check), one.output.splitlines())
    lasts = one.running and all(check.field == "running" for check in expectation.checks)
    return msgspec.structs.replace(judgement, still=name if lasts else ())  # it ends once


def _step_field(one: StepResult, check: Check) -> Value:
    """A field of a step; what a running one will give is not known."""
    if check.field == "running":
        return Value(value=one.running)
    if check.field == "duration":
        return _duration(one, check)
    if check.field in ("contains", "matches"):
        return Value(value=one.output)
    if one.running:
        return unknown("the step is still running")
    if check.field == "errno":
        return Value(value=one.errno, any_of=(TIMED_OUT,) if one.timed_out else ())
    return Value(value=one.result)


def _duration(one: StepResult, check: Check) -> Value:
    """How long it took; a stall of the observer may be part of that. Longer than the tolerance it leaves
    nothing to say."""
    tolerance = check.test.tolerance if isinstance(check.test, Number) else 0.0
    if 0 < tolerance < one.stalled:
        return unknown(f"the observer stalled for {one.stalled:.3g} s, longer than the tolerance")
    least = max(0.0, one.duration - one.stalled)
    return Value(value=least, high=float("inf") if one.running else one.duration)


def _received(expectation: Expectation, name: tuple[str, str], seen: Observation) -> Judgement:
    one = seen.received.get(name)
    if one is None:
        return _not_seen(expectation, f"nothing was to be received on {'.'.join(name)}")
    text = one.data.decode("utf-8", "replace")
    checked = []
    for check in expectation.checks:
        value = _received_field(one, text, check)
        checked.append(_Checked(check, value, compare(check.test, value)))
    return _together(expectation, checked, [repr(text[:200])])


def _received_field(one: Received, text: str, check: Check) -> Value:
    """A field; what stands in bytes that were not kept is not known."""
    if check.field == "bytes":
        return Value(value=one.total)
    if check.field == "eof":
        return Value(value=one.eof) if one.eof is not None else unknown("nothing tells of the stream's end")
    cut = one.total > len(one.data)
    if cut and not (isinstance(check.test, Contains) and check.test.text in text):
        return unknown(f"only the first {len(one.data)} of {one.total} bytes were kept")
    return Value(value=text)


# Counters and logs.


def _counter(subject: CounterOf, seen: Observation) -> Field:
    value = seen.counters.get((subject.host, subject.name))
    if value is None:
        return lambda _: unknown(f"{subject} was not read")
    return lambda _: Value(value=value)


def _log(expectation: Expectation, subject: LogOf, seen: Observation) -> Judgement:
    """Lines with all that is looked for; how many, if that is asked, else whether there is one."""
    log = seen.logs.get(subject.host)
    if log is None:
        return _not_seen(expectation, f"the log of {subject.host} was not read")
    looked_for = [check.test for check in expectation.checks if isinstance(check.test, Contains | Matches)]
    lines = [line for line in log.lines if all(found(test, line) for test in looked_for)]
    checked = [_log_check(check, lines, log) for check in expectation.checks]
    if any(check.field == COUNT for check in expectation.checks):
        checked = [one for one in checked if one.check.field == COUNT]
    return _together(
        expectation, checked, lines or [f"{len(log.lines)} lines, none of them", *log.lines[-5:]]
    )


def _log_check(check: Check, lines: Sequence[str], log: Log) -> _Checked:
    if check.field == COUNT:
        value = Value(value=len(lines), high=len(lines) if log.complete else float("inf"))
        return _Checked(check, value, compare(check.test, value))
    if lines:
        return _Checked(check, Value(value="a line"), "pass")
    if not log.complete:
        return _Checked(check, unknown("lines were dropped"), "unknown")
    return _Checked(check, Value(value="no such line"), "fail")
