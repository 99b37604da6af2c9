"""What steps have made: kept, bounded, and never more trusted than an agent is."""

from __future__ import annotations

from orchestrator.scenarios.ledger import LATELY, MAX_RECEIVED, Ledger, call_result
from orchestrator.scenarios.observation import StepResult

NAME = ("alice", "call")
LOCAL, PEER = ("10.1.1.20", 40000), ("10.1.2.80", 80)


def test_a_connect_under_way_has_its_other_end_before_its_own() -> None:
    ledger = Ledger()
    ledger.expect(NAME, PEER)
    assert list(ledger.without_address()) == ["alice"]
    ledger.learn(NAME, 7, LOCAL, None)
    one = ledger.descriptors()[NAME]
    assert (one.fd, one.local, one.peer) == (7, LOCAL, PEER)
    assert list(ledger.without_address()) == []


def test_a_new_descriptor_of_a_name_is_another() -> None:
    ledger = Ledger()
    ledger.learn(NAME, 7, LOCAL, PEER)
    ledger.seen_in(NAME, "c1")
    ledger.learn(NAME, 7, LOCAL, None)
    assert ledger.descriptors()[NAME].connection == "c1"
    ledger.learn(NAME, 7, ("10.1.1.20", 40001), PEER)
    assert ledger.descriptors()[NAME].connection is None
    ledger.seen_in(NAME, "c2")
    ledger.receive(NAME, b"old", 3, True)
    ledger.renew(NAME)
    assert NAME not in ledger.received()
    ledger.learn(NAME, 7, LOCAL, PEER)
    assert ledger.descriptors()[NAME].connection is None


def test_what_is_received_adds_up_and_is_bounded() -> None:
    ledger = Ledger()
    ledger.receive(NAME, b"ab", 2, False)
    ledger.receive(NAME, b"c", 1, True)
    one = ledger.received()[NAME]
    assert (one.data, one.total, one.eof) == (b"abc", 3, True)
    ledger.receive(NAME, b"x" * MAX_RECEIVED, MAX_RECEIVED, False)
    ledger.receive(NAME, b"y", 1, False)
    one = ledger.received()[NAME]
    assert (len(one.data), one.total, one.eof) == (MAX_RECEIVED, MAX_RECEIVED + 4, True)


def test_after_a_gap_nothing_more_is_kept() -> None:
    """Else bytes that did not follow each other would look as if they had."""
    ledger = Ledger()
    ledger.receive(NAME, b"ab", 10, False)
    ledger.receive(NAME, b"cd", 2, False)
    one = ledger.received()[NAME]
    assert (one.data, one.total) == (b"ab", 12)


def test_a_running_step_has_a_duration_so_far() -> None:
    ledger = Ledger()
    ledger.begin(NAME)
    first, second = ledger.steps()[NAME], ledger.steps()[NAME]
    assert first.running
    assert 0 <= first.duration <= second.duration
    ledger.end(NAME, StepResult(result=3))
    assert ledger.steps()[NAME] == StepResult(result=3)


def test_the_last_calls_of_a_host() -> None:
    ledger = Ledger()
    for number in range(LATELY + 3):
        ledger.did("alice", str(number))
    assert ledger.lately("alice") == tuple(str(number) for number in range(3, LATELY + 3))
    assert ledger.lately("web") == ()


def test_an_answer_of_the_wrong_form_is_no_answer() -> None:
    found = call_result(
        {
            "fd": "7",
            "errno": 5,
            "local": [1],
            "peer": ["a", "b"],
            "duration": None,
            "timed_out": 1,
            "name": 4,
        },
        b"\xff",
    )
    assert (found.fd, found.errno, found.local, found.peer, found.name) == (None,) * 5
    assert (found.duration, found.timed_out, found.text) == (0.0, False, "\ufffd")
