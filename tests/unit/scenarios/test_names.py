"""Which address a name has for a host that asks."""

from __future__ import annotations

import pytest

from orchestrator.model.plan import LabKey
from orchestrator.plan import make_plan
from orchestrator.read import read_text
from orchestrator.scenarios.names import Resolver

LAB = b"""
name: t
networks:
  office: {subnet: 10.1.1.0/24, subnet6: "fd01::/64"}
  dc: {subnet: 10.1.2.0/24}
  six: {subnet6: "fd03::/64"}
routers: {edge: {networks: [office, dc, six]}}
hosts:
  web: {role: server, networks: {dc: 10.1.2.80, office: 10.1.1.80}}
  alice: {role: client, networks: {office: [10.1.1.20, "fd01::20"]}}
  bob: {role: client, networks: {dc: 10.1.2.30}}
  carol: {role: client, networks: {six: "fd03::40"}}
"""


@pytest.mark.parametrize(
    ("host", "name", "address"),
    [
        ("alice", "web", "10.1.1.80"),  # on a network with it
        ("bob", "web", "10.1.2.80"),
        ("bob", "alice", "10.1.1.20"),  # IPv4 before IPv6
        ("carol", "alice", "10.1.1.20"),
        ("alice", "alice", "10.1.1.20"),
        ("alice", "ALICE", "10.1.1.20"),
        ("alice", "localhost", "127.0.0.1"),
        ("alice", "edge", "10.1.1.1"),
    ],
)
def test_the_address_of_a_name(host: str, name: str, address: str) -> None:
    plan = make_plan(read_text(LAB, "lab.yaml", "/"), LabKey(owner="o", name="t"), "namespaces")
    assert Resolver(plan)(host, name) == address
