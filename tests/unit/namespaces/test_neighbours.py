"""Who is told whose hardware address, and that this stays linear."""

from __future__ import annotations

from typing import Any

from orchestrator.daemon import neighbours


def host(name: str, number: int, network: str = "net", **more: Any) -> dict[str, Any]:
    interface = {
        "device": "eth0",
        "network": network,
        "mac": f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}",
        "address": f"10.0.{number >> 8}.{number & 255}",
        "address6": None,
    }
    return {"name": name, "kind": "host", "interfaces": [interface], "routes": [], "connect": [], **more}


def test_clients_and_their_server_know_each_other() -> None:
    specs = [host("web", 1, role="server"), *(host(f"c{i}", i) for i in range(2, 1002))]
    tables = neighbours.desired(specs)
    assert len(tables["web"]) == 1000
    assert tables["c2"] == {("eth0", "10.0.0.1"): "02:00:00:00:00:01"}


def test_many_servers_do_not_make_it_quadratic() -> None:
    specs = [host(f"s{i}", i, role="server") for i in range(1, 801)]
    assert sum(map(len, neighbours.desired(specs).values())) <= 2 * neighbours.CENTRAL * len(specs)


def test_who_connects_by_plan_knows_its_peer_beyond_the_few() -> None:
    specs = [host(f"s{i}", i, role="server") for i in range(1, 21)]
    specs.append(host("c", 30, connect=[{"address": "10.0.0.20"}]))
    tables = neighbours.desired(specs)
    assert ("eth0", "10.0.0.20") in tables["c"]
    assert ("eth0", "10.0.0.30") in tables["s20"]


def test_a_gateway_is_known_and_knows() -> None:
    specs = [
        host("c", 2, routes=[{"destination": "default", "via": "10.0.0.1"}]),
        host("r", 1, kind="router"),
    ]
    tables = neighbours.desired(specs)
    assert set(tables) == {"c", "r"}


def test_equal_addresses_of_other_networks_are_not_mixed_up() -> None:
    specs = [
        host("a", 1, "one", role="server"),
        host("b", 1, "two", role="server"),
        host("c", 2, "two", connect=[{"address": "10.0.0.1"}]),
    ]
    tables = neighbours.desired(specs)
    assert "a" not in tables
    assert set(tables["b"]) == {("eth0", "10.0.0.2")}


def test_a_family_that_one_has_not_is_left_out() -> None:
    six = host("web", 1, role="server")
    six["interfaces"][0]["address6"] = "fd00::1"
    assert neighbours.desired([six, host("c", 2)])["c"] == {("eth0", "10.0.0.1"): "02:00:00:00:00:01"}
