"""Markdown as GitHub renders it (GFM): text that stays text, code, tables, links to headings. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from orchestrator.report.harmless import harmless

_MEANING = re.compile(r"[\\`*\[\]<>|~]|(?<!\w)_|_(?!\w)|&(?=[#\w])")
_NOT_IN_ANCHORS = re.compile(r"[^\w\- ]")


def text(words: str) -> str:
    """Words that mean nothing but themselves, on one line."""
    return _MEANING.sub(lambda found: "\\" + found.group(), harmless(words))


def code(words: str) -> str:
    """As it was said. A bar would end a table's cell, also in code."""
    clean = harmless(words).replace("|", "\\|")
    ticks = "`" * (_longest(clean) + 1)
    space = " " if clean.startswith("`") or clean.endswith("`") else ""
    return f"{ticks}{space}{clean}{space}{ticks}" if clean else ""


def block(lines: Iterable[str]) -> Iterator[str]:
    """Lines as they are, each made harmless already."""
    kept = list(lines)
    ticks = "`" * max(3, max((_longest(line) for line in kept), default=0) + 1)
    yield f"{ticks}text"
    yield from kept
    yield ticks


def _longest(words: str) -> int:
    return max((len(run) for run in re.findall("`+", words)), default=0)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Cells are Markdown already."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def link(words: str, anchor: str) -> str:
    """To a heading of the same page."""
    return f"[{text(words)}](#{anchor})"


class Anchors:
    """What GitHub makes of headings: lower case, no punctuation, hyphens for spaces; of equal ones the second
    has `-1`."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def of(self, heading: str) -> str:
        """Of the next heading of the page, by its plain words."""
        anchor = _NOT_IN_ANCHORS.sub("", heading.lower()).replace(" ", "-")
        again = self._taken.get(anchor)
        self._taken[anchor] = 0 if again is None else again + 1
        return anchor if again is None else f"{anchor}-{again + 1}"
