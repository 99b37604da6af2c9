"""Hosts that come and go in a running lab, their names, and what their agents hold open."""

from __future__ import annotations

import msgspec

from orchestrator.model.plan import PlannedConnect, PlannedListen
from tests.conftest import LabFactory
from tests.support.rig import Rig

LAB = """
networks: {net: {subnet6: auto}, far: {subnet6: auto}}
routers: {r: {networks: [net, far]}}
hosts:
  a: {role: server, networks: [net], listen: [80]}
  b: {role: client, networks: [far], connect: ["a:80 x3"]}
  idle: {role: client, networks: [net]}
"""


def about(rig: Rig, host: str) -> dict[str, object]:
    """What `hosts` says of one."""
    return next(found for found in rig.lab.hosts() if found["name"] == host)


def listen(rig: Rig, host: str, *wanted: PlannedListen) -> dict[str, list[dict[str, object]]]:
    """Ask for exactly these listeners."""
    return rig.channel.call("listen", host=host, listen=msgspec.to_builtins(wanted))


def connect(rig: Rig, host: str, *wanted: PlannedConnect, timeout: float = 5.0) -> dict[str, object]:
    """Ask for exactly these connections."""
    return rig.channel.call("connect", host=host, connect=msgspec.to_builtins(wanted), timeout=timeout)


def test_every_host_is_listed_with_what_it_does(lab: Rig) -> None:
    hosts = {host["name"]: host for host in lab.lab.hosts()}
    assert {name: host["kind"] for name, host in hosts.items()} == {
        "r": "router",
        "a": "host",
        "b": "host",
        "idle": "host",
    }
    assert all(host["alive"] for host in hosts.values())
    assert len({host["pid"] for host in hosts.values()}) in (1, len(hosts))
    assert {(one["address"], one["port"]) for one in hosts["a"]["listening"]} <= {("0.0.0.0", 80), ("::", 80)}
    assert hosts["a"]["listening"]
    assert hosts["b"]["connected"] == 3
    assert hosts["idle"]["connected"] == 0
    assert hosts["idle"]["programs"] == []


def test_names_are_in_every_hosts_file(lab: Rig) -> None:
    text = lab.get("idle", "/etc/hosts")[0].decode()
    names = {tuple(line.split()) for line in text.splitlines()}
    for host in ("a", "b", "idle"):
        assert (lab.address(host), host) in names
    assert lab.get("b", "/etc/hosts")[0].decode() == text
    assert "localhost" in text


def test_a_listener_is_opened_once_and_closed_when_unwanted(lab: Rig) -> None:
    wanted = PlannedListen(address="0.0.0.0", port=8001)
    first = listen(lab, "idle", wanted)
    assert [(one["address"], one["port"]) for one in first["listening"]] == [("0.0.0.0", 8001)]
    assert first["failed"] == []
    again = listen(lab, "idle", wanted)
    assert again == first, "what listens already is left alone"
    assert listen(lab, "idle")["listening"] == []
    refused = lab.ask("a", "connect", address=lab.address("idle"), port=8001)
    assert refused["errno"] == "ECONNREFUSED"


def test_a_listener_that_cannot_be_is_named_with_its_errno(lab: Rig) -> None:
    lab.call("idle", "listen", port=8002, to="mine")
    answer = listen(
        lab, "idle", PlannedListen(address="0.0.0.0", port=8002), PlannedListen(address="192.0.2.1", port=9)
    )
    failed = {(one["address"], one["port"]): one["errno"] for one in answer["failed"]}
    assert failed == {("0.0.0.0", 8002): "EADDRINUSE", ("192.0.2.1", 9): "EADDRNOTAVAIL"}
    assert listen(lab, "idle")["failed"] == []


def test_connections_become_exactly_those_asked_for(lab: Rig) -> None:
    to_a = PlannedConnect(host="a", address=lab.address("a"), port=80, times=5)
    assert connect(lab, "idle", to_a) == {"connected": 5, "failed": []}
    assert connect(lab, "idle", to_a) == {"connected": 5, "failed": []}
    fewer = msgspec.structs.replace(to_a, times=2)
    assert connect(lab, "idle", fewer)["connected"] == 2
    six = PlannedConnect(host="a", address=lab.address("a", 6), port=80)
    assert connect(lab, "idle", fewer, six)["connected"] == 3
    assert connect(lab, "idle")["connected"] == 0
    assert about(lab, "b")["connected"] == 3, "others are left alone"


def test_connections_that_fail_are_counted_by_errno(lab: Rig) -> None:
    to_a = PlannedConnect(host="a", address=lab.address("a"), port=80)
    closed = PlannedConnect(host="a", address=lab.address("a"), port=9, times=4)
    answer = connect(lab, "idle", to_a, closed)
    assert answer["connected"] == 1
    where = {"host": "a", "address": lab.address("a"), "port": 9}
    assert answer["failed"] == [{**where, "errno": "ECONNREFUSED", "count": 4}]
    connect(lab, "idle")


def test_a_host_that_comes_later_reaches_the_others_and_goes_again(lab_factory: LabFactory) -> None:
    rig = lab_factory(LAB)
    extra = "  late: {role: client, networks: [far], connect: [a:80]}\n"
    from tests.contract.test_engine import change

    change(rig, LAB + extra)
    assert about(rig, "late")["connected"] == 1
    assert (rig.address("late"), "late") in {
        tuple(line.split()) for line in rig.get("a", "/etc/hosts")[0].decode().splitlines()
    }
    change(rig, LAB)
    assert "late" not in {host["name"] for host in rig.lab.hosts()}
    assert b"late" not in rig.get("a", "/etc/hosts")[0]
