"""`lab explain`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from orchestrator.cli.naming import DEFAULT_FILE, complete_labs, file_option, find, name_in
from orchestrator.cli.paper import ascii_option, paper_for
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.model.events import History, Timeline
    from orchestrator.model.explanations import Explanation
    from orchestrator.model.recording import Recording

LAST = "last"
MOST = 200  # connections in a list, the latest


@click.command("explain")
@click.argument("what", metavar="[[SCENARIO] CONNECTION]", nargs=-1)
@file_option
@click.option("--lab", "name", metavar="NAME", shell_complete=complete_labs, help="The lab, by name")
@click.option(
    "--run", "run", metavar="RUN", help="A run that was kept: its folder or name; `last`: the lab's newest"
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout")
@ascii_option
def command(
    what: tuple[str, ...],
    path: str | None,
    name: str | None,
    *,
    run: str | None,
    as_json: bool,
    ascii_only: bool,
) -> int:
    """Which of nginx's directives ended a connection, or what else did: by its packets, nginx's configuration
    and its logs.

    \b
    lab explain "alice -> web:80"              # of a running lab; also alice:41812
    lab explain                                # each connection of an nginx in a line, the latest 200
    lab explain --run RUN SCENARIO alice.call  # of a run that was kept

    A directive is named only where the moment at which it was due fits; where several fit, all of them, and
    what would tell them apart. Exit 4: it is unknown.
    """
    from orchestrator.join.timeline import timeline

    if len(what) > (1 if run is None else 2):
        raise UsageError("a scenario is named with --run alone" if run is None else "too many names")
    if run is None:
        recording, engine = _live(name, path)
        wanted = what[0] if what else None
    else:
        recording, engine, wanted = _kept(run, _lab(name, path, run), what)
    found = explained(timeline(recording), wanted)
    if as_json:
        from orchestrator.report import json as documents

        click.echo(documents.explanations(lab=recording.lab, engine=engine, found=found), nl=False)
    else:
        _show(found, ascii_only=ascii_only, one=wanted is not None)
    return 4 if any(one.end and one.end.certainty == "unknown" for one in found) and wanted else 0


def explained(joined: Timeline, wanted: str | None) -> Sequence[Explanation]:
    """The newest of this name; without one, all that are an nginx's."""
    from orchestrator.explain.explaining import explain
    from orchestrator.explain.scene import scene
    from orchestrator.report import run_timeline

    seen = scene(joined)
    if wanted is None:
        mine = [one.history for one in seen.theirs]
        ids = {one.id for one in mine}
        stirred = [one for one in run_timeline.stirred(joined).histories if one.id in ids]
        return [explain(seen, one) for one in stirred[-MOST:]]
    found = run_timeline.chosen(wanted, joined.histories)
    if not found:
        raise UsageError(f"no connection {wanted} is known", _others(joined.histories))
    return [explain(seen, found[-1])]


def _others(histories: Sequence[History]) -> str:
    from orchestrator.report import run_timeline

    names = ", ".join(dict.fromkeys(run_timeline.pair(one) for one in histories[-6:]))
    return f"the latest are {names}" if names else "there was none"


def _show(found: Sequence[Explanation], *, ascii_only: bool, one: bool) -> None:
    from orchestrator.report import explanation

    paper = paper_for(sys.stdout, ascii_only=ascii_only)
    if not one:
        for line in explanation.brief(found, paper):
            click.echo(line)
        return
    for each in found:
        for line in explanation.lines(each, paper):
            click.echo(line)


def _live(name: str | None, path: str | None) -> tuple[Recording, str]:
    from orchestrator import histories

    with find(name, path) as lab:
        return histories.with_nginxes(lab, histories.taken(lab)), lab.engine.name


def _lab(name: str | None, path: str | None, run: str) -> str | None:
    """The lab whose runs are meant; None: of any."""
    import os

    if name is not None or (path is None and (run != LAST or not os.path.exists(DEFAULT_FILE))):
        return name
    return name_in(path or DEFAULT_FILE)


def _kept(run: str, lab: str | None, what: tuple[str, ...]) -> tuple[Recording, str, str | None]:
    """The recording of the scenario that is named, or of the only one; the engine; the connection."""
    from orchestrator import kept
    from orchestrator.model.recording import Recording

    folder = kept.find(None if run == LAST else run, lab)
    record = kept.read(folder)
    files = {one.label: one.recording for one in record.scenarios}
    scenario, wanted = _named(files, what)
    found = kept.read_recordings(folder, record).get(files[scenario])
    if not isinstance(found, Recording):
        raise UsageError(found or f"scenario {scenario} was not recorded")
    return found, record.engine, wanted


def _named(files: Mapping[str, str], what: tuple[str, ...]) -> tuple[str, str | None]:
    """Which scenario and which connection; one name is the scenario's where there is such, or several."""
    if what and what[0] in files:
        return what[0], what[1] if len(what) == 2 else None
    if len(what) == 2 or len(files) != 1:
        wrong = f"the run has no scenario {what[0]}" if what else "which scenario?"
        raise UsageError(wrong, f"it has {', '.join(files)}")
    return next(iter(files)), what[0] if what else None
