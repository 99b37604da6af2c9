"""Expectations about moments of two machines: what their clocks do not decide is unknown."""

from __future__ import annotations

import msgspec
import pytest

from orchestrator.model.recording import MachineClock
from orchestrator.model.runs import Verdict
from orchestrator.scenarios.checks import judge
from orchestrator.scenarios.observation import Observation
from orchestrator.scenarios.timing import stood
from tests.unit.scenarios.looks import expect
from tests.unit.scenarios.timelines import BEGAN, call, history, seen

ALICE, WEB = "alice", "web"


def on_machines(found: Observation, error: float, *, one: bool = False) -> Observation:
    """alice and web on one machine, or on two, whose clocks are known to an error."""
    hosts = [(ALICE, WEB)] if one else [(ALICE,), (WEB,)]
    clocks = tuple(
        MachineClock(machine=f"m{number}", hosts=mine, error=error) for number, mine in enumerate(hosts)
    )
    assert found.recorded is not None
    timeline = found.recorded.timeline
    recording = msgspec.structs.replace(timeline.recording, clocks=clocks)
    recorded = msgspec.structs.replace(
        found.recorded, timeline=msgspec.structs.replace(timeline, recording=recording)
    )
    return msgspec.structs.replace(found, recorded=recorded)


# web comes into CLOSE_WAIT at 12, alice's step has returned at 10.
STEP = call("listen", 9.0, "ask", duration=1.0)
WHOLE = history(server="SYN_RECV ESTABLISHED@1 CLOSE_WAIT@12")


@pytest.mark.parametrize(
    ("error", "one", "verdict"),
    [(0.0, False, "pass"), (0.01, False, "pass"), (0.2, False, "unknown"), (0.2, True, "pass")],
)
def test_how_long_after_a_step_on_another_machine(error: float, one: bool, verdict: Verdict) -> None:
    text = "connection: alice.call, server: ESTABLISHED -> CLOSE_WAIT, after: ask 2s +-100ms"
    found = on_machines(seen(WHOLE, calls=[STEP]), error, one=one)
    assert judge(expect(text), found).verdict == verdict


@pytest.mark.parametrize(("error", "verdict"), [(0.0, "pass"), (0.3, "pass"), (0.7, "unknown")])
def test_whether_it_was_so_at_a_moment_of_ours(error: float, verdict: Verdict) -> None:
    judged = judge(
        expect("connection: alice.call, server: ESTABLISHED -> CLOSE_WAIT"), on_machines(seen(WHOLE), error)
    )
    assert judged.since == BEGAN + 12
    assert judged.since_error >= error
    assert stood(judged, BEGAN + 12.5).verdict == verdict
