"""`lab conns --history`: what has happened to the connections of a running lab, as far back as its daemon has
kept it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.conns import ALL
from orchestrator.cli.paper import paper_for
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.lab import Lab
    from orchestrator.model.events import History, Timeline
    from orchestrator.report.run_timeline import Paper


def show(
    lab: Lab,
    which: str,
    *,
    as_json: bool,
    ascii_only: bool,
    host: str | None,
    state: str | None,
    port: int | None,
    **_: Any,
) -> None:
    """The timeline of all connections, or the ladder of those that are named."""
    from orchestrator import histories
    from orchestrator.join.timeline import timeline
    from orchestrator.report import json as documents
    from orchestrator.report import run_timeline

    joined = timeline(histories.taken(lab))
    wanted = [one for one in joined.histories if concerns(one, host, state, port)]
    if which != ALL:
        wanted = run_timeline.chosen(which, wanted)
        if not wanted:
            names = ", ".join(dict.fromkeys(run_timeline.pair(one) for one in joined.histories[-6:]))
            raise UsageError(
                f"no connection {which} is known", f"the latest are {names}" if names else "there was none"
            )
    if which != ALL or len(wanted) < len(joined.histories):
        joined = _only(joined, wanted)
    if as_json:
        click.echo(documents.history(lab=lab.key.name, engine=lab.engine.name, timeline=joined), nl=False)
        return
    paper = paper_for(sys.stdout, ascii_only=ascii_only)
    for line in lines(lab, joined, which, paper):
        click.echo(line)


def lines(lab: Lab, joined: Timeline, which: str, paper: Paper) -> Sequence[str]:
    """Of one that was named, and of those that had its name before, the newest's ladder; else of all."""
    from orchestrator.report import run_timeline, timeline_text
    from orchestrator.report.arrows import plain

    if which == ALL:
        return [f"lab {lab.key.name} ({lab.engine.name})", *run_timeline.whole(joined, paper, ladders=False)]
    newest = joined.histories[-1]
    before = len(joined.histories) - 1
    said = [] if not before else [*timeline_text.connections(joined.histories, paper.style, paper.glyphs), ""]
    said += [plain(line, paper.glyphs) for line in timeline_text.losses(joined)]
    return [*said, *run_timeline.of_connection(newest, joined, paper)]


def concerns(one: History, host: str | None, state: str | None, port: int | None) -> bool:
    """Whether a connection is one that was asked for: with this host, an end that was in this state, this
    port."""
    ends = [end for end in (one.client, one.server) if end is not None]
    return (
        (host is None or any(end.host == host for end in ends))
        and (state is None or any(state in end.states for end in ends))
        and (port is None or port in (one.client_address[1], one.server_address[1]))
    )


def _only(joined: Timeline, wanted: Sequence[History]) -> Timeline:
    import msgspec

    ids = {one.id for one in wanted}
    events = tuple(one for one in joined.events if one.connection in ids)
    return msgspec.structs.replace(joined, histories=tuple(wanted), events=events)
