"""Scopes of one agent: what only it can be put through."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path

import pytest

from orchestrator import errors, wire
from tests.unit.agent.agents import Agent, until


def call(agent: Agent, scope: int, do: str, **ask: object) -> wire.Message:
    """A call in a scope that must not fail."""
    answer = agent.tell("call", scope=scope, call={"do": do, **ask})
    assert answer["errno"] is None, answer
    return answer


def pair(agent: Agent, scope: int, port: int) -> None:
    """A listener "l", a client "c" and its accepted end "s"."""
    call(agent, scope, "listen", port=port, address="127.0.0.1", **{"as": "l"})
    call(agent, scope, "connect", address="127.0.0.1", port=port, **{"as": "c"})
    call(agent, scope, "accept", fd="l", **{"as": "s"})


def rows(agent: Agent) -> list[str]:
    """The agent's own table, without its heading."""
    return Path(f"/proc/{agent.process.pid}/net/tcp").read_text().splitlines()[1:]


def descriptors(agent: Agent) -> int:
    """How many it has open."""
    return len(os.listdir(f"/proc/{agent.process.pid}/fd"))


def test_release_gives_every_descriptor_back(agent: Agent) -> None:
    agent.good("list")
    before = descriptors(agent)
    for scope in (1, 2):
        pair(agent, scope, 80 + scope)
        call(agent, scope, "socket", kind="udp")
        call(agent, scope, "fork", fd="c", **{"as": "child"})
    assert agent.tell("release", scope=1) == {"closed": 4}
    assert len(rows(agent)) == 3, "the other scope's"
    assert agent.tell("release", scope=2) == {"closed": 4}
    assert rows(agent) == []
    assert descriptors(agent) == before
    assert agent.tell("release", scope=2) == {"closed": 0}


def fill(agent: Agent, scope: int) -> int:
    """Open sockets until no descriptor is free; how many that took. Few are allowed, so it is quick."""
    resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, (64, 64))
    for number in range(64):
        answer = agent.tell("call", scope=scope, call={"do": "socket"})
        if answer["errno"]:
            assert answer["errno"] == "EMFILE"
            return number
    raise AssertionError("no limit")


def test_release_works_when_no_descriptor_is_free(agent: Agent) -> None:
    pair(agent, 1, 80)
    call(agent, 1, "fork", fd="c", **{"as": "child"})
    opened = fill(agent, 1)
    assert agent.tell("release", scope=1) == {"closed": 3 + opened}
    assert rows(agent) == []


def test_a_child_that_is_stopped_is_ended_too(agent: Agent) -> None:
    pair(agent, 1, 80)
    pid = call(agent, 1, "fork", fd="c", **{"as": "child"})["result"]
    os.kill(pid, signal.SIGSTOP)
    call(agent, 1, "close", fd="c")
    assert agent.tell("release", scope=1) == {"closed": 2}
    assert not Path(f"/proc/{pid}").exists()
    assert rows(agent) == [], "it was continued, and has reset what it held"


def test_a_call_of_any_kind_that_waits_is_ended(agent: Agent) -> None:
    pair(agent, 1, 80)
    waiting = [
        agent.ask("call", scope=1, call={"do": do, "fd": fd, "timeout": 60, **more})
        for do, fd, more in (("accept", "l", {}), ("recv", "c", {}), ("send", "c", {"size": 64 << 20}))
    ]
    other = agent.ask("call", call={"do": "list"})
    assert agent.end(other)[0]["count"] == 0
    assert agent.tell("release", scope=1) == {"closed": 3}
    for request in waiting:
        with pytest.raises(errors.AgentError, match="released"):
            agent.end(request)
    assert agent.tell("state")["faults"] == []


def test_the_listeners_of_up_wake_when_a_scope_gives_descriptors_back(agent: Agent) -> None:
    """They leave clients in the queue while no descriptor is free."""
    agent.tell("listen", listen=[{"address": "127.0.0.1", "port": 80}])
    call(agent, 1, "socket", **{"as": "client"})
    fill(agent, 2)
    call(agent, 1, "connect", fd="client", address="127.0.0.1", port=80)
    until(lambda: any(row.split()[3] == "0A" and row.split()[4].endswith(":00000001") for row in rows(agent)))
    agent.tell("release", scope=2)
    until(lambda: all(row.split()[4].endswith(":00000000") for row in rows(agent)))
    assert agent.tell("state")["faults"] == []


def test_thousands_are_released_at_once(agent: Agent) -> None:
    call(agent, 1, "listen", port=80, address="127.0.0.1", **{"as": "l"})
    for _ in range(2000):
        call(agent, 1, "connect", address="127.0.0.1", port=80, **{"as": None})
        call(agent, 1, "accept", fd="l")
    began = time.monotonic()
    assert agent.tell("release", scope=1) == {"closed": 4001}
    assert time.monotonic() - began < 2
    assert rows(agent) == []
