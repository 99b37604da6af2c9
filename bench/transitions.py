"""Whether any state that is derived contradicts what tables and tracepoints show, over many transitions.

    python -m bench.transitions [TRANSITIONS]         (writes docs/benchmarks.md)

Random steps, by seeds from 0 on, until so many transitions were derived: on both engines, and on namespaces
also as a user with no rights (uid 65534), which only root can be. See tests/support/transitions.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.side_by_side import environment, machine, write_section
from tests.support.rig import running
from tests.support.transitions import LAB, Found, drive, examined

ROOT = Path(__file__).resolve().parent.parent
TRANSITIONS = 10_000
NOBODY = 65534


def measured(engine: str, wanted: int) -> dict[str, object]:
    """Rounds until there are so many transitions; the contradictions with their seeds."""
    began, seed = time.monotonic(), 0
    transitions = unknown = compared = 0
    contradictions: list[str] = []
    with running(engine, LAB) as lab:
        while transitions < wanted:
            found: Found = examined(drive(lab.lab, seed))
            transitions += found.transitions
            unknown += found.unknown
            compared += found.compared
            contradictions += [f"seed {seed}: {text}" for text in found.contradictions]
            seed += 1
    return {
        "transitions": transitions,
        "unknown": unknown,
        "compared": compared,
        "contradictions": contradictions,
        "rounds": seed,
        "seconds": time.monotonic() - began,
    }


def as_nobody(wanted: int) -> dict[str, object]:
    """The same in a process that has no rights."""
    with tempfile.TemporaryDirectory() as home:
        os.chown(home, NOBODY, NOBODY)
        done = subprocess.run(
            [sys.executable, "-m", "bench.transitions", "measure", "namespaces", str(wanted)],
            cwd=ROOT,
            env=environment(
                HOME=home, XDG_RUNTIME_DIR=home, XDG_STATE_HOME=home, PYTHONDONTWRITEBYTECODE="1"
            ),
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            stdout=subprocess.PIPE,
            check=True,
        )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def rows(wanted: int) -> Iterator[tuple[str, dict[str, object]]]:
    """Whatever can be measured here."""
    who = "root" if os.getuid() == 0 else f"uid {os.getuid()}"
    for engine in ("namespaces", "docker"):
        yield f"{engine}, {who}", measured(engine, wanted)
    if os.getuid() == 0:
        yield f"namespaces, uid {NOBODY}", as_nobody(wanted)


def main(arguments: list[str]) -> None:
    """Measure, print, write."""
    if arguments[:1] == ["measure"]:
        print(json.dumps(measured(arguments[1], int(arguments[2]))))
        return
    wanted = int(arguments[0]) if arguments else TRANSITIONS
    lines = [
        "## States that are derived, against what was seen",
        "",
        machine(),
        "",
        "| where | transitions | unknown | held against | contradictions | bar | rounds |",
        "|---|---|---|---|---|---|---|",
    ]
    for where, found in rows(wanted):
        wrong = found["contradictions"]
        assert isinstance(wrong, list)
        for text in wrong:
            print(f"{where}: {text}", file=sys.stderr)
        cells = (
            where,
            f"{found['transitions']:,}",
            f"{found['unknown']:,}",
            f"{found['compared']:,} rows, tables and tracepoints",
            str(len(wrong)),
            "0",
            f"{found['rounds']} in {found['seconds']:.0f} s",
        )
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    if wanted >= TRANSITIONS:
        write_section(ROOT / "docs" / "benchmarks.md", "transitions", lines)


if __name__ == "__main__":
    main(sys.argv[1:])
