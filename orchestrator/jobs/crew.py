"""The parent's side of `lab run --jobs`: it starts workers, gives each the next scenario when it has done
the one before, and takes in what came of them.

A thread for each worker reads what it says into one queue; all else is done by the thread that called.
"""

from __future__ import annotations

import os
import queue
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from orchestrator import leased
from orchestrator.bringup import undisturbed
from orchestrator.engines.base import Progress
from orchestrator.errors import LabError, UsageError
from orchestrator.jobs.messages import (
    TO_PARENT,
    Begin,
    Failed,
    Interrupt,
    Leave,
    Perform,
    Performed,
    Said,
    Telling,
    ToParent,
    ToWorker,
    Up,
    receive,
    send,
)
from orchestrator.jobs.order import Order, Turn
from orchestrator.leased import base_name, own_subnets
from orchestrator.model.runs import RunRecord, ScenarioRecord
from orchestrator.model.steps import Scenario
from orchestrator.model.topology import Topology
from orchestrator.runs import MOST_RECORDED, Recordings, record_of, unperformed
from orchestrator.wire import to_error

COMMAND = ("-P", "-m", "orchestrator.cli.job")


def refuse_copies(topology: Topology, engine: str) -> None:
    """Raise UsageError for a lab that can be only once on this engine."""
    given = own_subnets(topology) if engine == "docker" else []
    if given:
        raise UsageError(
            f"--jobs: a Docker Engine knows a subnet once, and the file gives one to {', '.join(given)}",
            "`--engine namespaces` copies any lab; or write `subnet: auto`; or leave `--jobs` out",
        )


@dataclass(eq=False)
class _Worker:
    """A process, and what it is at."""

    number: int
    process: subprocess.Popen[bytes]
    turn: Turn | None = None
    up: bool = False
    left: bool = False  # it is not to be told any more
    failed: str = ""  # what it ended with
    speaking: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, message: ToWorker) -> None:
        """One that is gone does not hear it: its pipe's end says so in time."""
        assert self.process.stdin is not None
        try:
            with self.speaking:
                send(self.process.stdin.fileno(), message)
        except OSError:
            self.left = True

    def leave(self) -> None:
        """Nothing more for it; it removes its lab, and ends."""
        if not self.left:
            self.tell(Leave())
        self.left = True


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is to be run. `scenarios`: those that were asked for, of the topology's."""

    topology: Topology
    engine: str
    scenarios: Sequence[Scenario]
    rounds: int | None = 1
    until_fail: bool = False
    seconds: dict[str, float] = field(default_factory=dict)  # that each took before, by label


class Crew:
    """Workers at work. `told` gets what is to be printed of each scenario when it ends, `say` all else."""

    def __init__(
        self, run: Run, jobs: int, telling: Telling, told: Callable[[str], None], say: Progress
    ) -> None:
        self._run, self._jobs, self._telling, self._told, self._say = run, jobs, telling, told, say
        self._order = Order(run.scenarios, run.rounds, run.seconds)
        self._base = f"{base_name(run.topology, run.engine)}-{secrets.token_hex(3)}"
        self._topology = msgspec.structs.replace(run.topology, scenarios=tuple(run.scenarios))
        self._began = time.monotonic()
        self._heard: queue.SimpleQueue[tuple[_Worker, ToParent | None]] = queue.SimpleQueue()
        self._workers: list[_Worker] = []
        self._started = 0
        self._crashed = False
        self._interrupted = False
        self._errors: list[LabError] = []
        self._done: dict[Turn, Performed] = {}
        self._recorded = 0  # bytes
        self._versions: dict[str, str] = {}  # of programs in the copies, which are alike

    # What came of it.

    @property
    def records(self) -> list[ScenarioRecord]:
        """Of all that were performed, in the file's order."""
        return self._results()[0]

    @property
    def recordings(self) -> Recordings:
        """By the names of their files."""
        return self._results()[1]

    def record(self) -> RunRecord:
        """The whole run."""
        more = {**self._versions, "jobs": str(self._jobs)}
        return record_of(self._topology.name, self._run.engine, self.records, more)

    def _results(self) -> tuple[list[ScenarioRecord], Recordings]:
        """Recordings are named in that order, too, whoever ended first."""
        records, kept = [], Recordings()
        for _, done in sorted(self._done.items()):
            record = msgspec.json.decode(done.record, type=ScenarioRecord)
            name = kept.keep(record.label, done.recording) if done.recording else ""
            records.append(msgspec.structs.replace(record, recording=name))
        return records, kept

    # How it goes.

    def run(self) -> None:
        """All of it. Raises what a copy failed with where some scenarios could not be performed at all;
        Ctrl-C is raised again when everything is cleaned up."""
        self._problems(leased.sweep(self._say))
        try:
            while len(self._workers) < min(self._jobs, self._order.most):
                self._start()
            self._until_all_have_ended()
        except BaseException:
            self._interrupt()
            raise
        finally:
            if self._crashed:
                with undisturbed():
                    self._problems(leased.sweep(self._say))
        if self._errors and not self._order.ended:
            raise self._errors[0]

    def _start(self) -> None:
        process = subprocess.Popen(
            [sys.executable, *COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
            process_group=None if sys.platform == "win32" else 0,  # we alone hear a terminal's Ctrl-C
        )
        self._started += 1
        worker = _Worker(self._started, process)
        self._workers.append(worker)
        begin = Begin(
            topology=msgspec.json.encode(self._topology),
            engine=self._run.engine,
            name=f"{self._base}-j{worker.number}",
            began=self._began,
            telling=self._telling,
        )
        threading.Thread(target=self._listen, args=(worker, begin), name="worker", daemon=True).start()

    def _listen(self, worker: _Worker, begin: Begin) -> None:
        """A worker's own thread: it waits until the worker has heard what it is about, then for what it says,
        to its end."""
        assert worker.process.stdout is not None
        worker.tell(begin)
        fd = worker.process.stdout.fileno()
        while (body := receive(fd)) is not None:
            self._heard.put((worker, TO_PARENT.decode(body)))
        worker.process.wait()
        self._heard.put((worker, None))

    def _until_all_have_ended(self) -> None:
        while self._workers:
            worker, said = self._heard.get()
            match said:
                case Up():
                    worker.up, self._versions = True, self._versions or said.versions
                    self._next(worker)
                case Performed():
                    self._performed(worker, said)
                case Failed():
                    worker.failed, worker.left = said.message, True
                    self._errors.append(to_error(msgspec.to_builtins(said)))
                case Said():
                    self._say(said.line)
                case None:
                    self._ended(worker)

    def _next(self, worker: _Worker) -> None:
        """The next scenario for a worker that has nothing to do."""
        worker.turn = None if self._interrupted else self._order.take()
        if worker.turn is None:
            worker.leave()
        else:
            worker.tell(Perform(at=worker.turn.at, room=self._room()))

    def _room(self) -> int:
        """Bytes for one recording: all that are under way may take theirs."""
        return (MOST_RECORDED - self._recorded) // self._jobs

    def _performed(self, worker: _Worker, done: Performed) -> None:
        assert worker.turn is not None
        self._take_in(worker.turn, done)
        worker.turn = None
        if done.spent:
            worker.left = True
        else:
            self._next(worker)

    def _take_in(self, turn: Turn, done: Performed) -> None:
        if self._recorded + len(done.recording) > MOST_RECORDED:
            done = msgspec.structs.replace(done, recording=b"")
        self._recorded += len(done.recording)
        self._done[turn] = done
        self._told(done.told)
        if self._run.until_fail and msgspec.json.decode(done.record, type=_Judged).verdict != "pass":
            self._order.stop()

    def _ended(self, worker: _Worker) -> None:
        """A worker's process is gone. Another takes its place where that can be of use."""
        self._workers.remove(worker)
        for pipe in (worker.process.stdin, worker.process.stdout):
            assert pipe is not None
            pipe.close()
        code = worker.process.returncode
        self._crashed = self._crashed or code != 0
        if worker.turn is not None and not self._interrupted:
            self._lost(worker.turn, worker.failed or f"the process that performed it {_ending(code)}")
        elif worker.failed and not worker.up:
            self._say(f"lab: a copy of the lab did not come up: {worker.failed}")
        elif code and not worker.up:
            self._errors.append(LabError(f"the process for a copy of the lab {_ending(code)}"))
        if worker.up and not self._interrupted and not self._order.ended:
            self._start()

    def _lost(self, turn: Turn, why: str) -> None:
        """Of a scenario nothing is known: that belongs into the record, too."""
        one = self._topology.scenarios[turn.at]
        record = unperformed(one, time.monotonic() - self._began, why)
        self._take_in(turn, Performed(record=msgspec.json.encode(record), told=self._lines(record)))

    def _lines(self, record: ScenarioRecord) -> str:
        from orchestrator.report.scenarios import ended

        return "\n".join(ended(record, self._telling.style))

    # How it ends early.

    def _interrupt(self) -> None:
        """Every worker cleans up its scenario and removes its copy. The user need not wait for that."""
        self._interrupted = True
        try:
            for worker in self._workers:
                worker.tell(Interrupt())
            self._until_all_have_ended()
        except BaseException:
            with undisturbed():
                self._kill()

    def _kill(self) -> None:
        for worker in self._workers:
            worker.process.kill()
        self._until_all_have_ended()

    def _problems(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._say(f"lab: {line}")


class _Judged(msgspec.Struct):
    """The verdict of a record, which is not read for anything else."""

    verdict: str


def _ending(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"ended with exit {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _environment() -> dict[str, str]:
    """This package is found by the worker as it was by us."""
    package = str(Path(__file__).parents[2])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
