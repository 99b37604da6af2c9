"""What a test that uses a lab fails with. Each message is the whole evidence."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import ObservationError
from orchestrator.model.runs import ExpectationRecord, ScenarioRecord, StepRecord
from orchestrator.report import failures


class LabFailure(AssertionError):
    """Something is not as it must be."""


class LabUnknown(LabFailure):
    """It could not be observed whether it is. That is no pass."""


for _kind in (LabFailure, LabUnknown):
    _kind.__module__ = "lab"  # as reports show them: `lab.LabFailure: …`


def of_scenario(record: ScenarioRecord, path: str = "") -> Exception | None:
    """What a scenario's record raises; None of one that passed."""
    text = "\n".join(failures.scenario(record, path))
    if record.problem:
        return ObservationError(text)
    if record.verdict == "pass":
        return None
    return LabUnknown(text) if record.verdict == "unknown" else LabFailure(text)


def of_expectation(record: ExpectationRecord, steps: Sequence[StepRecord]) -> Exception | None:
    """What an expectation of a test raises; None of one that passed."""
    if record.verdict == "pass":
        return None
    text = "\n".join((*failures.expectation(record), *failures.so_far(steps)))
    return LabUnknown(text) if record.verdict == "unknown" else LabFailure(text)


def of_step(record: StepRecord, steps: Sequence[StepRecord]) -> Exception:
    """What a step of a test raises that failed."""
    return LabFailure("\n".join((*failures.step(record), *failures.so_far(steps))))
