"""`lab run`."""

from __future__ import annotations

import itertools
import os
import sys
from typing import TYPE_CHECKING

import click

from orchestrator.cli.ending import say
from orchestrator.cli.naming import (
    DEFAULT_FILE,
    complete_labs,
    complete_scenarios,
    engine_option,
    file_option,
)
from orchestrator.cli.paper import ascii_option, paper_for
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.cli.told import Told
    from orchestrator.jobs.crew import Crew
    from orchestrator.model.steps import Scenario
    from orchestrator.model.topology import Topology
    from orchestrator.report.run_timeline import Asked
    from orchestrator.runs import Runner

STDOUT = "-"
PER_PROCESSOR = 3  # scenarios at once by `--jobs auto`: most of them wait (decision 0021)


def jobs_of(_context: click.Context, _option: click.Parameter, value: str | None) -> int:
    """How many scenarios at once: `--jobs`, 1 where it is not said."""
    if value == "auto":
        return PER_PROCESSOR * (os.cpu_count() or 1)
    try:
        jobs = int(value or 1)
    except ValueError:
        jobs = 0
    if jobs < 1:
        raise UsageError(f"--jobs {value}: neither a number from 1 on nor auto")
    return jobs


@click.command("run")
@click.argument("names", metavar="[SCENARIO]...", nargs=-1, shell_complete=complete_scenarios)
@file_option
@engine_option
@click.option(
    "--name",
    "lab_name",
    metavar="NAME",
    shell_complete=complete_labs,
    help="Another name of the lab than the file's",
)
@click.option(
    "--row", metavar="NAME", help="Of each table only the row of that name; of one without it the first"
)
@click.option(
    "--jobs",
    metavar="N|auto",
    callback=jobs_of,
    help="Run so many at once, each in a copy of the lab; auto: "
    f"{PER_PROCESSOR} for each processor of this computer",
)
@click.option("--step", is_flag=True, help="Show each step and wait for a key before it")
@click.option("--repeat", type=click.IntRange(1), metavar="N", help="Run so many times over")
@click.option("--until-fail", is_flag=True, help="Again and again (or N times) until one does not pass")
@click.option(
    "--json", "json_path", metavar="FILE", help="Write the run as one JSON document; `-`: to stdout"
)
@click.option("--junit", "junit_path", metavar="FILE", help="Write the verdicts as JUnit XML; `-`: to stdout")
@click.option("--html", "html_path", metavar="FILE", help="Not supported yet")
@click.option(
    "--timeline/--no-timeline",
    default=None,
    help="After each scenario what happened in it; unless said, at a terminal of few connections, and of "
    "what did not pass",
)
@ascii_option
@click.option("-q", "--quiet", is_flag=True, help="Only what did not pass, and the verdicts")
@click.option("--list", "only_list", is_flag=True, help="Only name the scenarios")
@click.option("--down", is_flag=True, help="Remove the lab afterwards")
@click.option(
    "-y",
    "--yes",
    is_flag=True,
    help="Confirm that the file opens the internet to its hosts, or makes them on other computers",
)
def command(
    names: tuple[str, ...],
    path: str | None,
    engine: str | None,
    lab_name: str | None,
    row: str | None,
    **chosen: object,
) -> int:
    """Run scenarios of a lab file, all unless some are named (also as patterns, `queue-*`).

    The lab is brought up where it is not running, and stays. Exit: 0 all passed, 1 an expectation failed,
    3 the infrastructure failed, 4 a verdict is unknown; of several 3 before 1 before 4.

    With `--step` each step is shown; Enter (or space) performs it, `c` all that follow, `q` ends the run:
    what was opened is closed, cleanup steps are done, and what was not judged is unknown. Steps side by side
    begin together. The `within` of an expectation counts from when it is begun, not from when it was shown;
    but a step that was left running (`&`) has its `timeout` also while a key is waited for.
    """
    from orchestrator.cli.up import confirm, read
    from orchestrator.runs import choose

    if chosen["html_path"]:
        raise UsageError("--html: not supported yet")
    if chosen["step"] and chosen["quiet"]:
        raise UsageError("--step shows every step, and --quiet none")
    if chosen["step"] and chosen["jobs"] != 1:
        raise UsageError("--step waits for a key before each step, and --jobs for none")
    if chosen["json_path"] == STDOUT and chosen["junit_path"] == STDOUT:
        raise UsageError("--json and --junit cannot both go to stdout")
    topology = read(path or DEFAULT_FILE, lab_name)
    scenarios = choose(topology.scenarios, names, row)
    if chosen["only_list"]:
        for one in scenarios:
            click.echo(f"{one.label}{f': {one.title}' if one.title else ''}")
        return 0
    confirm(topology, bool(chosen["yes"]))
    run = _Run(topology, engine or "auto", chosen)
    return run.perform(scenarios) if chosen["jobs"] == 1 else run.perform_side_by_side(scenarios)


class _Run:
    """One `lab run`."""

    def __init__(self, topology: Topology, engine: str, chosen: dict[str, object]) -> None:
        self.topology, self.engine, self.chosen = topology, engine, chosen
        self.to_stdout = STDOUT in (chosen["json_path"], chosen["junit_path"])

    def perform(self, scenarios: list[Scenario]) -> int:
        """Bring the lab up, run, write what is asked for."""
        from orchestrator.bringup import up
        from orchestrator.cli.progress import shown
        from orchestrator.cli.told import Quit, Told
        from orchestrator.runs import Runner

        self._check_files()
        with shown(f"lab {self.topology.name}") as progress:
            outcome = up(self.topology, self.engine, progress)
        for line in outcome.failed:
            say(f"lab: {line}")
        with outcome.lab as lab:
            if outcome.failed:
                return 3
            stream = sys.stderr if self.to_stdout else sys.stdout
            told = Told(
                stream,
                step=bool(self.chosen["step"]),
                quiet=self.quiet,
                paper=paper_for(stream, ascii_only=bool(self.chosen["ascii_only"])),
                timeline=self.timeline(stream.isatty()),
            )
            runner = Runner(lab, told, watch=not self.quiet, say=say, recorded=told.recorded)
            try:
                self._all(runner, scenarios)
            except Quit:
                pass  # it is cleaned up, and told of in the record
            finally:
                code = self._finish(runner, told)
                if self.chosen["down"]:
                    lab.down(say)
        return code

    def perform_side_by_side(self, scenarios: list[Scenario]) -> int:
        """Each in a copy of the lab, of which nothing is left; a lab of the file that runs is left alone."""
        from orchestrator import kept
        from orchestrator.cli.told import Told, terminal_style
        from orchestrator.engines import registry
        from orchestrator.jobs import crew
        from orchestrator.jobs.messages import Telling

        self._check_files()
        engine, reason = registry.choose(self.engine if self.engine != "auto" else self.topology.engine)
        crew.refuse_copies(self.topology, engine.name)
        say(reason)
        stream = sys.stderr if self.to_stdout else sys.stdout
        told = Told(stream, quiet=self.quiet)
        telling = Telling(
            style=terminal_style(stream),
            paper=paper_for(stream, ascii_only=bool(self.chosen["ascii_only"])),
            quiet=self.quiet,
            timeline=self.timeline(stream.isatty()),
        )
        until_fail = bool(self.chosen["until_fail"])
        run = crew.Run(
            topology=self.topology,
            engine=engine.name,
            scenarios=scenarios,
            rounds=self._rounds(),
            until_fail=until_fail,
            seconds=kept.seconds(self.topology.name),
        )
        workers = crew.Crew(run, int(str(self.chosen["jobs"])), telling, told.block, say)
        try:
            workers.run()
        finally:
            code = self._finish(workers, told)
        return code

    def _rounds(self) -> int | None:
        """How often all scenarios are run; None: until one does not pass."""
        times = self.chosen["repeat"]
        return None if self.chosen["until_fail"] and times is None else int(str(times or 1))

    @property
    def quiet(self) -> bool:
        """Nobody reads along: rows that change are not looked for."""
        return bool(self.chosen["quiet"]) or (self.to_stdout and not self.chosen["step"])

    def timeline(self, at_terminal: bool) -> Asked:
        """How much of it is shown: who reads a log wants to know of what did not pass, and nothing else."""
        if self.chosen["timeline"] is not None:
            return "yes" if self.chosen["timeline"] else "no"
        again = self.chosen["repeat"] or self.chosen["until_fail"]
        return "calm" if at_terminal and not self.quiet and not again else "evidence"

    def _all(self, runner: Runner, scenarios: list[Scenario]) -> None:
        rounds = self._rounds()
        for _ in itertools.count() if rounds is None else range(rounds):
            for one in scenarios:
                record = runner.run(one)
                if self.chosen["until_fail"] and record.verdict != "pass":
                    return

    def _finish(self, runner: Runner | Crew, told: Told) -> int:
        """Write and keep what was run, also when it was interrupted."""
        from orchestrator.report import run_documents
        from orchestrator.runs import keep

        record = runner.record()
        if not record.scenarios:
            return 3
        document = run_documents.json_of(record)
        self._write(str(self.chosen["json_path"] or ""), document)
        if self.chosen["junit_path"]:
            self._write(str(self.chosen["junit_path"]), run_documents.junit_of(record))
        told.finished(record, keep(record, self.topology, document, runner.recordings))
        return record.exit_code

    def _check_files(self) -> None:
        """Before anything is started: can the documents be written?"""
        for key in ("json_path", "junit_path"):
            path = self.chosen[key]
            if path and path != STDOUT:
                try:
                    with open(str(path), "a", encoding="utf-8"):
                        pass
                except OSError as error:
                    raise UsageError(f"{path}: {error.strerror}") from error

    def _write(self, path: str, document: str) -> None:
        if path == STDOUT:
            click.echo(document, nl=False)
        elif path:
            try:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(document)
            except OSError as error:
                raise UsageError(f"{path}: {error.strerror}") from error
