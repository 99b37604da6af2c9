"""Lines of a pipe, and what is remembered of lines that were typed."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import pytest

from orchestrator.cli import typed
from orchestrator.cli.typed import History, Piped


def test_lines_of_a_pipe_are_what_is_between_their_ends() -> None:
    piped = Piped(io.BytesIO("listen :80\r\n\n  séance \xa0\nlast".encode() + b"\xff"))
    lines = [piped.next() for _ in range(6)]
    assert lines == ["listen :80", "", "  séance \xa0", "last\ufffd", None, None]
    assert Piped(None).next() is None, "stdin is closed"


def test_history_outlives_the_session_and_is_the_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "history"
    first = History(path)
    for line in ("listen :80", "listen :80", "", "  ", "close"):
        first.add(line)
    assert path.read_text() == "listen :80\nclose\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert History(path).lines == ["listen :80", "close"]


def test_two_sessions_add_side_by_side(tmp_path: Path) -> None:
    one, other = History(tmp_path / "history"), History(tmp_path / "history")
    one.add("a")
    other.add("b")
    one.add("c")
    assert History(tmp_path / "history").lines == ["a", "b", "c"]


def test_history_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typed, "KEPT", 3)
    history = History(tmp_path / "history")
    for number in range(10):
        history.add(f"{number}")
    assert History(tmp_path / "history").lines == ["7", "8", "9"]
    assert (tmp_path / "history").read_text() == "7\n8\n9\n"
    assert stat.S_IMODE((tmp_path / "history").stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["history"]


def test_without_a_folder_there_is_no_history(tmp_path: Path) -> None:
    history = History(tmp_path / "none" / "history")
    history.add("listen :80")
    assert not (tmp_path / "none").exists()
