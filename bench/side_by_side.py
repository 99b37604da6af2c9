"""Two ways of doing the same, in turn: A B A B …, and a row of medians for docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One line of the table. `ours` and `peer` are medians in `unit`; `bar` is the highest ratio allowed."""

    what: str
    peer_name: str
    ours: float
    peer: float
    unit: str
    bar: float
    runs: int
    spread: str = ""

    @property
    def ratio(self) -> float:
        """Ours by the peer's: below `bar` is as asked."""
        return self.ours / self.peer

    def markdown(self) -> str:
        """The row as a line of a Markdown table."""
        verdict = "yes" if self.ratio <= self.bar else "**no**"
        cells = (
            self.what,
            f"{self.ours:.3g} {self.unit}",
            f"{self.peer_name} {self.peer:.3g} {self.unit}",
            f"{self.ratio:.3f}",
            f"≤ {self.bar:.3g}",
            verdict,
            f"{self.runs} ({self.spread})",
        )
        return "| " + " | ".join(cells) + " |"


HEAD = (
    "| what | lab | peer | ratio | bar | met | runs (lab's min–max; peer's) |\n|---|---|---|---|---|---|---|"
)


Series = tuple[list[float], list[float]]


def alternate(ours: Callable[[], float], peer: Callable[[], float], runs: int) -> Series:
    """Run both `runs` times, in turn, so that a drift of the machine's speed meets both alike."""
    a: list[float] = []
    b: list[float] = []
    for _ in range(runs):
        a.append(ours())
        b.append(peer())
    return a, b


def row(what: str, peer_name: str, series: Series, bar: float, unit: str = "s") -> Row:
    """The medians of two series as a row."""
    a, b = series
    spread = f"{min(a):.3g}–{max(a):.3g}; {min(b):.3g}–{max(b):.3g}"
    return Row(what, peer_name, statistics.median(a), statistics.median(b), unit, bar, len(a), spread)


def machine() -> str:
    """What the figures were taken on: processor count, memory, kernel, Python."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"Linux {platform.release()}, {os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB, "
        f"Python {platform.python_version()}"
    )


def write_section(path: Path, name: str, lines: list[str]) -> None:
    """Replace the section `name` of the Markdown file, between its markers; the others stay."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    text = path.read_text(encoding="utf-8") if path.exists() else "# Benchmarks\n"
    body = "\n".join([begin, *lines, end])
    if begin in text:
        head, rest = text.split(begin, 1)
        text = head + body + rest.split(end, 1)[1]
    else:
        text = text.rstrip() + "\n\n" + body + "\n"
    path.write_text(text, encoding="utf-8")


def environment(**more: str) -> Mapping[str, str]:
    """This process's environment without what would make output depend on the terminal."""
    return {**os.environ, "NO_COLOR": "1", **more}
