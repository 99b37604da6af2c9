"""`lab shell`."""

from __future__ import annotations

import click

from orchestrator.cli.ending import say
from orchestrator.cli.naming import complete_hosts, find, lab_options

# bash where the host has it, else sh. The host's own, not the user's: $SHELL may not be there.
SHELL = ("sh", "-c", "command -v bash >/dev/null 2>&1 && exec bash || exec sh")


@click.command("shell")
@lab_options
@click.argument("host", shell_complete=complete_hosts)
def command(name: str | None, path: str | None, host: str) -> int:
    """Open a shell in a host; without a terminal it reads its commands from stdin."""
    from orchestrator import terminal

    with find(name, path) as lab:
        return lab.exec(host, SHELL, tty=terminal.is_terminal(), say=say_why)


def say_why(failure: str) -> None:
    """Why there is no shell, and what there is instead."""
    say(f"lab: {failure}\n  an image without a shell still takes `lab exec HOST -- PROGRAM`")
