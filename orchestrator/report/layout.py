"""Cells to lines of text: padded, coloured, as wide as asked. Without rich, whose import costs 60 ms."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from orchestrator.report.harmless import harmless, width

GAP = "  "
_SGR = {  # ECMA-48, 8.3.117
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "magenta": "35",
    "cyan": "36",
}


class Style(NamedTuple):
    """How wide the terminal is (None: as wide as needed, for files and pipes), and whether it has colours."""

    width: int | None = None
    color: bool = False


PLAIN = Style()


def style_for(is_terminal: bool, columns: int, environment: Mapping[str, str]) -> Style:
    """What a stream is written with: plain where it is no terminal, no colours with NO_COLOR (no-
    color.org)."""
    if not is_terminal:
        return PLAIN
    dumb = environment.get("TERM") == "dumb"
    return Style(columns, not environment.get("NO_COLOR") and not dumb)


class Cell(NamedTuple):
    """Text and its colour, one of `_SGR`; the text is made harmless when it is laid out."""

    text: str
    color: str = ""

    def __bool__(self) -> bool:
        return bool(self.text)


EMPTY = Cell("")


def paint(text: str, color: str, style: Style) -> str:
    """The text in that colour where the style has colours."""
    return f"\x1b[{_SGR[color]}m{text}\x1b[0m" if color and style.color and text else text


def line(cells: Sequence[Cell], style: Style) -> str:
    """Cells one after the other, with a space between those that are not empty."""
    return " ".join(paint(harmless(cell.text), cell.color, style) for cell in cells if cell)


class Table:
    """A heading and rows of cells; a column with nothing in it is left out."""

    def __init__(self, heading: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        clean = [[Cell(harmless(cell.text), cell.color) for cell in row] for row in rows]
        kept = [at for at in range(len(heading)) if any(row[at] for row in clean)]
        self._rows = [
            [Cell(heading[at], "bold") for at in kept],
            *([row[at] for at in kept] for row in clean),
        ]
        self._widths = [max(map(width, texts)) for texts in zip(*self._texts(), strict=True)]

    def _texts(self) -> list[list[str]]:
        return [[cell.text for cell in row] for row in self._rows]

    @property
    def width(self) -> int:
        """Columns of the longest line."""
        return sum(self._widths) + len(GAP) * (len(self._widths) - 1)

    def render(self, style: Style) -> str:
        """The lines, each ended."""
        return "".join(self._line(row, style) + "\n" for row in self._rows)

    def _line(self, row: Sequence[Cell], style: Style) -> str:
        last = max((at for at, cell in enumerate(row) if cell), default=-1)
        parts = [
            paint(cell.text, cell.color, style) + " " * (room - width(cell.text) if at < last else 0)
            for at, (cell, room) in enumerate(zip(row[: last + 1], self._widths, strict=False))
        ]
        return GAP.join(parts)


def wrapped(text: str, style: Style, indent: str = "") -> str:
    """A sentence in as many lines as it takes; the later ones are indented."""
    clean = harmless(text)
    if style.width is None or width(clean) <= style.width:
        return clean
    room = max(style.width, len(indent) + 20)
    return "\n".join(textwrap.wrap(clean, room, subsequent_indent=indent, break_on_hyphens=False))
