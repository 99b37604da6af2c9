"""`lab exec`."""

from __future__ import annotations

import click

from orchestrator.cli.ending import say
from orchestrator.cli.naming import complete_hosts, find, lab_options


class Exec(click.Command):
    """Options stand before the host, or between it and `--`; the rest is the command's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Of click.Command."""
        words = self.make_parser(ctx).parse_args(list(args))[0].get("argv")
        first = words[0] if isinstance(words, tuple) and words else ""
        ctx.allow_interspersed_args = first[:1] == "-" and first != "--"
        return super().parse_args(ctx, args)


@click.command(
    "exec",
    cls=Exec,
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)
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
    lab exec alice --lab first-connection -- ip route
    lab exec web -- sh -c 'cat > /tmp/in' < file
    """
    from orchestrator import terminal

    words = list(argv[1:] if argv[0] == "--" else argv)
    if not words:
        raise click.UsageError("missing command")
    with find(name, path) as lab:
        wanted = terminal.is_terminal() if tty is None else tty
        return lab.exec(host, words, tty=wanted, say=lambda text: say(f"lab: {text}"))
