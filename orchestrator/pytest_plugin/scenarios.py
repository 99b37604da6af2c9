"""Scenarios of a lab file as tests of their own: one for each, and for each row of a table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import LabError
from orchestrator.pytest_plugin import asked

if TYPE_CHECKING:
    from _pytest._code.code import TerminalRepr

    from orchestrator.model.steps import Scenario
    from orchestrator.pytest_plugin.labs import Labs

SUFFIXES = (".yaml", ".yml")


class ScenarioFile(pytest.File):
    """A lab file."""

    def collect(self) -> Iterator[pytest.Item]:
        from orchestrator.read import read_file

        try:
            scenarios = read_file(str(self.path)).scenarios
        except LabError as error:
            raise self.CollectError(str(error)) from error
        for one in scenarios:
            yield ScenarioItem.from_parent(self, name=one.label, scenario=one)


class ScenarioItem(pytest.Item):
    """A scenario, or a row of its table."""

    labs: Labs

    def __init__(self, *, scenario: Scenario, **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        self.scenario = scenario

    def setup(self) -> None:
        """The labs of the session."""
        from orchestrator.pytest_plugin.labs import of_session

        self.labs = of_session(self)

    def runtest(self) -> None:
        """Bring the lab up where it is not, and perform the scenario. Raises what of_scenario gives."""
        from orchestrator.pytest_plugin import outcomes
        from orchestrator.pytest_plugin.under_test import Silent
        from orchestrator.runs import Runner

        with self.labs.entered(self.path, asked.engine(self.config)) as lab:
            record = Runner(lab, Silent()).run(self.scenario)
        failure = outcomes.of_scenario(record, os.path.relpath(self.path, self.config.invocation_params.dir))
        if failure is not None:
            raise failure

    def repr_failure(
        self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None
    ) -> str | TerminalRepr:
        """The evidence alone: where in this package it was raised is of no use to anyone."""
        if isinstance(excinfo.value, LabError | AssertionError):
            return excinfo.getrepr(style="value")
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int, str]:
        """The scenario's line in its file, from 0."""
        path = self.path.parent / self.scenario.file if self.scenario.file else self.path
        return path, self.scenario.line - 1, self.name
