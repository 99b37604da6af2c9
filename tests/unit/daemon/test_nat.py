"""A router that masquerades, between two real networks, and what its conntrack says."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from orchestrator import errors
from orchestrator.daemon import translate
from tests.unit.daemon.conftest import Daemon


def entry(protocol: str, state: str, out: str, back: str) -> str:
    """A line of nf_conntrack; each direction as "SRC DST SPORT DPORT"."""
    names = ("src", "dst", "sport", "dport")
    ends = [" ".join(map("=".join, zip(names, d.split(), strict=True))) for d in (out, back)]
    return f"ipv4     2 {protocol} 6 431999 {state} {ends[0]} {ends[1]} [ASSURED] mark=0 zone=0 use=2"


WEB6 = "fd20:0002:0000:0000:0000:0000:0000:0080"
LINES = (
    entry("tcp", "ESTABLISHED", "10.20.1.2 10.20.2.80 41812 80", "10.20.2.80 10.20.2.1 80 41812"),
    entry("tcp", "TIME_WAIT", "10.20.1.2 10.20.2.80 5 80", "10.20.2.80 10.20.1.2 80 5"),
    entry("udp", "", "10.20.1.2 10.20.2.80 5 53", "10.20.2.80 10.20.2.1 53 5"),
    entry("tcp", "SYN_SENT", f"fd20:1::2 {WEB6} 6 80", f"{WEB6} fd20:0002::0001 80 1024"),
    "ipv4     2 tcp      6 no end of it src=10.20.1.2",
)


def test_conntracks_text() -> None:
    rows = list(translate.parse(LINES))
    assert rows == [
        ["10.20.1.2", 41812, "10.20.2.80", 80, "10.20.2.1", 41812, "10.20.2.80", 80],
        ["fd20:1::2", 6, "fd20:2::80", 80, "fd20:2::1", 1024, "fd20:2::80", 80],
    ]


def interface(device: str, network: str, address: str, address6: str) -> dict[str, Any]:
    return {"device": device, "network": network, "address": address, "address6": address6}


ROUTER = {
    "name": "edge",
    "kind": "router",
    "nat": "dc",
    "interfaces": [
        interface("left", "office", "10.1.0.1", "fd01::1"),
        interface("right", "dc", "10.2.0.1", "fd02::1"),
    ],
}


def inside(pid: int, command: str) -> None:
    subprocess.run(["nsenter", "--net", "-t", str(pid), "sh", "-ec", command], check=True)


def wire_up(daemon: Daemon) -> None:
    """alice - edge - web, without a route back from web to alice's network."""
    daemon.make("alice", "web")
    daemon.channel.call("make", networks=[], hosts=[ROUTER])
    alice, edge, web = (daemon.pid(n) for n in ("alice", "edge", "web"))
    for name, pid, end, net in (("left", alice, "a0", 1), ("right", web, "w0", 2)):
        inside(edge, f"ip link add {name} type veth peer name {end} netns {pid}; ip link set {name} up")
        inside(edge, f"ip addr add 10.{net}.0.1/24 dev {name}; ip addr add fd0{net}::1/64 nodad dev {name}")
        inside(pid, f"ip link set {end} up; ip addr add 10.{net}.0.2/24 dev {end}")
        inside(pid, f"ip addr add fd0{net}::2/64 nodad dev {end}")
    inside(alice, "ip route add default via 10.1.0.1; ip route add default via fd01::1")
    inside(edge, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")


def configure(daemon: Daemon, **spec: Any) -> None:
    daemon.channel.call("configure", hosts=[{**ROUTER, **spec}])


def translations(daemon: Daemon) -> list[list[Any]]:
    *parts, _ = daemon.channel.parts(daemon.channel.ask("snapshot", hosts=["edge"]))
    return list(parts[0].message["part"]["translations"])


def test_masquerading_and_its_translations(daemon: Daemon) -> None:
    wire_up(daemon)
    configure(daemon)
    configure(daemon)
    daemon.call("web", "listen", address="::", family="dual", port=80, **{"as": "l"})
    for server, seen in (("10.2.0.2", "10.2.0.1"), ("fd02::2", "fd02::1")):
        client = daemon.call("alice", "connect", address=server, port=80)["local"]
        peer = daemon.call("web", "accept", fd="l")["peer"]
        assert peer[0].removeprefix("::ffff:") == seen
        assert [*client, server, 80, seen, peer[1], server, 80] in translations(daemon)


def test_without_nat_there_is_no_way_back(daemon: Daemon) -> None:
    wire_up(daemon)
    configure(daemon)
    configure(daemon, nat=None)
    daemon.call("web", "listen", address="0.0.0.0", port=80, **{"as": "l"})
    call = {"do": "connect", "address": "10.2.0.2", "port": 80, "timeout": 0.5}
    assert daemon.channel.call("call", host="alice", call=call)["timed_out"]
    assert translations(daemon) == []


def test_the_netlink_dump_says_the_same(daemon: Daemon) -> None:
    wire_up(daemon)
    configure(daemon)
    daemon.call("web", "listen", address="0.0.0.0", port=80, **{"as": "l"})
    daemon.call("alice", "connect", address="10.2.0.2", port=80)
    code = (
        "from orchestrator.daemon import translate, sysc; import os;"
        f"sysc.setns(os.open('/proc/{daemon.pid('edge')}/ns/net', os.O_RDONLY), sysc.NEWNET);"
        "print(list(translate._dumped()))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(translations(daemon))


def test_a_router_that_is_not_there_is_told(daemon: Daemon) -> None:
    wire_up(daemon)
    with pytest.raises(errors.EngineError, match="not on network elsewhere"):
        configure(daemon, nat="elsewhere")
