"""`lab gc`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.ending import say
from orchestrator.errors import LabError, UsageError

if TYPE_CHECKING:
    from orchestrator.model.plan import LabKey


@click.command("gc")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--forget",
    is_flag=True,
    help="Also forget the labs named that are on machines which will never answer again",
)
def command(names: tuple[str, ...], forget: bool) -> int:
    """Remove labs of yours that were left incomplete: their `up` was killed, or their daemon was.

    All of them, or those named; also copies that a killed `lab run --jobs` or pytest has left. Running labs,
    those that a command is at work on or whose daemon is too busy to answer, and whatever is not yours, are
    left alone.
    """
    import msgspec

    from orchestrator import leased, roster
    from orchestrator.cli.machines import prompting
    from orchestrator.cli.progress import shown
    from orchestrator.lab import all_found
    from orchestrator.owner import locked, sweep_locks

    if forget and not names:
        raise UsageError("--forget needs the names of the labs", "what is left on their machines stays there")
    prompting()
    for name in names if forget else ():
        record = roster.of(name)
        if record is not None:
            roster.note(msgspec.structs.replace(record, machines=()))
            where = ", ".join(machine.name for machine in record.machines)
            say(f"lab {name} is forgotten; what is left of it on {where} stays there")
    removed: list[str] = []
    problems = leased.sweep(removed.append, names)
    found, failures = all_found()
    failures += map(LabError, problems)
    for line in removed:
        say(line)
    stale = [one for one in found if one.state == "incomplete" and (not names or one.key.name in names)]
    for one in stale:
        try:
            with shown(f"lab {one.key.name}") as progress, locked(one.key.name, progress, "removing"):
                if not still_incomplete(one.engine, one.key):
                    continue  # its `up` was at work just now, and has completed it
                roster.engine(one.key.name, one.engine).remove(one.key, progress)
            say(f"removed what was left of lab {one.key.name} ({one.engine}): {one.what}")
        except LabError as error:
            failures.append(error)
        except ExceptionGroup as group:  # on several machines
            failures += [error for error in group.exceptions if isinstance(error, LabError)]
    sweep_locks()
    for one in found:
        if one.state == "silent" and (not names or one.key.name in names):
            cure = f"`lab down {one.key.name}` removes it"
            say(f"lab {one.key.name} ({one.engine}) does not answer and is left alone: {cure}")
    if not (stale or removed):
        say("nothing was left behind")
    if failures:
        raise ExceptionGroup("not everything could be removed", failures)
    return 0


def still_incomplete(engine: str, key: LabKey) -> bool:
    """Whether it is incomplete also while we hold its lock."""
    from orchestrator import roster
    from orchestrator.owner import owner

    found = roster.engine(key.name, engine).find(owner())
    return any(f.key == key and f.state == "incomplete" for f in found)
