"""Root in a docker host tries to reach the computer, and must fail. What is tried here is tried for real."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from orchestrator.engines import docker_objects as objects
from tests.support.rig import Rig, eventually

pytestmark = pytest.mark.engine("docker")

LAB = """
networks:
  net: {subnet: 10.131.1.0/24, subnet6: "fd31:1::/64"}
  far: {subnet: 10.131.2.0/24}
routers:
  edge: {networks: [net, far]}
hosts:
  jail: {role: client, networks: [net]}
  other: {role: server, networks: [net], listen: [80]}
  distant: {role: server, networks: [far], listen: [80]}
"""


def shell(lab: Rig, command: str) -> tuple[int, str]:
    """A command of the host's root, and what it says."""
    ended = lab.run("jail", "sh", "-c", command)
    return ended.code, (ended.out + ended.err).decode(errors="replace")


def agent_of(lab: Rig) -> int:
    """The agent's pid as root in the host sees it."""
    _, said = shell(lab, "pgrep -x agent")
    return int(said)


@pytest.fixture
def secret() -> Iterator[Path]:
    """A file of the computer's that anybody may write to."""
    with tempfile.NamedTemporaryFile(prefix="lab-secret-", dir="/tmp") as file:
        os.chmod(file.name, 0o666)
        yield Path(file.name)


def test_the_agents_root_is_the_hosts_own(lab: Rig, secret: Path) -> None:
    root = f"/proc/{agent_of(lab)}/root"
    shell(lab, f"echo overwritten > {root}{secret}")
    assert secret.read_text() == ""
    code, _ = shell(lab, f"ls {root}/lab.pyz {root}/run/lab")
    assert code != 0, "the daemon's files are not there"
    code, said = shell(lab, f"echo mine > /mark && cat {root}/mark {root}/etc/hostname")
    assert (code, said.split()) == (0, ["mine", "jail"])


def test_the_agents_own_program_cannot_be_written(lab: Rig) -> None:
    agent = agent_of(lab)
    code, said = shell(lab, f"head -c4 /proc/{agent}/exe | tail -c3; cat /dev/null >> /proc/{agent}/exe")
    assert code != 0
    assert "ELF" in said
    for line in shell(lab, f"ls -l /proc/{agent}/fd")[1].splitlines():
        target = line.partition(" -> ")[2]
        assert not target or re.match(r"socket:|pipe:|anon_inode:|/dev/null$", target), target


def test_no_other_process_of_the_computer_is_seen(lab: Rig) -> None:
    _, said = shell(lab, "cat /proc/[0-9]*/comm")
    assert set(said.split()) <= {"lab-pause", "agent", "sh", "cat"}


def test_the_agent_has_the_hosts_own_rights(lab: Rig) -> None:
    agent = agent_of(lab)
    keys = "^(Cap|NoNewPrivs|Seccomp:)"
    _, first = shell(lab, f"grep -E '{keys}' /proc/1/status")
    _, ours = shell(lab, f"grep -E '{keys}' /proc/{agent}/status")
    assert ours == first
    assert "CapEff:\t00000000a80425fb" in ours, "Docker's default set: no NET_ADMIN, no SYS_ADMIN"


def test_the_agent_is_in_the_hosts_cgroups(lab: Rig) -> None:
    agent = agent_of(lab)
    _, first = shell(lab, "cat /proc/1/cgroup")
    _, ours = shell(lab, f"cat /proc/{agent}/cgroup")
    assert ours == first


@pytest.mark.parametrize(
    "command",
    [
        "mount -t tmpfs none /mnt",
        "mount -o remount,rw /sys",
        "unshare -U true",
        "unshare -n true",
        "chroot /proc/1/root/../.. nsenter -t 1 -m true",
        "ip link set eth0 down",
        "ip address add 192.0.2.77/24 dev eth0",
        "mknod /tmp/disk b 8 0 && head -c1 /tmp/disk",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
        "echo x > /proc/sysrq-trigger",
        "dmesg",
    ],
)
def test_what_root_may_not(lab: Rig, command: str) -> None:
    code, said = shell(lab, command)
    assert code != 0, said


def bridges(lab: Rig) -> list[str]:
    """The computer's names of the lab's bridges."""
    with docker.APIClient() as client:
        found = client.networks(filters={"label": objects.of_lab(lab.lab.key, "network")})
    return [objects.bridge_of(one["Id"]) for one in found]


def own_addresses() -> list[str]:
    """IPv4 addresses of the computer on other interfaces."""
    listed = subprocess.run(["ip", "-4", "-o", "address"], capture_output=True, text=True, check=True)
    found = re.findall(r"inet ([0-9.]+)/", listed.stdout)
    return [address for address in found if not address.startswith("127.")]


def test_the_bridges_have_no_address_of_the_computers(lab: Rig) -> None:
    for name in bridges(lab):
        shown = subprocess.run(
            ["ip", "address", "show", name], capture_output=True, text=True, check=True
        ).stdout
        assert "inet" not in shown


RAW = r"""
import fcntl, socket, struct, sys
# Frames that the computer would answer: ARP for its addresses, to all and to its bridge; echo requests and
# SYNs for its addresses to its bridge's MAC address. Prints what answers.
bridge, targets = bytes.fromhex(sys.argv[1]), sys.argv[2].split(",")
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
out.bind(("eth0", 0))
me = fcntl.ioctl(out, 0x8927, b"eth0".ljust(40, b"\0"))[18:24]
ip = fcntl.ioctl(out, 0x8915, b"eth0".ljust(40, b"\0"))[20:24]
def total(data):
    data += b"\0" * (len(data) % 2)
    s = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while s >> 16: s = (s & 0xffff) + (s >> 16)
    return ~s & 0xffff
for target in targets:
    there = socket.inet_aton(target)
    for to in (b"\xff" * 6, bridge):
        arp = struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + me + ip + b"\0" * 6 + there
        out.send(to + me + b"\x08\x06" + arp)
    ping = struct.pack("!BBHHH", 8, 0, 0, 7, 1)
    ping = ping[:2] + struct.pack("!H", total(ping)) + ping[4:]
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 1, 0, 64, 1, 0, ip, there)
    head = head[:10] + struct.pack("!H", total(head)) + head[12:]
    out.send(bridge + me + b"\x08\x00" + head + ping)
    syn = struct.pack("!HHIIBBHHH", 4444, 22, 1, 0, 0x50, 2, 1024, 0, 0)
    out.send(bridge + me + b"\x08\x00" + head[:9] + b"\x06" + head[10:] + syn)
out.settimeout(1.5)
try:
    while True:
        frame = out.recv(2048)
        if frame[6:12] == bridge: print("ANSWER", frame[12:14].hex(), frame[14:40].hex())
except TimeoutError: print("silence")
"""


def raw_frames(lab: Rig, host: str, bridge: str, targets: list[str]) -> str:
    """What answers frames that are made by hand in the host's network (it may do so: NET_RAW)."""
    mac = Path(f"/sys/class/net/{bridge}/address").read_text().strip().replace(":", "")
    pid = next(found["pid"] for found in lab.lab.hosts() if found["name"] == host)
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", "python3", "-c", RAW, mac, ",".join(targets)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def bridge_of_jail(lab: Rig) -> str:
    """The computer's end of the network of `jail`."""
    with docker.APIClient() as client:
        found = client.inspect_network(objects.name_of(lab.lab.key, "net"))
    return objects.bridge_of(found["Id"])


@pytest.mark.skipif(os.geteuid() != 0, reason="frames by hand need root on the computer")
def test_frames_made_by_hand_are_not_answered(lab: Rig) -> None:
    targets = own_addresses()
    assert targets
    assert raw_frames(lab, "jail", bridge_of_jail(lab), targets) == "silence\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="frames by hand need root on the computer")
def test_the_same_frames_are_answered_where_nothing_closes_the_bridge() -> None:
    """Otherwise the test before would hold for any bridge."""
    with docker.APIClient() as client:
        name = f"decoy-{os.getpid()}"
        network = client.create_network(
            name,
            driver="bridge",
            options={"com.docker.network.bridge.inhibit_ipv4": "true"},
        )["Id"]
        try:
            made = client.create_container(
                "lab/host", host_config=client.create_host_config(network_mode=name)
            )
            client.start(made["Id"])
            pid = client.inspect_container(made["Id"])["State"]["Pid"]
            bridge = objects.bridge_of(network)
            mac = Path(f"/sys/class/net/{bridge}/address").read_text().strip().replace(":", "")
            command = ["nsenter", f"--net=/proc/{pid}/ns/net", "python3", "-c", RAW, mac]
            ran = subprocess.run(
                [*command, ",".join(own_addresses())], capture_output=True, text=True, check=True
            )
            assert "ANSWER" in ran.stdout
        finally:
            client.remove_container(made["Id"], force=True)
            client.remove_network(network)


def test_the_computer_cannot_be_pinged_or_connected_to(lab: Rig) -> None:
    for address in own_addresses():
        code, said = shell(lab, f"ping -c1 -W1 {address}")
        assert code != 0, said
        answer = lab.ask("jail", "connect", address=address, port=22, timeout=1, to="x")
        silent = ("ENETUNREACH", "EHOSTUNREACH", "ETIMEDOUT", "EINPROGRESS")  # not ECONNREFUSED
        assert answer["errno"] in silent, answer
        lab.ask("jail", "close", fd="x")


def test_nobody_but_the_labs_hosts_answers_on_the_link(lab: Rig) -> None:
    """All nodes of the link (ff02::1): what answers are the hosts' own link-local addresses."""
    shell(lab, "ping -6 -c2 -W2 -I eth0 ff02::1")
    _, said = shell(lab, "ping -6 -c3 -i 0.3 -W2 -I eth0 ff02::1 | grep -o 'from fe80[^ %]*' | sort -u")
    mac = Path(f"/sys/class/net/{bridge_of_jail(lab)}/address").read_text().strip()
    *_, fifth, sixth = mac.split(":")
    assert "from fe80" in said, "the hosts answer"
    assert not re.search(f"{fifth}:?{sixth}$", said, re.M), f"the bridge {mac} is among them: {said}"


def test_no_name_is_asked_of_the_computers_resolver(lab: Rig) -> None:
    code, _ = shell(lab, "timeout 20 getent hosts deb.debian.org")
    assert code != 0
    code, said = shell(lab, "getent hosts other")
    assert code == 0
    assert lab.address("other") in said or lab.address("other", 6) in said


@pytest.fixture(params=["0", "1"])
def bridge_nf(request: pytest.FixtureRequest) -> Iterator[str]:
    """bridge-nf-call-iptables (and of ip6tables) of the computer: at 1 what crosses a bridge meets its
    rules. As it was, afterwards.
    """
    settings = [Path(f"/proc/sys/net/bridge/bridge-nf-call-{name}") for name in ("iptables", "ip6tables")]
    if os.geteuid() != 0 or not settings[0].exists():
        pytest.skip("it cannot be set: it needs root, and the module br_netfilter")
    before = [setting.read_text() for setting in settings]
    try:
        for setting in settings:
            setting.write_text(request.param)
        yield request.param
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.write_text(value)


def test_closed_and_routed_whatever_bridges_ask_iptables(lab: Rig, bridge_nf: str) -> None:
    assert Path("/proc/sys/net/bridge/bridge-nf-call-iptables").read_text().strip() == bridge_nf
    test_hosts_reach_each_other_through_a_router(lab)
    lab.clear()
    test_frames_made_by_hand_are_not_answered(lab)
    test_the_computer_cannot_be_pinged_or_connected_to(lab)
    test_nobody_but_the_labs_hosts_answers_on_the_link(lab)


def test_hosts_reach_each_other_through_a_router(lab: Rig) -> None:
    lab.call("jail", "connect", address=lab.address("distant"), port=80, to="v4")
    lab.call("jail", "connect", address=lab.address("other", 6), port=80, to="v6", family=6)


def test_the_control_socket_is_this_users_alone(lab: Rig) -> None:
    with docker.APIClient() as client:
        found = client.containers(filters={"label": objects.of_lab(lab.lab.key, "daemon")})[0]
    folder = Path(found["Labels"][objects.SOCKET])
    socket = eventually(lambda: next(folder.iterdir(), None))
    assert socket is not None
    assert [oct(p.stat().st_mode & 0o777) for p in (folder, socket)] == ["0o700", "0o600"]
    assert {p.stat().st_uid for p in (folder, socket)} == {os.geteuid()}


def test_the_daemon_has_only_the_rights_that_are_documented(lab: Rig) -> None:
    with docker.APIClient() as client:
        settings = client.inspect_container(objects.daemon_name(lab.lab.key))["HostConfig"]
    assert settings["CapDrop"] == ["ALL"]
    assert not settings["Privileged"]
    assert settings["NetworkMode"] == "none"
    documented = Path(__file__).parents[2].joinpath("docs/security.md").read_text()
    for capability in settings["CapAdd"]:
        assert capability.removeprefix("CAP_") in documented
