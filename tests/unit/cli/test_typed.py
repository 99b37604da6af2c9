"""Lines of a pipe, and what is remembered of lines that were typed."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import pytest

from orchestrator.cli import typed
from orchestrator.cli.typed import Edited, History, Piped
from orchestrator.errors import LabError


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


def test_a_terminal_without_readline_gives_lines_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers = iter(["listen :80"])

    def ask(prompt: str) -> str:
        assert prompt == "web> "
        for one in answers:
            return one
        raise EOFError

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(typed, "_readline", lambda: None)
    monkeypatch.setattr("builtins.input", ask)
    edited = Edited("web> ", lambda _: [])
    assert [edited.next(), edited.next()] == ["listen :80", None]
    assert History().lines == ["listen :80"]


def test_what_cannot_be_looked_up_is_not_offered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Readline would lose the exception, and print nothing."""

    class Line:
        def __getattr__(self, name: str) -> object:
            return {"get_line_buffer": lambda: "connect we", "get_endidx": lambda: 10}.get(
                name, lambda *_: None
            )

    def refuse(before: str) -> list[str]:
        assert before == "connect we"
        raise LabError("the daemon is gone")

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(typed, "_readline", Line)
    assert Edited("web> ", refuse)._candidate("we", 0) is None
    offered = Edited("web> ", lambda _: ["web:80 ", "web:81 "])
    assert [offered._candidate("we", state) for state in range(3)] == ["web:80 ", "web:81 ", None]
