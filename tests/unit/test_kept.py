"""Runs that are kept: which one is meant, and what is said of one that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import kept, runs
from orchestrator.errors import UsageError
from orchestrator.join import recordings
from orchestrator.model.recording import Recording, Said
from orchestrator.model.runs import RunRecord, ScenarioRecord, StepRecord
from orchestrator.model.topology import Topology
from orchestrator.report import kept_run, run_documents
from orchestrator.runs import DOCUMENT


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any runs."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "lab" / "runs"


NOTE = Said(t=1.5, host="", source="note", kind="note", text="between them")
RECORD = RunRecord(
    lab="one",
    engine="fake",
    verdict="pass",
    scenarios=(
        ScenarioRecord(
            name="s",
            label="s",
            title="A title",
            verdict="pass",
            recording="s.recording",
            steps=(
                StepRecord(text="web: first", line=1, began=1.0, part="setup"),
                StepRecord(text="web: second", line=2, began=2.0),
            ),
        ),
    ),
)
RECORDING = Recording(lab="one", engine="fake", began=1.7e9, length=3.0, said=(NOTE,))


def keep(base: Path, name: str, lab: str = "one", recording: bytes | None = None) -> Path:
    folder = base / lab / name
    folder.mkdir(parents=True)
    (folder / DOCUMENT).write_text(run_documents.json_of(RECORD))
    if recording is not None:
        (folder / "s.recording").write_bytes(recording)
    return folder


def test_the_newest_a_name_and_a_path(state: Path) -> None:
    for name in ("20260102-1", "20260101-1", "20260103-1"):
        keep(state, name)
    other = keep(state, "20260104-1", "two")
    assert kept.find(None, "one").name == "20260103-1"
    assert kept.find(None, None) == other
    assert kept.find("20260101", "one").name == "20260101-1"
    assert kept.find(str(other), "one") == other
    assert [one.name for one in kept.folders("one")] == ["20260101-1", "20260102-1", "20260103-1"]


def test_one_that_is_not_there(state: Path) -> None:
    with pytest.raises(UsageError, match="no run of lab one is kept"):
        kept.find(None, "one")
    keep(state, "20260101-1")
    keep(state, "20260101-2")
    with pytest.raises(UsageError, match="there is no run 1999 of lab one"):
        kept.find("1999", "one")
    with pytest.raises(UsageError, match="2 runs begin with 2026"):
        kept.find("2026", "one")


@pytest.mark.parametrize("document", [b"", b"{}", b"[1]", b'{"lab": 1}', b"\xff\xfe"])
def test_a_document_that_is_none(state: Path, document: bytes) -> None:
    folder = keep(state, "20260101-1")
    (folder / DOCUMENT).write_bytes(document)
    with pytest.raises(UsageError, match="this is no run"):
        kept.read(folder)


@pytest.mark.parametrize(
    ("recording", "why"),
    [(None, "No such file"), (b"rubbish\n", "this is no recording"), (b"", "no recording")],
)
def test_a_recording_that_cannot_be_read_is_said(state: Path, recording: bytes | None, why: str) -> None:
    folder = keep(state, "20260101-1", recording=recording)
    record = kept.read(folder)
    lines = list(kept_run.lines(record, kept.read_recordings(folder, record)))
    assert lines[0] == "s: A title"
    assert any(line.startswith("timeline: none, s.recording: ") and why in line for line in lines)
    assert lines[-1] == "1 scenario: 1 pass"


def test_no_file_outside_of_the_run_is_read(state: Path) -> None:
    """A run's document may be anybody's."""
    folder = keep(state, "20260101-1")
    text = (folder / DOCUMENT).read_text().replace("s.recording", "../../../secret")
    (folder / DOCUMENT).write_text(text)
    assert kept.read_recordings(folder, kept.read(folder)) == {
        "../../../secret": "its recording is in no file of the run"
    }


def test_steps_and_notes_stand_in_their_order(state: Path) -> None:
    folder = keep(state, "20260101-1", recording=recordings.encode(RECORDING))
    record = kept.read(folder)
    lines = list(kept_run.lines(record, kept.read_recordings(folder, record)))
    assert [line.split("→")[0].strip() for line in lines[:6]] == [
        "s: A title",
        "setup:",
        "web: first",
        "# between them",
        "steps:",
        "web: second",
    ]
    assert "timeline: 0 connections, 1 event in 3.00 s" in lines


def test_how_long_scenarios_took_is_known_of_the_last_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert kept.seconds("l") == {}
    topology = Topology(name="l", path=str(tmp_path / "lab.yaml"))
    for durations in {"a": 1.0, "b[n=1]": 2.0}, {"a": 3.0}:
        scenarios = tuple(
            ScenarioRecord(name="x", label=label, verdict="pass", duration=seconds)
            for label, seconds in durations.items()
        )
        record = RunRecord(lab="l", engine="fake", verdict="pass", scenarios=scenarios)
        runs.keep(record, topology, run_documents.json_of(record))
    runs.keep(record, topology, "no document")
    assert kept.seconds("l") == {"a": 3.0, "b[n=1]": 2.0}
