"""A run that was kept, told again: its steps and verdicts in their order, and what its recordings show.
Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping

from orchestrator.join.timeline import timeline
from orchestrator.model.recording import Recording
from orchestrator.model.runs import ExpectationRecord, Part, RunRecord, ScenarioRecord, StepRecord
from orchestrator.report import run_timeline, scenarios
from orchestrator.report.arrows import plain
from orchestrator.report.harmless import harmless
from orchestrator.report.layout import paint
from orchestrator.report.run_timeline import BARE, Paper

Found = Mapping[str, Recording | str]  # by the name of its file; where it cannot be read, why


def lines(record: RunRecord, found: Found, paper: Paper = BARE, *, connection: str = "") -> Iterator[str]:
    """All scenarios of it. `connection`: only the ladder of this one."""
    for one in record.scenarios:
        recording = found.get(one.recording) if one.recording else "it was not recorded"
        if connection:
            yield from _chosen(one, recording, connection, paper)
        else:
            yield from (plain(line, paper.glyphs) for line in _told(one, recording, paper))
            yield from _shown(one, recording, paper)
    yield plain(scenarios.summary(record, paper.style), paper.glyphs)


def _told(one: ScenarioRecord, recording: Recording | str | None, paper: Paper) -> Iterator[str]:
    """Heading, steps, expectations and notes by the times at which they began, and the verdict."""
    style = paper.style
    title = f": {harmless(one.title)}" if one.title else ""
    yield paint(f"{harmless(one.label)}{title}", "bold", style)
    notes = recording.said if isinstance(recording, Recording) else ()
    said = [(note.t, "", tuple(scenarios.note(note.text, style))) for note in notes if note.source == "note"]
    streams: list[list[tuple[float, str, tuple[str, ...]]]] = [
        [(step.began, step.part, _step(step, paper)) for step in one.steps],
        [(judged.began, judged.part, _judged(judged, paper)) for judged in one.expectations],
        said,
    ]
    part: Part | str = "steps"
    for _, of, text in heapq.merge(*(sorted(stream, key=lambda each: each[0]) for stream in streams)):
        if of and of != part:
            yield f" {of}:"
            part = of
        yield from text
    yield from scenarios.ended(one, style)


def _step(step: StepRecord, paper: Paper) -> tuple[str, ...]:
    return tuple(scenarios.step(step, paper.style))


def _judged(judged: ExpectationRecord, paper: Paper) -> tuple[str, ...]:
    return tuple(scenarios.expectation(judged, paper.style))


def _shown(one: ScenarioRecord, recording: Recording | str | None, paper: Paper) -> Iterator[str]:
    if isinstance(recording, Recording):
        yield from run_timeline.of_scenario(one, timeline(recording), "yes", paper)
    else:
        yield f"timeline: none, {harmless(recording or 'its recording is not there')}"


def _chosen(
    one: ScenarioRecord, recording: Recording | str | None, connection: str, paper: Paper
) -> Iterator[str]:
    yield plain(paint(harmless(one.label), "bold", paper.style), paper.glyphs)
    if not isinstance(recording, Recording):
        yield f"timeline: none, {harmless(recording or 'its recording is not there')}"
        return
    joined = run_timeline.stirred(timeline(recording))
    found = run_timeline.chosen(connection, joined.histories)
    if not found:
        yield f"no connection {harmless(connection)}"
    for history in found[: run_timeline.EVIDENCE]:
        yield from run_timeline.of_connection(history, joined, paper)
    if len(found) > run_timeline.EVIDENCE:
        yield plain(f"… {len(found) - run_timeline.EVIDENCE:,} connections more", paper.glyphs)
