"""What a test has in its hands: the fixture `lab`, and `lab.host(NAME)`."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.errors import LabError, UsageError
from orchestrator.join import looks
from orchestrator.lab import Lab
from orchestrator.model.runs import ExpectationRecord, Part, ScenarioRecord, StepRecord
from orchestrator.model.steps import CLOSED_BY, FIRST_TO_CLOSE, Expectation, Note, Run, Scenario, Step
from orchestrator.model.topology import Topology
from orchestrator.pytest_plugin import outcomes
from orchestrator.read.people import Residents
from orchestrator.read.session import ReadLine, StepSession
from orchestrator.runs import Runner, choose, mend
from orchestrator.scenarios.stepping import StepFailed, Stepping

if TYPE_CHECKING:
    from orchestrator.model.rows import Connection, Listener

EXAMPLE = "alice: connect web:80 as call"
HERE = str(Path(__file__).parent)
PROGRAM_SECONDS = 30.0  # how long `host.run` waits unless told
_SECONDS = ("within", "for", "duration", "timeout")  # where a number is so many seconds


class Silent:
    """An audience that keeps quiet: reports are made of the records."""

    def scenario_begins(self, scenario: Scenario) -> None:
        """Nothing is said of it."""

    def scenario_ended(self, scenario: Scenario, record: ScenarioRecord) -> None:
        """Nothing is said of it."""

    def step_begins(self, step: Step, part: Part) -> None:
        """Nothing is said of it."""

    def step_ended(self, step: Step, record: StepRecord) -> None:
        """Nothing is said of it."""

    def judged(self, step: Expectation, record: ExpectationRecord) -> None:
        """Nothing is said of it."""

    def noted(self, step: Note) -> None:
        """Nothing is said of it."""


class Ended(NamedTuple):
    """A program that a test ran: its exit code, what it wrote to either stream, and how long it took
    (seconds)."""

    code: int | None
    output: str
    duration: float


class LabUnderTest:
    """A running lab, for one test. What the test opens is closed after it, and what it has ended (a host, a
    program of `run:`) runs again."""

    def __init__(self, running: Lab, topology: Topology) -> None:
        self.running, self.topology = running, topology
        self.records: tuple[ScenarioRecord, ...] = ()
        self._broken = False  # the infrastructure failed, and the test knows
        self._reader = StepSession(Residents.of(running.plan))
        self._stepping = Stepping(running.another_channel, running.plan, Silent())

    @property
    def name(self) -> str:
        """The running lab's, as `lab status` shows it."""
        return self.running.key.name

    @property
    def engine(self) -> str:
        """`namespaces`, `docker` or `fake`."""
        return self.running.engine.name

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of its routers and hosts, in the file's order."""
        return tuple(self.running.names())

    @property
    def steps(self) -> tuple[StepRecord, ...]:
        """Those of this test so far."""
        return tuple(self._stepping.steps)

    def host(self, name: str) -> HostUnderTest:
        """A host or a router. Raises UsageError where there is none of that name."""
        return HostUnderTest(self, self.running.host(name).name)

    def do(self, step: str | Mapping[str, Any]) -> StepRecord:
        """A step as in a lab file, `alice: connect web:80 as call`, also a mapping; of several steps
        (`parallel`) it is the last one's record. Fails the test where the step fails."""
        __tracebackhide__ = True
        path, line = _caller()
        if isinstance(step, str):
            return self._done(self._reader.read(step, None, line), path)
        return self._done(self._reader.give(step, line), path)

    def expect(self, subject: Mapping[str, Any] | None = None, /, **fields: Any) -> ExpectationRecord:
        """What `expect:` of a lab file says: `expect(connection="alice.call", client="ESTABLISHED")`.

        `for_` stands for `for`, `server_rx_queue` for `server.rx_queue`, `closed_by` for `closed by`; numbers
        are seconds where durations are. Fails the test, headed UNKNOWN where it could not be observed.
        """
        __tracebackhide__ = True
        wanted = {**(subject or {}), **{_field(name): value for name, value in fields.items()}}
        timed = {name: _seconds(name, value) for name, value in wanted.items()}
        path, line = _caller()
        self._done(self._reader.give({"expect": timed}, line), path)
        return self._stepping.expectations[-1]

    def run(self, scenario: str) -> ScenarioRecord:
        """A scenario of the lab file, by its name or label; all rows of its table. Fails the test unless it
        passes. The last one's record; `records` has all."""
        __tracebackhide__ = True
        runner = Runner(self.running, Silent())
        for one in choose(self.topology.scenarios, [scenario]):
            record = runner.run(one)
            self.records += (record,)
            failure = outcomes.of_scenario(record, os.path.relpath(self.topology.path))
            if failure is not None:
                self._broken = bool(record.problem)
                raise failure
        return self.records[-1]

    def connections(
        self, *, host: str | None = None, state: str | None = None, port: int | None = None
    ) -> tuple[Connection, ...]:
        """Both ends of every connection as one row, as `lab conns` shows them now; only with this host, state
        or port at one end."""
        if host is not None:
            self.running.host(host)
        joined = looks.select(self.running.observe().joined, host=host, state=state, port=port)
        return tuple(joined.connections)

    def listeners(self, *, host: str | None = None, port: int | None = None) -> tuple[Listener, ...]:
        """The listening sockets now."""
        if host is not None:
            self.running.host(host)
        joined = looks.select(self.running.observe().joined, host=host, port=port)
        return tuple(joined.listeners)

    # For HostUnderTest.

    def said(self, host: str, text: str) -> StepRecord:
        """A host's step in the short form."""
        __tracebackhide__ = True
        path, line = _caller()
        return self._done(self._reader.read(text, host, line), path)

    def called(self, host: str, call: Mapping[str, Any]) -> StepRecord:
        """A host's step in the long form."""
        __tracebackhide__ = True
        path, line = _caller()
        return self._done(self._reader.give({host: call}, line), path)

    def program(self, host: str, argv: Sequence[str], timeout: float) -> Ended:
        """A program in a host, to its end."""
        __tracebackhide__ = True
        _, line = _caller()
        text = f"{host}: run {shlex.join(argv)}"
        step = Run(line=line, column=1, text=text, host=host, argv=tuple(argv), timeout=timeout)
        began = time.monotonic()
        program = self._stepping.program(step)
        code, output = program.code, program.output
        if program.timed_out or code is None:
            raise outcomes.LabFailure(f"FAIL: {text}: {program.why}\n{output}")
        return Ended(code, output, time.monotonic() - began)

    def _done(self, read: ReadLine, path: str) -> StepRecord:
        """Perform it. The last record of a step; of one that makes none (`note`, `expect`) what it says."""
        __tracebackhide__ = True
        read.raise_if_bad(path)
        if read.step is None:
            raise UsageError(f"{path}:{read.number}: a step is empty", f"write it as `{EXAMPLE}`")
        steps, expectations = len(self._stepping.steps), len(self._stepping.expectations)
        self._perform(read.step)
        for one in self._stepping.expectations[expectations:]:
            failure = outcomes.of_expectation(one, self.steps)
            if failure is not None:
                raise failure
        nothing = StepRecord(text=read.step.text, line=read.number, began=0.0)
        return (nothing, *self._stepping.steps[steps:])[-1]

    def _perform(self, step: Step) -> None:
        __tracebackhide__ = True
        before = len(self._stepping.steps)
        try:
            self._stepping.do(step)
        except StepFailed as failed:
            self._reader.failed(step)
            records = [one for one in self.steps[before:] if one.verdict != "pass"]
            if not records:  # it was refused before it began
                raise outcomes.LabFailure(f"FAIL: {step.text}: {failed}") from None
            raise outcomes.of_step(records[0], self.steps) from None
        except LabError as error:
            self._broken = error.exit_code == 3
            raise error.with_traceback(None) from None

    def close(self) -> None:
        """The test is over. Raises LabFailure for a step left running that failed, LabError where the lab
        cannot be put right."""
        before = len(self._stepping.steps)
        try:
            with self._stepping:
                list(self._stepping.ended())
            mend(self.running, self._stepping.powered_off, self._stepping.ended_programs)
        except LabError:
            if self._broken:
                return
            raise
        failed = [one for one in self._stepping.steps[before:] if one.verdict != "pass"]
        if failed:
            raise outcomes.of_step(failed[0], self.steps)


class HostUnderTest:
    """A host of the lab, for one test."""

    def __init__(self, lab: LabUnderTest, name: str) -> None:
        self._lab, self.name = lab, name

    def address(self, family: int = 4, network: str | None = None) -> str:
        """Its address, on this network or the first that has one. Raises UsageError where it has none."""
        for link in self._lab.running.host(self.name).interfaces:
            found = link.address if family == 4 else link.address6
            if found and network in (None, link.network):
                return found
        where = f" on network {network}" if network else ""
        raise UsageError(f"host {self.name} has no IPv{family} address{where}")

    def do(self, step: str) -> StepRecord:
        """A step of this host: `connect web:80 as call`."""
        __tracebackhide__ = True
        return self._lab.said(self.name, step)

    def call(self, verb: str, on: str | Sequence[str] | None = None, /, **arguments: Any) -> StepRecord:
        """A step of this host in the long form: `call("send", "call", text="Host: a\\r\\n")`. `as_` is
        `as`."""
        __tracebackhide__ = True
        given = {name.removesuffix("_"): _seconds(name, value) for name, value in arguments.items()}
        return self._lab.called(self.name, {verb: "" if on is None else on, **given})

    def run(self, argv: str | Sequence[str], *, timeout: float = PROGRAM_SECONDS) -> Ended:
        """A program in this host, to its end: a command as a shell splits it (no shell runs it), or its
        words. Fails the test where it cannot be started, or has not ended in time."""
        __tracebackhide__ = True
        words = shlex.split(argv) if isinstance(argv, str) else list(argv)
        return self._lab.program(self.name, words, timeout)


def _field(name: str) -> str:
    """A keyword of Python as the file calls it."""
    if name in (FIRST_TO_CLOSE.replace(" ", "_"), CLOSED_BY.replace(" ", "_")):
        return name.replace("_", " ")
    if name.startswith(("client_", "server_")):
        return name.replace("_", ".", 1)
    return name.removesuffix("_")


def _seconds(name: str, value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}s" if number and name.removesuffix("_") in _SECONDS else value


def _caller() -> tuple[str, int]:
    """Which line of the test asks: steps are said to stand there."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(HERE):
        frame = frame.f_back
    return Path(frame.f_code.co_filename).name, frame.f_lineno
