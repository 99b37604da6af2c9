"""What came of running scenarios: the document of `lab run --json` and of a run's folder.

Times are seconds: `began` since the run began, on the client's monotonic clock. A call's own `duration` is
the agent's measurement around the system call.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from orchestrator.model.steps import About

Verdict = Literal["pass", "fail", "unknown"]
Part = Literal["setup", "steps", "cleanup"]


def worst(verdicts: tuple[Verdict, ...]) -> Verdict:
    """Of a scenario: fail if any is, else unknown if any is, else pass."""
    return "fail" if "fail" in verdicts else "unknown" if "unknown" in verdicts else "pass"


class CallResult(msgspec.Struct, frozen=True, kw_only=True):
    """One system call of an agent, as it was answered. `text`: what it received, as far as it is text."""

    name: str | None = None  # the descriptor's
    fd: int | None = None
    inode: int | None = None  # the socket's, which stays when descriptors of it are closed
    result: Any = None
    errno: str | None = None
    timed_out: bool = False
    duration: float = 0.0
    local: tuple[str, int] | None = None
    peer: tuple[str, int] | None = None
    listener: int | None = None  # of accept: the listening descriptor, which stays
    text: str = ""
    eof: bool | None = None  # of recv: the stream has ended
    problem: str = ""  # what TLS or HTTP found wrong
    refused: str = ""  # why no call was made at all


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One step that was begun. `result` and `errno` are the first call's that matters: of several calls
    (`x1000`) the first that went wrong, else the first. `changed`: the rows that look different since the
    step before, where somebody watched."""

    part: Part = "steps"
    host: str | None = None
    text: str
    line: int
    began: float
    duration: float = 0.0
    result: Any = None
    errno: str | None = None
    timed_out: bool = False
    verdict: Verdict = "pass"
    why: str = ""
    background: bool = False  # it was left running: what came of it is in the step that joined it
    calls: tuple[CallResult, ...] = ()  # the first MOST_CALLS
    count: int = 0  # how many calls there were
    output: str = ""  # of a program
    content: str = ""  # of a file that it has written
    changed: tuple[str, ...] = ()


class ExpectationRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One expectation, judged. `lately`: what the agents of its two ends did last."""

    part: Part = "steps"
    text: str
    line: int
    began: float = 0.0
    duration: float = 0.0
    verdict: Verdict
    expected: str = ""
    observed: str = ""
    evidence: tuple[str, ...] = ()
    why: str = ""
    lately: tuple[str, ...] = ()


class ScenarioRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One performance. `problem`: what of the infrastructure failed, if it did. `recording`: the file in the
    run's folder that has all that was recorded. `file`: the included file whose lines are meant, "" the lab
    file."""

    name: str
    label: str
    title: str = ""
    line: int = 0
    file: str = ""
    about: About = About()
    verdict: Verdict
    began: float = 0.0
    duration: float = 0.0
    steps: tuple[StepRecord, ...] = ()
    expectations: tuple[ExpectationRecord, ...] = ()
    events: tuple[dict[str, Any], ...] = ()
    recording: str = ""
    problem: str = ""
    why: str = ""  # of a verdict that no expectation explains: the step that failed


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run."""

    lab: str
    engine: str
    verdict: Verdict
    environment: dict[str, str] = {}
    scenarios: tuple[ScenarioRecord, ...] = ()

    @property
    def exit_code(self) -> int:
        """Of several, 3 before 1 before 4: infrastructure, a failed expectation, an unknown verdict."""
        if any(one.problem for one in self.scenarios):
            return 3
        return {"fail": 1, "unknown": 4, "pass": 0}[self.verdict]
