"""An explanation as text: what decided a connection, by which evidence, what it was not, and what would tell
more. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.model.explanations import Cause, Decision, Explanation
from orchestrator.report.arrows import plain
from orchestrator.report.harmless import harmless
from orchestrator.report.layout import Cell, Table, paint, wrapped
from orchestrator.report.run_timeline import BARE, Paper

COLORS = {"named": "green", "several": "yellow", "unknown": "magenta", "open": "dim"}


def lines(one: Explanation, paper: Paper = BARE) -> Iterator[str]:
    """All of it."""
    yield from (plain(line, paper.glyphs) for line in _lines(one, paper))


def _lines(one: Explanation, paper: Paper) -> Iterator[str]:
    style = paper.style
    role = f": {one.role}" if one.role else ""
    yield paint(wrapped(f"{one.pair}  {one.client} <=> {one.server}{role}", style, "  "), "bold", style)
    for decision in one.decisions:
        yield from _decision(decision, paper)
    for note in one.notes:
        yield wrapped(f"  note: {note}", style, "    ")


def _decision(one: Decision, paper: Paper) -> Iterator[str]:
    style = paper.style
    at = "" if one.at is None else f" at {one.at:.3f} s"
    what = one.what if one.what.startswith("the response") else f"{one.what}{at}"
    yield wrapped(f"{what}: {one.how}", style, "  ")
    if one.certainty != "named":
        yield "  " + paint(harmless(verdict(one)), COLORS[one.certainty], style)
    for cause in one.causes:
        yield from _cause(cause, paper, "  " if one.certainty == "named" else "    ")
    if one.excluded:
        yield "  not"
        for cause in one.excluded:
            yield wrapped(f"    {_name(cause)}: {'; '.join(cause.against)}", style, "      ")
    if one.decides:
        yield "  what would tell them apart" if len(one.directives) > 1 else "  what would tell more"
        yield from (wrapped(f"    {words}", style, "      ") for words in one.decides)


def verdict(one: Decision) -> str:
    """In one line."""
    if one.certainty == "open":
        return "nothing has ended it"
    if one.certainty == "unknown":
        return f"unknown: {one.why}"
    names = list(dict.fromkeys(f"{cause.name} {cause.value}".strip() for cause in one.causes))
    return names[0] if len(names) == 1 else "one of: " + ", ".join(names)


def _name(one: Cause) -> str:
    where = f" ({one.where})" if one.where else ""
    return f"{one.name} {one.value}".strip() + where


def _cause(one: Cause, paper: Paper, indent: str) -> Iterator[str]:
    style = paper.style
    name = paint(harmless(f"{one.name} {one.value}".strip()), "green", style)
    place = ", ".join(words for words in (one.where, one.scope) if words and words != "server")
    yield f"{indent}{name}" + (f"  {harmless(place)}" if place else "")
    if one.since is not None:
        yield wrapped(f"{indent}  it counts {one.counts}, {one.since:.3f} s", style, f"{indent}    ")
    for words in one.because:
        yield wrapped(f"{indent}  {words}", style, f"{indent}    ")


def brief(found: Sequence[Explanation], paper: Paper = BARE) -> Iterator[str]:
    """A line for each."""
    rows = []
    for one in found:
        end = one.end
        if end is None:
            continue
        before = [verdict(each) for each in one.decisions if each.what.startswith("the response")]
        rows.append(
            [
                Cell(one.pair),
                Cell(one.client),
                Cell(end.how),
                Cell(verdict(end), COLORS[end.certainty]),
                Cell(f"response: {'; '.join(before)}" if before else ""),
            ]
        )
    if not rows:
        yield "no connection of an nginx is known"
        return
    table = Table(("CONNECTION", "CLIENT", "HOW", "BY", "BEFORE"), rows)
    yield from (plain(line, paper.glyphs) for line in table.render(paper.style).splitlines())
