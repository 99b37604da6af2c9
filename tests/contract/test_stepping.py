"""Steps given one at a time, on every engine: interrupted, left running, and closed at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from orchestrator.model.runs import StepRecord
from orchestrator.model.steps import Step
from orchestrator.read.people import Residents
from orchestrator.read.session import StepSession
from orchestrator.scenarios.stepping import StepFailed, Stepping
from tests.support.rig import Rig, eventually
from tests.support.rows import look
from tests.support.scenarios import Silent

LAB = """
networks: {net: {}}
hosts:
  a: {role: server, networks: [net]}
  b: {role: client, networks: [net]}
"""


class Given:
    """Lines, performed as they are given."""

    def __init__(self, lab: Rig) -> None:
        self.lab = lab
        self.reader = StepSession(Residents(["a", "b"]), "a")
        self.audience = Silent()
        self.stepping = Stepping(lab.another, lab.lab.plan, self.audience, watch=True)

    def read(self, line: str) -> Step:
        read = self.reader.read(line)
        assert read.step is not None, read.mistakes
        return read.step

    def do(self, *lines: str) -> StepRecord:
        """The record of the last one."""
        for line in lines:
            self.stepping.do(self.read(line))
        return self.stepping.steps[-1]

    def interrupted(self, line: str) -> float:
        """A step that waits for long, and is interrupted: how long it took to end."""
        step = self.read(line)
        began: list[float] = []

        def interrupt() -> None:
            time.sleep(0.2)
            began.append(time.monotonic())
            self.stepping.interrupt()

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(StepFailed):
            self.stepping.do(step)
        ended = time.monotonic()
        thread.join()
        self.reader.failed(step)
        return ended - began[0]


@pytest.fixture
def given(lab: Rig) -> Iterator[Given]:
    one = Given(lab)
    with one.stepping:
        yield one


def test_steps_one_by_one_and_both_ends_change(given: Given) -> None:
    given.do("listen :7400 as door")
    record = given.do("b: connect a:7400 as call")
    assert record.changed[0].startswith("+ b ")
    assert given.do("accept door as conn").calls[0].fd is not None
    given.do("expect: {connection: b.call, status: joined}")
    assert [one.verdict for one in given.stepping.expectations] == ["pass"]
    assert {one["name"] for one in given.stepping.open("a")["result"]} == {"door", "conn"}
    with pytest.raises(StepFailed, match="ECONNREFUSED"):
        given.do("b: connect a:7499 as other")
    given.do("b: close other")


def test_an_interrupted_accept_takes_nothing(given: Given) -> None:
    given.do("listen :7410 as door")
    assert given.interrupted("accept door as conn timeout=60s") < 2
    assert given.stepping.steps[-1].errno == "EINTR"
    given.do("b: connect a:7410 as call", "accept door as conn")


def test_all_calls_of_a_step_are_interrupted(given: Given) -> None:
    given.do("listen :7420 as door")
    assert given.interrupted("accept door as conn x5 timeout=60s") < 2
    record = given.stepping.steps[-1]
    assert (record.count, [one.errno for one in record.calls]) == (5, ["EINTR"] * 5)
    given.do("b: connect a:7420 as call x5", "accept door as conn x5")


def test_what_is_left_running_goes_on_beside_an_interrupted_step(given: Given) -> None:
    given.do("listen :7430 as door", "accept door as conn timeout=60s &", "accept door timeout=60s &")
    assert given.interrupted("wait conn") < 2
    assert given.stepping.ended() == []
    given.do("b: connect a:7430 as one", "b: connect a:7430 as two")
    ended: list[bool] = []

    def all_told() -> bool:
        ended.extend(well for _, well in given.stepping.ended())
        return len(ended) == 2

    eventually(all_told)
    assert ended == [True, True], "each is told, also without a name"
    given.do("send conn hello")


def test_a_step_that_fails_in_the_background_is_told(given: Given) -> None:
    given.do("listen :7440 as door", "accept door as conn timeout=50ms &")
    ((step, well),) = eventually(given.stepping.ended)
    assert (step.text, well) == ("a: accept door as conn timeout=50ms &", False)
    assert given.stepping.steps[-1].timed_out


def test_time_that_passes_can_be_cut_short(given: Given) -> None:
    given.do("listen :7460")
    began = time.monotonic()
    threading.Timer(0.2, given.stepping.interrupt).start()
    given.stepping.do(given.read("wait: 60s"))
    assert time.monotonic() - began < 5


def test_nothing_stays_open(lab: Rig) -> None:
    one = Given(lab)
    with one.stepping:
        one.do("listen :7450 as door", "b: connect a:7450 as call", "accept door as more timeout=60s &")
    eventually(lambda: not look(lab).listeners and not look(lab).connections)
