"""Scenarios again and again, side by side, until a verdict is wrong: `make soak`.

    python -m bench.soak [--rounds 20] [--engine E] [--jobs N] [--log soak.log] [LAB_FILE]…

All that is printed is in the log, too, and each round's document is read: the first scenario that does not
pass ends it, named with its round and why. Exit: that of the run in which it was, 0 where there was none. On
namespaces unless told otherwise: there any lab can be copied.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from orchestrator.model.runs import RunRecord
from orchestrator.report import run_documents

ROOT = Path(__file__).resolve().parent.parent
PACK = "labs/nginx-timeouts/lab.yaml"
UNTIL_THEN = ("labs/backlog/lab.yaml", "labs/half-open/lab.yaml")  # where that pack is not there yet


def main(arguments: Sequence[str]) -> int:
    """Every file once a round. The exit code."""
    asked = _asked(arguments)
    files = asked.files or ([PACK] if (ROOT / PACK).exists() else list(UNTIL_THEN))
    with open(asked.log, "w", encoding="utf-8") as log:
        began = time.monotonic()
        for number in range(1, asked.rounds + 1):
            for file in files:
                _say(log, f"== round {number} of {asked.rounds}: {file}")
                code, wrong = _round(file, asked, log)
                if code or wrong:
                    _say(log, f"round {number}, {file}: {wrong or f'`lab run` ended with exit {code}'}")
                    return code or 1
        took = time.monotonic() - began
        _say(log, f"{asked.rounds} rounds in {took:.0f} s, every verdict pass; the log is {asked.log}")
    return 0


def _asked(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("files", metavar="LAB_FILE", nargs="*")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--engine", default="namespaces")
    parser.add_argument("--jobs", default="auto")
    parser.add_argument("--log", default="soak.log")
    return parser.parse_args(arguments)


def _round(file: str, asked: argparse.Namespace, log: TextIO) -> tuple[int, str]:
    """The exit code of a run of this file, and the first wrong verdict of it, in words ("": none)."""
    with tempfile.TemporaryDirectory() as folder:
        document = Path(folder) / "run.json"
        command = [str(ROOT / "lab"), "run", "-f", file, "--engine", asked.engine, "--jobs", asked.jobs]
        process = subprocess.Popen(
            [*command, "-q", "--json", str(document)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            _say(log, line.rstrip("\n"))
        code = process.wait()
        text = document.read_bytes() if document.exists() else b""
        return code, _first_wrong(run_documents.read_json(text)) if text else ""


def _first_wrong(record: RunRecord) -> str:
    """By when it was begun."""
    for one in sorted(record.scenarios, key=lambda one: one.began):
        if one.verdict != "pass" or one.problem:
            return "\n".join([f"{one.label}: {one.verdict}", *run_documents.why(one)])
    return ""


def _say(log: TextIO, line: str) -> None:
    for stream in sys.stdout, log:
        print(line, file=stream, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
