"""Running scenarios of a lab: which, one after the other, with the lab mended in between; and where a run is
kept."""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
import itertools
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

import msgspec

import orchestrator
from orchestrator import bringup
from orchestrator.engines.base import Progress
from orchestrator.errors import LabError, UsageError
from orchestrator.join import recordings
from orchestrator.lab import Lab, quiet
from orchestrator.model.recording import Recording
from orchestrator.model.runs import RunRecord, ScenarioRecord, worst
from orchestrator.model.steps import Scenario
from orchestrator.model.topology import Topology
from orchestrator.owner import locked, performance_of, state_folder
from orchestrator.scenarios.run import Audience, Done, run_scenario

KEPT = 50  # runs of one lab whose folders stay
DOCUMENT = "run.json"
INCLUDED = "included"  # the folder of what the lab file includes, under the names that it gives
SUFFIX = ".recording"
MOST_RECORDED = 64 << 20  # bytes of a run's recordings
LEAST_RECORDED = 64 << 10  # bytes; with less room a recording is not begun


def choose(scenarios: Sequence[Scenario], wanted: Sequence[str], row: str | None = None) -> list[Scenario]:
    """Those of these names, labels (`full[size=3]`) or patterns, in the file's order; all where none is
    named. With `row` of each table only the row of that name, of one without such a row the first. Raises
    UsageError for a name that none has."""
    if not scenarios:
        raise UsageError("the lab file has no scenarios", "write them under `scenarios:`")
    chosen: set[int] = set()
    for name in wanted:
        found = {at for at, one in enumerate(scenarios) if _matches(one, name)}
        if not found:
            names = list(dict.fromkeys(one.name for one in scenarios))
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
            raise UsageError(f"there is no scenario {name}", hint)
        chosen |= found
    some = [one for at, one in enumerate(scenarios) if not wanted or at in chosen]
    return some if row is None else list(_of_row(some, row))


def _of_row(scenarios: Sequence[Scenario], row: str) -> Iterator[Scenario]:
    names = {one.row_name: None for one in scenarios if one.row_name}
    if row not in names:
        hint = f"there are {', '.join(names)}" if names else "a row is named by `row: NAME` in its table"
        raise UsageError(f"no table has a row {row}", hint)
    for _, rows in itertools.groupby(scenarios, key=lambda one: one.name):
        of_one = list(rows)
        yield next((one for one in of_one if one.row_name == row), of_one[0])


def _matches(scenario: Scenario, name: str) -> bool:
    return name in (scenario.name, scenario.label) or fnmatch.fnmatchcase(scenario.name, name)


class Runner:
    """Runs scenarios on one lab. Only one runner at a time is at work on a lab."""

    def __init__(
        self,
        lab: Lab,
        audience: Audience,
        *,
        watch: bool = False,
        say: Progress = quiet,
        recorded: Callable[[ScenarioRecord, Recording], None] | None = None,
        name: str | None = None,
    ) -> None:
        """`recorded`: is told what was recorded of each scenario that nobody has interrupted. `name`: of the
        lab that this one is a copy of; it is what records and recordings have."""
        self.lab, self.audience, self.watch, self.say = lab, audience, watch, say
        self._tell, self.name = recorded, name or lab.key.name
        self.began = time.monotonic()
        self.records: list[ScenarioRecord] = []
        self.recordings = Recordings()
        self.environment: dict[str, str] = {}  # what is known of it beside the computer's

    def run(self, scenario: Scenario) -> ScenarioRecord:
        """One scenario; the lab is as before when this returns. Ctrl-C is raised again when it is."""
        with locked(performance_of(self.lab.key.name), self.say):
            done = self._done(scenario)
            recording = self._named(done.recording)
            record = self._recorded(self._mended(done), recording)
        self.records.append(record)
        if done.interrupted is not None:
            raise done.interrupted
        if self._tell is not None and recording is not None:
            self._tell(record, recording)
        return record

    def _named(self, recording: Recording | None) -> Recording | None:
        """Of the lab that the file names, also where a copy of it was recorded."""
        plan = None if recording is None else recording.plan
        if recording is None or plan is None or self.name == self.lab.key.name:
            return recording
        key = msgspec.structs.replace(plan.key, name=self.name)
        plan = msgspec.structs.replace(plan, key=key)
        return msgspec.structs.replace(recording, lab=self.name, plan=plan)

    def _done(self, scenario: Scenario) -> Done:
        """It was performed, as far as it went. Raises LabError where the lab could not be reached: a scenario
        of which nothing is known belongs into the record all the same."""
        try:
            return run_scenario(
                self.lab.another_channel,
                self.lab.plan,
                scenario,
                self.audience,
                self.began,
                watch=self.watch,
            )
        except LabError as error:
            self.records.append(unperformed(scenario, time.monotonic() - self.began, error.message))
            raise

    def _mended(self, done: Done) -> ScenarioRecord:
        """What the scenario ended runs again; where that fails, its record says so."""
        try:
            mend(self.lab, done.powered_off, done.ended_programs, self.say)
        except LabError as error:
            problem = f"the lab could not be mended after it: {error.message}"
            return msgspec.structs.replace(done.record, problem=done.record.problem or problem)
        return done.record

    def _recorded(self, record: ScenarioRecord, recording: Recording | None) -> ScenarioRecord:
        """With its recording kept, as far as there is room for it."""
        room = self.recordings.room
        if recording is None or room < LEAST_RECORDED:
            return record
        name = self.recordings.keep(record.label, recordings.encode(recording, room))
        return msgspec.structs.replace(record, recording=name)

    def record(self) -> RunRecord:
        """All that was run so far."""
        return record_of(self.name, self.lab.engine.name, self.records, self.environment)


def unperformed(scenario: Scenario, began: float, problem: str) -> ScenarioRecord:
    """Of a scenario of which nothing is known, and why. `began`: seconds of the run."""
    return ScenarioRecord(
        name=scenario.name,
        label=scenario.label,
        title=scenario.title,
        line=scenario.line,
        file=scenario.file,
        row=scenario.row,
        about=scenario.about,
        verdict="unknown",
        began=began,
        problem=problem,
    )


def record_of(
    lab: str, engine: str, records: Sequence[ScenarioRecord], more: Mapping[str, str] = MappingProxyType({})
) -> RunRecord:
    """Of a run in which these were performed. `more`: of its environment."""
    return RunRecord(
        lab=lab,
        engine=engine,
        verdict=worst(tuple(one.verdict for one in records)) if records else "unknown",
        environment={**environment(), **more},
        scenarios=tuple(records),
    )


class Recordings(dict[str, bytes]):
    """Those of a run, by the names of the files that they are to have."""

    def __init__(self, most: int | None = None) -> None:
        super().__init__()
        self.most = MOST_RECORDED if most is None else most

    @property
    def room(self) -> int:
        """Bytes that are left for more."""
        return self.most - sum(map(len, self.values()))

    def keep(self, label: str, data: bytes) -> str:
        """Take in that of the scenario with this label; the name of its file."""
        stem = re.sub(r"[^A-Za-z0-9._=-]+", "-", label).strip("-.") or "scenario"
        for number in itertools.count(1):
            name = f"{stem[:100]}{f'-{number}' if number > 1 else ''}{SUFFIX}"
            if name not in self:
                self[name] = data
                return name
        raise AssertionError("numbers do not end")


def mend(lab: Lab, powered_off: Iterable[str], ended_programs: Iterable[str], say: Progress = quiet) -> None:
    """Make hosts anew that were ended, and start programs again. Raises LabError."""
    for host in sorted(powered_off):
        failed = bringup.restart(lab, host, say)
        if failed:
            raise LabError("; ".join(failed))
    again = sorted(set(ended_programs) - set(powered_off))
    if again:
        failed = bringup.rerun(lab, again, say)
        if failed:
            raise LabError("; ".join(failed))


def environment() -> dict[str, str]:
    """Where it ran, for whoever compares runs."""
    return {
        "lab": orchestrator.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processors": str(os.cpu_count() or 0),
    }


def keep(
    record: RunRecord, topology: Topology, document: str, recorded: Mapping[str, bytes] = MappingProxyType({})
) -> Path:
    """A folder for the run: its document, the lab file, and recordings by their files' names. The oldest runs
    of the lab go. Raises UsageError where the folder cannot be written."""
    base = state_folder() / "runs" / record.lab
    folder = base / datetime.now().strftime("%Y%m%d-%H%M%S-%f")  # sorted by name they are sorted by age
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
        (folder / DOCUMENT).write_text(document, encoding="utf-8")
        for name, data in recorded.items():
            (folder / name).write_bytes(data)
        with contextlib.suppress(
            OSError
        ):  # read once already; gone or changed by now is no failure of the run
            shutil.copyfile(topology.path, folder / "lab.yaml")
            for name in topology.included:
                _copy(Path(topology.folder, name), folder / INCLUDED, name)
    except OSError as error:
        raise UsageError(
            f"the run cannot be kept: {error}", "XDG_STATE_HOME may be another folder"
        ) from error
    for old in sorted(base.iterdir())[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def _copy(source: Path, into: Path, name: str) -> None:
    """An included file under its name; one that is no name below a folder (`a/../b`) loses the dots."""
    target = into.joinpath(*(part for part in Path(name).parts if part not in ("/", "..")))
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(source, target)
