"""Steps on a running lab one at a time, as somebody gives them: at a prompt, or in a test."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import LabError
from orchestrator.model.plan import Plan
from orchestrator.model.runs import ExpectationRecord, StepRecord
from orchestrator.model.steps import Run, Step
from orchestrator.scenarios import perform
from orchestrator.scenarios.calls import StepFailed
from orchestrator.scenarios.perform import Performer
from orchestrator.scenarios.programs import Program
from orchestrator.scenarios.run import Open, release, staged

MOST_FOLLOWED = 200  # hosts whose logs are followed, in the plan's order


class Stepping:
    """A context manager: what the steps have opened is closed when it is left, however that happens.

    Counters and logs count from its beginning. `watch`: rows that changed are in the records of steps. Raises
    LabError where the lab cannot be reached.
    """

    def __init__(
        self, open_channel: Open, plan: Plan, audience: perform.Audience, *, watch: bool = False
    ) -> None:
        self._leaving = contextlib.ExitStack()
        saying = [host.name for host in plan.hosts if host.run or host.logs]
        self._stage = self._leaving.enter_context(
            staged(
                open_channel,
                plan,
                audience,
                time.monotonic(),
                watch=watch,
                logs=saying[:MOST_FOLLOWED],
                counters=[host.name for host in plan.hosts],
            )
        )
        self._performer = Performer(self._stage)

    def do(self, step: Step) -> None:
        """Perform it; the audience is told, and it is in the records. Raises StepFailed, or LabError where
        the lab fails."""
        self._performer.stop.clear()
        self._performer.perform((step,), "steps")

    def program(self, step: Run) -> Program:
        """A program in a host, to its end or to its timeout, whatever its exit code is."""
        program = Program(self._stage.requests, step)
        self._performer.stop.clear()
        try:
            program.wait(self._performer.stop)
        except BaseException:
            program.end()
            raise
        self._stage.ledger.did(step.host, f"{step.text}: exit {program.code}")
        return program

    def interrupt(self) -> None:
        """End the step that is being performed, from another thread; see Performer.interrupt."""
        self._performer.interrupt()

    def ended(self) -> list[tuple[Step, bool]]:
        """Steps that were left running and have ended since this was asked before: the audience is told of
        each. With whether it did what it had to."""
        self._performer.stop.clear()
        return list(self._performer.join_ended())

    def open(self, host: str) -> Mapping[str, Any]:
        """What steps of this host have open: the agent's answer to `list`."""
        return self._stage.requests.call("call", host=host, scoped=True, call={"do": "list"})

    @property
    def steps(self) -> Sequence[StepRecord]:
        """All that were performed."""
        return self._performer.steps

    @property
    def expectations(self) -> Sequence[ExpectationRecord]:
        """All that were judged."""
        return self._performer.expectations

    @property
    def powered_off(self) -> frozenset[str]:
        """Hosts that a step has ended; runs.mend makes them anew."""
        return frozenset(self._performer.powered_off)

    @property
    def ended_programs(self) -> frozenset[str]:
        """Hosts whose `run:` a step has ended."""
        return frozenset(self._performer.ended_programs)

    def close(self) -> None:
        """Close all that is open. Raises LabError where that cannot be known."""
        with self._leaving:
            problem = release(self._stage.requests)
        if problem:
            raise LabError(problem)

    def __enter__(self) -> Stepping:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


__all__ = ["StepFailed", "Stepping"]
