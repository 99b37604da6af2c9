"""What is shown after a scenario, by how it went and by who reads it; and how a connection is named."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from orchestrator.model.events import EndHistory, History
from orchestrator.model.runs import ExpectationRecord, ScenarioRecord, StepRecord, Verdict
from orchestrator.report.run_timeline import Asked, around, chosen, concerned, of_scenario
from tests.unit.report.histories import ALICE, beside, timeline, whole


def named(number: int, client: str = "alice", name: str = "call") -> History:
    """Like `whole`, of another client and with another port."""
    one = whole()
    assert one.client is not None
    return msgspec.structs.replace(
        one,
        id=f"id{number}",
        client_address=(ALICE[0], ALICE[1] + number),
        client=msgspec.structs.replace(one.client, host=client, names=(name,)),
    )


def record(verdict: Verdict, *texts: str, step: str = "") -> ScenarioRecord:
    """Of a scenario in which these expectations did not pass."""
    return ScenarioRecord(
        name="s",
        label="s",
        verdict=verdict,
        expectations=tuple(ExpectationRecord(text=text, line=1, verdict=verdict) for text in texts),
        steps=(StepRecord(text=step, line=1, began=0.0, verdict="fail"),) if step else (),
    )


def ladders(lines: Sequence[str]) -> int:
    return sum("<=>" in line for line in lines)


@pytest.mark.parametrize(
    ("verdict", "count", "asked", "drawn"),
    [
        ("pass", 1, "evidence", 0),
        ("pass", 1, "calm", 1),
        ("pass", 2, "calm", 2),
        ("pass", 3, "calm", 0),
        ("pass", 1, "yes", 1),
        ("pass", 1, "no", 0),
        ("fail", 1, "no", 0),
        ("fail", 1, "evidence", 1),
        ("unknown", 2, "calm", 2),
        ("fail", 9, "evidence", 3),
        ("fail", 2, "yes", 2),
        ("pass", 5, "yes", 5),
        ("pass", 6, "yes", 0),
        ("fail", 9, "yes", 3),
    ],
)
def test_how_many_ladders(verdict: Verdict, count: int, asked: Asked, drawn: int) -> None:
    found = timeline(*[named(at) for at in range(count)])
    assert ladders(list(of_scenario(record(verdict), found, asked))) == drawn


def test_in_a_pipe_nothing_is_said_of_what_passed() -> None:
    assert list(of_scenario(record("pass"), timeline(whole()), "evidence")) == []


def test_a_calm_summary_of_many_is_a_line() -> None:
    found = timeline(*[named(at) for at in range(50)])
    assert len(list(of_scenario(record("pass"), found, "calm"))) == 1


def test_many_that_are_asked_for_are_a_table_and_what_happened() -> None:
    lines = list(of_scenario(record("pass"), timeline(*[named(at) for at in range(6)]), "yes"))
    assert lines[0] == "timeline: 6 connections, 42 events in 2.50 s"
    assert lines[2].startswith("#1  alice:41812 -> web:80")
    assert any("#3" in line and "SYN seq 0 →" in line for line in lines)


def test_a_lab_without_connections_is_one_line_where_it_is_asked_for() -> None:
    assert list(of_scenario(record("pass"), timeline(), "calm")) == []
    assert list(of_scenario(record("pass"), timeline(), "yes")) == [
        "timeline: 0 connections, 0 events in 0 µs"
    ]


@pytest.mark.parametrize(
    ("text", "step", "ids"),
    [
        ("expect: {connection: alice.call, client: LAST_ACK}", "", ["id0"]),
        ('expect: {connection: "bob -> web:80", client: LAST_ACK}', "", ["id1"]),
        ("expect: {connection: alice.caller, client: LAST_ACK}", "", ["id0", "id1", "id2"]),
        ("", "alice: recv second until x", ["id2"]),
        ("expect: {listener: web.door}", "", ["id0", "id1", "id2"]),
    ],
)
def test_which_connections_are_concerned(text: str, step: str, ids: list[str]) -> None:
    found = [named(0), named(1, "bob", "there"), named(2, "alice", "second")]
    assert [one.id for one in concerned(record("fail", text, step=step), found)] == ids


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("alice -> web:80", ["id00", "id02"]),
        ("alice->web:80", ["id00", "id02"]),
        ("bob.there", ["id01"]),
        ("alice:41814", ["id02"]),
        ("10.20.1.2:41812", ["id00"]),
        ("id02", ["id02"]),
        ("id", []),
        ("carol -> web:80", []),
    ],
)
def test_how_a_connection_is_named(text: str, ids: list[str]) -> None:
    found = [named(0), named(1, "bob", "there"), named(2, "alice", "second")]
    found = [msgspec.structs.replace(one, id=f"id0{at}") for at, one in enumerate(found)]
    assert [one.id for one in chosen(text, found)] == ids


def test_an_end_outside_the_lab_has_a_name() -> None:
    one = msgspec.structs.replace(whole(), server=EndHistory(host=None, address="1.2.3.4", port=80))
    assert chosen("alice -> outside:80", [one]) == [one]


def test_what_netfilter_may_have_done_behind_the_interfaces_is_said() -> None:
    cut = msgspec.structs.replace(beside(0.1, "impairment", "cut: alice web"), kind="cut")
    healed = msgspec.structs.replace(beside(0.1, "impairment", "pause: web"), kind="pause")
    for events, said in (((cut,), True), ((healed,), False)):
        lines = list(of_scenario(record("pass"), timeline(whole(), events=events), "yes"))
        assert any("arrows come to an interface" in line for line in lines) is said


def test_what_stands_beside_a_ladder() -> None:
    events = [
        beside(0.1, "note", "while it was there"),
        beside(0.2, "log", "of an end", "web"),
        beside(0.2, "log", "of another host", "bob"),
        beside(0.3, "impairment", "cut", "edge"),
        beside(9.0, "note", "later"),
    ]
    assert [one.detail["text"] for one in around(whole(), events)] == [
        "while it was there",
        "of an end",
        "cut",
    ]
