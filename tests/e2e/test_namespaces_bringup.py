"""What a lab of the namespaces engine is made of, seen from inside its hosts."""

from __future__ import annotations

import os
import re
import time

import msgspec
import pytest

from orchestrator.engines.namespaces import NamespacesEngine
from orchestrator.model.plan import Change, Interface, PlannedHost
from tests.conftest import LabFactory
from tests.support.rig import Rig, eventually

pytestmark = pytest.mark.engine("namespaces")

LAB = """
networks:
  office: {subnet: 10.20.1.0/24}
  dc: {subnet: 10.20.2.0/24, subnet6: "fd20:2::/64"}
  six: {subnet6: "fd20:3::/64"}
  far: {subnet: 10.20.1.0/24}
routers:
  edge: {networks: [office, dc]}
  inner: {networks: [dc, six]}
hosts:
  web: {role: server, networks: {dc: 10.20.2.80}}
  alice: {role: client, networks: [office]}
  sixth: {role: client, networks: [six]}
  twin: {role: client, networks: [far]}
  both: {role: client, networks: [office, dc]}
"""


def text(lab: Rig, host: str, command: str) -> str:
    """What a command in a host says; it must succeed."""
    ended = lab.run(host, "sh", "-c", command)
    assert ended.code == 0, (command, ended)
    return ended.out.decode()


def test_addresses_and_macs_are_the_planned_ones(lab: Rig) -> None:
    for host in lab.lab.plan.hosts:
        seen = text(lab, host.name, "ip -o address; ip -o link")
        for link in host.interfaces:
            for address, prefix in ((link.address, link.prefix), (link.address6, link.prefix6)):
                if address:
                    assert re.search(rf"{link.device}\s+inet6? {re.escape(address)}/{prefix} ", seen)
            assert re.search(rf"{link.device}@.*{link.mac}", seen)


def test_a_host_has_its_name_and_its_own_loopback(lab: Rig) -> None:
    said = text(lab, "alice", "hostname; cat /etc/hostname; ip -o addr show lo")
    assert said.split()[:2] == ["alice", "alice"]
    assert "127.0.0.1/8" in said
    assert "::1/128" in said


def test_packets_cross_a_router_in_both_families(lab: Rig) -> None:
    text(lab, "alice", f"ping -c1 -W5 {lab.address('web')}")
    text(lab, "sixth", f"ping -c1 -W5 {lab.address('web', 6)}")


def test_only_routers_forward(lab: Rig) -> None:
    for name, forwards in (("edge", "1"), ("inner", "1"), ("web", "0"), ("both", "0")):
        assert text(lab, name, "cat /proc/sys/net/ipv4/ip_forward").strip() == forwards
    assert text(lab, "inner", "cat /proc/sys/net/ipv6/conf/all/forwarding").strip() == "1"


def test_equal_subnets_of_separate_networks_do_not_meet(lab: Rig) -> None:
    assert lab.address("twin").rpartition(".")[0] == lab.address("alice").rpartition(".")[0]
    for host in ("edge", "alice", "both"):
        address = lab.address(host)
        if address != lab.address("twin"):
            assert lab.run("twin", "ping", "-c1", "-W1", address).code != 0


def test_ipv6_is_off_where_it_is_not_planned(lab: Rig) -> None:
    assert "inet6" not in text(lab, "alice", "ip -o addr show eth0")
    assert "inet6" not in text(lab, "both", "ip -o addr show eth0")


def test_neighbours_are_permanent(lab: Rig) -> None:
    said = text(lab, "web", "ip neigh show nud permanent")
    assert f"{lab.address('both', network='dc')} dev eth0" in said
    assert f"{lab.address('edge', network='dc')} dev eth0" in said
    assert f"{lab.address('inner', 6, 'dc')} dev eth0" in said


def test_nothing_at_rest_is_unreachable_or_listens(lab: Rig) -> None:
    assert text(lab, "alice", "ss -Htanu") == ""


def test_stock_programs_run_that_want_other_users(lab: Rig) -> None:
    """nginx gives its worker to www-data: by mapped ids, or by the filter where there is one id only."""
    text(lab, "web", "nginx -t && chown www-data /srv && su -s /bin/sh www-data -c true")


def test_a_terminal_can_be_had(lab: Rig) -> None:
    ended = lab.run("alice", "sh", "-c", "test -t 0 && tty", tty=[24, 80])
    assert ended.code == 0
    assert b"/dev/pts/" in ended.out


def test_hosts_and_networks_come_and_go_while_others_run(lab_factory: LabFactory) -> None:
    lab = lab_factory("networks: {net: {}}\nhosts: {one: {role: server, networks: [net]}}")
    engine, plan = NamespacesEngine(), lab.lab.plan
    first = plan.hosts[0].interfaces[0]
    assert first.address is not None
    prefix = first.address.rpartition(".")[0]
    two = Interface(device="eth0", network="net", mac="02:00:00:00:99:02", address=f"{prefix}.99")
    more = msgspec.structs.replace(plan, hosts=(*plan.hosts, PlannedHost(name="two", interfaces=(two,))))
    for _ in range(3):  # made again at once: nothing of the removed one is in the way
        engine.apply(more, [Change(action="make-host", subject="two")], print).close()
        text(lab, "two", f"ping -c1 -W5 {first.address}")
        assert f"{two.address} dev eth0 lladdr {two.mac}" in text(lab, "one", "ip neigh show nud permanent")
        engine.apply(plan, [Change(action="remove-host", subject="two")], print).close()
        assert str(two.address) not in text(lab, "one", "ip neigh show nud permanent")
    names = [host["name"] for host in lab.channel.call("hosts")["hosts"]]
    assert names == ["one"]


def test_a_second_up_of_the_engine_finds_the_first(lab: Rig) -> None:
    engine = NamespacesEngine()
    with engine.apply(lab.lab.plan, [], print) as channel:
        assert channel.call("hello", version=1)["state"] == "running"
    assert [f.key for f in engine.find(lab.lab.key.owner)].count(lab.lab.key) == 1


def test_a_lab_is_found_fast_among_many_processes(lab: Rig) -> None:
    """Agents are no daemons to `find`, and it says what there is."""
    found = [f for f in NamespacesEngine().find(lab.lab.key.owner) if f.key == lab.lab.key]
    assert [(f.state, f.what) for f in found] == [("running", "7 hosts, 4 networks")]


def test_agents_are_called_agent(lab: Rig) -> None:
    line = text(lab, "web", "tr '\\0' ' ' < /proc/1/cmdline; cat /proc/1/comm")
    assert line.split() == ["agent", "web", "agent"]


def test_internet_is_refused_with_a_cure(lab: Rig) -> None:
    from orchestrator.errors import EngineError

    open_ = msgspec.structs.replace(lab.lab.plan.networks[0], internet=True)
    plan = msgspec.structs.replace(lab.lab.plan, networks=(open_,))
    with pytest.raises(EngineError, match=r"office.*internet") as caught:
        NamespacesEngine().apply(plan, [], print)
    assert caught.value.hint


def test_down_leaves_no_process(lab_factory: LabFactory) -> None:
    name = f"gone{os.getpid()}"
    lab = lab_factory(f"networks: {{net: {{}}}}\nhosts: {{{name}: {{role: client, networks: [net]}}}}")
    request = lab.channel.ask(
        "exec", host=name, argv=["sh", "-c", "setsid sleep 1000 & sleep 1000"], env={}, tty=None
    )
    assert request
    eventually(lambda: "sleep" in text(lab, name, "ps -e"))
    began = time.monotonic()
    lab.lab.down()
    assert time.monotonic() - began < 30
    assert not [p for p in os.listdir("/proc") if p.isdigit() and name.encode() in _cmdline(p)]


def _cmdline(pid: str) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""
