"""Every message of the loader, text in and text out: NAME.yaml and what is said of it, NAME.txt.

A new case is a file. `LAB_GOLDEN=write pytest tests/unit/read/test_golden.py` writes the answers: read them.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from orchestrator.errors import TopologyError
from orchestrator.read import read_file
from tests.support.limits import BLOW_UP

CASES = Path(__file__).parents[2] / "golden" / "read"


@pytest.mark.parametrize("case", sorted(CASES.glob("*.yaml")), ids=lambda case: case.stem)
def test_every_message_is_as_it_was_agreed(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES)
    with pytest.raises(TopologyError) as caught:
        read_file(case.name)
    said = "\n".join(caught.value.diagnostics) + "\n"
    answer = case.with_suffix(".txt")
    if os.environ.get("LAB_GOLDEN") == "write":
        answer.write_text(said, encoding="utf-8")
    assert said == answer.read_text(encoding="utf-8")


def test_no_case_takes_work_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES)
    for case in CASES.glob("*.yaml"):
        began = time.process_time()
        with pytest.raises(TopologyError):
            read_file(case.name)
        assert time.process_time() - began < BLOW_UP, case.name


def test_every_answer_has_its_case() -> None:
    assert {answer.stem for answer in CASES.glob("*.txt")} == {case.stem for case in CASES.glob("*.yaml")}
