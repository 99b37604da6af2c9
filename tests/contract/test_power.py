"""A host whose power is cut: its peers never hear of it. And what brings it back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator import bringup
from orchestrator.engines.base import Engine
from orchestrator.errors import AgentError
from orchestrator.model.rows import Connection
from tests.conftest import LabFactory
from tests.support.counters import counters
from tests.support.rig import Rig, eventually, running
from tests.support.rows import look, of_port

LAB = """
networks: {net: {subnet6: auto}, far: {}}
routers: {r: {networks: [net, far]}}
hosts:
  web: {role: server, networks: [net], listen: [80]}
  alice: {role: client, networks: [net], connect: [web:80]}
  bob: {role: client, networks: [far], connect: [web:80]}
"""
REAL = pytest.mark.engine("namespaces", "docker")
FAMILIES = [("alice", 4), ("alice", 6), ("bob", 4)]  # beside it, beside it by IPv6, behind a router


@pytest.fixture
def fresh(engine: Engine) -> Iterator[Rig]:
    """A lab for this test alone."""
    with running(engine.name, LAB) as rig:
        yield rig


def to_port(lab: Rig, port: int) -> list[Connection]:
    """Connections of clients to this port, whatever has become of the server's end."""
    return [one for one in look(lab).connections if one.client and one.client.peer_port == port]


def state(lab: Rig, host: str) -> dict[str, Any]:
    """What `hosts` says of one."""
    return next(one for one in lab.lab.hosts() if one["name"] == host)


def test_its_peers_rows_stay_established(fresh: Rig) -> None:
    fresh.call("web", "listen", address="::", family="dual", port=7600, to="l")
    for number, (host, family) in enumerate(FAMILIES):
        fresh.call(host, "connect", address=fresh.address("web", family), port=7600, to=f"c{number}")
        fresh.call("web", "accept", fd="l", to=f"conn{number}")
    fresh.call("web", "send", fd="conn0", text="last words")
    fresh.call("alice", "send", fd="c1", text="never read: a program that ends would answer with a reset")
    assert len(of_port(look(fresh), 7600)) == len(FAMILIES)
    before = {name: one.values for name, one in counters(fresh, "alice", "bob").items()}
    assert fresh.channel.call("power_off", host="web") == {}
    assert (state(fresh, "web")["alive"], state(fresh, "web")["off"]) == (False, True)
    assert state(fresh, "alice")["alive"]
    rows = to_port(fresh, 7600)
    assert len(rows) == len(FAMILIES)
    assert {(one.status, one.server) for one in rows} == {("client-only", None)}
    assert [one.client.state for one in rows if one.client] == ["ESTABLISHED"] * len(FAMILIES)
    assert {one.reason for one in rows} == {"web is off: its power was cut, and nobody was told"}
    assert fresh.received("alice", "c0", size=10)[0] == b"last words"
    for number, (host, _) in enumerate(FAMILIES):
        blocked = fresh.ask(host, "recv", fd=f"c{number}", timeout=0.5)
        assert (blocked["timed_out"], blocked["errno"]) == (True, "EAGAIN"), "neither an end nor a reset"
    for host, now in counters(fresh, "alice", "bob").items():
        for name in ("TcpEstabResets", "TcpExtTCPAbortOnData"):
            assert now.values.get(name) == before[host].get(name)
    assert [one.client.state for one in to_port(fresh, 7600) if one.client] == ["ESTABLISHED"] * len(FAMILIES)


@REAL
def test_what_is_sent_to_it_is_sent_again_and_again(fresh: Rig) -> None:
    fresh.call("web", "listen", port=7610, to="l")
    fresh.call("alice", "connect", address=fresh.address("web"), port=7610, to="c")
    fresh.call("web", "accept", fd="l", to="conn")
    fresh.channel.call("power_off", host="web")
    fresh.call("alice", "send", fd="c", text="hello?")
    (one,) = eventually(lambda: [r for r in to_port(fresh, 7610) if r.client and r.client.retransmits])
    assert one.client
    assert (one.client.state, one.client.tx_queue, one.client.timer) == ("ESTABLISHED", 6, "retransmission")


def test_nothing_can_be_asked_of_it_and_why_is_said(fresh: Rig) -> None:
    fresh.channel.call("power_off", host="web")
    with pytest.raises(AgentError, match="the agent of web is gone") as caught:
        fresh.ask("web", "list")
    assert "its power was cut" in caught.value.hint
    with pytest.raises(AgentError, match="gone"):
        fresh.run("web", "true")
    assert fresh.channel.call("power_off", host="web") == {}, "once more changes nothing"
    assert set(fresh.snapshot()[0]) == {"web", "alice", "bob", "r"}
    assert set(counters(fresh)) == {"alice", "bob", "r"}
    with pytest.raises(AgentError, match="nobody"):
        fresh.channel.call("power_off", host="nobody")


def test_a_restart_brings_it_back(fresh: Rig) -> None:
    fresh.channel.call("power_off", host="web")
    fresh.channel.call("power_off", host="alice")
    assert bringup.restart(fresh.lab, "web") == ()
    assert bringup.restart(fresh.lab, "alice") == ()
    assert {(one["name"], one["alive"], one["off"]) for one in fresh.lab.hosts()} == {
        (name, True, False) for name in ("web", "alice", "bob", "r")
    }
    fresh.call("web", "listen", port=7620, to="l")
    for host in ("alice", "bob"):
        fresh.call(host, "connect", address=fresh.address("web"), port=7620, to="c")
        fresh.call("web", "accept", fd="l", to=f"of-{host}")
    assert {one.status for one in of_port(look(fresh), 7620)} == {"joined"}


def test_others_are_restarted_while_it_is_off(fresh: Rig) -> None:
    fresh.channel.call("power_off", host="web")
    bringup.restart(fresh.lab, "r")
    assert (state(fresh, "r")["alive"], state(fresh, "web")["alive"]) == (True, False)


def test_a_paused_host_can_lose_its_power(fresh: Rig) -> None:
    fresh.channel.call("pause", host="web")
    fresh.channel.call("power_off", host="web")
    assert (state(fresh, "web")["alive"], state(fresh, "web")["paused"]) == (False, False)
    assert fresh.channel.call("resume", host="web") == {"resumed": 0}
    assert bringup.restart(fresh.lab, "web") == ()


def test_up_brings_back_what_is_off(lab_factory: LabFactory) -> None:
    from tests.contract.test_engine import change

    rig = lab_factory(LAB)
    rig.channel.call("power_off", host="alice")
    change(rig, LAB)
    assert state(rig, "alice")["connected"] == 1
