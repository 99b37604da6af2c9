"""How long bad input takes to be refused: `lab validate` of each, the whole process, against a second.

    python -m bench.read [RUNS]          (writes docs/benchmarks.md)

The cases are those of the tests: large files in which something is wrong at every place, and every file of
tests/golden/read. CPU is the process's own time, which other processes do not lengthen.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.side_by_side import environment, machine, write_section
from tests.support.bad_input import HUGE

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = sorted((ROOT / "tests/golden/read").glob("*.yaml"))
BAR = 1.0  # seconds
Times = tuple[float, float]  # wall, CPU


def refused(file: Path) -> Times:
    """Seconds until a file is refused, and its process's own."""
    before, began = os.times(), time.monotonic()
    done = subprocess.run(
        [str(ROOT / "lab"), "validate", "-f", file.name],
        cwd=file.parent,
        env=environment(),
        capture_output=True,
    )
    wall, after = time.monotonic() - began, os.times()
    if done.returncode != 2:
        raise SystemExit(f"{file.name}: {done.returncode}\n{done.stderr.decode()}")
    own = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, own


def line(what: str, times: list[Times]) -> str:
    """A line of the table."""
    walls, own = [wall for wall, _ in times], statistics.median(cpu for _, cpu in times)
    median = statistics.median(walls)
    met = "yes" if median <= BAR else "**no**"
    spread = f"{min(walls):.3f}–{max(walls):.3f}"
    return f"| {what} | {median:.3f} s | {spread} | {own:.3f} s | ≤ {BAR:g} s | {met} |"


def lines(runs: int) -> list[str]:
    """All cases, the slowest first; of the golden ones the slowest."""
    found: list[tuple[str, list[Times]]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, text in HUGE.items():
            file = Path(folder, f"{name.replace(' ', '-')}.yaml")
            file.write_bytes(text)
            found.append((f"{name}, {len(text) >> 10} KiB", [refused(file) for _ in range(runs)]))
    golden = [(file.stem, [refused(file) for _ in range(runs)]) for file in GOLDEN]
    slowest = max(golden, key=lambda one: statistics.median(wall for wall, _ in one[1]))
    found.append((f"the slowest of {len(GOLDEN)} golden cases: {slowest[0]}", slowest[1]))
    found.sort(key=lambda one: -statistics.median(wall for wall, _ in one[1]))
    return [line(*one) for one in found]


def main() -> None:
    """Run and write the section."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    head = ["## Bad input, `lab validate` as a whole process", "", f"{machine()}; {runs} runs", ""]
    table = ["| what | median | min–max | CPU | bar | met |", "|---|---|---|---|---|---|"]
    found = [*head, *table, *lines(runs)]
    write_section(ROOT / "docs/benchmarks.md", "read", found)
    print("\n".join(found))


if __name__ == "__main__":
    main()
