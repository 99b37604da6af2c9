"""What the agent holds open for `up`."""

from __future__ import annotations

import os
import resource
from collections import Counter
from pathlib import Path
from typing import Any

from tests.unit.agent.agents import Agent, until

LOCAL = "127.0.0.1"


def listen(agent: Agent, *ports: int, address: str = LOCAL, dual: bool = False) -> dict[str, Any]:
    wanted = [{"address": address, "port": port, "dual": dual} for port in ports]
    return agent.tell("listen", listen=wanted)


def connect(agent: Agent, *wanted: tuple[int, int], timeout: float = 20) -> dict[str, Any]:
    targets = [{"host": "web", "address": LOCAL, "port": port, "times": times} for port, times in wanted]
    return agent.tell("connect", connect=targets, timeout=timeout)


def states(agent: Agent, port: int) -> Counter[str]:
    """The states of the sockets whose local port is this, from the agent's own table (proc_net_tcp(5))."""
    rows = Path(f"/proc/{agent.process.pid}/net/tcp").read_text().splitlines()[1:]
    return Counter(r.split()[3] for r in rows if r.split()[1].endswith(f":{port:04X}"))


def test_exactly_these_listen(agent: Agent) -> None:
    first = listen(agent, 80, 81)
    assert [w["port"] for w in first["listening"]] == [80, 81]
    second = listen(agent, 81, 82)
    fds = {w["port"]: w["fd"] for w in first["listening"]}
    assert {w["port"] for w in second["listening"]} == {81, 82}
    assert second["listening"][0]["fd"] == fds[81]  # the same socket, untouched
    assert second["failed"] == []
    assert states(agent, 80) == {}
    assert listen(agent) == {"listening": [], "failed": []}


def test_one_that_fails_does_not_hinder_the_others(agent: Agent) -> None:
    answer = agent.tell(
        "listen", listen=[{"address": "192.0.2.1", "port": 80}, {"address": LOCAL, "port": 80}]
    )
    assert answer["failed"] == [{"address": "192.0.2.1", "port": 80, "errno": "EADDRNOTAVAIL"}]
    assert len(answer["listening"]) == 1


def test_a_thousand_connections_are_held_and_accepted(agent: Agent) -> None:
    listen(agent, 80)
    assert connect(agent, (80, 1000)) == {"connected": 1000, "failed": []}
    until(lambda: agent.tell("state")["accepted"] == 1000)
    assert states(agent, 80) == {"0A": 1, "01": 1000}


def test_asking_again_changes_nothing(agent: Agent) -> None:
    listen(agent, 80)
    connect(agent, (80, 5))
    before = {tuple(d["local"]) for d in agent.good("list")["result"] if d["peer"]}
    assert connect(agent, (80, 5)) == {"connected": 5, "failed": []}
    assert {tuple(d["local"]) for d in agent.good("list")["result"] if d["peer"]} == before
    assert connect(agent, (80, 2)) == {"connected": 2, "failed": []}
    after = {tuple(d["local"]) for d in agent.good("list")["result"] if d["peer"]}
    assert len(after) == 2
    assert after < before


def test_what_has_died_is_opened_anew(agent: Agent) -> None:
    listen(agent, 80)
    connect(agent, (80, 1))
    name = next(d["name"] for d in agent.good("list")["result"] if d["peer"])
    agent.good("reset", fd=name)
    assert connect(agent, (80, 1)) == {"connected": 1, "failed": []}


def test_failures_are_counted_by_their_errno(agent: Agent) -> None:
    assert connect(agent, (9, 3)) == {
        "connected": 0,
        "failed": [{"host": "web", "address": LOCAL, "port": 9, "errno": "ECONNREFUSED", "count": 3}],
    }


def test_the_end_of_time_is_told_and_leaves_nothing(agent: Agent) -> None:
    agent.good("listen", port=90, address=LOCAL, backlog=0, **{"as": "l"})
    answer = connect(agent, (90, 4), timeout=0.5)  # a queue of one: the others get no answer
    assert answer["connected"] == 1
    assert [(f["errno"], f["count"]) for f in answer["failed"]] == [("ETIMEDOUT", 3)]
    assert len([d for d in agent.good("list")["result"] if d["name"].startswith("web:")]) == 1


def test_a_listener_closes_what_its_client_closed(agent: Agent) -> None:
    listen(agent, 80)
    agent.good("connect", address=LOCAL, port=80, **{"as": "c"})
    until(lambda: agent.tell("state")["accepted"] == 1)
    agent.good("send", fd="c", size=1 << 20)
    agent.good("close", fd="c")
    until(lambda: agent.tell("state")["accepted"] == 0)


def test_without_descriptors_clients_wait_in_the_queue(agent: Agent) -> None:
    listen(agent, 80)
    used = len(os.listdir(f"/proc/{agent.process.pid}/fd"))
    resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, (used + 12, used + 12))
    answer = connect(agent, (80, 8))
    assert answer["connected"] == 8
    connect(agent)
    until(lambda: agent.tell("state")["accepted"] == 0)
    assert states(agent, 80)["0A"] == 1
    assert connect(agent, (80, 2))["connected"] == 2
    until(lambda: agent.tell("state")["accepted"] == 2)


def test_dual_takes_both(agent: Agent) -> None:
    listen(agent, 80, address="::", dual=True)
    for address in (LOCAL, "::1"):
        agent.good("connect", address=address, port=80)
    until(lambda: agent.tell("state")["accepted"] == 2)
