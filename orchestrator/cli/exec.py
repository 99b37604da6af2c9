"""`lab exec`."""

from __future__ import annotations

import click

from orchestrator.cli.ending import say
from orchestrator.cli.naming import complete_hosts, find, lab_options


@click.command("exec", context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@lab_options
@click.option(
    "-t/-T",
    "--tty/--no-tty",
    "tty",
    default=None,
    help="Give the command a terminal  [default: where there is one]",
)
@click.argument("host", shell_complete=complete_hosts)
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
def command(name: str | None, path: str | None, tty: bool | None, host: str, argv: tuple[str, ...]) -> int:
    """Run a command in a host: its streams are ours, its exit code too (128 + n for signal n). One that is
    not there ends with 127, what is no program with 126.

    \b
    lab exec alice -- ip route
    lab exec web -- sh -c 'cat > /tmp/in' < file
    """
    from orchestrator import terminal

    words = list(argv[1:] if argv[0] == "--" else argv)
    if not words:
        raise click.UsageError("missing command")
    with find(name, path) as lab:
        wanted = terminal.is_terminal() if tty is None else tty
        return lab.exec(host, words, tty=wanted, say=lambda text: say(f"lab: {text}"))
