"""A run of scenarios as lines of text, as it goes. Pure: every function gives lines, each without its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.model.rows import endpoint
from orchestrator.model.runs import (
    CallResult,
    ExpectationRecord,
    RunRecord,
    ScenarioRecord,
    StepRecord,
    Verdict,
)
from orchestrator.model.steps import Parallel, Repeat, Scenario, Step
from orchestrator.report.harmless import harmless, width
from orchestrator.report.layout import Style, paint

COLORS = {"pass": "green", "fail": "red", "unknown": "yellow"}
ARROW = "→"
_STEP_ROOM = 46  # columns for what a step says, before what came of it
_MOST_CALLS = 3  # calls of one step that are shown
_MOST_ROWS = 12  # rows that changed
_MOST_OUTPUT = 12  # lines of a program


def heading(scenario: Scenario, style: Style) -> Iterator[str]:
    """The scenario's name and title."""
    title = f": {harmless(scenario.title)}" if scenario.title else ""
    yield paint(f"{harmless(scenario.label)}{title}", "bold", style)


def step(record: StepRecord, style: Style, *, said: bool = True) -> Iterator[str]:
    """A step: what it says (unless it was just typed), what came of it, the rows that changed."""
    room = "" if not said else " " * (_STEP_ROOM + 1)
    yield f"  {_said(record.text) if said else ''}{ARROW} {_outcome(record, style)}"
    for call in record.calls[1:_MOST_CALLS] if len(record.calls) > 1 else ():
        yield f"  {room}{ARROW} {_call(call)}"
    if record.count > min(len(record.calls), _MOST_CALLS):
        yield f"  {room}  … {record.count} calls"
    yield from _indented(record.output.splitlines(), _MOST_OUTPUT, "lines", "      | ")
    for line in record.changed[:_MOST_ROWS]:
        yield paint(f"      {harmless(line)}", "cyan", style)
    if len(record.changed) > _MOST_ROWS:
        yield f"      … {len(record.changed)} rows changed"


def to_come(step: Step, style: Style) -> Iterator[str]:
    """A step that is about to be performed; of a `parallel` all of its steps."""
    yield paint(f"  {harmless(step.text)}", "bold", style)
    for one in step.steps if isinstance(step, Parallel | Repeat) else ():
        yield from (f"  {line}" for line in to_come(one, style))


def _said(text: str) -> str:
    clean = harmless(text)
    return clean + " " * max(1, _STEP_ROOM + 1 - width(clean))


def _indented(lines: Sequence[str], most: int, what: str, indent: str) -> Iterator[str]:
    for line in lines[:most]:
        yield f"{indent}{harmless(line)}"
    if len(lines) > most:
        yield f"{indent}… {len(lines)} {what}"


def _outcome(record: StepRecord, style: Style) -> str:
    if record.verdict != "pass":
        why = paint(f"{record.verdict}: {harmless(record.why)}", COLORS[record.verdict], style)
        return f"{why}  {milliseconds(record.duration)}"
    if record.background:
        return "left running"
    if record.calls:
        return _call(record.calls[0])
    what = "" if record.result is None else f"exit {record.result}  "
    return f"{what}{milliseconds(record.duration)}"


def _call(call: CallResult) -> str:
    """fd, what it gave, its ends."""
    parts = [
        f"fd {call.fd}" if call.fd is not None else "",
        f"from listener fd {call.listener}" if call.listener is not None else "",
        call.errno or "",
        "timed out" if call.timed_out else "",
        _result(call.result),
        repr(call.text[:60]) if call.text else "",
        "end of stream" if call.eof else "",
        f"{endpoint(*call.local)} {ARROW} {endpoint(*call.peer)}" if call.local and call.peer else "",
        milliseconds(call.duration),
    ]
    return harmless("  ".join(part for part in parts if part))


def _result(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return " ".join(f"{k}" if v is True else f"{k}={v}" for k, v in value.items() if v is not False)[:200]
    return str(value)[:200]


def milliseconds(seconds: float) -> str:
    """As a person reads it."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.2g} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"


def expectation(record: ExpectationRecord, style: Style, *, said: bool = True) -> Iterator[str]:
    """An expectation and its verdict; of one that did not pass, what shows why."""
    verdict = paint(record.verdict, COLORS[record.verdict], style)
    yield f"  {_said(record.text) if said else ''}{ARROW} {verdict}"
    if record.verdict != "pass":
        yield from (f"      {line}" for line in reasons(record))


def reasons(record: ExpectationRecord) -> Iterator[str]:
    """Expected against observed, the rows, and what both ends did last."""
    if record.why:
        yield f"why:      {harmless(record.why)}"
    yield f"expected: {harmless(record.expected)}"
    if record.observed:
        yield f"observed: {harmless(record.observed)}"
    for line in record.evidence:
        yield f"seen:     {harmless(line)}"
    for line in record.lately:
        yield f"before:   {harmless(line)}"


def descriptors(host: str, answer: Mapping[str, Any]) -> Iterator[str]:
    """What the steps of a host have open, by an agent's answer to `list`: names and the real numbers."""
    found = answer.get("result")
    for one in found if isinstance(found, list) else ():
        if isinstance(one, dict):
            where = _ends(one.get("local"), one.get("peer"))
            yield harmless(
                f"  {host}.{one.get('name')}  fd {one.get('fd')}  {one.get('kind')}  {where}"
            ).rstrip()
    children = answer.get("children")
    for one in children if isinstance(children, list) else ():
        if isinstance(one, dict):
            yield harmless(f"  {host}.{one.get('name')}  child, pid {one.get('pid')}")


def _ends(local: Any, peer: Any) -> str:
    ends = [endpoint(str(one[0]), one[1]) for one in (local, peer) if isinstance(one, list) and len(one) == 2]
    return f" {ARROW} ".join(ends)


def note(words: str, style: Style) -> Iterator[str]:
    """Words for whoever watches."""
    yield paint(f"  # {harmless(words)}", "dim", style)


def ended(record: ScenarioRecord, style: Style) -> Iterator[str]:
    """The scenario's verdict."""
    verdict = paint(record.verdict, COLORS[record.verdict], style)
    why = record.problem or record.why
    ending = f"  ({harmless(why)})" if why else ""
    yield f"  {verdict}  {harmless(record.label)}  {milliseconds(record.duration)}{ending}"


def summary(record: RunRecord, style: Style) -> str:
    """One line for the whole run."""
    verdicts: list[Verdict] = [one.verdict for one in record.scenarios]
    counts = [(verdicts.count(kind), kind) for kind in ("pass", "fail", "unknown") if kind in verdicts]
    parts = ", ".join(paint(f"{count} {kind}", COLORS[kind], style) for count, kind in counts)
    return f"{len(verdicts)} scenarios: {parts}" if len(verdicts) != 1 else f"1 scenario: {parts}"
