"""`lab report`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from orchestrator.cli.naming import DEFAULT_FILE, complete_labs, file_option, name_in
from orchestrator.cli.paper import ascii_option, paper_for
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.report.layout import Style


@click.command("report")
@click.argument("run", metavar="[RUN]", required=False)
@file_option
@click.option("--lab", "name", metavar="NAME", shell_complete=complete_labs, help="The lab, by name")
@click.option("--list", "only_list", is_flag=True, help="Only name the runs that are kept")
@click.option(
    "--connection", metavar="C", default="", help='Only the ladder of one, as "alice -> web:80" or its id'
)
@click.option(
    "--markdown",
    "page",
    metavar="FILE",
    help="Write the run as a page: a table of what was observed, and a ladder for each; `-`: to stdout",
)
@ascii_option
def command(
    run: str | None,
    path: str | None,
    name: str | None,
    *,
    only_list: bool,
    connection: str,
    page: str | None,
    ascii_only: bool,
) -> int:
    """Tell a run again that `lab run` has kept: steps, verdicts, and ladders of its connections.

    RUN is a folder, or the name of one (as much of it as is needed); without it the newest run of the lab.
    The lab need not be running.
    """
    from orchestrator import kept
    from orchestrator.report import kept_run

    lab = _lab(name, path, run)
    paper = paper_for(sys.stdout, ascii_only=ascii_only)
    if only_list:
        for line in _listed(kept.folders(lab), paper.style):
            click.echo(line)
        return 0
    folder = kept.find(run, lab)
    record = kept.read(folder)
    if page is not None:
        from orchestrator.report import run_page

        _write(page, run_page.markdown(record, kept.read_recordings(folder, record)))
        return 0
    for line in kept_run.lines(record, kept.read_recordings(folder, record), paper, connection=connection):
        click.echo(line)
    return 0


def _write(path: str, page: str) -> None:
    if path == "-":
        click.echo(page, nl=False)
        return
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(page)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def _lab(name: str | None, path: str | None, run: str | None) -> str | None:
    """The lab whose runs are meant; None: of any."""
    import os

    if name and path:
        raise UsageError("--lab and -f both name a lab; give one of them")
    if name is not None:
        return name
    if path is None and (run is not None or not os.path.exists(DEFAULT_FILE)):
        return None
    return name_in(path or DEFAULT_FILE)


def _listed(found: list[Path], style: Style) -> Iterator[str]:
    """A line for each run, the newest last."""
    from orchestrator import kept
    from orchestrator.report.layout import Cell, Table
    from orchestrator.report.scenarios import COLORS

    rows = []
    for folder in found:
        try:
            record = kept.read(folder)
        except UsageError as error:
            rows.append([Cell(folder.name), Cell(folder.parent.name), Cell(error.message, "red"), Cell("")])
            continue
        names = ", ".join(one.label for one in record.scenarios[:4])
        more = f" and {len(record.scenarios) - 4} more" if len(record.scenarios) > 4 else ""
        verdict = Cell(record.verdict, COLORS[record.verdict])
        rows.append([Cell(folder.name, "bold"), Cell(record.lab), verdict, Cell(names + more)])
    if not rows:
        yield "no run is kept"
        return
    yield from Table(("RUN", "LAB", "VERDICT", "SCENARIOS"), rows).render(style).splitlines()
