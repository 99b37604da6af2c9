"""A scenario on a running lab: set up, its steps, cleaned up whatever happened, and what came of it.

What a scenario opens belongs to its own channel to the daemon, which closes it all when the channel ends,
however that is. `audience` is told as it goes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from orchestrator.errors import DaemonError, DaemonGone, LabError
from orchestrator.join.timeline import timeline
from orchestrator.model.events import Event
from orchestrator.model.impairments import Impaired
from orchestrator.model.plan import Plan
from orchestrator.model.recording import Recording
from orchestrator.model.runs import ExpectationRecord, Part, ScenarioRecord, StepRecord, Verdict, worst
from orchestrator.model.steps import CounterOf, Expectation, LogOf, Parallel, Repeat, Scenario, Step
from orchestrator.requests import Requests
from orchestrator.scenarios import impairing, perform
from orchestrator.scenarios.calls import GRACE, StepFailed
from orchestrator.scenarios.heartbeat import Heartbeat
from orchestrator.scenarios.ledger import Ledger
from orchestrator.scenarios.logs import LogFollower
from orchestrator.scenarios.names import Resolver
from orchestrator.scenarios.observer import Observer
from orchestrator.scenarios.perform import Performer, Stage
from orchestrator.scenarios.recorder import Recorder
from orchestrator.wire import Channel

MOST_EVENTS = 20_000  # of a scenario, in its record; the recording has all
Open = Callable[[], Channel]


class Audience(perform.Audience, Protocol):
    """Also told of scenarios."""

    def scenario_begins(self, scenario: Scenario) -> None: ...
    def scenario_ended(self, scenario: Scenario, record: ScenarioRecord) -> None: ...


class Done(NamedTuple):
    """What came of a scenario, and what it has done to the lab that the next one must not find.

    `interrupted`: the user ended it (Ctrl-C); it was cleaned up, and whoever called raises it again.
    """

    record: ScenarioRecord
    powered_off: frozenset[str]
    ended_programs: frozenset[str]
    interrupted: BaseException | None = None
    recording: Recording | None = None


def run_scenario(
    open_channel: Open,
    plan: Plan,
    scenario: Scenario,
    audience: Audience,
    began: float,
    *,
    watch: bool = False,
) -> Done:
    """Perform it. `began`: when the run did, on time.monotonic(). `watch`: rows that changed are in the
    records of steps. Raises LabError where the lab cannot even be reached; what fails later is in the record.
    """
    logs, counters = hosts_of(scenario, LogOf), hosts_of(scenario, CounterOf)
    about = mentioned(scenario, plan)
    with staged(
        open_channel, plan, audience, began, watch=watch, logs=logs, counters=counters, about=about
    ) as stage:
        return _Performance(stage, scenario, audience).run()


@contextlib.contextmanager
def staged(
    open_channel: Open,
    plan: Plan,
    audience: perform.Audience,
    began: float,
    *,
    watch: bool,
    logs: Iterable[str],
    counters: Iterable[str],
    about: Iterable[str] = (),
) -> Iterator[Stage]:
    """All that steps are performed with, on channels of their own, as long as the block lasts. `logs`,
    `counters`: hosts that there are expectations on; `about`: those that are watched before others."""
    requests = Requests(open_channel())
    try:
        with (
            contextlib.closing(open_channel()) as channel,
            Recorder(open_channel, plan, began, about, several=len(channel.machines) > 1) as recorder,
            Heartbeat() as heartbeat,
        ):
            ledger = Ledger()
            following = LogFollower(requests, plan, logs, recorder.line)
            observer = Observer(channel, requests, plan, ledger, logs=following, recorder=recorder)
            observer.begin_counting(sorted(set(counters)))
            if watch:
                observer.changed()
            yield Stage(
                requests=requests,
                plan=plan,
                resolve=Resolver(plan),
                ledger=ledger,
                observer=observer,
                heartbeat=heartbeat,
                recorder=recorder,
                audience=audience,
                began=began,
                watch=watch,
            )
    finally:
        requests.close()


def release(requests: Requests) -> str:
    """Close all that was opened on the channel; what went wrong with it, or nothing."""
    try:
        requests.begin("release").answer(timeout=GRACE)
    except TimeoutError:
        return "what was opened could not be closed in time"
    except LabError as error:
        return error.message
    return ""


class _Performance:
    """One scenario being performed."""

    def __init__(self, stage: Stage, scenario: Scenario, audience: Audience) -> None:
        self._stage, self._scenario, self._audience = stage, scenario, audience
        self._began = time.monotonic()
        self._performer = Performer(stage)
        self._problem = ""
        self._doubt = ""  # why nothing could be known, whatever was done
        self._why = ""
        self._interrupted: BaseException | None = None
        self._recording: Recording | None = None

    def run(self) -> Done:
        """All of it."""
        self._audience.scenario_begins(self._scenario)
        self._steps()
        self._performer.stop.clear()
        self._clean_up()
        record = self._record()
        self._audience.scenario_ended(self._scenario, record)
        performer = self._performer
        return Done(
            record,
            frozenset(performer.powered_off),
            frozenset(performer.ended_programs),
            self._interrupted,
            self._recording,
        )

    def _steps(self) -> None:
        """Setup and steps, up to what fails; what was left running may be why."""
        left: list[tuple[Part, Step]] = [("setup", step) for step in self._scenario.setup]
        left += [("steps", step) for step in self._scenario.steps]
        self._guarded(self._look_at_links, "what the file declares of links and cuts")
        if self._doubt or self._problem:
            self._why = self._why or self._doubt
            for part, step in left:
                self._performer.not_reached((step,), part, f"not reached: {self._doubt or self._problem}")
            return
        for at, (part, step) in enumerate(left):
            if not self._attempt((step,), part):
                why = f"not reached: {self._why or self._problem}"
                for later, one in left[at:]:
                    self._performer.not_reached((one,), later, why)
                break
        self._guarded(self._performer.end_background, "what was left running")

    def _clean_up(self) -> None:
        """Each step of it, whatever came of the one before; then all that was opened is closed."""
        for step in self._scenario.cleanup:
            self._attempt((step,), "cleanup")
        self._gather()
        self._recording = self._stage.recorder.recording()  # before all is closed: that is not the scenario's
        problem = release(self._stage.requests)
        self._problem = self._problem or problem

    def _look_at_links(self) -> None:
        """What is impaired already belongs into the record; and a lab that is not as its file says is not the
        one that the scenario is about."""
        plan = self._stage.plan
        try:
            seen = self._stage.requests.call("impairments")
        except DaemonGone:
            raise
        except DaemonError as error:
            if plan.impaired != Impaired():
                self._doubt = f"what the file declares of links cannot be made here: {error.message}"
            return
        self._stage.recorder.found_impaired(seen)
        if plan.impaired != Impaired():
            self._doubt = impairing.not_in_force(seen, plan)

    def _gather(self) -> None:
        """What was impaired meanwhile, by whom ever, and what has ended by itself, programs of hosts too."""
        recorder, requests = self._stage.recorder, self._stage.requests
        asked = time.monotonic()
        # a daemon that knows of no impairments, or is gone: the steps have said so
        with contextlib.suppress(LabError):
            recorder.impaired(requests.call("impairments"), asked)
        if any(host.run for host in self._stage.plan.hosts):
            with contextlib.suppress(LabError):
                recorder.programs(requests.call("hosts")["hosts"])

    def _attempt(self, steps: Sequence[Step], part: Part) -> bool:
        """Perform them; False where what follows cannot be done."""
        return self._guarded(lambda: self._performer.perform(steps, part), f"line {steps[0].line}")

    def _guarded(self, do: Callable[[], None], where: str) -> bool:
        """Do it; False, and a note of why, where it failed or was ended: there is still to be cleaned up."""
        try:
            do()
        except StepFailed as failed:
            self._why = self._why or f"{where}: {failed}"
            return False
        except LabError as error:
            self._problem = self._problem or f"{where}: {error.message}"
            return False
        except BaseException as ending:  # Ctrl-C, a signal
            self._performer.stop.set()
            if self._interrupted is not None:
                raise
            self._interrupted = ending
            self._why = self._why or str(ending) or "interrupted"
            return False
        return True

    def _record(self) -> ScenarioRecord:
        performer, scenario = self._performer, self._scenario
        verdict = verdict_of(performer.steps, performer.expectations)
        if (self._problem or self._interrupted is not None) and verdict == "pass":
            verdict = "unknown"
        if self._doubt:
            verdict = "unknown"
        return ScenarioRecord(
            name=scenario.name,
            label=scenario.label,
            title=scenario.title,
            line=scenario.line,
            file=scenario.file,
            about=scenario.about,
            verdict=verdict,
            began=self._began - self._stage.began,
            duration=time.monotonic() - self._began,
            steps=tuple(performer.steps),
            expectations=tuple(performer.expectations),
            events=self._events(),
            problem=self._problem,
            why=self._why,
        )

    def _events(self) -> tuple[dict[str, Any], ...]:
        """What happened, in order; the first of very many. A run does not fail because it cannot be told."""
        if self._recording is None:
            return ()
        try:
            events = timeline(self._recording).events
        except Exception as error:
            text = f"the timeline could not be made: {type(error).__name__}: {error}"
            note = Event(t=self._recording.length, error_s=0.0, host="", source="note", kind="note")
            return ({**note.document(), "text": text},)
        return tuple(one.document() for one in events[:MOST_EVENTS])


def verdict_of(steps: Sequence[StepRecord], expectations: Sequence[ExpectationRecord]) -> Verdict:
    """Fail if anything failed, else unknown if anything is unknown, else pass."""
    return worst((*(one.verdict for one in steps), *(one.verdict for one in expectations)))


def hosts_of(scenario: Scenario, kind: type[CounterOf | LogOf]) -> list[str]:
    """The hosts whose counters (or logs) a scenario has expectations on."""
    steps = (*scenario.setup, *scenario.steps, *scenario.cleanup)
    return [one.subject.host for one in expectations(steps) if isinstance(one.subject, kind)]


def mentioned(scenario: Scenario, plan: Plan) -> list[str]:
    """Hosts of the lab that a scenario names anywhere, and routers, which all may go through."""
    words: set[str] = set()
    left: list[Any] = [msgspec.to_builtins((scenario.setup, scenario.steps, scenario.cleanup))]
    while left:
        one = left.pop()
        if isinstance(one, str):
            words.add(one)
        elif isinstance(one, dict):
            left += one.values()
        elif isinstance(one, list | tuple):
            left += one
    return [host.name for host in plan.hosts if host.kind == "router" or host.name in words]


def expectations(steps: Sequence[Step]) -> Iterator[Expectation]:
    """All of them, also inside `parallel` and `repeat`."""
    for step in steps:
        if isinstance(step, Expectation):
            yield step
        elif isinstance(step, Parallel | Repeat):
            yield from expectations(step.steps)
