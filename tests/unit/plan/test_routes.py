"""Every packet gets where the file lets it, and no other: routes are followed as a kernel would."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.model.plan import Plan, PlannedHost
from orchestrator.model.topology import Topology
from orchestrator.plan import make_plan
from tests.unit.plan.labs import KEY, plan, topologies
from tests.unit.plan.walk import follow, leaves, reached


@settings(max_examples=300, deadline=None)
@given(topologies(), st.sampled_from(["namespaces", "docker"]))
def test_packets_reach_what_the_file_lets_them_and_nothing_else(topology: Topology, engine: str) -> None:
    planned = make_plan(topology, KEY, engine)
    for host in planned.hosts:
        for target in planned.hosts:
            for link in target.interfaces:
                for address in (link.address, link.address6):
                    if address is None or host is target:
                        continue
                    six = ":" in address
                    starts = [mine.network for mine in host.interfaces if not six or mine.address6]
                    can = any(link.network in reached(planned, start, six) for start in starts)
                    assert (follow(planned, host, address) is target) == can, (host.name, address)


@settings(max_examples=300, deadline=None)
@given(topologies())
def test_out_get_those_whom_the_file_lets_and_nobody_else(topology: Topology) -> None:
    planned = make_plan(topology, KEY, "docker")
    opened = {network.name for network in planned.networks if network.internet}
    exits = [router for router in planned.hosts if router.nat in opened]
    for host in planned.hosts:
        starts = [link.network for link in host.interfaces]
        direct = host in exits or (host.kind == "host" and not opened.isdisjoint(starts))
        behind = any(_inside(planned, starts, one) for one in exits)
        assert leaves(planned, host) == (direct or behind), host.name


def _inside(planned: Plan, starts: list[str], door: PlannedHost) -> bool:
    """Whether a packet that enters at `starts` gets to the door at a network other than the one it leads
    to.
    """
    inner = {link.network for link in door.interfaces} - {door.nat}
    return any(not inner.isdisjoint({start, *_without(planned, start, door)}) for start in starts)


def _without(planned: Plan, start: str, door: PlannedHost) -> set[str]:
    others = msgspec.structs.replace(planned, hosts=tuple(h for h in planned.hosts if h is not door))
    return reached(others, start, False)


def routes_of(text: str, name: str) -> list[tuple[str, str]]:
    """(destination, via) of one host."""
    host = plan(text).host(name)
    assert host is not None
    return [(route.destination, route.via) for route in host.routes]


CHAIN = (
    "networks:\n"
    "  a: {subnet: 10.0.1.0/24, subnet6: 'fd00:1::/64'}\n"
    "  b: {subnet: 10.0.2.0/24, subnet6: 'fd00:2::/64'}\n"
    "  c: {subnet: 10.0.3.0/24, subnet6: 'fd00:3::/64'}\n"
    "routers: {one: {networks: [a, b]}, two: {networks: [b, c]}}\n"
    "hosts:\n"
    "  h: {role: client, networks: [a]}\n"
    "  m: {role: client, networks: [b]}\n"
    "  t: {role: server, networks: [c]}\n"
)


def test_both_families_over_two_routers() -> None:
    assert routes_of(CHAIN, "h") == [("default", "10.0.1.1"), ("default", "fd00:1::1")]
    assert routes_of(CHAIN, "one") == [("10.0.3.0/24", "10.0.2.2"), ("fd00:3::/64", "fd00:2::2")]


def test_a_host_between_two_routers_has_one_of_them_as_its_default() -> None:
    assert routes_of(CHAIN, "m")[:2] == [("default", "10.0.2.1"), ("10.0.3.0/24", "10.0.2.2")]


def test_a_network_without_ipv6_is_in_the_way_of_ipv6_only() -> None:
    text = CHAIN.replace(", subnet6: 'fd00:2::/64'", "")
    assert routes_of(text, "h") == [("default", "10.0.1.1")]


def test_the_nearer_of_two_ways_is_taken() -> None:
    text = CHAIN.replace("{one:", "{short: {networks: [a, c]}, one:")
    assert routes_of(text, "h")[:2] == [("default", "10.0.1.2"), ("10.0.3.0/24", "10.0.1.1")]
    assert routes_of(text, "m")[:2] == [("default", "10.0.2.1"), ("10.0.3.0/24", "10.0.2.2")]


def test_behind_nat_nothing_is_routed_to() -> None:
    text = CHAIN.replace("one: {networks: [a, b]}", "one: {networks: [a, b], nat: b}")
    assert routes_of(text, "h")[0] == ("default", "10.0.1.1")
    assert routes_of(text, "m") == [("default", "10.0.2.2"), ("default", "fd00:2::2")]
    assert routes_of(text, "two") == []
    assert routes_of(text, "one")[0] == ("10.0.3.0/24", "10.0.2.2")


def test_only_hosts_on_an_internet_network_have_a_way_out() -> None:
    text = CHAIN.replace("c: {subnet", "c: {internet: true, subnet")
    assert routes_of(text, "h")[:2] == [("10.0.2.0/24", "10.0.1.1"), ("10.0.3.0/24", "10.0.1.1")]
    assert all(destination != "default" for destination, _ in routes_of(text, "two"))
    assert ("default", "10.0.3.254") in routes_of(text, "t")


WAN = CHAIN.replace("c: {subnet", "c: {internet: true, subnet").replace("[b, c]}", "[b, c], nat: c}")


def test_a_router_that_masquerades_to_the_internet_leads_there() -> None:
    """Whoever is behind it, also behind further routers; no others, and by IPv4 only."""
    assert ("default", "10.0.3.254") in routes_of(WAN, "two")
    assert ("default", "10.0.2.2") in routes_of(WAN, "m")
    assert ("default", "10.0.2.2") in routes_of(WAN, "one")
    assert ("default", "10.0.1.1") in routes_of(WAN, "h")
    for name in ("h", "m", "one", "two", "t"):
        assert all(":" not in via for destination, via in routes_of(WAN, name) if destination == "default")


def test_a_nearer_router_that_does_not_masquerade_leads_nowhere() -> None:
    text = WAN.replace("{one:", "{near: {networks: [a, c]}, one:")
    assert ("default", "10.0.1.2") in routes_of(text, "h"), "by `one`, not by `near`"
    assert ("default", "10.0.1.2") in routes_of(text, "near")
    assert ("default", "10.0.3.254") in routes_of(text, "t")


def test_a_router_that_masquerades_elsewhere_is_no_way_out() -> None:
    text = WAN.replace("nat: c", "nat: b")
    assert all(route[0] != "default" for name in ("h", "m", "two") for route in routes_of(text, name))


def test_many_neighbours_become_one_route() -> None:
    nets = "".join(f"n{number}: {{subnet: 10.9.{number}.0/24}}, " for number in range(32))
    names = ", ".join(f"n{number}" for number in range(32))
    text = (
        f"networks: {{{nets}a: {{subnet: 10.8.0.0/24}}, b: {{}}}}\n"
        f"routers: {{core: {{networks: [{names}, a]}}, up: {{networks: [a, b]}}}}\n"
        "hosts: {h: {role: client, networks: [b]}}\n"
    )
    assert routes_of(text, "up") == [("10.9.0.0/19", "10.8.0.1")]
