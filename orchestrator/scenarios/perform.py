"""Steps, performed: each becomes requests to agents, and what they answer is recorded and judged."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, assert_never

import msgspec

from orchestrator.errors import AgentGone, LabError
from orchestrator.model.plan import Plan
from orchestrator.model.runs import ExpectationRecord, Part, StepRecord
from orchestrator.model.steps import (
    Call,
    Cut,
    Dns,
    Expectation,
    Heal,
    Impair,
    Kill,
    Link,
    Note,
    Parallel,
    Pause,
    Ref,
    Repeat,
    Resolve,
    Resume,
    Run,
    Step,
    Wait,
)
from orchestrator.requests import Requests
from orchestrator.scenarios import checks, impairing, rows
from orchestrator.scenarios.calls import Calls, StepFailed, UnderWay, why_bad
from orchestrator.scenarios.expecting import Expecting
from orchestrator.scenarios.heartbeat import Heartbeat
from orchestrator.scenarios.ledger import Ledger
from orchestrator.scenarios.observation import Judgement, StepResult
from orchestrator.scenarios.observer import Observer
from orchestrator.scenarios.past import Past
from orchestrator.scenarios.programs import Program, numbered
from orchestrator.scenarios.recorder import RUN_PROGRAM, Recorder

MOST_CALLS = 10  # calls of one step that are recorded one by one


class Audience(Protocol):
    """Who is told how it goes, as it goes. Steps side by side tell from their own threads, one at a time."""

    def step_begins(self, step: Step, part: Part) -> None: ...
    def step_ended(self, step: Step, record: StepRecord) -> None: ...
    def judged(self, step: Expectation, record: ExpectationRecord) -> None: ...
    def noted(self, step: Note) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a performance needs. `began`: when the run did, on time.monotonic(). `watch`: after each step a
    look is taken for the rows that changed, which takes its time."""

    requests: Requests
    plan: Plan
    resolve: Resolve
    ledger: Ledger
    observer: Observer
    heartbeat: Heartbeat
    recorder: Recorder
    audience: Audience
    began: float
    watch: bool = False


class Performer:
    """Performs the steps of one scenario."""

    def __init__(self, stage: Stage) -> None:
        self._requests, self._ledger, self._plan = stage.requests, stage.ledger, stage.plan
        self._observer, self._heartbeat = stage.observer, stage.heartbeat
        self._recorder = stage.recorder
        self.stop = threading.Event()  # nothing new is begun, what waits ends
        self._calls = Calls(
            stage.requests,
            stage.resolve,
            stage.ledger,
            heartbeat=stage.heartbeat,
            recorder=stage.recorder,
            stop=self.stop,
        )
        self._audience, self._began, self._watch = stage.audience, stage.began, stage.watch
        self._telling = threading.RLock()
        self._running: dict[tuple[str, str], UnderWay | Program] = {}
        self._unnamed = itertools.count(1)
        self._awaited: dict[int, UnderWay] = {}  # of steps that are not in the background, by label
        self._part: Part = "steps"
        self.steps: list[StepRecord] = []
        self.expectations: list[ExpectationRecord] = []
        self._judged_once: set[int] = set()  # expectations, by id()
        self.powered_off: set[str] = set()
        self.ended_programs: set[str] = set()  # hosts whose `run:` was ended by a step

    def perform(self, steps: Sequence[Step], part: Part) -> None:
        """All steps in order. Raises StepFailed at the first that failed, LabError where the lab does."""
        for step in steps:
            self._part = part
            self.step(step)

    def step(self, step: Step) -> None:
        """One step of any kind."""
        if self.stop.is_set():
            raise StepFailed("ended")
        with self._telling:
            self._audience.step_begins(step, self._part)
        match step:
            case Call():
                self._call(step)
            case Run():
                self._run(step)
            case Wait():
                self._wait(step)
            case Note():
                self._recorder.note(step.words)
                with self._telling:
                    self._audience.noted(step)
            case Parallel():
                self._parallel(step)
            case Repeat():
                for _ in range(step.times):
                    self.perform(step.steps, self._part)
            case Pause() | Resume() | Kill():
                self._intervene(step)
            case Cut() | Link() | Dns() | Heal():
                self._impair(step)
            case Expectation():
                self._expect(step)
            case _:
                assert_never(step)

    def not_reached(self, steps: Sequence[Step], part: Part, why: str) -> None:
        """Expectations that were never judged: nobody knows."""
        for step in steps:
            if id(step) in self._judged_once:
                continue
            if isinstance(step, Expectation):
                self._judged(step, part, _unknown(step, why), time.monotonic())
            elif isinstance(step, Parallel | Repeat):
                self.not_reached(step.steps, part, why)

    def interrupt(self) -> None:
        """End the step that waits, from another thread: calls with EINTR, a program by its end, a look by
        what was seen so far. What was left running goes on. `stop` is set: whoever goes on clears it."""
        for calls in list(self._awaited.values()):
            self._calls.interrupt(calls)
        self.stop.set()

    def join_ended(self) -> Iterator[tuple[Call | Run, bool]]:
        """Steps that were left running and have ended by now, each recorded, and whether it did not fail."""
        for key, running in list(self._running.items()):
            if running.done:
                del self._running[key]
                yield running.step, self._ended_well(running)

    def _ended_well(self, running: UnderWay | Program) -> bool:
        """What ended with its host, whose power a step has cut, was not to end otherwise."""
        try:
            self._join(running, running.step)
        except StepFailed:  # it is in the records
            return False
        except AgentGone:
            if running.step.host not in self.powered_off:
                raise
        return True

    def end_background(self) -> None:
        """What was left running and never joined: what has failed by now is a failure, the rest just ends.
        What a program has said until then is in the records."""
        for _ in self.join_ended():
            pass
        for running in self._running.values():
            if isinstance(running, Program):
                running.end()
                self._ended_by_us(running)

    def _ended_by_us(self, program: Program) -> None:
        made = program.step
        self._recorder.exited(made.host, made.text, program.ended, None)
        record = StepRecord(
            **self._about(made, program.began),
            duration=program.ended - program.began,
            output=program.output,
            why="it ran until the end of the scenario, and was killed",
        )
        self._record(made, record)

    # Calls.

    def _call(self, step: Call) -> None:
        calls = self._calls.begin(step)
        if step.background:
            self._running[self._key(step)] = calls
            self._record(step, StepRecord(**self._about(step, calls.began), background=True))
            return
        self._awaited[calls.label] = calls
        try:
            self._finish(calls, step)
        finally:
            del self._awaited[calls.label]

    def _key(self, step: Call | Run) -> tuple[str, str]:
        """What it is known by while it runs; without a name by none that a step could have."""
        return step.host, step.name or f"&{next(self._unnamed)}"

    def _finish(self, calls: UnderWay, step: Step) -> None:
        """Wait for the answers, record and judge."""
        results, bad, first = self._calls.finish(calls)
        record = StepRecord(
            **self._about(step, calls.began),
            duration=time.monotonic() - calls.began if len(results) > 1 else first.duration,
            result=first.result,
            errno=first.errno,
            timed_out=first.timed_out,
            verdict="fail" if bad else "pass",
            why=why_bad(calls.step, first, len(bad), len(results)) if bad else "",
            calls=tuple((bad or results)[:MOST_CALLS]),
            content=str(calls.step.arguments["text"]) if calls.step.verb == "write" else "",
            count=len(results),
        )
        self._record(step, record)

    # Programs.

    def _run(self, step: Run) -> None:
        began = time.monotonic()
        program = Program(self._requests, step)
        if step.name is not None:
            self._ledger.begin((step.host, step.name))
        if step.background:
            self._running[self._key(step)] = program
            self._record(step, StepRecord(**self._about(step, began), background=True))
            return
        self._finish_program(program, step)

    def _finish_program(self, program: Program, step: Step) -> None:
        made = program.step
        program.wait(self.stop)
        if self.stop.is_set():
            if not made.background:
                program.end()
            raise StepFailed("ended")
        self._take_program(program)
        code = program.code
        self._recorder.exited(made.host, made.text, program.ended, code)
        self._ledger.did(made.host, f"{made.text}: exit {code}")
        record = StepRecord(
            **self._about(step, program.began),
            duration=program.ended - program.began,
            result=code,
            timed_out=program.timed_out,
            output=program.output,
            verdict="pass" if program.well else "fail",
            why=program.why,
        )
        self._record(step, record)

    def _take_program(self, program: Program) -> None:
        """One that has ended, into the ledger."""
        made, ended = program.step, program.ended
        if made.name is not None:
            result = StepResult(
                result=program.code,
                timed_out=program.timed_out,
                duration=ended - program.began,
                output=program.output,
                stalled=self._heartbeat.stalled(program.began, ended),
            )
            self._ledger.end((made.host, made.name), result)

    def _take_ended(self) -> None:
        """What has ended of all that was left running, into the ledger; whoever joins it records it."""
        for running in list(self._running.values()):
            if running.done:
                step = running.step
                try:
                    if isinstance(running, Program):
                        self._take_program(running)
                    else:
                        self._calls.finish(running)
                except LabError as error:  # told by whoever joins it
                    if step.name is not None:
                        self._ledger.end((step.host, step.name), StepResult(lost=error.message))

    # Waiting, side by side.

    def _wait(self, step: Wait) -> None:
        began = time.monotonic()
        if step.step is None:
            self.stop.wait(step.seconds)
            duration = time.monotonic() - began
            self._record(step, StepRecord(**self._about(step, began), duration=duration))
            return
        for key in _keys(step.step):
            running = self._running.pop(key, None)
            if running is None:
                continue
            try:
                self._join(running, step)
            except StepFailed:
                if self.stop.is_set() and not running.done:
                    self._running[key] = running  # only the waiting for it has ended
                raise

    def _join(self, running: UnderWay | Program, step: Step) -> None:
        if isinstance(running, Program):
            self._finish_program(running, step)
        else:
            self._finish(running, step)

    def _parallel(self, step: Parallel) -> None:
        """All begin together; when all have ended, the first failure is raised."""
        part = self._part
        with ThreadPoolExecutor(max_workers=max(1, len(step.steps))) as pool:
            futures = [pool.submit(self.step, one) for one in step.steps]
            try:
                failures = [error for future in futures if (error := future.exception()) is not None]
            except BaseException:  # Ctrl-C reaches this thread alone
                self.stop.set()
                raise
        self._part = part
        for kind in (LabError, StepFailed, BaseException):
            for error in failures:
                if isinstance(error, kind):
                    raise error

    # Stopping and ending what runs.

    def _intervene(self, step: Pause | Resume | Kill) -> None:
        began = time.monotonic()
        match step:
            case Pause():
                self._signal(step.host, step.program, "STOP", "pause")
                if step.seconds is not None:
                    self.stop.wait(step.seconds)
                    self._signal(step.host, step.program, "CONT", "resume")
            case Resume():
                self._signal(step.host, step.program, "CONT", "resume")
            case Kill():
                self._signal(step.host, step.program, step.signal, "power_off")
                if step.program is None:
                    self.powered_off.add(step.host)
                elif step.program == RUN_PROGRAM:
                    self.ended_programs.add(step.host)
        self._ledger.did(step.host, step.text)
        self._recorder.intervened(step.host, type(step).__name__.lower(), step.text, began)
        duration = time.monotonic() - began
        self._record(step, StepRecord(**self._about(step, began), duration=duration))

    def _impair(self, step: Impair) -> None:
        began = time.monotonic()
        came = impairing.impair(self._requests, self._plan, step)
        self._recorder.intervened("", type(step).__name__.lower(), step.text, began)
        duration = time.monotonic() - began
        about = self._about(step, began)
        self._record(step, StepRecord(**about, duration=duration, verdict=came.verdict, why=came.why))

    def _signal(self, host: str, program: str | None, signal: str, op: str) -> None:
        """A signal to a program of the host; without one, the daemon's operation on the host itself."""
        if program is None:
            self._requests.call(op, host=host)
            return
        running = self._running.get((host, program))
        if isinstance(running, Program):
            running.signal(numbered(signal))
        elif program == RUN_PROGRAM:
            self._requests.call("signal", host=host, program=program, signal=numbered(signal))
        elif signal == "KILL":
            self._requests.call("call", host=host, scoped=True, call={"do": "kill", "child": program})
        else:
            raise StepFailed(f"{host}.{program} is a child that does nothing: it can only be killed")

    # Expectations.

    def _expect(self, step: Expectation) -> None:
        began = time.monotonic()
        past = Past(step, self._recorder, self._began, self._heartbeat.stalled)
        expecting = Expecting(step, self._observer, past, self._take_ended, self.stop)
        self._judged(step, self._part, expecting.judged(), began)

    def _judged(self, step: Expectation, part: Part, judgement: Judgement, began: float) -> None:
        verdict = judgement.verdict
        hosts = rows.hosts_of(step, self._ledger.descriptors()) if verdict != "pass" else ()
        record = ExpectationRecord(
            part=part,
            text=step.text,
            line=step.line,
            began=began - self._began,
            duration=time.monotonic() - began,
            verdict=verdict,
            expected=judgement.expected,
            observed=judgement.observed,
            evidence=judgement.evidence,
            why=judgement.why,
            lately=tuple(line for host in hosts for line in self._ledger.lately(host)),
        )
        with self._telling:
            self.expectations.append(record)
            self._judged_once.add(id(step))
            self._audience.judged(step, record)

    # Records.

    def _about(self, step: Step, began: float) -> dict[str, Any]:
        host = getattr(step, "host", None)
        return {
            "part": self._part,
            "host": host if isinstance(host, str) else None,
            "text": step.text,
            "line": step.line,
            "began": began - self._began,
        }

    def _record(self, step: Step, record: StepRecord) -> None:
        """Keep it and tell. Raises StepFailed for one that failed."""
        with self._telling:
            if self._watch:
                record = msgspec.structs.replace(record, changed=self._observer.changed())
            self.steps.append(record)
            self._audience.step_ended(step, record)
        if record.verdict != "pass":
            raise StepFailed(record.why)


def _keys(ref: Ref) -> list[tuple[str, str]]:
    return [(ref.host, ref.name)]


def _unknown(step: Expectation, why: str) -> Judgement:
    return Judgement(verdict="unknown", expected=checks.expected(step), observed="", why=why)
