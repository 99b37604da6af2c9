"""Who uses a lab, and who is the last."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import leased, leases
from orchestrator.lab import quiet
from orchestrator.leases import Lease, Lock

PROGRAM = """
import os, sys
from orchestrator.leases import Lease
lease = Lease.take("one", "namespaces")
print("taken", flush=True)
sys.stdin.read()
with lease.ending() as last:
    print(last, flush=True)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.fspath(Path(__file__).parents[2]))
    return tmp_path / "lab/leases"


@pytest.fixture
def other() -> Iterator[subprocess.Popen[str]]:
    """Another process, which has a lease of the lab `one`."""
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        yield process
        process.kill()


def last(lease: Lease) -> bool:
    with lease.ending() as found:
        return found


def test_the_last_of_two_is_the_last_and_nothing_is_left(folder: Path) -> None:
    first, second = Lease.take("one", "namespaces"), Lease.take("one", "namespaces")
    elsewhere = Lease.take("one-more", "docker")
    assert [last(first), last(second), last(elsewhere)] == [False, True, True]
    assert list(folder.iterdir()) == []


def test_another_process_counts_while_it_lives(folder: Path, other: subprocess.Popen[str]) -> None:
    mine = Lease.take("one", "namespaces")
    assert not last(mine)
    out, _ = other.communicate("")
    assert out == "True\n"
    assert list(folder.iterdir()) == []


def test_one_that_was_killed_does_not_count(folder: Path, other: subprocess.Popen[str]) -> None:
    mine = Lease.take("one", "namespaces")
    other.kill()
    other.wait()
    assert last(mine)
    assert list(folder.iterdir()) == []


def test_what_is_abandoned_is_swept_and_what_is_used_is_not(
    folder: Path, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[tuple[str, str]] = []
    monkeypatch.setattr(leased, "remove", lambda name, engine, say: removed.append((name, engine)))
    mine = Lease.take("two", "docker")
    assert (leased.sweep(quiet), removed) == ([], [])
    other.kill()
    other.wait()
    assert (leased.sweep(quiet), removed) == ([], [("one", "namespaces")])
    assert {path.name.split(".")[0] for path in folder.iterdir()} == {"two"}
    assert last(mine)


def test_a_lab_that_begins_or_ends_right_now_is_not_swept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leased, "remove", lambda name, engine, say: pytest.fail("it is not abandoned"))
    mine = Lease.take("one", "namespaces")
    with mine.ending():
        assert leased.sweep(quiet) == []
    assert list(folder.iterdir()) == []


def test_a_lab_that_cannot_be_removed_is_told_and_tried_again(
    folder: Path, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other.kill()
    other.wait()
    for engine in ("podman", "docker"):
        (folder / "one.lab").write_text(f'{{"engine": "{engine}"}}')
        monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/nowhere")
        (line,) = leased.sweep(quiet)
        assert line.startswith("lab one could not be removed: ")
        assert (folder / "one.lab").exists()


def test_a_lock_whose_name_went_while_it_was_waited_for_is_taken_anew(folder: Path) -> None:
    path = leases.folder() / "x.use"
    held = Lock.take(path)
    assert held is not None
    assert Lock.take(path, wait=False) is None
    held.release()
    again = Lock.take(path, wait=False)
    assert again is not None
    assert path.exists()
    again.release(remove=False)
    assert path.exists()
