"""Following logs begins when all agents have said that they do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from orchestrator.model.plan import Plan
from orchestrator.requests import Pending, Requests
from orchestrator.scenarios import logs
from orchestrator.wire import Message
from tests.unit.plan.labs import plan as planned

LAB = "hosts:\n  a: {role: server, networks: [n]}\n  b: {role: server, networks: [n]}\nnetworks: {n: {}}\n"


class Agents:
    """What stands for the channel: each request is kept, for the test to answer."""

    def __init__(self, answers: dict[str, float]) -> None:
        self._answers = answers  # host: after how many seconds it says that it follows
        self.parts: dict[str, Callable[[Message, bytes], None]] = {}

    def begin(
        self, op: str, *, on_part: Callable[[Message, bytes], None], host: str, begun: bool, **_: Any
    ) -> Pending:
        assert op == "logs"
        assert begun
        self.parts[host] = on_part
        if host in self._answers:
            threading.Timer(self._answers[host], on_part, ({"begun": True}, b"")).start()
        return Pending(cast(Requests, self), on_part)


def follow(agents: Agents, plan: Plan) -> logs.LogFollower:
    return logs.LogFollower(cast(Requests, agents), plan, ["a", "b"])


def test_it_waits_for_the_last() -> None:
    agents = Agents({"a": 0.0, "b": 0.3})
    began = time.monotonic()
    following = follow(agents, planned(LAB))
    assert time.monotonic() - began >= 0.3
    agents.parts["b"]({"source": "run"}, b"one\ntw")
    assert following.logs()["a"].lines == ()
    assert following.logs()["b"].lines == ("one", "tw")


def test_of_one_that_says_nothing_no_log_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "BEGINS", 0.1)
    agents = Agents({"a": 0.0})
    following = follow(agents, planned(LAB))
    agents.parts["b"]({"begun": True}, b"")
    agents.parts["b"]({"source": "run"}, b"late\n")
    assert set(following.logs()) == {"a"}, "what b said before is missing"
