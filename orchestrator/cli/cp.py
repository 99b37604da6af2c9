"""`lab cp`."""

from __future__ import annotations

import re

import click

from orchestrator.cli.ending import say
from orchestrator.cli.naming import complete_host_paths, find, lab_options

LIMIT = 1 << 30  # copying.LIMIT, which is not imported for --help


def size(_: click.Context, __: click.Parameter, value: str) -> int:
    """`500m`, `10g`: bytes, with units of 1024 as everywhere in lab.yaml."""
    match = re.fullmatch(r"([0-9]{1,15})([kmgt]?)i?b?", value.lower())
    if match is None:
        raise click.BadParameter(f"{value!r} is no number of bytes; write it as 500m or 10g")
    return int(match[1]) << 10 * " kmgt".index(match[2] or " ")


@click.command("cp")
@lab_options
@click.option(
    "--limit",
    callback=size,
    metavar="SIZE",
    default=str(LIMIT),
    help="The most bytes that may come from a host, as `500m` or `10g`  [default: 1g]",
)
@click.argument("source", metavar="SRC", shell_complete=complete_host_paths)
@click.argument("target", metavar="DST", shell_complete=complete_host_paths)
def command(name: str | None, path: str | None, limit: int, source: str, target: str) -> int:
    """Copy a file or a folder to or from a host. One side is HOST:PATH.

    \b
    lab cp web:/var/log/nginx ./logs
    lab cp site alice:/srv/
    """
    from orchestrator.copying import copy, place
    from orchestrator.engines.base import counted

    with find(name, path) as lab:
        hosts = lab.names()
        count = copy(lab, place(source, hosts), place(target, hosts), say, limit)
    say(f"copied {counted(range(count), 'file')}")
    return 0
