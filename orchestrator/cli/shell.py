"""`lab shell`."""

from __future__ import annotations

import click

from orchestrator.cli.naming import complete_hosts, find, lab_options
from orchestrator.errors import LabError

# bash where the host has it, else sh. The host's own, not the user's: $SHELL may not be there.
SHELL = ("sh", "-c", "command -v bash >/dev/null 2>&1 && exec bash || exec sh")


@click.command("shell")
@lab_options
@click.argument("host", shell_complete=complete_hosts)
def command(name: str | None, path: str | None, host: str) -> int:
    """Open a shell in a host; without a terminal it reads its commands from stdin."""
    from orchestrator import terminal

    with find(name, path) as lab:
        try:
            return lab.exec(host, SHELL, tty=terminal.is_terminal())
        except LabError as error:
            error.hint = error.hint or "an image without a shell still takes `lab exec HOST -- PROGRAM`"
            raise
