"""What is so all the while, judged on the timeline where that knows, else on looks."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.model.events import History
from orchestrator.model.runs import Verdict
from orchestrator.scenarios.lasted import BY_TIMELINE, judge
from orchestrator.scenarios.observation import Judgement
from tests.unit.scenarios.looks import expect, row
from tests.unit.scenarios.timelines import BEGAN, NOT_CLOSED, history, seen

LOOKS = Judgement(verdict="pass", expected="", observed="", evidence=("so in 50 looks",))
UNSEEN = Judgement(verdict="unknown", expected="", observed="", why="nobody looked for 0.200 s")
STANDING = "SYN_SENT ESTABLISHED@.001"


def lasted(text: str, *found: History, looks: Judgement = LOOKS, at: float = 1.0, **more: Any) -> Judgement:
    """Of one second, from `at` on."""
    subject = more.pop("subject", "alice.call")
    wanted = expect(f"connection: {subject}, {text}, for: 1s")
    return judge(wanted, looks, seen(*found, **more), BEGAN + at)


def standing(client: str = STANDING, **more: Any) -> History:
    """A connection that nobody closes."""
    return history(client, "SYN_RECV@.0005 ESTABLISHED@.002", NOT_CLOSED, **more)


def test_the_timeline_says_so() -> None:
    found = lasted("client: ESTABLISHED", standing())
    assert found.verdict == "pass"
    assert found.evidence[0].startswith(f"{BY_TIMELINE}: client ESTABLISHED all the while, from 1.000000 s")


@pytest.mark.parametrize(
    ("states", "is_so"),
    [
        ("SYN_SENT ESTABLISHED@.001 CLOSE_WAIT@1.5", "fail"),
        ("SYN_SENT ESTABLISHED@.001 CLOSE_WAIT@2.5", "pass"),
        ("SYN_SENT ESTABLISHED@.001 CLOSE@1.5", "fail"),
        ("SYN_SENT@1.2 ESTABLISHED@1.2001", "fail"),
    ],
)
def test_a_break_that_no_look_has_caught(states: str, is_so: Verdict) -> None:
    found = lasted("client: ESTABLISHED", standing(states))
    assert found.verdict == is_so
    if is_so == "fail":
        assert found.evidence[0].startswith(BY_TIMELINE)
        assert found.evidence[-1] == "not closed"


@pytest.mark.parametrize(
    "states",
    [
        "SYN_SENT ESTABLISHED@.001 ?@1.5",
        "SYN_SENT ESTABLISHED/CLOSE_WAIT@.001",
        "ESTABLISHED@1.5",  # nothing is known of the time before
        "SYN_SENT ESTABLISHED@1.00005",  # by less than the times may be off
        "",
    ],
)
def test_what_it_does_not_know_is_the_looks_to_say(states: str) -> None:
    assert lasted("client: ESTABLISHED", standing(states)) == LOOKS
    assert lasted("client: ESTABLISHED", standing(states), looks=UNSEEN) == UNSEEN


def test_a_look_that_showed_otherwise_has_failed() -> None:
    failed = Judgement(verdict="fail", expected="", observed="", evidence=("not so after 0.1 s",))
    assert lasted("client: ESTABLISHED", standing(), looks=failed) == failed


def test_what_looks_have_missed_it_fills_if_one_says_that_it_is_still_there() -> None:
    there = lasted("client: ESTABLISHED", standing(), looks=UNSEEN, connections=(row(),))
    assert (there.verdict, there.why) == ("pass", "")
    assert lasted("client: ESTABLISHED", standing(), looks=UNSEEN) == UNSEEN


def test_what_was_not_recorded_to_the_end() -> None:
    assert lasted("client: ESTABLISHED", standing(), until=1.9) == LOOKS
    assert lasted("client: ESTABLISHED") == LOOKS


@pytest.mark.parametrize(
    "text", ["status: joined", "client: none", "client: ESTABLISHED, server.rx_queue: 0"]
)
def test_other_fields_are_judged_on_looks(text: str) -> None:
    assert lasted(text, standing("SYN_SENT CLOSE@1.5")) == LOOKS


def test_a_connection_that_took_the_place_of_another() -> None:
    ended = standing("SYN_SENT ESTABLISHED@.001 CLOSE@1.5")
    new = history("SYN_SENT@1.501 ESTABLISHED@1.502", "SYN_RECV@1.501", NOT_CLOSED, number="2", began=1.501)
    found = lasted("client: ESTABLISHED", ended, new, subject="'alice -> web:80'")
    assert found.verdict == "fail"
    unbroken = lasted("client: ESTABLISHED", standing(), new, subject="'alice -> web:80'")
    assert unbroken == LOOKS  # how many rows there are looks tell
