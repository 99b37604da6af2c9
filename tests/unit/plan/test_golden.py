"""What `lab up --dry-run` prints of labs on machines, text in and text out: NAME.yaml and NAME.txt.

`LAB_GOLDEN=write pytest tests/unit/plan/test_golden.py` writes the answers: read them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.errors import PlanError
from orchestrator.plan import changes, describe, make_plan
from orchestrator.read import read_file
from tests.unit.plan.labs import KEY

CASES = Path(__file__).parents[2] / "golden" / "plan"


@pytest.mark.parametrize("case", sorted(CASES.glob("*.yaml")), ids=lambda case: case.stem)
def test_every_dry_run_is_as_it_was_agreed(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES)
    topology = read_file(case.name)
    try:
        plan = make_plan(topology, KEY, "docker" if topology.machines else "namespaces")
        said = describe(plan, changes(None, plan))
    except PlanError as error:
        said = f"{error}\n"
    answer = case.with_suffix(".txt")
    if os.environ.get("LAB_GOLDEN") == "write":
        answer.write_text(said, encoding="utf-8")
    assert said == answer.read_text(encoding="utf-8")
