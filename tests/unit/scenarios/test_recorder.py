"""What a recorder makes of what it is told."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future
from typing import Any

import pytest

from orchestrator.join.connections import Joined
from orchestrator.join.snapshot import HostTables
from orchestrator.model.plan import LabKey, Plan, PlannedHost
from orchestrator.model.rows import SocketEntry, Taken
from orchestrator.model.steps import Call
from orchestrator.read import read_text
from orchestrator.scenarios import sightings
from orchestrator.scenarios.calls import UnderWay
from orchestrator.scenarios.recorder import Recorder
from orchestrator.scenarios.run import mentioned
from orchestrator.scenarios.sightings import Sightings
from orchestrator.wire import Frame

PLAN = Plan(
    key=LabKey(owner="o", name="l"), engine="fake", hosts=(PlannedHost(name="alice"), PlannedHost(name="web"))
)


class Pending:
    """As requests.Pending, answered or not."""

    def __init__(self, answer: dict[str, Any] | None, ended: float = 0.0) -> None:
        self.future: Future[Frame] = Future()
        self.ended = ended
        if answer is not None:
            self.future.set_result(Frame(answer))

    @property
    def done(self) -> bool:
        return self.future.done()

    def answer(self) -> Frame:
        return self.future.result()


def calls(began: float, *pending: Pending) -> UnderWay:
    step = Call(line=3, column=1, text="alice: connect web:80", host="alice", verb="connect")
    return UnderWay(step, list(pending), began, 1)  # type: ignore[arg-type]


def recorder(origin: float) -> Recorder:
    def no_channel() -> Any:
        raise AssertionError("the fake engine has no packets")

    return Recorder(no_channel, PLAN, origin)


def test_a_call_is_in_it_as_soon_as_it_is_answered() -> None:
    now = time.monotonic()
    one = recorder(now - 10)
    under_way = calls(
        now, Pending({"began": now + 0.5, "duration": 0.25, "errno": None, "fd": 5}, now + 1), Pending(None)
    )
    one.began(under_way)
    (made,) = one.recording().calls
    assert made.t == pytest.approx(10.5)
    assert (made.duration, made.fd, made.line) == (0.25, 5, 3)
    under_way.pending[1].future.set_result(Frame({"began": now + 0.1, "duration": 0.1, "errno": "EINTR"}))
    under_way.pending[1].ended = now + 1
    assert [call.errno for call in one.recording().calls] == ["EINTR", None], "in the order of their times"
    one.ended(under_way)
    assert len(one.recording().calls) == 2


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"began": "now", "duration": None},
        {"began": float("nan"), "duration": 0.1},
        {"began": 1e300, "duration": 0.1},
        {"began": 0.0, "duration": 0.1},
        {"duration": -1.0},
        {"duration": float("inf")},
    ],
)
def test_an_agent_is_not_believed_when_it_cannot_be(answer: dict[str, Any]) -> None:
    now = time.monotonic()
    one = recorder(now)
    answer = {"began": now + 0.1} | answer
    one.began(calls(now, Pending(answer, now + 0.5)))
    (made,) = one.recording().calls
    assert made.t == pytest.approx(0.0)
    assert made.duration == pytest.approx(0.5)


FILE = "/var/log/access.log"
FAR = 1e300


def test_a_line_of_a_file_was_written_between_two_looks_at_it() -> None:
    one = recorder(time.monotonic() - 10)
    now = time.monotonic()
    one.line("web", "GET /", FILE, (now - 0.01, now))
    (said,) = one.recording().said
    assert said.t == pytest.approx(9.995, abs=0.005)
    assert said.error == pytest.approx(0.005)


@pytest.mark.parametrize(
    "looks",
    [(FAR, FAR), (-FAR, FAR), (0.0, FAR), (None, None), ("now", "then"), (float("nan"), 0.0), (2.0, 1.0)],
)
def test_an_agent_is_not_believed_when_it_cannot_have_looked(looks: tuple[Any, Any]) -> None:
    one = recorder(time.monotonic() - 10)
    one.line("web", "GET /", FILE, looks)
    one.line("web", "GET /", FILE)
    first, second = one.recording().said
    assert first.error == pytest.approx(second.error)
    assert first.t == pytest.approx(second.t, abs=0.1)


def entry(state: str, port: int = 80) -> SocketEntry:
    return SocketEntry(
        host="web", address="10.0.0.2", port=port, peer_address="10.0.0.1", peer_port=4000, state=state
    )


def look(found: Sightings, at: float, *entries: SocketEntry) -> None:
    tables = HostTables(host="web", entries=entries, taken=Taken(began=at, ended=at + 0.5))
    found.saw([tables], Joined(connections=(), listeners=()), lambda _, at: at - 100.0)


def test_looks_that_show_the_same_are_kept_once_and_until_when() -> None:
    found = Sightings()
    for at in range(101, 105):
        look(found, at, entry("ESTABLISHED"))
    look(found, 105, entry("CLOSE_WAIT"))
    look(found, 106)
    seen = found.taken()
    assert [one.began for one in seen.looks] == [1.0, 4.0, 5.0, 6.0]
    assert [(one.began, one.state) for one in seen.sightings] == [
        (1.0, "ESTABLISHED"),
        (4.0, "ESTABLISHED"),
        (5.0, "CLOSE_WAIT"),
    ]
    look(found, 107)
    assert [one.began for one in found.taken().looks] == [1.0, 4.0, 5.0, 6.0, 7.0]


def test_sightings_beyond_a_bound_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sightings, "MOST", 3)
    found = Sightings()
    look(found, 101, entry("SYN_RECV", 1), entry("SYN_RECV", 2))
    look(found, 102, entry("ESTABLISHED", 1), entry("ESTABLISHED", 2))
    assert len(found.taken().sightings) == 3
    assert [one.began for one in found.taken().looks] == [1.0], "a look that is not whole says nothing"
    loss = found.loss(9.0)
    assert (loss.source, loss.stage, loss.count, loss.ended) == ("snapshot", "bound", 1, 9.0)


def test_many_threads_may_tell() -> None:
    one = recorder(time.monotonic())

    def tell() -> None:
        for _ in range(500):
            one.note("x")

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(one.recording().said) == 2000


def test_hosts_that_a_scenario_names_anywhere() -> None:
    text = """
name: l
networks: {n: {}, m: {}}
routers: {edge: {networks: [n, m]}}
hosts:
  a: {role: client, networks: [n]}
  b: {role: server, networks: [n]}
  c: {role: server, networks: [n]}
  d: {role: client, networks: [n]}
  e: {role: client, networks: [n]}
scenarios:
  it:
    steps:
      - a: connect b:80 as call
      - parallel: [{d: "run true"}]
      - expect: {listener: "c:80", queue: 0}
"""
    (scenario,) = read_text(text.encode(), "lab.yaml", os.getcwd()).scenarios
    names = ("e", "d", "c", "b", "a")
    hosts = (PlannedHost(name="edge", kind="router"), *(PlannedHost(name=name) for name in names))
    plan = Plan(key=LabKey(owner="o", name="l"), engine="fake", hosts=hosts)
    assert mentioned(scenario, plan) == ["edge", "d", "c", "b", "a"]
