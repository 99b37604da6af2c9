"""What is shown of a timeline: ladders of the connections that matter, or a line for each. Pure.

Who reads a lesson wants the ladder; who reads the log of a CI wants to see why something did not pass, and
nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from orchestrator.join.ways import via
from orchestrator.model.events import EndHistory, Event, History, Timeline
from orchestrator.model.rows import endpoint
from orchestrator.model.runs import ScenarioRecord
from orchestrator.report import ladder_text, timeline_text
from orchestrator.report.arrows import UNICODE, Glyphs, plain
from orchestrator.report.ladder import NARROWEST, Ladder, ladder
from orchestrator.report.layout import PLAIN, Style
from orchestrator.report.rungs import AROUND

FEW = 2  # connections, up to which each has its ladder
SOME = 5  # connections, up to which each has its ladder where everything is asked for
EVIDENCE = 3  # ladders for a scenario that did not pass
BRIEF = 12  # connections, up to which a calm summary has a line for each
MOST_AROUND = 40  # notes, impairments, log lines in a ladder
IMPAIRING = ("cut", "link")
Asked = Literal["yes", "no", "calm", "evidence"]  # everything; nothing; at a terminal; in a pipe


class Paper(NamedTuple):
    """What is drawn on: how wide, in colours or not, and with which characters."""

    style: Style = PLAIN
    glyphs: Glyphs = UNICODE

    @property
    def columns(self) -> int:
        """Of a ladder; files and pipes get the least."""
        return self.style.width or NARROWEST


BARE = Paper()


def of_scenario(
    record: ScenarioRecord, timeline: Timeline, asked: Asked, paper: Paper = BARE
) -> Iterator[str]:
    """What is printed after a scenario. One that did not pass has the ladders of the connections concerned,
    as evidence; one that passed its own where they are few."""
    if asked == "no":
        return
    timeline = stirred(timeline)
    if record.verdict != "pass":
        found = concerned(record, timeline.histories)
        if asked == "yes" or not found:
            yield from whole(timeline, paper)
        if found and not (asked == "yes" and len(timeline.histories) <= SOME):
            yield from _ladders(found[:EVIDENCE], timeline, paper)
            if len(found) > EVIDENCE:
                yield plain(f"… {len(found) - EVIDENCE:,} connections more are concerned", paper.glyphs)
    elif asked == "yes" or (asked == "calm" and timeline.histories):
        yield from whole(timeline, paper, calm=asked == "calm")


def whole(
    timeline: Timeline, paper: Paper = BARE, *, calm: bool = False, ladders: bool = True
) -> Iterator[str]:
    """All of it: of few connections their ladders, of more a line each and what happened in order. `calm`:
    only as much as does not bury what stands above. Without `ladders` of few a line each, too."""
    yield timeline_text.heading(timeline)
    yield from (plain(line, paper.glyphs) for line in timeline_text.losses(timeline))
    count = len(timeline.histories)
    if ladders and 0 < count <= (FEW if calm else SOME):
        yield from _ladders(timeline.histories, timeline, paper)
        return
    if not calm or count <= BRIEF:
        yield from timeline_text.connections(timeline.histories, paper.style, paper.glyphs)
    if not calm:
        yield from timeline_text.happened(timeline, paper.style, paper.glyphs)


def of_connection(history: History, timeline: Timeline, paper: Paper = BARE) -> Iterator[str]:
    """Its ladder."""
    yield from ladder_text.lines(laid_out(history, timeline, paper.columns), paper.style, paper.glyphs)


def laid_out(history: History, timeline: Timeline, columns: int, *, logs: bool = True) -> Ladder:
    """Its ladder, with what happened beside it."""
    recording = timeline.recording
    passed = via(history, recording.segments, recording.translations)
    beside = [one for one in around(history, timeline.events) if logs or one.source != "log"]
    return ladder(history, columns, beside, passed, impaired=_impaired(history, timeline.events))


def _ladders(found: Sequence[History], timeline: Timeline, paper: Paper) -> Iterator[str]:
    for one in found:
        yield ""
        yield from of_connection(one, timeline, paper)


def around(history: History, events: Sequence[Event]) -> list[Event]:
    """What happened beside a connection while it was there, and is of its hosts or of none."""
    hosts = {end.host for end in (history.client, history.server) if end is not None}
    found = (
        one
        for one in events
        if one.source in AROUND
        and one.connection is None
        and history.began <= one.t <= history.ended
        and (not one.host or one.host in hosts or one.source == "impairment")
    )
    return [one for one, _ in zip(found, range(MOST_AROUND), strict=False)]


def _impaired(history: History, events: Sequence[Event]) -> bool:
    """Whether something was made, before it ended, that holds or drops packets behind the taps of hosts."""
    return any(
        one.source == "impairment" and one.kind in IMPAIRING and one.t <= history.ended for one in events
    )


# Which connections.


def stirred(timeline: Timeline) -> Timeline:
    """Only with connections that something happened to; not with those that were only there, as others'
    TIME_WAIT is for a minute."""
    kept = tuple(one for one in timeline.histories if _stirred(one))
    return msgspec.structs.replace(timeline, histories=kept)


def _stirred(one: History) -> bool:
    """A segment, a call, or a state after another."""
    ends = [end for end in (one.client, one.server) if end is not None]
    return bool(
        one.crossings
        or any(event.source == "call" for event in one.events)
        or any(len(end.spans) > 1 for end in ends)
    )


def concerned(record: ScenarioRecord, histories: Sequence[History]) -> list[History]:
    """Those that an expectation that did not pass, or a step that failed, is about, by its words; where it
    names none, all."""
    said = [one.text for one in record.expectations if one.verdict != "pass"]
    said += [one.text for one in record.steps if one.verdict != "pass"]
    found = [one for one in histories if any(_named_in(text, one) for text in said)]
    return found or list(histories)


def _named_in(text: str, one: History) -> bool:
    words = set(re.findall(r"[^\s,{}\"'\[\]]+", text))
    for end in (one.client, one.server):
        if end is None or end.host is None:
            continue
        if any(word == f"{end.host}.{name}" for word in words for name in end.names):
            return True
        if text.startswith(f"{end.host}: ") and words & set(end.names):
            return True
    return pair(one) in text


def pair(one: History) -> str:
    """`alice -> web:80`, what it is called."""
    return f"{_host(one.client)} -> {_host(one.server)}:{one.server_address[1]}"


def _host(end: EndHistory | None) -> str:
    return "?" if end is None else end.host or "outside"


def chosen(text: str, histories: Sequence[History]) -> list[History]:
    """Those that are named so: `alice -> web:80`, `alice.call`, an address with its port, or an id (or how it
    begins)."""
    wanted = re.sub(r"\s*->\s*", " -> ", text.strip())
    return [one for one in histories if wanted in _names(one)] or [
        one for one in histories if len(wanted) >= 4 and one.id.startswith(wanted)
    ]


def _names(one: History) -> set[str]:
    found = {one.id, pair(one)}
    found |= {endpoint(*one.client_address), f"{_host(one.client)}:{one.client_address[1]}"}
    for end in (one.client, one.server):
        if end is not None and end.host is not None:
            found |= {f"{end.host}.{name}" for name in end.names}
    return found
