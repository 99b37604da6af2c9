"""A run as it is told on a terminal or in a pipe."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from orchestrator.model.runs import ExpectationRecord, Part, RunRecord, ScenarioRecord, StepRecord
from orchestrator.model.steps import Expectation, Note, Parallel, Repeat, Scenario, Step
from orchestrator.report import scenarios as report
from orchestrator.report.layout import style_for


class Told:
    """The audience of `lab run`. `step`: wait for a key before each step. `quiet`: only what did not pass."""

    def __init__(self, stream: TextIO, *, step: bool = False, quiet: bool = False) -> None:
        self._stream, self._step, self._quiet = stream, step, quiet
        self._style = style_for(stream.isatty(), shutil.get_terminal_size().columns, os.environ)
        self._part: Part = "steps"

    def scenario_begins(self, scenario: Scenario) -> None:
        """Its heading."""
        self._part = "steps"
        if not self._quiet:
            self._tell(report.heading(scenario, self._style))

    def step_begins(self, step: Step, part: Part) -> None:
        """The part that it belongs to; with `step` also what comes next, and a key is waited for."""
        if part != self._part and not self._quiet:
            self._tell([f" {part}:"])
        self._part = part
        if self._step and not isinstance(step, Parallel | Repeat):
            self._wait_for_key(step)

    def step_ended(self, step: Step, record: StepRecord) -> None:
        """What came of it."""
        if not self._quiet or record.verdict != "pass":
            self._tell(report.step(record, self._style))

    def judged(self, step: Expectation, record: ExpectationRecord) -> None:
        """The verdict."""
        if not self._quiet or record.verdict != "pass":
            self._tell(report.expectation(record, self._style))

    def noted(self, step: Note) -> None:
        """Words of the file."""
        if not self._quiet:
            self._tell(report.note(step.words, self._style))

    def scenario_ended(self, scenario: Scenario, record: ScenarioRecord) -> None:
        """The scenario's verdict."""
        self._tell(report.ended(record, self._style))

    def finished(self, record: RunRecord, folder: Path) -> None:
        """The whole run."""
        self._tell([report.summary(record, self._style)])
        if not self._quiet:
            self._tell([f"kept in {folder}"])

    def _wait_for_key(self, step: Step) -> None:
        """Enter goes on; the end of the input ends the waiting for good."""
        self._stream.write(f"  {step.text}  [Enter] ")
        self._stream.flush()
        if not sys.stdin.readline():
            self._step = False
            self._stream.write("\n")

    def _tell(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._stream.write(line + "\n")
        self._stream.flush()
