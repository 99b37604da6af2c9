"""Steps performed one by one on a running lab, as a test or a person goes on: a scenario without an end that
is known beforehand.

As of a scenario, all that it opens belongs to its own channel, which closes it however it ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import NamedTuple

from orchestrator.errors import DaemonError
from orchestrator.model.plan import Plan
from orchestrator.model.runs import ExpectationRecord, StepRecord
from orchestrator.model.steps import Run, Step
from orchestrator.requests import Requests
from orchestrator.scenarios.calls import GRACE
from orchestrator.scenarios.heartbeat import Heartbeat
from orchestrator.scenarios.ledger import Ledger
from orchestrator.scenarios.logs import LogFollower
from orchestrator.scenarios.names import Resolver
from orchestrator.scenarios.observer import Observer
from orchestrator.scenarios.perform import Audience, Performer, Stage
from orchestrator.scenarios.programs import Program
from orchestrator.wire import Channel


class Performed(NamedTuple):
    """What one step has given: records of it, and of the steps in it."""

    steps: tuple[StepRecord, ...]
    expectations: tuple[ExpectationRecord, ...]


class Left(NamedTuple):
    """What a session leaves: steps in the background that had failed unseen, and what of the lab it ended."""

    failed: tuple[StepRecord, ...]
    powered_off: frozenset[str]
    ended_programs: frozenset[str]


class Session:
    """Open until `close`. Counters and logs count from its beginning. `began`: on time.monotonic()."""

    def __init__(
        self, open_channel: Callable[[], Channel], plan: Plan, audience: Audience, began: float
    ) -> None:
        with contextlib.ExitStack() as stack:
            self.requests = Requests(open_channel())
            stack.callback(self.requests.close)
            channel = stack.enter_context(open_channel())
            heartbeat = stack.enter_context(Heartbeat())
            self._ledger = Ledger()
            speaking = [host.name for host in plan.hosts if host.run or host.logs or host.image]
            logs = LogFollower(self.requests, plan, speaking)
            observer = Observer(channel, self.requests, plan, self._ledger, logs)
            observer.begin_counting([host.name for host in plan.hosts])
            stage = Stage(
                requests=self.requests,
                resolve=Resolver(plan),
                ledger=self._ledger,
                observer=observer,
                heartbeat=heartbeat,
                audience=audience,
                began=began,
            )
            self._performer = Performer(stage)
            self._resources = stack.pop_all()

    @property
    def steps(self) -> tuple[StepRecord, ...]:
        """All so far."""
        return tuple(self._performer.steps)

    def perform(self, step: Step) -> Performed:
        """One step of any kind. A failed expectation is in the records; raises StepFailed for a step that
        failed (it is in `steps`), LabError where the lab does."""
        performer = self._performer
        steps, expectations = len(performer.steps), len(performer.expectations)
        try:
            performer.perform((step,), "steps")
        except BaseException as ending:  # Ctrl-C, a test's time that is over
            if not isinstance(ending, Exception):
                performer.stop.set()
            raise
        return Performed(tuple(performer.steps[steps:]), tuple(performer.expectations[expectations:]))

    def program(self, step: Run) -> Program:
        """A program in a host, to its end or its timeout, whatever its exit code is."""
        program = Program(self.requests, step)
        try:
            program.wait(self._performer.stop)
        except BaseException:
            program.end()
            raise
        self._ledger.did(step.host, f"{step.text}: exit {program.code}")
        return program

    def close(self) -> Left:
        """End what runs, close what is open. Raises LabError where that cannot be done."""
        performer = self._performer
        before = len(performer.steps)
        try:
            if not performer.stop.is_set():
                performer.end_background()
            self.requests.begin("release").answer(timeout=GRACE)
        except TimeoutError:
            raise DaemonError("what was opened could not be closed in time") from None
        finally:
            self._resources.close()
        failed = [one for one in performer.steps[before:] if one.verdict != "pass"]
        return Left(tuple(failed), frozenset(performer.powered_off), frozenset(performer.ended_programs))
