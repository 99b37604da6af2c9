"""Which scenarios are run, and where a run is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import runs
from orchestrator.errors import UsageError
from orchestrator.model.runs import RunRecord
from orchestrator.model.steps import Scenario
from orchestrator.model.topology import Topology

ALL = (
    Scenario(name="full", line=1, row={"n": "1"}),
    Scenario(name="full", line=1, row={"n": "2"}),
    Scenario(name="reset", line=9),
)


@pytest.mark.parametrize(
    ("wanted", "labels"),
    [
        ([], ["full[n=1]", "full[n=2]", "reset"]),
        (["full"], ["full[n=1]", "full[n=2]"]),
        (["full[n=2]"], ["full[n=2]"]),
        (["reset", "full[n=1]"], ["full[n=1]", "reset"]),
        (["re*"], ["reset"]),
    ],
)
def test_those_that_are_named_in_the_files_order(wanted: list[str], labels: list[str]) -> None:
    assert [one.label for one in runs.choose(ALL, wanted)] == labels


def test_a_name_that_none_has() -> None:
    with pytest.raises(UsageError) as caught:
        runs.choose(ALL, ["rest"])
    assert str(caught.value) == "there is no scenario rest\n  did you mean reset?"
    with pytest.raises(UsageError, match="no scenarios"):
        runs.choose((), [])


def test_the_oldest_runs_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(runs, "KEPT", 3)
    (tmp_path / "lab.yaml").write_text("name: l\n")
    topology = Topology(name="l", path=str(tmp_path / "lab.yaml"))
    record = RunRecord(lab="l", engine="fake", verdict="pass")
    folders = [runs.keep(record, topology, f"{{{n}}}") for n in range(5)]
    assert [folder.exists() for folder in folders] == [False, False, True, True, True]
    assert (folders[-1] / "run.json").read_text() == "{4}"
    assert (folders[-1] / "lab.yaml").read_text() == "name: l\n"
