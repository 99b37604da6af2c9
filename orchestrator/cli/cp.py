"""`lab cp`."""

from __future__ import annotations

import click

from orchestrator.cli.ending import say
from orchestrator.cli.naming import complete_host_paths, find, lab_options


@click.command("cp")
@lab_options
@click.argument("source", metavar="SRC", shell_complete=complete_host_paths)
@click.argument("target", metavar="DST", shell_complete=complete_host_paths)
def command(name: str | None, path: str | None, source: str, target: str) -> int:
    """Copy a file or a folder to or from a host. One side is HOST:PATH.

    \b
    lab cp web:/var/log/nginx ./logs
    lab cp site alice:/srv/
    """
    from orchestrator.bringup import counted
    from orchestrator.copying import copy, place

    with find(name, path) as lab:
        hosts = lab.names()
        count = copy(lab, place(source, hosts), place(target, hosts), say)
    say(f"copied {counted(range(count), 'file')}")
    return 0
