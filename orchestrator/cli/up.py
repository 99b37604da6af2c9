"""`lab up`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from orchestrator.cli.ending import say
from orchestrator.cli.naming import DEFAULT_FILE, complete_labs, engine_option, file_option
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.bringup import Outcome
    from orchestrator.model.topology import Topology


@click.command("up")
@file_option
@engine_option
@click.option(
    "--name",
    metavar="NAME",
    shell_complete=complete_labs,
    help="Another name than the file's, for a second lab",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and what would be done; change nothing")
@click.option(
    "-y",
    "--yes",
    is_flag=True,
    help="Confirm that the file opens the internet to its hosts, or makes them on other computers",
)
def command(path: str | None, engine: str | None, name: str | None, dry_run: bool, yes: bool) -> int:
    """Bring a lab up, or change a running one to what its file says.

    Asking twice changes nothing. When a new lab cannot be completed, what was made of it is removed again.
    """
    topology = read(path or DEFAULT_FILE, name)
    if dry_run:
        return show_plan(topology, engine or "auto")
    confirm(topology, yes)
    return bring_up(topology, engine or "auto")


def read(path: str, name: str | None) -> Topology:
    """The file, with the lab's name replaced where another is asked for."""
    import msgspec

    from orchestrator.read import read_file

    topology = read_file(path)
    return msgspec.structs.replace(topology, name=checked_name(name)) if name else topology


def checked_name(name: str) -> str:
    """A name of a lab is a DNS label, as in the file. Raises UsageError."""
    import re

    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
        raise UsageError(f"--name {name!r}: a name has small letters, digits and hyphens, at most 63")
    return name


def show_plan(topology: Topology, engine: str) -> int:
    """`--dry-run`."""
    from orchestrator.bringup import plan_alone, prepare
    from orchestrator.plan import describe

    if topology.machines:
        plan, steps = plan_alone(topology, engine)
        say("the machines were not looked at: each is taken for as large as the others")
        click.echo(describe(plan, steps), nl=False)
        return 0
    prepared = prepare(topology, engine)
    if prepared.running is not None:
        prepared.running.close()
    say(prepared.reason)
    click.echo(describe(prepared.plan, prepared.changes), nl=False)
    return 0


def confirm(topology: Topology, yes: bool) -> None:
    """What a file may not do unasked is confirmed once per file and content."""
    from orchestrator import consent

    what = consent.missing(topology)
    if not what:
        return
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(what, "--yes confirms it, once for this file as it is")
        say(what)
        if not click.confirm("Bring it up", err=True):
            raise UsageError("not confirmed; nothing was started")
    consent.give(topology)


def bring_up(topology: Topology, engine: str) -> int:
    """Do it, then show what there is."""
    from orchestrator.bringup import up
    from orchestrator.cli.machines import prompting
    from orchestrator.cli.progress import shown
    from orchestrator.engines.base import counted
    from orchestrator.owner import locked, performance_of

    prompting()
    with shown(f"lab {topology.name}") as progress, locked(performance_of(topology.name), progress):
        outcome = up(topology, engine, progress)
    with outcome.lab as lab:
        hosts = counted(lab.plan.hosts, "host")
        if outcome.changes:
            say(f"lab {lab.key.name} is up: {hosts}, {counted(outcome.changes, 'step')}")
        else:
            say(f"lab {lab.key.name} is up already: {hosts}, nothing to do")
        show_connections(outcome)
    for line in outcome.failed:
        say(f"lab: {line}")
    return 3 if outcome.failed else 0


def show_connections(outcome: Outcome) -> None:
    """The joined connections, as `lab conns` shows them."""
    from orchestrator.cli.conns import text_of

    click.echo(text_of(outcome.lab, outcome.lab.observe(), legend=False), nl=False)
