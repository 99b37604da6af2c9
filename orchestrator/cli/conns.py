"""`lab conns`."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.ending import say
from orchestrator.cli.naming import complete_hosts, find, lab_options
from orchestrator.cli.paper import ascii_option
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.lab import Lab
    from orchestrator.observe import Observation
    from orchestrator.report.layout import Style

ALL = "*"  # --history without a connection
STATES = (
    "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
    "LAST_ACK", "LISTEN", "CLOSING",
)  # fmt: skip


class State(click.Choice[str]):
    """The kernel's names; `ss` writes some with a hyphen, and anyone in small letters."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(str(value).upper().replace("-", "_"), param, ctx)


@click.command("conns")
@lab_options
@click.option(
    "-w", "--watch", is_flag=True, help="Look again and again; at a terminal redraw, else append what changed"
)
@click.option("--listeners", is_flag=True, help="The listening sockets instead of the connections")
@click.option("--all", "everything", is_flag=True, help="Also what an engine itself opens in hosts")
@click.option(
    "--host", metavar="H", shell_complete=complete_hosts, help="Only with this host at one end, or on the way"
)
@click.option("--state", type=State(STATES), metavar="S", help="Only with an end in this state")
@click.option("--port", type=click.IntRange(0, 65535), metavar="P", help="Only with this port at one end")
@click.option(
    "--history",
    is_flag=False,
    flag_value=ALL,
    metavar="[C]",
    help='What has happened to them: of all a timeline; of one, as "alice -> web:80" or its id, a ladder',
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout")
@ascii_option
def command(
    name: str | None,
    path: str | None,
    *,
    watch: bool,
    as_json: bool,
    history: str | None,
    ascii_only: bool,
    **chosen: Any,
) -> int:
    """Both ends of every connection as one row: clientfd -> listenfd -> connfd, with their states.

    \b
    lab conns --host alice --state TIME_WAIT
    lab conns --history                        # also of those that are closed, as far back as it is kept
    lab conns --history "alice -> web:80"      # every segment of it, with the states of both ends
    """
    if watch and as_json:
        raise UsageError("--watch goes on for ever, and --json is one document")
    if history is not None and (watch or chosen["listeners"]):
        raise UsageError("--history is of connections, and looks back once")
    with find(name, path) as lab:
        if chosen["host"]:
            lab.host(chosen["host"])
        if history is not None:
            from orchestrator.cli.history import show as show_history

            show_history(lab, history, as_json=as_json, ascii_only=ascii_only, **chosen)
            return 0
        if watch:
            from orchestrator.cli.watch import watch as run

            run(lab, lambda: look(lab, **chosen), listeners=chosen["listeners"])
            return 0
        seen = look(lab, **chosen)
        for why in seen.away.values():
            say(f"lab: {why}")
        show = json_of if as_json else text_of
        click.echo(show(lab, seen, listeners=chosen["listeners"]), nl=False)
    return 0


def look(
    lab: Lab, *, everything: bool, host: str | None, state: str | None, port: int | None, **_: Any
) -> Observation:
    """One observation, of which only what was asked for is kept."""
    import msgspec

    from orchestrator.join import looks

    seen = lab.observe(everything=everything)
    joined = looks.select(seen.joined, host=host, state=state, port=port)
    return msgspec.structs.replace(seen, joined=joined)


def json_of(lab: Lab, seen: Observation, *, listeners: bool = False) -> str:
    """The document of the contract."""
    from orchestrator.report import json as report

    about: dict[str, Any] = {
        "lab": lab.key.name,
        "engine": lab.engine.name,
        "taken": seen.taken,
        "not_observed": seen.not_observed,
    }
    if listeners:
        return report.listeners(**about, rows=seen.joined.listeners)
    return report.connections(**about, rows=seen.joined.connections)


def text_of(
    lab: Lab, seen: Observation, *, listeners: bool = False, style: Style | None = None, legend: bool = True
) -> str:
    """For a person: as wide as the terminal, plain in a pipe."""
    from orchestrator.report import terminal as report

    style = style or style_of_stdout()
    legend = legend and sys.stdout.isatty()
    if listeners:
        return report.listeners(seen.joined.listeners, style, legend=legend)
    head = report.heading(lab.key.name, lab.engine.name, seen.joined.connections, seen.not_observed)
    return head + report.connections(seen.joined.connections, style, legend=legend)


def style_of_stdout() -> Style:
    """Colours and width of where the result goes."""
    from orchestrator.report.layout import style_for

    return style_for(sys.stdout.isatty(), shutil.get_terminal_size().columns, os.environ)
