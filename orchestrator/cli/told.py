"""A run as it is told on a terminal or in a pipe."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from orchestrator.cli import keys
from orchestrator.model.recording import Recording
from orchestrator.model.runs import ExpectationRecord, Part, RunRecord, ScenarioRecord, StepRecord
from orchestrator.model.steps import Expectation, Note, Parallel, Repeat, Scenario, Step
from orchestrator.report import run_timeline
from orchestrator.report import scenarios as report
from orchestrator.report.harmless import harmless
from orchestrator.report.layout import Style, paint, style_for
from orchestrator.report.run_timeline import Asked, Paper


class Quit(BaseException):
    """A key has ended the run: it unwinds as Ctrl-C does, so that all is cleaned up."""


class Told:
    """The audience of `lab run`. `step`: wait for a key before each step. `quiet`: only what did not pass.
    `timeline`: how much of what happened is shown, and on which paper. `style`: another than the stream's."""

    def __init__(
        self,
        stream: TextIO,
        *,
        step: bool = False,
        quiet: bool = False,
        paper: Paper | None = None,
        timeline: Asked = "no",
        style: Style | None = None,
    ) -> None:
        self._stream, self._step, self._quiet = stream, step, quiet
        self._paper, self._timeline = paper or Paper(), timeline
        self._style = style or terminal_style(stream)
        self._part: Part = "steps"
        self._announced: Step | None = None  # its words stand on the screen already
        self._explained = False
        self._beside: set[int] = set()  # steps inside a `parallel`: it was waited for before all of them

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
        if self._step and not isinstance(step, Repeat | Note) and id(step) not in self._beside:
            self._wait_for_key(step)

    def step_ended(self, step: Step, record: StepRecord) -> None:
        """What came of it."""
        if not self._quiet or record.verdict != "pass":
            self._tell(report.step(record, self._style, said=not self._is_announced(step)))

    def judged(self, step: Expectation, record: ExpectationRecord) -> None:
        """The verdict."""
        if not self._quiet or record.verdict != "pass":
            self._tell(report.expectation(record, self._style, said=not self._is_announced(step)))

    def noted(self, step: Note) -> None:
        """Words of the file."""
        if not self._quiet:
            self._tell(report.note(step.words, self._style))

    def scenario_ended(self, scenario: Scenario, record: ScenarioRecord) -> None:
        """The scenario's verdict."""
        self._tell(report.ended(record, self._style))

    def recorded(self, record: ScenarioRecord, recording: Recording) -> None:
        """What happened in it: its verdict has been told."""
        from orchestrator.join.timeline import timeline

        if self._timeline == "no" or (self._timeline == "evidence" and record.verdict == "pass"):
            return
        try:
            lines = list(run_timeline.of_scenario(record, timeline(recording), self._timeline, self._paper))
        except Exception as error:  # whatever is wrong with it: the run goes on, and its recording is kept
            if os.environ.get("LAB_DEBUG"):
                raise
            lines = [f"timeline: it cannot be shown ({type(error).__name__}: {harmless(str(error))})"]
        self._tell(lines)

    def block(self, text: str) -> None:
        """What another process has written of a scenario."""
        self._tell(text.splitlines())

    def finished(self, record: RunRecord, folder: Path) -> None:
        """The whole run."""
        self._tell([report.summary(record, self._style)])
        if not self._quiet:
            self._tell([f"kept in {folder}"])

    def _wait_for_key(self, step: Step) -> None:
        """Show the step and wait. Raises Quit. If the waiting ends but by going on, it ends for good."""
        self._announced = step
        self._beside |= {id(one) for one in _inside(step)}
        asks, self._step = self._step, False
        key = keys.ask(lambda: self._announce(step))
        self._tell([""])
        if key == "quit":
            raise Quit("ended by a key")
        self._step = asks and key == "on"

    def _is_announced(self, step: Step) -> bool:
        """Whether its words stand just above; what comes of it later (`&`) needs them again."""
        announced, self._announced = self._announced, None
        return step is announced

    def _announce(self, step: Step) -> None:
        if not self._explained:
            self._tell([paint(f"  {keys.LEGEND}", "dim", self._style)])
        self._explained = True
        *lines, last = report.to_come(step, self._style)
        self._tell(lines)
        self._stream.write(f"{last}  {paint('[Enter]', 'dim', self._style)} ")
        self._stream.flush()

    def _tell(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._stream.write(line + "\n")
        self._stream.flush()


def terminal_style(stream: TextIO) -> Style:
    """What the stream is written with."""
    return style_for(stream.isatty(), shutil.get_terminal_size().columns, os.environ)


def _inside(step: Step) -> Iterator[Step]:
    """The steps of a `parallel`, at any depth."""
    for one in step.steps if isinstance(step, Parallel | Repeat) else ():
        yield one
        yield from _inside(one)
