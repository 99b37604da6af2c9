"""`lab up`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
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
@click.option("-y", "--yes", is_flag=True, help="Confirm that the file opens the internet to its hosts")
def command(path: str | None, engine: str | None, name: str | None, dry_run: bool, yes: bool) -> int:
    """Bring a lab up, or change a running one to what its file says.

    Asking twice changes nothing. When a new lab cannot be completed, what was made of it is removed again.
    """
    topology = read(path or DEFAULT_FILE, name)
    if dry_run:
        return show_plan(topology, engine or "auto")
    confirm_internet(topology, yes)
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
    from orchestrator.bringup import prepare
    from orchestrator.plan import describe

    prepared = prepare(topology, engine)
    if prepared.running is not None:
        prepared.running.close()
    say(prepared.reason)
    click.echo(describe(prepared.plan, prepared.changes), nl=False)
    return 0


def confirm_internet(topology: Topology, yes: bool) -> None:
    """`internet: true` is confirmed once per file and content; a stranger's file opens nothing unasked."""
    from orchestrator.owner import confirm, was_confirmed

    opened = [network.name for network in topology.networks if network.internet]
    if not opened or was_confirmed(topology.path, topology.digest):
        return
    what = f"{topology.path} lets hosts on {', '.join(opened)} reach the internet (internet: true)"
    if behind := networks_behind(topology, opened):
        what += f", and by a router with nat also those on {', '.join(behind)}"
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(what, "--yes confirms it, once for this file as it is")
        say(what)
        if not click.confirm("Bring it up", err=True):
            raise UsageError("not confirmed; nothing was started")
    confirm(topology.path, topology.digest)


def networks_behind(topology: Topology, opened: Sequence[str]) -> list[str]:
    """The networks from which a router that masquerades to one of the opened ones is reached."""
    from orchestrator.model.reach import Door, Reach

    routers = topology.routers
    reach = Reach(Door(r.name, tuple(one.network for one in r.attachments), r.nat) for r in routers)
    exits = {router.name for router in routers if router.nat in opened}
    names = [network.name for network in topology.networks if network.name not in opened]
    return [name for name in names if reach.way_out(name, exits)]


def bring_up(topology: Topology, engine: str) -> int:
    """Do it, then show what there is."""
    from orchestrator.bringup import up
    from orchestrator.cli.progress import shown
    from orchestrator.engines.base import counted
    from orchestrator.owner import locked, performance_of

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
