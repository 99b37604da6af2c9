"""Whoever is killed while something is impaired: when its time is over nothing of it is left in any host, and
what others have put there is unchanged."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engines.docker_objects import daemon_name, name_of
from tests.conftest import LabFactory
from tests.support.rig import Rig, eventually

pytestmark = [
    pytest.mark.engine("namespaces", "docker"),
    pytest.mark.skipif(os.geteuid() != 0, reason="other network namespaces are entered by nsenter, as root"),
    pytest.mark.skipif(shutil.which("nft") is None, reason="there is no nft to look with"),
]
LAB = """
networks: {net: {}}
hosts:
  web: {role: server, networks: [net], listen: [80]}
  alice: {role: client, networks: [net]}
"""
FOREIGN = "table inet foreign { set s { type ipv4_addr; }; chain c { type filter hook input priority 5; }; }"
LEASE = 12.0  # seconds after which whatever is not renewed must be gone: in_force.LEASE and some more
OURS = "lab_impairments"
# A client of its own that cuts and sets links on its channel, tells of it, and waits to be killed.
CLIENT = """
import sys, time
from orchestrator.lab import Lab
lab = Lab.find(sys.argv[1])
lab.channel.call("cut", scoped=True, text="cut", **{"from": ["alice"], "to": ["web"], "port": 80})
lab.channel.call("link", scoped=True, places=[["", "net"]], values={"delay": 0.02})
print("impaired", flush=True)
time.sleep(600)
"""


class Inside:
    """The network namespace of a host, seen from outside; it stays as long as this is open."""

    def __init__(self, pid: int) -> None:
        self._fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)

    def run(self, *argv: str) -> str:
        """A program of this computer in it."""
        command = ["nsenter", f"--net=/proc/self/fd/{self._fd}", *argv]
        return subprocess.run(
            command, pass_fds=[self._fd], check=True, capture_output=True, text=True, timeout=10
        ).stdout

    def rules(self) -> list[str]:
        """All tables with what is in them, as nft says it."""
        return self.run("nft", "list", "ruleset").splitlines()

    def state(self) -> tuple[list[str], str, str]:
        """Rules, sets and chains; qdiscs; interfaces."""
        return self.rules(), self.run("tc", "qdisc", "show"), self.run("ip", "-o", "link", "show")


@pytest.fixture
def lab(lab_factory: LabFactory) -> Rig:
    """A lab for one test, with rules of somebody else in both hosts."""
    rig = lab_factory(LAB)
    for name in ("web", "alice"):
        inside(rig, name).run("nft", FOREIGN)
    return rig


def inside(lab: Rig, host: str) -> Inside:
    """By what the engine calls it."""
    return Inside(pid_of(lab, host))


def pid_of(lab: Rig, host: str) -> int:
    """A process of the host, as this computer numbers it."""
    if lab.lab.engine.name == "docker":
        command = ["docker", "inspect", "-f", "{{.State.Pid}}", name_of(lab.lab.key, host)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    inner = next(int(one["pid"]) for one in lab.lab.hosts() if one["name"] == host)
    return next(pid for pid in children(daemon_pid(lab)) if _inner(pid) == inner)


def _inner(pid: int) -> int:
    """Its number in the lab's own pid namespace: the second of NSpid (proc_pid_status(5))."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return int((*line.split(), "0", "0")[2])
    return 0


def daemon_pid(lab: Rig) -> int:
    """The lab's daemon."""
    name = lab.lab.key.name
    if lab.lab.engine.name == "docker":
        command = ["docker", "inspect", "-f", "{{.State.Pid}}", daemon_name(lab.lab.key)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        line = command_line(int(pid))
        if b"orchestrator.daemon" in line and name.encode() in line and _inner(int(pid)) == 1:
            return int(pid)
    raise AssertionError("the lab has no daemon")


def command_line(pid: int) -> list[bytes]:
    """Its words; none where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def children(pid: int) -> Iterator[int]:
    """All processes below one."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield int(child)
            yield from children(int(child))


def impaired(lab: Rig) -> None:
    """A cut of one port, a delay."""
    ends: dict[str, Any] = {"from": ["alice"], "to": ["web"], "port": 80}
    for words in (
        lab.channel.call("cut", text="cut", **ends)["verified"],
        lab.channel.call("link", places=[["", "net"]], values={"delay": 0.02})["verified"],
    ):
        assert words
        assert all(word["verified"] for word in words), words


def is_ours(rules: list[str]) -> bool:
    """Whether anything of a lab is among them."""
    return any(OURS in rule for rule in rules)


def test_the_command_is_killed(lab: Rig) -> None:
    rooms = {name: inside(lab, name) for name in ("web", "alice")}
    before = {name: room.state() for name, room in rooms.items()}
    client = subprocess.Popen([sys.executable, "-c", CLIENT, lab.lab.key.name], stdout=subprocess.PIPE)
    assert client.stdout is not None
    assert client.stdout.readline() == b"impaired\n"
    assert all(is_ours(room.rules()) for room in rooms.values())
    client.kill()
    client.wait()
    for name, room in rooms.items():
        assert eventually(lambda room=room: not is_ours(room.rules()), LEASE)  # type: ignore[misc]
        assert room.state() == before[name]
    assert lab.channel.call("impairments")["impairments"] == []


def test_the_daemon_is_killed(lab: Rig) -> None:
    rooms = {name: inside(lab, name) for name in ("web", "alice")}
    before = {name: room.rules() for name, room in rooms.items()}
    impaired(lab)
    assert all(is_ours(room.rules()) for room in rooms.values())
    os.kill(daemon_pid(lab), signal.SIGKILL)
    for name, room in rooms.items():
        assert eventually(lambda room=room: not is_ours(room.rules()), LEASE)  # type: ignore[misc]
        assert room.rules() == before[name]


def test_the_agent_is_killed(lab: Rig) -> None:
    """In a namespaces host it is the first process, so the host ends; a container goes on without it."""
    web, before = inside(lab, "web"), inside(lab, "web").rules()
    impaired(lab)
    agents = [pid for pid in children(daemon_pid(lab)) if (command_line(pid) or [b""])[0][:5] == b"agent"]
    alice = inside(lab, "alice")
    network = os.readlink(f"/proc/self/fd/{alice._fd}")
    mine = [pid for pid in agents if os.readlink(f"/proc/{pid}/ns/net") == network]
    assert mine
    os.kill(mine[0], signal.SIGKILL)
    assert is_ours(web.rules()), "the others go on"
    assert lab.channel.call("heal")["healed"] == 2
    assert web.rules() == before
    assert eventually(lambda: not is_ours(alice.rules()), LEASE)


def test_who_holds_packets_is_killed(lab: Rig) -> None:
    """What comes passes, undelayed; and the daemon has another one soon."""
    impaired(lab)
    address = lab.address("web")

    def took() -> float:
        ended = lab.run("alice", "ping", "-c", "1", "-W", "2", address)
        assert ended.code == 0, ended
        return float(ended.out.decode().partition("time=")[2].split()[0])

    assert took() >= 40
    holders = [
        pid for pid in children(daemon_pid(lab)) if (command_line(pid) or [b""])[0][:10] == b"delay-line"
    ]
    assert len(holders) == 1
    os.kill(holders[0], signal.SIGKILL)
    assert eventually(lambda: took() < 20, 2.0)
    assert eventually(lambda: took() >= 40)
    said = [event["text"] for event in lab.channel.call("impairments")["events"]]
    assert any("was ended" in text for text in said)
