"""The kernel's counters of each host, as the daemon reads them from outside."""

from __future__ import annotations

import time

import pytest

from orchestrator.errors import AgentError
from tests.support.counters import UNSHOWN, counters, nstat
from tests.support.rig import Rig, eventually

LAB = """
networks: {net: {subnet6: auto}}
hosts:
  a: {role: server, networks: [net]}
  b: {role: client, networks: [net]}
"""
REAL = pytest.mark.engine("namespaces", "docker")


def test_every_host_answers_or_is_named(lab: Rig) -> None:
    before = time.monotonic()
    found = counters(lab)
    assert set(found) == {"a", "b"}
    assert all(
        before <= one.at <= time.monotonic() for one in found.values() if lab.lab.engine.name != "docker"
    )
    assert set(counters(lab, "b")) == {"b"}
    with pytest.raises(AgentError, match="nobody"):
        counters(lab, "nobody")


@pytest.mark.engine("fake")
def test_what_a_model_does_not_count_is_not_said(lab: Rig) -> None:
    assert counters(lab, "a")["a"].values == {}


@REAL
def test_they_are_as_nstat_in_the_host_has_them(lab: Rig) -> None:
    """A lab at rest: only what happens by itself (IGMP, neighbour discovery) may come between two reads."""

    def agree() -> bool:
        before, said, after = (
            counters(lab, "a")["a"].values,
            nstat_of(lab, "a"),
            counters(lab, "a")["a"].values,
        )
        assert set(said) == set(after) - UNSHOWN
        return before == after and said == {name: after[name] for name in said}

    eventually(agree)


def nstat_of(lab: Rig, host: str) -> dict[str, int]:
    """What the program of the host itself says."""
    ended = lab.run(host, "nstat", "-azs")
    assert ended.code == 0, ended
    return nstat(ended.out.decode())


@REAL
@pytest.mark.parametrize("family", [4, 6])
def test_an_accept_queue_that_overflows_is_counted(lab: Rig, family: int) -> None:
    port = 7400 + family
    before = {name: one.values for name, one in counters(lab).items()}
    lab.call("a", "listen", address="::" if family == 6 else "0.0.0.0", port=port, backlog=0, to="l")
    where = {"address": lab.address("a", family), "port": port}
    lab.call("b", "connect", to="first", **where)
    late = lab.ask("b", "connect", to="second", timeout=0.3, **where)
    assert late["timed_out"]
    after = {name: one.values for name, one in counters(lab).items()}
    grown = {host: {n: v - before[host].get(n, 0) for n, v in after[host].items()} for host in after}
    assert grown["b"]["TcpActiveOpens"] == 2
    assert grown["a"]["TcpPassiveOpens"] == 1
    assert grown["a"]["TcpExtListenOverflows"] == grown["a"]["TcpExtListenDrops"]
    assert grown["a"]["TcpExtListenDrops"] >= 1, "one for each SYN, which is sent again after a second"
    assert grown["b"]["TcpExtListenOverflows"] == 0, "each host has counters of its own"
    received = "Ip6InReceives" if family == 6 else "IpInReceives"
    assert grown["a"][received] >= 3
