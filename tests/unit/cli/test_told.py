"""A run as it is told step by step: what waits for a key and what does not."""

from __future__ import annotations

import io
import sys

import pytest

from orchestrator.cli.told import Told
from orchestrator.model.steps import Note, Step
from tests.support.rig import topology

FILE = """
networks: {net: {}}
hosts: {web: {role: server, networks: [net]}}
scenarios:
  one:
    steps:
      - note: now it listens
      - web: listen :80 as door
      - parallel: [web: socket tcp as a, web: socket tcp as b]
      - expect: {listener: web.door, state: LISTEN}
"""


def told(keys: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said of the steps of FILE as each begins, with these keys pressed."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(keys))
    stream = io.StringIO()
    audience = Told(stream, step=True)
    steps: tuple[Step, ...] = topology(FILE).scenarios[0].steps
    for step in steps:
        audience.step_begins(step, "steps")
        if isinstance(step, Note):
            audience.noted(step)
    return stream.getvalue()


def test_each_step_waits_and_a_note_is_read_before_the_step_that_it_is_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert told("\n\n\n\n", monkeypatch) == (
        "  # now it listens\n"
        "  web: listen :80 as door  [Enter] "
        "  expect: {listener: web.door, state: LISTEN}  [Enter] "
    )


def test_where_there_are_no_keys_nothing_waits_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told("", monkeypatch) == "  # now it listens\n  web: listen :80 as door  [Enter] \n"
