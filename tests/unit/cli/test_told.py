"""A run told step by step: when a key is waited for, and what each key does."""

from __future__ import annotations

import io

import pytest

from orchestrator.cli import keys
from orchestrator.cli.paper import paper_for
from orchestrator.cli.told import Quit, Told
from orchestrator.model.recording import Recording
from orchestrator.model.runs import CallResult, ScenarioRecord, StepRecord
from orchestrator.model.steps import Call, Note, Parallel, Repeat, Step, Wait
from orchestrator.report.arrows import ASCII
from orchestrator.report.layout import Style
from orchestrator.report.run_timeline import Asked, Paper

LISTEN = Call(line=1, column=1, text="web: listen :80", host="web", verb="listen")
CLOSE = Call(line=2, column=1, text="web: close", host="web", verb="close")
WAIT = Wait(line=3, column=1, text="wait: 1s", seconds=1)


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("\n", "on"),
        (" \n", "on"),
        ("c\n", "all"),
        ("C\n", "all"),
        ("q\n", "quit"),
        ("", "all"),
        ("x\ny\nq\n", "quit"),
    ],
)
def test_lines_are_keys_where_there_is_no_terminal(typed: str, key: str) -> None:
    said: list[str] = []
    assert keys.ask(lambda: said.append("asked"), io.StringIO(typed)) == key
    assert said == ["asked"], "once, whatever is typed"


def test_a_closed_input_means_all_that_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    assert keys.ask(lambda: None, closed) == "all"
    monkeypatch.setattr("sys.stdin", None)
    assert keys.ask(lambda: None) == "all"


def told(typed: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Told, io.StringIO]:
    """An audience, and what it has said."""
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    said = io.StringIO()
    return Told(said, step=True), said


def asked(said: io.StringIO) -> int:
    """How often a key was waited for."""
    return said.getvalue().count("[Enter]")


def record(step: Step) -> StepRecord:
    return StepRecord(text=step.text, line=step.line, began=0.0, calls=(CallResult(fd=7),), count=1)


def test_each_step_is_shown_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    audience, said = told("\n\n\n", monkeypatch)
    audience.step_begins(LISTEN, "setup")
    assert said.getvalue() == f" setup:\n  {keys.LEGEND}\n  web: listen :80  [Enter] \n"
    audience.step_ended(LISTEN, record(LISTEN))
    assert said.getvalue().splitlines()[-1].split() == ["→", "fd", "7", "0", "ms"], "its words stand there"
    audience.step_begins(CLOSE, "steps")
    assert asked(said) == 2
    audience.step_begins(Note(line=1, column=1, text="note: x", words="x"), "steps")
    assert asked(said) == 2, "words are there at once"


def test_what_was_left_running_is_named_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    audience, said = told("\n\n", monkeypatch)
    audience.step_begins(LISTEN, "steps")
    audience.step_ended(LISTEN, record(LISTEN))
    audience.step_ended(LISTEN, record(LISTEN))
    assert said.getvalue().splitlines()[-1].startswith("  web: listen :80   ")


def test_steps_side_by_side_are_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    audience, said = told("\n" * 9, monkeypatch)
    again = Repeat(line=1, column=1, text="repeat: 2", times=2, steps=(WAIT,))
    beside = Parallel(line=1, column=1, text="parallel:", steps=(LISTEN, again))
    audience.step_begins(beside, "steps")
    assert said.getvalue().endswith(
        "  parallel:\n    web: listen :80\n    repeat: 2\n      wait: 1s  [Enter] \n"
    )
    for step in (LISTEN, again, WAIT, WAIT):
        audience.step_begins(step, "steps")
    assert asked(said) == 1
    audience.step_begins(again, "steps")
    assert asked(said) == 1, "a repeat is waited for at its steps"


def test_c_goes_on_without_waiting_and_the_end_of_the_input_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for typed in ("\nc\n\n", "\n"):
        audience, said = told(typed, monkeypatch)
        for _ in range(5):
            audience.step_begins(CLOSE, "steps")
        assert asked(said) == 2


def test_q_ends_the_run_and_cleanup_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    audience, said = told("q\n\n", monkeypatch)
    with pytest.raises(Quit, match="ended by a key"):
        audience.step_begins(LISTEN, "steps")
    audience.step_begins(CLOSE, "cleanup")
    assert asked(said) == 1


PASSED = ScenarioRecord(name="s", label="s", verdict="pass")
FAILED = ScenarioRecord(name="s", label="s", verdict="fail")
RECORDING = Recording(lab="first", engine="fake", began=1.7e9, length=1.0)


@pytest.mark.parametrize(
    ("asked", "record", "told"),
    [
        ("no", FAILED, False),
        ("evidence", PASSED, False),
        ("evidence", FAILED, True),
        ("calm", PASSED, False),
        ("yes", PASSED, True),
    ],
)
def test_what_happened_is_told_as_it_is_asked_for(asked: Asked, record: ScenarioRecord, told: bool) -> None:
    said = io.StringIO()
    Told(said, timeline=asked).recorded(record, RECORDING)
    assert said.getvalue().startswith("timeline: 0 connections") is told


def test_a_timeline_that_cannot_be_shown_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("no \x1b such thing")

    monkeypatch.delenv("LAB_DEBUG", raising=False)
    monkeypatch.setattr("orchestrator.report.run_timeline.of_scenario", broken)
    said = io.StringIO()
    Told(said, timeline="yes").recorded(PASSED, RECORDING)
    assert said.getvalue() == "timeline: it cannot be shown (ValueError: no \\x1b such thing)\n"


class Stream(io.StringIO):
    """With an encoding."""

    encoding = "utf-8"


@pytest.mark.parametrize(
    ("columns", "ascii_only", "paper"),
    [
        (None, False, Paper()),
        ("100", False, Paper(Style(100))),
        ("wide", True, Paper(glyphs=ASCII)),
    ],
)
def test_paper_of_a_pipe(
    columns: str | None, ascii_only: bool, paper: Paper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    found = paper_for(Stream(), ascii_only=ascii_only)
    assert found == paper
    assert found.columns == (found.style.width or 80)
