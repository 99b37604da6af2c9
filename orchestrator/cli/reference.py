"""docs/cli.md from the commands themselves: `python -m orchestrator.cli.reference > docs/cli.md`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from orchestrator.cli.verbs import UNBUILT, VERBS, lab

HEAD = """# The command line

Generated from the commands; `tests/unit/cli/test_reference.py` holds it up to date.

`-f FILE` is `lab.yaml` in the current folder unless given. A running lab is named by `--lab NAME` or by its file; where
there is neither and only one lab runs, it is that one. Results go to stdout, progress and diagnostics to stderr; with
`--json` stdout holds one JSON document and nothing else. `NO_COLOR` and pipes are respected.

| exit | means |
|---|---|
| 0 | all right |
| 1 | an expectation failed |
| 2 | bad input or usage: the file, an option, a name, a path on a host that is not there |
| 3 | the infrastructure failed: an engine, a daemon, a host, a connection of the file that could not be opened |
| 4 | a verdict is unknown: it could not be observed; of several, 3 before 1 before 4 |
| 128 + n | ended by signal n: 130 for Ctrl-C, 141 for a closed pipe |

`lab exec` and `lab shell` end with the exit code of what they ran: as in a shell 127 where the host has no such program,
126 where it is none, 128 + n where signal n ended it. `LAB_DEBUG=1` shows the traceback of an error.
"""


def text() -> str:
    """The whole reference."""
    context = click.Context(lab, info_name="lab")
    parts = [HEAD, *(part for name in VERBS for part in sections(context, name))]
    parts.append("## Not supported yet\n\n" + ", ".join(f"`lab {name}`" for name in UNBUILT) + " (exit 2).\n")
    return "\n".join(parts)


def sections(context: click.Context, name: str) -> Iterator[str]:
    """One verb, and those below it."""
    command = lab.get_command(context, name)
    assert command is not None
    yield section(command, click.Context(command, info_name=name, parent=context))
    if isinstance(command, click.Group):
        for below, one in sorted(command.commands.items()):
            outer = click.Context(command, info_name=name, parent=context)
            yield section(one, click.Context(one, info_name=below, parent=outer))


def section(command: click.Command, context: click.Context) -> str:
    """Title, usage, description, options."""
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    options = [option(p) for p in command.params if isinstance(p, click.Option)]
    lines = [f"## {context.command_path}", "", "```", usage, "```", "", described(command)]
    if options:
        lines += ["", "| option | |", "|---|---|"]
        lines += options
    return "\n".join(lines) + "\n"


def option(one: click.Option) -> str:
    """A row of the table; not by click's own words, which differ between its versions."""
    names = " / ".join(", ".join(names) for names in (one.opts, one.secondary_opts) if names)
    value = "" if one.is_flag or one.count else f" {one.metavar or one.type.name.upper()}"
    return f"| `{names}{value}` | {escaped(one.help or '')} |"


def described(command: click.Command) -> str:
    """The help text; what click is told not to wrap becomes a block of code."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return "\n\n".join(
        "```\n" + paragraph.removeprefix("\b\n") + "\n```" if paragraph.startswith("\b") else paragraph
        for paragraph in paragraphs
    )


def escaped(cell: str) -> str:
    """Text for a cell of a table."""
    return re.sub(r"\s+", " ", cell).replace("|", "\\|")


if __name__ == "__main__":
    click.echo(text(), nl=False)
