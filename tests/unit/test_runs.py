"""Which scenarios are run, and where a run is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import runs
from orchestrator.errors import UsageError
from orchestrator.join import recordings
from orchestrator.model.recording import Recording
from orchestrator.model.runs import RunRecord, ScenarioRecord
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


NAMED = (
    Scenario(name="full", line=1, row={"n": "1"}, row_name="plain"),
    Scenario(name="full", line=1, row={"n": "2"}, row_name="short"),
    Scenario(name="other", line=5, row={"n": "1"}),
    Scenario(name="other", line=5, row={"n": "2"}),
    Scenario(name="reset", line=9),
)


def test_one_row_of_each_table() -> None:
    assert [one.label for one in runs.choose(NAMED, [], "short")] == ["full[short]", "other[n=1]", "reset"]
    assert [one.label for one in runs.choose(NAMED, ["f*"], "plain")] == ["full[plain]"]
    with pytest.raises(UsageError) as caught:
        runs.choose(NAMED, [], "shrt")
    assert str(caught.value) == "no table has a row shrt\n  there are plain, short"


def test_a_run_keeps_what_the_lab_file_includes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "a"
    (folder / "more").mkdir(parents=True)
    (folder / "lab.yaml").write_text("name: l\n")
    (folder / "more" / "b.yaml").write_text("scenarios: {}\n")
    included = ("more/b.yaml", "more/../more/b.yaml")
    topology = Topology(name="l", path=str(folder / "lab.yaml"), folder=str(folder), included=included)
    kept = runs.keep(RunRecord(lab="l", engine="fake", verdict="pass"), topology, "{}")
    assert (kept / "included" / "more" / "b.yaml").read_text() == "scenarios: {}\n"
    assert sorted(one.name for one in kept.iterdir()) == ["included", "lab.yaml", "run.json"]


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


def recorded(runner: runs.Runner, label: str, recording: Recording | None) -> str:
    """The file of a scenario that was performed."""
    return runner._recorded(ScenarioRecord(name="n", label=label, verdict="pass"), recording).recording


def test_recordings_have_names_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    runner = runs.Runner.__new__(runs.Runner)
    runner.recordings = runs.Recordings()
    recording = Recording(lab="l", engine="fake", began=1.0, length=2.0)
    labels = ["full[n=1]", "full[n=1]", "../x", "..", "é"]
    names = [recorded(runner, label, recording) for label in labels]
    assert names == [
        "full-n=1.recording",
        "full-n=1-2.recording",
        "x.recording",
        "scenario.recording",
        "scenario-2.recording",
    ]
    assert recorded(runner, "none", None) == ""
    topology = Topology(name="l", path=str(tmp_path / "lab.yaml"))
    record = RunRecord(lab="l", engine="fake", verdict="pass")
    folder = runs.keep(record, topology, "{}", runner.recordings)
    assert recordings.decode((folder / names[1]).read_bytes()) == recording


def test_a_runs_recordings_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MOST_RECORDED", runs.LEAST_RECORDED + 100)  # one takes some 200
    runner = runs.Runner.__new__(runs.Runner)
    runner.recordings = runs.Recordings()
    recording = Recording(lab="l", engine="fake", began=1.0, length=2.0)
    assert [bool(recorded(runner, "it", recording)) for _ in range(3)] == [True, True, False]
