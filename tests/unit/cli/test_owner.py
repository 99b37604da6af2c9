"""Locks and confirmations of a user."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from orchestrator import owner
from orchestrator.errors import DaemonError, UsageError


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "lab"


def quiet(_: str) -> None:
    return


def test_the_owner_is_not_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    before = owner.owner()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert owner.owner() == before


def test_a_lock_is_held_against_another_process_and_leaves_no_file(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "from orchestrator import owner; owner.LOCK_PATIENCE = 0\nwith owner.locked('x', print): pass"
    with owner.locked("x", quiet):
        other = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True)
        assert "DaemonError" in other.stderr
        with owner.locked("y", quiet):
            pass
    assert list(state.iterdir()) == []
    assert subprocess.run([sys.executable, "-P", "-c", program]).returncode == 0


def test_a_second_command_waits_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "LOCK_PATIENCE", 0.2)
    said: list[str] = []
    with owner.locked("x", quiet), pytest.raises(DaemonError), owner.locked("x", said.append):
        pass
    assert len(said) == 1


def test_what_a_living_command_does_is_seen(state: Path) -> None:
    assert owner.at_work("x") is None
    program = (
        "import sys\nfrom orchestrator import owner\n"
        "with owner.locked('x', print, 'removing'): print('has it', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-P", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"has it\n"
        assert owner.at_work("x") == "removing"
        assert owner.at_work("y") is None
        other.kill()
    assert owner.at_work("x") is None
    said: list[str] = []
    with owner.locked("x", said.append, "starting"):
        assert owner.at_work("x") == "starting"
    assert said == []


def test_a_killed_commands_lock_is_free_and_swept(state: Path) -> None:
    program = (
        "import os\nfrom orchestrator import owner\nwith owner.locked('x', print): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-P", "-c", program])
    assert len(list(state.iterdir())) == 1
    with owner.locked("held", quiet):
        owner.sweep_locks()
        assert len(list(state.iterdir())) == 1
    assert list(state.iterdir()) == []


def test_a_file_is_confirmed_once_for_its_content() -> None:
    assert not owner.was_confirmed("/a/lab.yaml", "123")
    owner.confirm("/a/lab.yaml", "123")
    assert owner.was_confirmed("/a/lab.yaml", "123")
    assert not owner.was_confirmed("/a/lab.yaml", "124")
    assert not owner.was_confirmed("/b/lab.yaml", "123")


@pytest.mark.skipif(sys.platform == "win32", reason="no links there")
def test_a_folder_that_others_can_write_or_that_is_a_link_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/no")
    monkeypatch.setenv("HOME", "/proc/no")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine = tmp_path / f"lab-{owner.owner()}"
    assert owner.state_folder() == mine
    mine.chmod(0o777)
    with pytest.raises(UsageError):
        owner.state_folder()
    mine.rmdir()
    mine.symlink_to(os.getcwd())
    with pytest.raises(UsageError):
        owner.state_folder()
