"""`internet: true`: who gets out of a lab of containers, and who does not. Outside is a network namespace
beyond the computer that knows no way back to a lab: what it answers was masqueraded.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.rig import Rig

pytestmark = [
    pytest.mark.engine("docker"),
    pytest.mark.skipif(os.geteuid() != 0, reason="a network beyond the computer needs root"),
]

LAB = """
networks:
  wan: {internet: true, subnet: 10.132.1.0/24}
  office: {subnet: 10.132.2.0/24}
  attic: {subnet: 10.132.3.0/24}
  cellar: {subnet: 10.132.4.0/24}
routers:
  edge: {networks: [wan, office], nat: wan}
  stairs: {networks: [office, attic]}
  plain: {networks: [wan, cellar]}
hosts:
  direct: {role: server, networks: [wan], listen: [80]}
  behind: {role: client, networks: [office]}
  far: {role: client, networks: [attic]}
  shut: {role: client, networks: [cellar]}
"""
HERE, OUTSIDE = "198.18.77.1", "198.18.77.2"  # of the network for benchmarks (RFC 2544)
PORT = 4711
SERVER = f"""
import socket
listener = socket.create_server(({OUTSIDE!r}, {PORT}))
print("listens", flush=True)
while True:
    conn, peer = listener.accept()
    conn.sendall(peer[0].encode())
    conn.close()
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture(scope="module", autouse=True)
def outside() -> Iterator[None]:
    """A server beyond the computer, that tells each client the address that it sees."""
    name, here, there = f"lab-out-{os.getpid()}", f"lo{os.getpid()}a", f"lo{os.getpid()}b"
    with ExitStack() as undo:
        ip("netns", "add", name)
        undo.callback(ip, "netns", "delete", name)
        ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        ip("address", "add", f"{HERE}/30", "dev", here)
        ip("link", "set", here, "up")
        ip("-n", name, "address", "add", f"{OUTSIDE}/30", "dev", there)
        ip("-n", name, "link", "set", there, "up")
        server = subprocess.Popen(
            ["ip", "netns", "exec", name, "python3", "-c", SERVER], stdout=subprocess.PIPE
        )
        undo.callback(server.wait)
        undo.callback(server.kill)
        assert server.stdout is not None
        assert server.stdout.readline() == b"listens\n"
        yield


@pytest.mark.parametrize("host", ["direct", "behind", "far", "edge"])
def test_who_gets_out(lab: Rig, host: str) -> None:
    """On the network, behind a router that masquerades to it, and behind one more."""
    lab.call(host, "connect", address=OUTSIDE, port=PORT, timeout=5, to="out")
    data, _ = lab.received(host, "out", all=True)
    assert data.decode() == HERE, "the computer's own address is all that is seen outside"


@pytest.mark.parametrize("host", ["shut", "plain"])
def test_who_does_not(lab: Rig, host: str) -> None:
    """A router that does not masquerade leads to the network, and no further."""
    answer = lab.ask(host, "connect", address=OUTSIDE, port=PORT, timeout=1, to="out")
    assert answer["errno"] == "ENETUNREACH"
    if host == "shut":
        lab.call(host, "connect", address=lab.address("direct"), port=80, to="in")


def test_the_way_out_is_the_bridges_own_address(lab: Rig) -> None:
    said = lab.run("direct", "sh", "-c", "ip route show default | cut -d' ' -f3")
    gateway = said.out.decode().strip()
    assert gateway == next(net.gateway for net in lab.lab.plan.networks if net.name == "wan")
    assert lab.run("direct", "ping", "-c1", "-W2", gateway).code == 0


def test_who_has_a_way_out_may_ask_for_names(lab: Rig) -> None:
    """Docker's resolver asks the computer's name servers for these, and nobody for the others."""
    from orchestrator.engines.docker_hosts import _is_open

    plan = lab.lab.plan
    assert {host.name for host in plan.hosts if _is_open(plan, host)} == {
        "edge", "stairs", "direct", "behind", "far",
    }  # fmt: skip


def test_the_rows_tell_what_is_outside(lab: Rig) -> None:
    """One end in the lab: external, and translated on its way by the router."""
    from orchestrator.observe import observe

    lab.call("behind", "connect", address=OUTSIDE, port=PORT, timeout=5, to="out")
    rows = observe(lab.channel, plan=lab.lab.plan).joined.connections
    (row,) = [one for one in rows if one.client and one.client.host == "behind"]
    assert (row.status, row.server) == ("external", None)


@pytest.mark.parametrize("value", ["0", "1"])
def test_whatever_bridges_ask_iptables(lab: Rig, value: str) -> None:
    """bridge-nf-call-iptables, which a computer may have either way."""
    setting = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if not setting.exists():
        pytest.skip("the module br_netfilter is not there: bridges ask nothing")
    before = setting.read_text()
    setting.write_text(value)
    try:
        test_who_gets_out(lab, "far")
        test_who_does_not(lab, "shut")
    finally:
        setting.write_text(before)
