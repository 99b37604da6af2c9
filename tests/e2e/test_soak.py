"""`make soak`: it ends with the first wrong verdict, and its log is kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.engines.base import Engine
from tests.support.cli import Commands

FILE = """
name: {name}
networks: {net: {}}
hosts: {web: {role: server, networks: [net]}}
scenarios:
  good: {steps: [web: "listen :80 as door"]}
  also-good: {steps: [web: "listen :81 as door"]}
"""
BAD = """  bad:
    steps:
      - web: listen :80 as door
      - expect: {listener: "web:80", queue: 3, within: 50ms}
"""


def soak(lab: Commands, *arguments: str) -> tuple[int, str]:
    """(exit, output) of it."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "bench.soak",
            "--engine",
            lab.engine,
            *arguments,
            str(lab.folder / "lab.yaml"),
        ],
        cwd=Path(__file__).parents[2],
        env=lab.env(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout


@pytest.mark.engine("namespaces")
def test_until_a_verdict_is_wrong(engine: Engine, tmp_path: Path) -> None:
    lab, log = Commands(tmp_path, engine.name), tmp_path / "log"
    lab.write(FILE)
    code, out = soak(lab, "--rounds", "2", "--log", str(log))
    assert (code, out.count("pass  good")) == (0, 2)
    assert "2 rounds in " in out
    lab.write(FILE + BAD)
    code, out = soak(lab, "--rounds", "2", "--log", str(log))
    assert code == 1
    assert "round 2" not in out
    last = out[out.rindex("round 1, ") :]
    assert "lab.yaml: bad: fail" in last
    assert "observed: queue 0" in last
    assert log.read_text() == out
