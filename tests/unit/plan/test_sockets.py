"""What agents open: where they listen, and to which of a target's addresses they connect."""

from __future__ import annotations

import pytest

from orchestrator.errors import PlanError
from orchestrator.model.plan import PlannedConnect, PlannedListen
from orchestrator.plan import make_plan
from tests.unit.plan.labs import KEY, lab, plan

NETS = (
    "networks:\n  office: {subnet: 10.20.1.0/24}\n"
    "  dc: {subnet: 10.20.2.0/24, subnet6: 'fd20:2::/64'}\n"
    "  back: {subnet: 10.20.3.0/24, subnet6: 'fd20:3::/64'}\n"
    "routers: {edge: {networks: [office, dc]}}\nhosts:\n"
)
WEB = "  web: {role: server, networks: {back: , dc: 10.20.2.80}, listen: [80]}\n"


def connects(text: str, name: str) -> list[tuple[str, str, int]]:
    """(host, address, times) of one client."""
    host = plan(NETS + text).host(name)
    assert host is not None
    return [(one.host, one.address, one.times) for one in host.connect]


def listens(fields: str, network: str) -> tuple[PlannedListen, ...]:
    """The sockets of a host with these fields."""
    host = plan(f"{NETS}  web: {{role: server, networks: {network}, {fields}}}\n").host("web")
    assert host is not None
    return host.listen


def test_a_port_alone_is_every_address_of_each_family() -> None:
    v4 = PlannedListen(address="0.0.0.0", port=80)
    assert listens("listen: [80]", "[office]") == (v4,)
    assert listens("listen: [80]", "[dc]") == (v4, PlannedListen(address="::", port=80))


def test_the_ipv6_wildcard_is_one_socket_for_both() -> None:
    assert listens('listen: ["[::]:80"]', "[dc]") == (PlannedListen(address="::", port=80, dual=True),)
    assert listens('listen: ["10.20.2.8:80"]', "{dc: 10.20.2.8}") == (
        PlannedListen(address="10.20.2.8", port=80),
    )


def test_a_shared_network_first_then_what_routers_reach() -> None:
    text = WEB + "  a: {role: client, networks: [office], connect: [web:80]}\n"
    assert connects(text, "a") == [("web", "10.20.2.80", 1)]
    text = WEB + "  a: {role: client, networks: [back], connect: ['web:80 x3']}\n"
    assert connects(text, "a") == [("web", "10.20.3.1", 3)]


def test_the_address_that_is_listened_on() -> None:
    six = "  web: {role: server, networks: {dc: [10.20.2.80, 'fd20:2::80']}, listen: ['[fd20:2::80]:80']}\n"
    text = six + "  a: {role: client, networks: [dc], connect: [web:80, web:81]}\n"
    assert connects(text, "a") == [("web", "fd20:2::80", 1), ("web", "10.20.2.80", 1)]


def test_itself() -> None:
    text = (
        "  a: {role: client, networks: [dc], count: 2, listen: [80], connect: [a:80, localhost:80, a-1:80]}\n"
    )
    assert connects(text, "a-2") == [
        ("a-2", "10.20.2.3", 1),
        ("a-2", "127.0.0.1", 1),
        ("a-1", "10.20.2.2", 1),
    ]


def test_names_do_not_regard_case() -> None:
    text = WEB + "  a: {role: client, networks: [dc], connect: [WEB:80]}\n"
    assert connects(text, "a") == [("web", "10.20.2.80", 1)]


def test_a_target_out_of_reach_is_a_plan_error() -> None:
    topology = lab(NETS + WEB + "  a: {role: client, networks: [dc], connect: [web:80]}\n")
    web = topology.hosts[0].attachments[:1]
    hosts = (type(topology.hosts[0])(name="web", role="server", attachments=web), topology.hosts[1])
    broken = type(topology)(name="t", networks=topology.networks, hosts=hosts)
    with pytest.raises(PlanError, match="`a` cannot reach `web`"):
        make_plan(broken, KEY, "namespaces")


def test_port_and_times_are_kept() -> None:
    host = plan(NETS + WEB + "  a: {role: client, networks: [dc], connect: ['web:8080 x7']}\n").host("a")
    assert host is not None
    assert host.connect == (PlannedConnect(host="web", address="10.20.2.80", port=8080, times=7),)
