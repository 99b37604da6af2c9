"""Why a scenario, an expectation or a step did not pass, as lines of a test's report. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from orchestrator.model.runs import ExpectationRecord, ScenarioRecord, StepRecord, Verdict
from orchestrator.report import scenarios as report
from orchestrator.report.harmless import harmless
from orchestrator.report.layout import PLAIN

HEADINGS: dict[Verdict, str] = {"pass": "PASS", "fail": "FAIL", "unknown": "UNKNOWN"}
MOST_STEPS = 40  # the last ones; what a test has done before is seldom why


def scenario(record: ScenarioRecord, path: str = "") -> Iterator[str]:
    """The verdict, each expectation that did not pass with its evidence, then all steps."""
    what = f"{harmless(record.label)}{f': {harmless(record.title)}' if record.title else ''}"
    heading = "ERROR" if record.problem else HEADINGS[record.verdict]
    why = record.problem or record.why
    yield f"{heading}: {what}{f': {harmless(why)}' if why else ''}"
    if path:
        yield f"{os.path.join(os.path.dirname(path), record.file) if record.file else path}:{record.line}"
    for one in record.expectations:
        if one.verdict != "pass":
            yield f"line {one.line}: {harmless(one.text)}: {one.verdict}"
            yield from (f"  {line}" for line in report.reasons(one))
    yield from so_far(record.steps)


def expectation(record: ExpectationRecord) -> Iterator[str]:
    """An expectation that did not pass, with its evidence."""
    yield f"{HEADINGS[record.verdict]}: {harmless(record.text)}"
    yield from (f"  {line}" for line in report.reasons(record))


def step(record: StepRecord) -> Iterator[str]:
    """A step that failed."""
    yield f"{HEADINGS[record.verdict]}: {harmless(record.text)}: {harmless(record.why)}"


def so_far(steps: Sequence[StepRecord]) -> Iterator[str]:
    """The steps that were performed, each with what came of it."""
    if steps:
        yield "steps:"
    if len(steps) > MOST_STEPS:
        yield f"  … {len(steps) - MOST_STEPS} before"
    for one in steps[-MOST_STEPS:]:
        yield from report.step(one, PLAIN)
