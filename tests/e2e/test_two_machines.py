"""Networks that span two machines: what crosses is as on one, and nothing of the fabric stays."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest

from orchestrator import bringup, capturing
from orchestrator.engines import docker_objects as objects
from orchestrator.engines import fabric
from orchestrator.engines.spread import SpreadEngine
from orchestrator.lab import Lab
from orchestrator.model.rows import Connection
from tests.support.compose import ROOT, Machines
from tests.support.rig import Rig, eventually, running, topology
from tests.support.scenarios import explained, perform, verdicts
from tests.support.spanning import MACHINES, addresses, left, of_fabric, of_labs, started

PORT = 4790
LAB = f"""
networks:
  wide: {{subnet: 10.151.1.0/24, subnet6: "fd51:1::/64"}}
  far: {{subnet: 10.151.2.0/24, subnet6: "fd51:2::/64"}}
routers:
  edge: {{networks: [wide, far], nat: far}}
hosts:
  web: {{role: server, networks: [wide], listen: [80]}}
  alice: {{role: client, networks: [wide], connect: [web:80]}}
  deep: {{role: server, networks: [far], listen: [80], run: "sh -c 'date >/it; sleep inf'", logs: [/it]}}
  carol: {{role: client, networks: [wide], connect: [deep:80]}}
place: {{web: m1, carol: m1, deep: m1, alice: m2, edge: m2}}
{MACHINES}"""
MANY = f"""
networks: {{n: {{}}}}
hosts:
  web: {{role: server, networks: [n], listen: [80]}}
  alice: {{role: client, networks: [n], connect: ["web:80 x1000"]}}
place: {{web: m1, alice: m2}}
{MACHINES}"""
TWO = MANY.replace(" x1000", "")


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with started(tmp_path_factory.mktemp("machines")) as found:
        yield found


@pytest.fixture(scope="class")
def whole(machines: Machines) -> Iterator[Rig]:
    """One lab for all of a class, which leave it as it was."""
    with running("auto", LAB) as rig:
        yield rig
    assert left(machines) == {}


@pytest.fixture
def lab(whole: Rig) -> Iterator[Rig]:
    """What a test opens is closed."""
    yield whole
    whole.clear()


def rows(lab: Lab) -> list[tuple[str, str, str]]:
    """Client, server and status of each."""
    return [_row(one) for one in lab.observe().joined.connections]


def _row(one: Connection) -> tuple[str, str, str]:
    ends = [end.host or "?" if end else "-" for end in (one.client, one.server)]
    return ends[0], ends[1], one.status


def daemon_of(machines: Machines, service: str, rig: Rig) -> str:
    """The id of the container of a lab's daemon."""
    name = objects.daemon_name(rig.lab.key)
    return machines.on(service, f"docker inspect -f '{{{{.Id}}}}' {name}").strip()


def in_host(machines: Machines, service: str, rig: Rig, host: str, command: str) -> str:
    """What a program says in a host, by Docker on its machine."""
    return machines.on(service, f"docker exec {objects.name_of(rig.lab.key, host)} {command}")


def link_local(mac: str) -> IPv6Address:
    """What an interface gives itself: RFC 4291, appendix A."""
    raw = bytes.fromhex(mac.replace(":", ""))
    return IPv6Address(b"\xfe\x80" + bytes(6) + bytes([raw[0] ^ 2]) + raw[1:3] + b"\xff\xfe" + raw[3:])


class TestAcross:
    def test_a_connection_is_one_row(self, lab: Rig, machines: Machines) -> None:
        assert rows(lab.lab) == [("alice", "web", "joined"), ("carol", "deep", "joined")]
        row = lab.lab.observe().joined.connections[0]
        assert row.client is not None
        assert row.server is not None
        assert row.client.state == row.server.state == "ESTABLISHED"
        pair = f"{row.client.address}:{row.client.port}"
        seen = in_host(machines, "m1", lab, "web", "ss -Htn state established")
        assert pair in seen, "the other machine's kernel says the same"
        assert machines.on("m1", "ss -Htn | grep 10.151. || true") == "", "the machine itself knows nothing"

    def test_addresses_are_asked_for_across(self, lab: Rig, machines: Machines) -> None:
        """ARP, and neighbour discovery: each kernel has learned the other's planned MAC address by itself."""
        for family, address in ((4, lab.address("web")), (6, lab.address("web", 6))):
            assert lab.run("alice", "ping", "-c1", "-W5", address).code == 0, family
            found = lab.run("alice", "ip", "neigh", "show", address).out.decode()
            mac = lab.lab.host("web").interfaces[0].mac
            assert mac in found, (family, found)
            assert "PERMANENT" not in found, "nobody told it"

    def test_ipv6(self, lab: Rig) -> None:
        address = lab.address("web", 6)
        lab.call("web", "listen", address="::", port=7206, to="l")
        lab.call("alice", "connect", address=address, port=7206, to="c")
        lab.call("web", "accept", fd="l", to="conn")
        lab.call("alice", "send", fd="c", text="six")
        assert lab.received("web", "conn")[0] == b"six"
        found = [
            one for one in lab.lab.observe().joined.connections if one.server and one.server.port == 7206
        ]
        assert [_row(one) for one in found] == [("alice", "web", "joined")]

    def test_a_router_with_nat_on_the_other_machine(self, lab: Rig, machines: Machines) -> None:
        """There and back: carol and deep are on m1, the router between them on m2."""
        (row,) = [
            one for one in lab.lab.observe().joined.connections if one.client and one.client.host == "carol"
        ]
        assert [one.host for one in row.via] == ["edge"]
        seen = in_host(machines, "m1", lab, "deep", "ss -Htn state established")
        assert lab.address("edge", network="far") in seen, "deep sees the router"
        assert lab.address("carol") not in seen

    def test_nobody_answers_but_hosts(self, lab: Rig, machines: Machines) -> None:
        """Neither the machines nor what joins them is on the network."""
        wide = [i for host in lab.lab.plan.hosts for i in host.interfaces if i.network == "wide"]
        said = lab.run("alice", "ping", "-c2", "-W2", "ff02::1%eth0").out.decode()
        found = {IPv6Address(one) for one in re.findall(r"from (fe80[0-9a-f:]*[0-9a-f])", said)}
        assert found == {link_local(one.mac) for one in wide}, said
        for service in ("m1", "m2"):
            assert lab.run("alice", "ping", "-c1", "-W1", addresses(machines, service)).code != 0

    def test_what_goes_between_the_machines_is_vxlan(self, lab: Rig, machines: Machines) -> None:
        """As tshark sees it on the network below, on this computer."""
        one, other = addresses(machines, "m1"), addresses(machines, "m2")
        network = machines.run("docker", "network", "inspect", "-f", "{{.Id}}", f"{machines.project}_between")
        filters = ["-f", f"udp port {PORT}", "-d", f"udp.port=={PORT},vxlan", "-Y", "icmp"]
        fields = [
            "-T",
            "fields",
            *(word for name in ("ip.src", "ip.dst", "vxlan.vni") for word in ("-e", name)),
        ]
        argv = ["tshark", "-l", "-i", f"br-{network.out[:12]}", *filters, *fields]
        shark = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            assert shark.stderr is not None
            assert shark.stdout is not None
            while "Capturing on" not in shark.stderr.readline():
                assert shark.poll() is None
            pings = lab.run("alice", "ping", "-i0.2", "-c10", lab.address("web"))
            assert pings.code == 0, pings
            line = shark.stdout.readline().split()
        finally:
            shark.terminate()
            shark.communicate()
        outer, inner = zip(*(field.split(",") for field in line[:2]), strict=True)
        assert set(outer) == {one, other}
        assert set(inner) == {lab.address("alice"), lab.address("web")}
        (wide,) = [network for network in lab.lab.plan.networks if network.name == "wide"]
        assert line[2] == str(wide.vni)

    def test_a_scenario(self, lab: Rig) -> None:
        record = perform(
            lab,
            LAB,
            """
steps:
  - web: listen :7207 as l
  - alice: connect web:7207 as call
  - web: accept l as conn
  - expect: {connection: alice.call, client: ESTABLISHED, server: ESTABLISHED}
  - alice: send call 'across'
  - expect: {connection: alice.call, server.rx_queue: 6, client.tx_queue: 0}
  - link: web delay=100ms
  - alice: connect web:7207 as slow
  - expect: {step: alice.slow, duration: ">=95ms"}
  - link: web clear
  - alice: close call
  - web: recv conn all
  - web: close conn
  - expect: {connection: alice.call, first to close: client, closed by: FIN}
""",
        )
        assert verdicts(record) == ["pass"] * 4, explained(record)

    def test_a_cut(self, lab: Rig) -> None:
        """Each machine stops what comes in to its own hosts; that nothing comes is seen by ping here."""
        ping = ("ping", "-c1", "-W1", lab.address("web"))
        asked: dict[str, Any] = {"from": ["alice"], "to": ["web"], "text": "it"}
        lab.channel.call("cut", **asked)
        try:
            assert lab.run("alice", *ping).code == 1
            assert lab.run("carol", *ping).code == 0
        finally:
            lab.channel.call("heal")
        assert lab.run("alice", *ping).code == 0

    def test_a_capture(self, lab: Rig) -> None:
        with Lab.find(lab.lab.key.name) as other:
            wanted = capturing.Wanted(seconds=2.0)
            started = capturing.start(other, wanted)
            recorder = capturing.Recorder(io.BytesIO(), other.plan, wanted.size)
            assert lab.run("alice", "ping", "-c1", lab.address("web")).code == 0
            capturing.follow(other, started, wanted, recorder, lambda _: None)
        written = {one.interface.host: one.written for one in recorder.seen}
        assert written["alice"] >= 2
        assert written["web"] >= 2
        assert all(one.received is not None and not one.lost for one in recorder.seen)

    def test_programs_files_and_logs(self, machines: Machines, lab: Rig, tmp_path: Path) -> None:
        name = lab.lab.key.name
        done = machines.lab("exec", "alice", "--lab", name, "--", "curl", "-s", "-m5", "telnet://web:80")
        assert done.code in (0, 28, 56), done
        (tmp_path / "x").write_text("over there")
        assert machines.lab("cp", str(tmp_path / "x"), "alice:/root/x", "--lab", name).code == 0
        assert in_host(machines, "m2", lab, "alice", "cat /root/x") == "over there"
        assert "20" in machines.lab("logs", "deep", "--lab", name).out


LESSON = ROOT / "labs/two-machines/lab.yaml"


def test_the_lesson(machines: Machines) -> None:
    done = machines.lab("up", "--yes", "-f", str(LESSON))
    assert done.code == 0, done
    assert "by VXLAN, UDP port 4790, not encrypted" in done.err
    try:
        done = machines.lab("run", "-f", str(LESSON))
        assert done.code == 0, done
    finally:
        assert machines.lab("down", "two-machines").code == 0


def test_a_thousand_connections_and_none_is_one_sided(machines: Machines) -> None:
    with running("auto", MANY) as rig:
        seen = [one.status for one in rig.lab.observe().joined.connections]
        assert len(seen) == 1000
        assert set(seen) == {"joined"}
        found = in_host(machines, "m1", rig, "web", "ss -Htn state established sport = :80")
        assert len(found.splitlines()) == 1000


@contextmanager
def narrow(machines: Machines, size: int) -> Iterator[None]:
    """Packets between the machines that are longer vanish, and their interfaces know nothing of it. Segments
    are cut before they leave, as a network card does it: a bridge would pass them whole.
    """
    rule = f"iptables -t mangle -{{}} PREROUTING -p udp --dport {PORT} -m length --length {size + 1}: -j DROP"
    for one in ("m1", "m2"):
        machines.on(one, f"ip link set eth0 gso_max_segs 1; {rule.format('I')}")
    try:
        yield
    finally:
        for one in ("m1", "m2"):
            machines.on(one, f"ip link set eth0 gso_max_segs 65535; {rule.format('D')}")


BULK = """
steps:
  - web: listen :7208 as l
  - alice: connect web:7208 as call
  - web: accept l as conn
  - web: recv conn 100000000 as got timeout=60s &
  - alice: send call 100000000 timeout=60s
  - wait: web.got
  - expect: {step: web.got, result: 100000000}
"""


def dropped(machines: Machines) -> int:
    """Packets that `narrow` has dropped on m1."""
    rules = machines.on("m1", "iptables -t mangle -nvxL PREROUTING").splitlines()
    return sum(int(line.split()[0]) for line in rules if f"udp dpt:{PORT}" in line)


def test_bulk_where_the_path_carries_less_than_its_interfaces_say(machines: Machines) -> None:
    with narrow(machines, 1400), running("auto", TWO) as rig:
        assert {network.mtu for network in rig.lab.plan.networks} == {1350}
        assert "mtu 1350" in rig.run("alice", "ip", "link", "show", "eth0").out.decode()
        before = dropped(machines)
        assert before, "the packets that found it out"
        record = perform(rig, TWO, BULK)
        assert verdicts(record) == ["pass"], explained(record)
        assert dropped(machines) == before


@contextmanager
def also_ipv6(machines: Machines) -> Iterator[str]:
    """The machines reach each other by IPv6, too: the file's `machines` with these addresses."""
    for at, one in enumerate(("m1", "m2"), 1):
        allow = "echo 0 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6"
        machines.on(one, f"{allow}; ip -6 addr add fd99::{at}/64 dev eth0 nodad")
    try:
        yield "".join(f'  m{at}: {{url: "ssh://lab-m{at}", address: "fd99::{at}"}}\n' for at in (1, 2))
    finally:
        for at, one in enumerate(("m1", "m2"), 1):
            machines.on(one, f"ip -6 addr del fd99::{at}/64 dev eth0")


def test_machines_that_reach_each_other_by_ipv6(machines: Machines) -> None:
    with also_ipv6(machines) as said:
        text = TWO.replace(MACHINES, f"\nmachines:\n{said}")
        with running("auto", text) as rig:
            assert {network.mtu for network in rig.lab.plan.networks} == {1430}
            assert rows(rig.lab) == [("alice", "web", "joined")]
            record = perform(rig, text, BULK)
            assert verdicts(record) == ["pass"], explained(record)
    assert left(machines) == {}


def start_anew(lab: Lab, machine: str) -> None:
    """Another daemon on a machine where there is none, for the hosts that run there."""
    assert isinstance(lab.engine, SpreadEngine)
    channel = lab.engine.members[machine].apply(lab.plan.part(machine), (), lambda _: None)
    fabric.join(lab.plan, [one for one in lab.plan.networks if one.spans], {machine: channel})
    channel.close()


class TestEnds:
    def test_it_vanishes_with_a_daemon_that_is_killed(self, machines: Machines) -> None:
        with running("auto", TWO) as rig:
            assert "labx-" in of_fabric(machines, "m1")
            daemon = daemon_of(machines, "m1", rig)
            pid = machines.on("m1", f"docker inspect -f '{{{{.State.Pid}}}}' {daemon}").strip()
            machines.on("m1", f"kill -9 {pid}")
            eventually(lambda: "labx-" not in of_fabric(machines, "m1"))
            assert "UNCONN" not in of_fabric(machines, "m1"), "the port is free"
        assert left(machines) == {}

    def test_another_daemon_joins_it_again_and_connections_go_on(self, machines: Machines) -> None:
        """Those of programs that Docker started: what an agent has ends with it."""
        with running("auto", TWO) as rig:
            web, alice = (objects.name_of(rig.lab.key, host) for host in ("web", "alice"))
            machines.on("m1", f"docker exec -d {web} sh -c 'nc -l 7209 >/root/got'")
            script = "mkfifo /root/p; exec 3<>/root/p; nc web 7209 </root/p"
            machines.on("m2", f"docker exec -d {alice} sh -c '{script}'")
            count = "ss -Htn state established sport = :7209"
            before = eventually(lambda: in_host(machines, "m1", rig, "web", count))
            machines.on("m1", f"docker rm -f {daemon_of(machines, 'm1', rig)}")
            start_anew(rig.lab, "m1")
            in_host(machines, "m2", rig, "alice", "sh -c 'echo still here >/root/p'")
            eventually(lambda: "still here" in in_host(machines, "m1", rig, "web", "cat /root/got"))
            assert in_host(machines, "m1", rig, "web", count).split()[2:] == before.split()[2:]

    def test_up_right_after_down(self, machines: Machines) -> None:
        """What the killed daemon had may be going still, under the same identifier."""
        lab = topology(TWO)
        for _ in range(2):
            outcome = bringup.up(lab)
            assert not outcome.failed
            outcome.lab.down()
        assert left(machines) == {}

    def test_a_client_that_is_killed_in_the_middle(self, machines: Machines, tmp_path: Path) -> None:
        name = topology(TWO).name
        (tmp_path / "lab.yaml").write_text(f"name: {name}\n{TWO}")
        argv = [sys.executable, "-m", "orchestrator", "up", "--yes", "-f", str(tmp_path / "lab.yaml")]
        up = subprocess.Popen(argv, cwd=ROOT, env=machines.env, stderr=subprocess.PIPE, text=True)
        assert up.stderr is not None
        for line in up.stderr:
            if "starting" in line:
                up.send_signal(signal.SIGKILL)
                break
        up.wait()
        assert "labx-" in of_fabric(machines, "m1"), "it was joined by then"
        done = machines.lab("gc", name)
        assert done.code == 0, done
        eventually(lambda: left(machines) == {})

    def test_a_machine_that_dies(self, machines: Machines) -> None:
        """Its hosts are not observed; `down` cleans the rest, and `gc` the machine when it is back."""
        name = topology(TWO).name
        lab = topology(TWO, name)
        outcome = bringup.up(lab)
        outcome.lab.channel.close()
        container = machines.container("m2")
        try:
            machines.on("m2", f"iptables -I OUTPUT -p udp --dport {PORT} -j DROP")  # no last word leaves it
            assert machines.run("docker", "kill", container).code == 0
            began = time.monotonic()
            done = machines.lab("conns", "--lab", name, "--json")
            assert time.monotonic() - began < 30
            found = json.loads(done.out)
            assert found["not_observed"] == ["alice"], done
            (row,) = found["connections"]
            assert (row["client"], row["server"]["state"]) == (None, "ESTABLISHED"), row
            assert row["status"] == "server-only"
            done = machines.lab("down", name)
            assert done.code == 3, done
            assert "m2" in done.err
            assert of_labs(machines, "m1") + of_fabric(machines, "m1") == ""
        finally:
            assert machines.start().code == 0
        done = machines.lab("gc", name)
        assert done.code == 0, done
        assert left(machines) == {}
