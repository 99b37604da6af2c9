"""`lab down`."""

from __future__ import annotations

import os

import click

from orchestrator.cli.ending import say
from orchestrator.cli.naming import DEFAULT_FILE, complete_labs, file_option, name_in
from orchestrator.errors import LabError, NoSuchLab, UsageError


@click.command("down")
@click.argument("name", required=False, shell_complete=complete_labs)
@click.option("--lab", "named", metavar="NAME", shell_complete=complete_labs, help="As the argument")
@file_option
def command(name: str | None, named: str | None, path: str | None) -> int:
    """Remove a lab and all that belongs to it: the one named, or that of ./lab.yaml.

    Removing a lab that is not there is no error.
    """
    if len({name, named} - {None}) > 1 or ((name or named) and path):
        raise UsageError("name one lab")
    remove(name or named or the_only(path))
    return 0


def the_only(path: str | None) -> str:
    """The lab of a file; without a file, the only one that is there."""
    from orchestrator.lab import all_found

    if path or os.path.exists(DEFAULT_FILE):
        return name_in(path or DEFAULT_FILE)
    names = sorted({found.key.name for found in all_found()[0]})
    if len(names) != 1:
        raise NoSuchLab(
            f"which lab? {', '.join(names)}" if names else "there is no lab",
            "`lab down NAME`" if names else "",
        )
    return names[0]


def remove(name: str) -> None:
    """From every engine on which something of it is, going on past failures."""
    from orchestrator import roster
    from orchestrator.cli.machines import prompting
    from orchestrator.cli.progress import shown
    from orchestrator.engines import registry
    from orchestrator.errors import EngineUnavailable
    from orchestrator.model.plan import LabKey
    from orchestrator.owner import locked, owner

    prompting()
    key = LabKey(owner=owner(), name=name)
    removed: list[str] = []
    failures: list[LabError] = []
    with shown(f"lab {name}") as progress, locked(name, progress, "removing"):
        record = roster.of(name)
        for candidate in dict.fromkeys((*registry.REAL, *([record.engine] if record else []))):
            try:
                engine = roster.engine(name, candidate)
                if (record is not None and record.engine == candidate) or any(
                    found.key == key for found in engine.find(key.owner)
                ):
                    engine.remove(key, progress)
                    removed.append(engine.name)
            except EngineUnavailable:
                continue
            except LabError as error:
                failures.append(error)
            except ExceptionGroup as group:  # on several machines
                failures += [error for error in group.exceptions if isinstance(error, LabError)]
    if failures:
        raise ExceptionGroup(f"lab {name} is not removed completely", failures)
    say(
        f"lab {name} is removed ({', '.join(removed)})"
        if removed
        else f"there is no lab {name}; nothing to remove"
    )
