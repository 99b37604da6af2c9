"""`lab restart`."""

from __future__ import annotations

import click

from orchestrator.cli.ending import say
from orchestrator.cli.naming import complete_hosts, find, lab_options


@click.command("restart")
@lab_options
@click.argument("host", shell_complete=complete_hosts)
def command(name: str | None, path: str | None, host: str) -> int:
    """Make a host anew as it is planned: addresses stay, its processes and sockets begin again."""
    from orchestrator.bringup import restart
    from orchestrator.cli.progress import shown
    from orchestrator.owner import locked, performance_of

    with (
        find(name, path) as lab,
        shown(f"lab {lab.key.name}") as progress,
        locked(performance_of(lab.key.name), progress),
    ):
        failed = restart(lab, host, progress)
    for line in failed:
        say(f"lab: {line}")
    say(f"{host} is made anew")
    return 3 if failed else 0
