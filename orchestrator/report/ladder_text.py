"""A ladder drawn as lines of text. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest

from orchestrator.report.arrows import UNICODE, Glyphs, drawn, plain
from orchestrator.report.harmless import width as cells
from orchestrator.report.ladder import TIME, Arrow, Gap, Label, Ladder, Rung
from orchestrator.report.ladder_words import cut, wrap
from orchestrator.report.layout import PLAIN, Style, paint

_COLORS = {"call": "cyan", "failed": "red", "state": "bold", "unknown": "yellow"}
EMPTY = Label("", "call")


def lines(ladder: Ladder, style: Style = PLAIN, glyphs: Glyphs = UNICODE) -> Iterator[str]:
    """All of it, each without its end."""
    yield from (paint(one, "bold", style) for one in wrap(plain(ladder.title, glyphs), ladder.columns.width))
    yield from _heads(ladder, glyphs)
    arrows = _by_row(ladder.arrows)
    things: list[Rung | Gap] = sorted((*ladder.rungs, *ladder.gaps), key=lambda one: one.row)
    drawing = _Drawing(ladder, arrows, style, glyphs)
    for one in things:
        yield from drawing.gap(one) if isinstance(one, Gap) else drawing.rung(one)
    for note in (ladder.began, *ladder.notes):
        if note:
            first, *more = wrap(plain(note, glyphs), ladder.columns.width - 4)
            yield from (paint(line, "dim", style) for line in (f"  {first}", *(f"    {m}" for m in more)))


def _by_row(arrows: Sequence[Arrow]) -> Mapping[int, Arrow]:
    found: dict[int, Arrow] = {}
    for one in arrows:
        found.update({row: one for row in (one.row, one.to_row) if row is not None})
    return found


def _heads(ladder: Ladder, glyphs: Glyphs) -> Iterator[str]:
    """Who is at which lifeline; the first line has the unit of the times."""
    columns = ladder.columns
    for row, (client, server) in enumerate(zip_longest(ladder.client, ladder.server, fillvalue="")):
        time = ladder.unit.rjust(TIME) if row == 0 else ""
        room = columns.client - cells(time)
        left = cut(plain(client, glyphs), room)
        text = time + " " * (room + 1 - cells(left)) + left
        gap = " " * (columns.server - cells(text))
        yield (text + gap + cut(plain(server, glyphs), columns.width - columns.server)).rstrip()


class _Drawing:
    """Row after row."""

    def __init__(self, ladder: Ladder, arrows: Mapping[int, Arrow], style: Style, glyphs: Glyphs) -> None:
        self._columns, self._arrows = ladder.columns, arrows
        self._style, self._glyphs = style, glyphs
        self._between = ladder.columns.server - ladder.columns.client - 1
        self._left = ladder.columns.client - ladder.columns.left - 1

    def gap(self, gap: Gap) -> Iterator[str]:
        """Time, or rungs, that are folded."""
        waiting, text = self._glyphs.waiting, plain(gap.text, self._glyphs)
        before = (self._between - cells(text)) // 2
        after = self._between - cells(text) - before
        middle = " " * before + paint(text, "dim", self._style) + " " * after
        yield " " * self._columns.client + waiting + middle + waiting

    def rung(self, rung: Rung) -> Iterator[str]:
        """All rows of a moment."""
        for at in range(rung.rows):
            time = plain(rung.time, self._glyphs).rjust(TIME) if at == 0 else " " * TIME
            if rung.across:
                yield f"{time} {paint(plain(rung.across[at], self._glyphs), 'dim', self._style)}"
                continue
            left, right = (side[at] if at < len(side) else EMPTY for side in (rung.left, rung.right))
            yield f"{time} {self._row(rung.row + at, left, right)}".rstrip()

    def _row(self, row: int, left: Label, right: Label) -> str:
        line = self._glyphs.lifeline
        indent = " " * (self._left - cells(plain(left.text, self._glyphs)))
        text = indent + self._painted(left) + " " + line + self._middle(row) + line
        return f"{text} {self._painted(right)}" if right.text else text

    def _painted(self, label: Label) -> str:
        return paint(plain(label.text, self._glyphs), _COLORS[label.role], self._style)

    def _middle(self, row: int) -> str:
        arrow = self._arrows.get(row)
        if arrow is None:
            return " " * self._between
        color = "red" if arrow.lost else "yellow" if arrow.again else ""
        return paint(drawn(arrow, row, self._between, self._glyphs), color, self._style)
