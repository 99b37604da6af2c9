"""A run as text, JSON and JUnit XML."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from orchestrator.model.runs import (
    CallResult,
    ExpectationRecord,
    RunRecord,
    ScenarioRecord,
    StepRecord,
    Verdict,
)
from orchestrator.report import run_documents, scenarios
from orchestrator.report.layout import PLAIN, Style

CALL = CallResult(
    name="call", fd=7, duration=0.00031, local=("10.1.1.2", 40000), peer=("10.1.2.80", 80), text="a\x1b[31m"
)
STEP = StepRecord(
    host="alice", text="alice: connect web:80 as call", line=12, began=0.5, calls=(CALL,), count=1
)
FAILED = ExpectationRecord(
    text="expect: {connection: alice.call, client: CLOSE_WAIT}",
    line=13,
    verdict="fail",
    expected="client CLOSE_WAIT",
    observed="client ESTABLISHED",
    evidence=("alice 10.1.1.2:40000 ESTABLISHED <=> no row",),
    lately=("alice: connect web:80 as call: fd 7",),
)


def scenario(verdict: Verdict, **more: object) -> ScenarioRecord:
    """One of this verdict."""
    return ScenarioRecord(name=verdict, label=f"{verdict}[n=1]", verdict=verdict, **more)  # type: ignore[arg-type]


def test_a_step_on_its_line() -> None:
    (line,) = scenarios.step(STEP, PLAIN)
    assert line == (
        "  alice: connect web:80 as call                  → fd 7  'a\\x1b[31m'  "
        "10.1.1.2:40000 → 10.1.2.80:80  0.31 ms"
    )


def test_rows_output_and_calls_are_bounded() -> None:
    record = StepRecord(
        text="web: run x",
        line=1,
        began=0,
        output="\n".join("ab" for _ in range(100)),
        changed=tuple(f"+ row {n}" for n in range(100)),
        calls=(CALL,) * 10,
        count=1000,
    )
    lines = list(scenarios.step(record, PLAIN))
    assert len(lines) < 40
    assert "… 1000 calls" in "".join(lines)
    assert "… 100 lines" in "".join(lines)
    assert "… 100 rows changed" in "".join(lines)


def test_what_did_not_pass_says_why() -> None:
    assert list(scenarios.expectation(FAILED, PLAIN))[1:] == [
        "      expected: client CLOSE_WAIT",
        "      observed: client ESTABLISHED",
        "      seen:     alice 10.1.1.2:40000 ESTABLISHED <=> no row",
        "      before:   alice: connect web:80 as call: fd 7",
    ]


def test_colours_only_where_there_are_some() -> None:
    (line,) = scenarios.ended(scenario("fail", why="line 3: ECONNREFUSED"), Style(80, True))
    assert "\x1b[31mfail\x1b[0m" in line
    assert "\x1b" not in "".join(scenarios.ended(scenario("fail"), PLAIN))


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [(("pass", "pass"), 0), (("pass", "fail"), 1), (("unknown", "fail"), 1), (("unknown", "pass"), 4)],
)
def test_exits(verdicts: tuple[Verdict, ...], code: int) -> None:
    worst: Verdict = "fail" if "fail" in verdicts else "unknown" if "unknown" in verdicts else "pass"
    record = RunRecord(lab="l", engine="e", verdict=worst, scenarios=tuple(map(scenario, verdicts)))
    assert record.exit_code == code


def test_a_problem_of_the_infrastructure_comes_first() -> None:
    record = RunRecord(
        lab="l", engine="e", verdict="fail", scenarios=(scenario("fail"), scenario("unknown", problem="gone"))
    )
    assert record.exit_code == 3


def test_json_is_read_again() -> None:
    record = RunRecord(
        lab="l",
        engine="e",
        verdict="fail",
        scenarios=(scenario("fail", steps=(STEP,), expectations=(FAILED,)),),
    )
    text = run_documents.json_of(record)
    assert text.isascii()
    assert "\x1b" not in text
    assert run_documents.read_json(text.encode()) == record
    (one,) = json.loads(text)["scenarios"]
    assert one["steps"][0]["host"] == "alice"


def test_junit_says_what_failed_and_what_is_unknown() -> None:
    record = RunRecord(
        lab="l\x1b",
        engine="e",
        verdict="fail",
        scenarios=(
            scenario("pass"),
            scenario("fail", expectations=(FAILED,)),
            scenario("unknown"),
            scenario("fail", problem="the daemon is gone \x00"),
        ),
    )
    suite = ElementTree.fromstring(run_documents.junit_of(record))[0]
    assert [suite.get(key) for key in ("tests", "failures", "errors")] == ["4", "1", "2"]
    passed, failed, unknown, broken = suite.iter("testcase")
    assert len(passed) == 0
    failure = failed.find("failure")
    assert failure is not None
    assert failure.get("message", "").startswith("line 13: ")
    assert "observed: client ESTABLISHED" in str(failure.text)
    assert [child.get("type") for child in unknown] == ["unknown"]
    assert [child.get("type") for child in broken] == ["infrastructure"]
