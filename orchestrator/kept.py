"""Runs that were kept: which there are of a lab, and reading one again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from orchestrator.errors import ObservationError, UsageError
from orchestrator.join import recordings
from orchestrator.model.recording import Recording
from orchestrator.model.runs import RunRecord
from orchestrator.owner import state_folder
from orchestrator.report import run_documents
from orchestrator.runs import DOCUMENT

MOST_DOCUMENT = 1 << 30  # bytes of a run's document that are read
RECENT = 5  # runs that are looked at for how long scenarios take
Found = Mapping[str, Recording | str]


def folders(lab: str | None = None) -> list[Path]:
    """Of the runs of this lab (None: of all), the oldest first."""
    base = state_folder() / "runs"
    try:
        labs = [base / lab] if lab is not None else [one for one in base.iterdir() if one.is_dir()]
        found = [run for one in labs if one.is_dir() for run in one.iterdir() if (run / DOCUMENT).is_file()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{base}: {error.strerror}") from error
    return sorted(found, key=lambda run: (run.name, run.parent.name))


def find(run: str | None, lab: str | None) -> Path:
    """A run's folder, by its path or its name; None: the newest of the lab. Raises UsageError."""
    if run is not None and (Path(run) / DOCUMENT).is_file():
        return Path(run)
    found = folders(lab)
    whose = f"lab {lab}" if lab is not None else "any lab"
    if not found:
        raise UsageError(f"no run of {whose} is kept", "`lab run` keeps each")
    if run is None:
        return found[-1]
    named = [one for one in found if one.name.startswith(run)]
    if len(named) == 1 or (named and named[-1].name == run):
        return named[-1]
    what = f"{len(named)} runs begin with {run}" if named else f"there is no run {run} of {whose}"
    raise UsageError(what, "`lab report --list` names them")


def read(folder: Path) -> RunRecord:
    """Its document. Raises UsageError."""
    path = folder / DOCUMENT
    try:
        if path.stat().st_size > MOST_DOCUMENT:
            raise UsageError(f"{path} is too large")
        return run_documents.read_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except ObservationError as error:
        raise UsageError(f"{path}: {error.message}") from error


def seconds(lab: str) -> dict[str, float]:
    """How long each scenario took when it was last run, by label: a hint; what cannot be read is left out."""
    found: dict[str, float] = {}
    for folder in reversed(folders(lab)[-RECENT:]):
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            run = msgspec.json.decode((folder / DOCUMENT).read_bytes(), type=_Lasted)
            for one in run.scenarios:
                found.setdefault(one.label, one.duration)
    return found


class _Took(msgspec.Struct):
    label: str
    duration: float = 0.0


class _Lasted(msgspec.Struct):
    """Of a run's document what `seconds` needs."""

    scenarios: list[_Took] = []


def read_recordings(folder: Path, record: RunRecord) -> Found:
    """All of a run, by their files' names; of one that cannot be read, why."""
    return {one.recording: _recording(folder, one.recording) for one in record.scenarios if one.recording}


def _recording(folder: Path, name: str) -> Recording | str:
    if os.path.basename(name) != name:
        return "its recording is in no file of the run"
    try:
        with (folder / name).open("rb") as file:
            return recordings.decode(file.read(recordings.MOST + 1))
    except OSError as error:
        return f"{name}: {os.strerror(error.errno or 0)}"
    except ObservationError as error:
        return f"{name}: {error.message}"
