"""The group `lab` and its verbs by name and one line each: help and completion need no verb's module."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

import click
from click.shell_completion import CompletionItem

import orchestrator
from orchestrator.errors import UsageError

VERBS: dict[str, str] = {
    "up": "Bring a lab up, or change a running one to what its file says.",
    "down": "Remove a lab and all that belongs to it.",
    "status": "The labs that run, or the hosts of one of them.",
    "conns": "Both ends of every connection as one row.",
    "run": "Run scenarios: sockets step by step, with verdicts on both ends.",
    "report": "Tell a run again: steps, verdicts, and ladders of its connections.",
    "agent": "A prompt: type steps of a host, see both ends change.",
    "exec": "Run a command in a host.",
    "shell": "Open a shell in a host.",
    "cp": "Copy files and folders to or from a host.",
    "restart": "Make a host anew: its processes end, its sockets are reset.",
    "logs": "What the hosts' programs and log files say.",
    "capture": "Write the packets of hosts as a file for Wireshark, or to a pipe.",
    "link": "Slow a host's links down, make them lose packets, pull them out; or show what they are like.",
    "cut": "Let nothing pass between two hosts, for a while.",
    "dns": "Have a DNS server of the lab answer late, wrongly or not at all; or show how it answers.",
    "heal": "Take back what was cut and what links were set to.",
    "validate": "Check a lab file; every mistake is reported at once.",
    "schema": "Print the JSON schema of lab.yaml, for editors.",
    "doctor": "What works on this computer, what does not, and every cure.",
    "gc": "Remove labs that were left behind by a command that was killed.",
    "machines": "Whether a lab can be on these machines: all that is wrong, with every cure.",
    "images": "The images that hosts are made from.",
    "completion": "Print a script that completes `lab` in your shell.",
}
# Verbs of a later day: they are answered, and not offered.
UNBUILT = ("explain", "diff")


class Verbs(click.Group):
    """Commands that are loaded when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in UNBUILT:
            return _unbuilt(cmd_name)
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"orchestrator.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in VERBS and name not in UNBUILT and not name.startswith("-"):
            near = difflib.get_close_matches(name, VERBS, 1)
            raise click.UsageError(
                f"there is no verb {name!r}" + (f"; did you mean {near[0]}?" if near else ""), ctx
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [CompletionItem(n, help=h) for n, h in VERBS.items() if n.startswith(incomplete)]


def _unbuilt(name: str) -> click.Command:
    def refuse(**_: Any) -> None:
        raise UsageError(f"{name}: not supported yet")

    return click.Command(
        name,
        callback=refuse,
        params=[click.Argument(["rest"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True, "help_option_names": []},
        hidden=True,
    )


@click.group(
    "lab",
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit: 0 all right, 1 an expectation failed, 2 bad input or usage, 3 the infrastructure failed, "
    "4 a verdict is unknown.",
)
@click.version_option(orchestrator.__version__, prog_name="lab", message="%(prog)s %(version)s")
def lab() -> None:
    """Networked labs in which both ends of every connection are one row."""
