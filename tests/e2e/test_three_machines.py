"""A network on three machines, and one that begins to span another while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import pytest

from orchestrator import bringup
from tests.support.compose import Machines
from tests.support.rig import Rig, topology
from tests.support.spanning import left, of_fabric, started

SERVICES = ("m1", "m2", "m3")
LAB = """
networks: {n: {subnet6: "fd53::/64"}}
hosts:
  a: {role: server, networks: [n], listen: [80]}
  b: {role: client, networks: [n], connect: [a:80]}
machines: {m1: "ssh://lab-m1", m2: "ssh://lab-m2", m3: "ssh://lab-m3"}
place: {a: m1, b: m2, c: m3}
"""
TWO = LAB.replace(", c: m3", "")
THREE = LAB.replace("machines:", "  c: {role: client, networks: [n], connect: [a:80]}\nmachines:")


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with started(tmp_path_factory.mktemp("machines"), "three") as found:
        yield found


def all_reach_each_other(rig: Rig, *hosts: str) -> None:
    """By both families; multicast of neighbour discovery goes to all."""
    for one, other in permutations(hosts, 2):
        for family in (4, 6):
            done = rig.run(one, "ping", "-c1", "-W5", rig.address(other, family))
            assert done.code == 0, (one, other, family, done)


def test_a_network_that_comes_to_a_third_machine_and_leaves_it(machines: Machines) -> None:
    """Connections that are there go on: the same sockets, the same rows."""
    outcome = bringup.up(topology(TWO))
    lab, name = outcome.lab, outcome.lab.key.name
    try:
        assert not outcome.failed
        all_reach_each_other(Rig(lab), "a", "b")
        assert of_fabric(machines, "m3") == ""
        (before,) = [one.id for one in lab.observe().joined.connections]

        grown = bringup.up(topology(THREE, name))
        assert not grown.failed
        assert ("span-network", "n") in [(one.action, one.subject) for one in grown.changes]
        all_reach_each_other(Rig(grown.lab), "a", "b", "c")
        found = {one.client and one.client.host: one for one in grown.lab.observe().joined.connections}
        assert {host: one.status for host, one in found.items()} == {"b": "joined", "c": "joined"}
        assert found["b"].id == before

        shrunk = bringup.up(topology(TWO, name))
        assert [one.id for one in shrunk.lab.observe().joined.connections] == [before]
        all_reach_each_other(Rig(shrunk.lab), "a", "b")
        assert left(machines, ["m3"]) == {}, "the lab has left it"
    finally:
        lab.engine.remove(lab.key, lambda _: None)
    assert left(machines, SERVICES) == {}
