"""How a timeline is told as text, beside what the golden files of the ladder show."""

from __future__ import annotations

from orchestrator.join.apart import UNMEASURED
from orchestrator.model.events import Timeline
from orchestrator.model.recording import MachineClock, Recording
from orchestrator.report.timeline_text import losses


def test_how_well_the_clocks_of_machines_are_known_is_said() -> None:
    clocks = (
        MachineClock(machine="m1", hosts=("alice",), error=0.00042),
        MachineClock(machine="m2", hosts=("web",), error=UNMEASURED, why="it was not measured"),
        MachineClock(machine="here", hosts=("bob",), error=0.0),
    )
    recording = Recording(lab="l", engine="docker", began=0.0, length=1.0, clocks=clocks)
    assert list(losses(Timeline(recording=recording, events=(), histories=()))) == [
        "clock: that of m1 is known to ±0.42 ms",
        "clock: that of m2 is not known (it was not measured): what is there is in no order with others",
    ]
