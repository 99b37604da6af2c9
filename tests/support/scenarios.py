"""Scenarios performed on a running lab, for tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from textwrap import indent

from orchestrator.model.runs import ExpectationRecord, Part, ScenarioRecord, StepRecord
from orchestrator.model.steps import Expectation, Note, Scenario, Step
from orchestrator.read import read_text
from orchestrator.runs import Runner
from tests.support.rig import Rig


class Silent:
    """An audience that says nothing; `on_step` is called when a step has ended."""

    def __init__(self, on_step: Callable[[StepRecord], None] = lambda _: None) -> None:
        self.on_step = on_step
        self.notes: list[str] = []

    def scenario_begins(self, scenario: Scenario) -> None: ...
    def scenario_ended(self, scenario: Scenario, record: ScenarioRecord) -> None: ...
    def step_begins(self, step: Step, part: Part) -> None: ...
    def judged(self, step: Expectation, record: ExpectationRecord) -> None: ...

    def step_ended(self, step: Step, record: StepRecord) -> None:
        self.on_step(record)

    def noted(self, step: Note) -> None:
        self.notes.append(step.words)


def scenarios(base: str, text: str) -> tuple[Scenario, ...]:
    """Those of a lab file: `base` is all of it but `name` and `scenarios`; `text` one scenario's keys."""
    whole = f"name: t\n{base}\nscenarios:\n  it:\n{indent(text, '    ')}"
    return read_text(whole.encode(), "lab.yaml", os.getcwd()).scenarios


def perform(
    lab: Rig, base: str, text: str, *, audience: Silent | None = None, watch: bool = False
) -> ScenarioRecord:
    """The record of the (first) scenario, performed on the lab."""
    runner = Runner(lab.lab, audience or Silent(), watch=watch)
    return runner.run(scenarios(base, text)[0])


def verdicts(record: ScenarioRecord) -> list[str]:
    """Of its expectations, in order."""
    return [one.verdict for one in record.expectations]


def explained(record: ScenarioRecord) -> str:
    """All that went wrong, for an assertion's message."""
    steps = [one for one in record.steps if one.verdict != "pass"]
    expectations = [one for one in record.expectations if one.verdict != "pass"]
    return f"{record.problem} {record.why} {steps} {expectations}"
