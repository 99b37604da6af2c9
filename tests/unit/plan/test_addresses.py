"""No address twice, all inside their subnets, and nothing that runs is renumbered."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address, ip_network

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import PlanError
from orchestrator.model.plan import Plan
from orchestrator.model.topology import Attachment, Host, Topology
from orchestrator.plan import changes, make_plan
from tests.unit.plan.labs import KEY, plan, topologies

ENGINES = st.sampled_from(["namespaces", "docker"])


def links(planned: Plan) -> dict[tuple[str, str], tuple[str, str | None, str | None, str]]:
    """(host, network) → MAC and addresses."""
    return {
        (host.name, link.network): (link.mac, link.address, link.address6, link.device)
        for host in planned.hosts
        for link in host.interfaces
    }


def sound(planned: Plan) -> None:
    """What holds for every plan."""
    for net in planned.networks:
        on = [link for host in planned.hosts for link in host.interfaces if link.network == net.name]
        four = [link.address for link in on] + ([net.gateway] if net.gateway else [])
        six = [link.address6 for link in on if link.address6]
        assert max(Counter([*four, *six, *(link.mac for link in on)]).values(), default=1) == 1
        assert net.subnet is not None
        subnet = ip_network(net.subnet)
        for address in four:
            assert address is not None
            assert ip_address(address) in subnet
            assert ip_address(address) not in (subnet.network_address, subnet.broadcast_address)
        assert len(six) == (len(on) if net.subnet6 else 0)
        assert all(net.subnet6 and ip_address(a) in ip_network(net.subnet6) for a in six)
        assert all(a != str(ip_network(net.subnet6 or "::/0").network_address) for a in six)


@settings(max_examples=200, deadline=None)
@given(topologies(), ENGINES)
def test_addresses_are_sound_and_the_same_each_time(topology: Topology, engine: str) -> None:
    planned = make_plan(topology, KEY, engine)
    sound(planned)
    assert make_plan(topology, KEY, engine) == planned
    again = make_plan(topology, KEY, engine, planned)
    assert again == planned
    assert changes(planned, again) == ()


@settings(max_examples=200, deadline=None)
@given(topologies(), ENGINES, st.data())
def test_nothing_that_runs_is_renumbered(topology: Topology, engine: str, data: st.DataObject) -> None:
    running = make_plan(topology, KEY, engine)
    network = data.draw(st.sampled_from(topology.networks)).name
    new = Host(name="new", role="client", attachments=(Attachment(network=network),))
    at = data.draw(st.integers(0, len(topology.hosts)))
    gone = data.draw(st.integers(0, len(topology.hosts)))
    hosts = (*topology.hosts[:at], new, *topology.hosts[at:])
    hosts = tuple(host for number, host in enumerate(hosts) if number != gone or host is new)
    wanted = make_plan(msgspec.structs.replace(topology, hosts=hosts), KEY, engine, running)
    sound(wanted)
    before = links(running)
    kept = {key: value for key, value in links(wanted).items() if key in before}
    assert kept.items() <= before.items()
    made = {change.subject for change in changes(running, wanted) if change.action == "make-host"}
    assert made == {"new"}


def test_file_order_from_the_low_end_with_the_router_first() -> None:
    planned = plan(
        "networks: {office: {subnet: 10.20.1.0/24}, dc: {subnet: 10.20.2.0/24, subnet6: 'fd20:2::/64'}}\n"
        "hosts:\n  a: {role: client, networks: {dc: 10.20.2.2}}\n"
        "  b: {role: client, networks: [dc, office]}\n"
        "  c: {role: client, networks: [dc], count: 2}\n"
        "routers:\n  edge: {networks: [office, dc]}\n  other: {networks: [dc, office]}\n"
    )
    assert [host.name for host in planned.hosts] == ["edge", "other", "a", "b", "c-1", "c-2"]
    names = dict(planned.names)
    assert names["edge"] == ("10.20.1.1", "10.20.2.1", "fd20:2::1")
    assert names["other"] == ("10.20.2.3", "10.20.1.2", "fd20:2::2")
    assert names["a"] == ("10.20.2.2", "fd20:2::3")
    assert names["b"] == ("10.20.2.4", "10.20.1.3", "fd20:2::4")
    assert names["c-2"] == ("10.20.2.6", "fd20:2::6")


def test_a_router_gets_what_is_free_when_the_first_address_is_given_away() -> None:
    planned = plan(
        "networks: {a: {subnet: 10.0.0.0/29}, b: {}}\nrouters: {r: {networks: [a, b]}}\n"
        "hosts: {h: {role: client, networks: {a: 10.0.0.1}}}\n"
    )
    assert dict(planned.names)["r"][0] == "10.0.0.2"


def test_subnets_in_use_are_not_chosen() -> None:
    nets = "networks: {a: {subnet6: auto}, b: {}, c: {subnet: 10.20.2.0/24}}\n"
    text = nets + "hosts: {h: {role: client, networks: [a]}}\n"
    assert [net.subnet for net in plan(text).networks] == ["10.20.1.0/24", "10.20.3.0/24", "10.20.2.0/24"]
    taken = ("0.0.0.0/0", "10.20.0.0/22", "10.20.5.7/24", "fd20:1::/64", "fe80::1%eth0/64")
    planned = plan(text, taken=taken)
    assert [net.subnet for net in planned.networks] == ["10.20.4.0/24", "10.20.6.0/24", "10.20.2.0/24"]
    assert planned.networks[0].subnet6 == "fd20:2::/64"


def test_a_chosen_subnet_has_room_for_its_hosts() -> None:
    planned = plan("networks: {a: {}}\nhosts: {h: {role: client, networks: [a], count: 1000}}\n", "docker")
    sound(planned)
    assert planned.networks[0].subnet == "10.20.8.0/21"


def test_pools_that_are_used_up_are_a_plan_error() -> None:
    taken = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
    with pytest.raises(PlanError, match="no free IPv4 subnet is left for network `a`"):
        plan("networks: {a: {}}\nhosts: {h: {role: client, networks: [a]}}\n", taken=taken)


def test_docker_needs_an_address_for_the_computer() -> None:
    text = "networks: {a: {subnet: 10.0.0.0/30}}\nhosts: {h: {role: client, networks: [a], count: 2}}\n"
    assert plan(text).networks[0].gateway is None
    with pytest.raises(PlanError, match="network `a` is full"):
        plan(text, "docker")
    smaller = plan(text.replace("count: 2", "count: 1"), "docker")
    assert (smaller.networks[0].gateway, dict(smaller.names)["h"]) == ("10.0.0.2", ("10.0.0.1",))


def test_an_address_that_runs_cannot_be_given_to_another() -> None:
    nets = "networks: {a: {subnet: 10.0.0.0/24}}\n"
    running = plan(nets + "hosts: {h: {role: client, networks: [a]}}\n")
    hosts = "hosts: {h: {role: client, networks: [a]}, g: {role: client, networks: {a: 10.0.0.1}}}\n"
    with pytest.raises(PlanError, match=r"10\.0\.0\.1 on network `a` is wanted by `h`, but belongs to `g`"):
        plan(nets + hosts, running=running)


def test_a_host_that_is_given_another_address_is_made_anew() -> None:
    hosts = "hosts: {h: {role: client, networks: {a: auto}}, g: {role: client, networks: [a]}}\n"
    text = "networks: {a: {subnet: 10.0.0.0/24}}\n" + hosts
    running = plan(text)
    wanted = plan(text.replace("auto", "10.0.0.77"), running=running)
    assert dict(wanted.names) == {"h": ("10.0.0.77",), "g": ("10.0.0.2",)}
    done = [(change.action, change.subject) for change in changes(running, wanted)]
    assert done[:2] == [("remove-host", "h"), ("make-host", "h")]


def test_docker_cannot_have_overlapping_subnets() -> None:
    text = (
        "networks: {a: {subnet: 10.0.0.0/24}, b: {subnet: 10.0.0.0/16}}\n"
        "hosts: {h: {role: client, networks: [a]}, g: {role: client, networks: [b]}}\n"
    )
    assert [net.domain for net in plan(text).networks] == [0, 1]
    with pytest.raises(PlanError, match=r"of network `b` overlaps .* of network `a`; docker"):
        plan(text, "docker")


def test_macs_are_local_and_depend_on_the_lab() -> None:
    text = "networks: {a: {}}\nhosts: {h: {role: client, networks: [a]}}\n"
    mac = plan(text).hosts[0].interfaces[0].mac
    assert mac.startswith("02:")
    assert len(mac) == 17
    assert mac == plan(text, "docker").hosts[0].interfaces[0].mac


def test_ten_thousand_hosts_share_their_routes() -> None:
    networks = ", ".join(f"n{number}: {{}}" for number in range(100))
    hosts = "\n".join(
        f"  h{number}: {{role: client, networks: [n{number}], count: 100, connect: [h0-1:80]}}"
        for number in range(100)
    )
    every = ", ".join(f"n{number}" for number in range(100))
    planned = plan(f"networks: {{{networks}}}\nrouters: {{r: {{networks: [{every}]}}}}\nhosts:\n{hosts}\n")
    assert len(planned.hosts) == 10_001
    assert len({id(host.routes) for host in planned.hosts}) <= 101
