"""Labs of containers: any image, what is in the way, and what is left when the command is killed."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from orchestrator import bringup
from orchestrator.engines import docker_client, docker_daemon, docker_images, docker_pause
from orchestrator.engines import docker_objects as objects
from orchestrator.engines.base import Engine
from orchestrator.errors import ImageNotFound, SubnetInUse
from orchestrator.model.plan import LabKey
from orchestrator.owner import owner
from tests.conftest import LabFactory
from tests.support import rows
from tests.support.rig import eventually, stream_of, topology, unique_name

pytestmark = pytest.mark.engine("docker")


@pytest.fixture
def client() -> Iterator[docker.APIClient]:
    """The Engine itself."""
    made = docker.APIClient()
    yield made
    made.close()


def left(client: docker.APIClient, key: LabKey) -> list[str]:
    """What there is of a lab, by its labels or its name."""
    found = [n for c in client.containers(all=True) for n in c["Names"]]
    found += [network["Name"] for network in client.networks()]
    folder = docker_daemon.runtime_folder(key)
    found += [str(folder)] if folder is not None and folder.exists() else []
    return [name for name in found if objects.prefix(key) in name]


@pytest.fixture
def bare_image(client: docker.APIClient) -> Iterator[str]:
    """An image with one static program in it: no shell, no Python, no /etc, no /tmp; it runs as nobody."""
    name = f"bare-{os.getpid()}"
    program = docker_pause.program(platform.machine())
    packed = docker_images.pack({"server": program}, ("server",))
    changes = ['ENTRYPOINT ["/server"]', 'CMD ["-v"]', "USER 65534", "ENV COLOUR=green", "VOLUME /data"]
    client.import_image_from_data(packed.getvalue(), repository=name, changes=changes)
    yield name
    client.remove_image(name, force=True)


def test_an_image_without_shell_and_python_is_a_host(
    bare_image: str, lab_factory: LabFactory, client: docker.APIClient
) -> None:
    volumes = {v["Name"] for v in client.volumes()["Volumes"] or ()}
    rig = lab_factory(f"""
networks: {{net: {{}}}}
hosts:
  bare: {{role: server, image: {bare_image}, networks: [net], listen: [80], env: {{SHAPE: round}}}}
  a: {{role: client, networks: [net], connect: [bare:80]}}
""")
    rows = rig.snapshot()[0]
    assert len(rows["bare"].tcp.splitlines()) >= 3, "the header, the listener, the connection"
    programs = next(h["programs"] for h in rig.lab.hosts() if h["name"] == "bare")
    assert [(p["argv"], p["state"]) for p in programs] == [(["/server", "-v"], "running")]
    comms = {comm for _, comm in rows["bare"].about["processes"]}
    assert "agent" in comms
    key = rig.lab.key
    rig.channel.close()
    rig.lab.engine.remove(key, lambda _: None)
    assert {v["Name"] for v in client.volumes()["Volumes"] or ()} <= volumes, "the image's volume is removed"


def test_its_own_program_runs_as_its_image_says(bare_image: str, lab_factory: LabFactory) -> None:
    rig = lab_factory(
        f"networks: {{net: {{}}}}\n"
        f"hosts: {{bare: {{role: server, image: {bare_image}, networks: [net], env: {{SHAPE: round}}}}}}"
    )
    pid = next(host["pid"] for host in rig.lab.hosts())
    server = eventually(lambda: _process(pid, b"/server\0-v\0"))
    status = Path(f"/proc/{server}/status").read_text()
    assert "Uid:\t65534\t65534\t65534\t65534" in status
    environment = Path(f"/proc/{server}/environ").read_bytes().split(b"\0")
    assert {b"COLOUR=green", b"SHAPE=round"} <= set(environment)


def _process(first: int, command: bytes) -> int | None:
    """The pid of a process in the same pid namespace as `first`, by its command line."""
    space = os.readlink(f"/proc/{first}/ns/pid")
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cmdline").read_bytes() == command and os.readlink(entry / "ns/pid") == space:
                return int(entry.name)
        except OSError:
            continue
    return None


def test_an_image_that_cannot_be_had_is_named_and_nothing_is_left(client: docker.APIClient) -> None:
    lab = topology("networks: {n: {}}\nhosts: {a: {role: server, networks: [n], image: 'no.invalid/x:1'}}")
    with pytest.raises(ImageNotFound, match=r"no\.invalid/x:1"):
        bringup.up(lab, "docker")
    assert left(client, LabKey(owner=owner(), name=lab.name)) == []


def test_a_network_in_the_way_is_named(client: docker.APIClient) -> None:
    name = f"decoy-{os.getpid()}"
    pool = docker.types.IPAMPool(subnet="10.133.0.0/16")
    network = client.create_network(name, ipam=docker.types.IPAMConfig(pool_configs=[pool]))["Id"]
    try:
        lab = topology("networks: {n: {subnet: 10.133.7.0/24}}\nhosts: {a: {role: server, networks: [n]}}")
        with pytest.raises(SubnetInUse, match=f"{name} has 10.133.0.0/16") as refused:
            bringup.up(lab, "docker")
        assert "docker network rm" in refused.value.hint
        assert left(client, LabKey(owner=owner(), name=lab.name)) == []
    finally:
        client.remove_network(network)


def test_another_lab_in_the_way_is_named(lab_factory: LabFactory) -> None:
    text = "networks: {n: {subnet: 10.134.7.0/24}}\nhosts: {a: {role: server, networks: [n]}}"
    first = lab_factory(text)
    with pytest.raises(SubnetInUse, match=f"lab {first.lab.key.name} has") as refused:
        bringup.up(topology(text), "docker")
    assert f"lab down {first.lab.key.name}" in refused.value.hint


def test_a_network_of_ipv6_alone(lab_factory: LabFactory) -> None:
    rig = lab_factory("""
networks: {six: {subnet6: "fd35:6::/64"}, four: {subnet: 10.135.1.0/24}}
routers: {edge: {networks: [six, four]}}
hosts:
  a: {role: server, networks: [six], listen: [80]}
  b: {role: client, networks: [six]}
""")
    rig.call("b", "connect", address=rig.address("a", 6), port=80, to="x", family=6)


def test_what_is_beside_it_is_left_alone(lab_factory: LabFactory, client: docker.APIClient) -> None:
    """Decoys that look like ours, but for the labels, and a lab of somebody else."""
    name = unique_name()
    key, stranger = LabKey(owner=owner(), name=name), LabKey(owner="somebody-else", name=name)
    labels = objects.labels(stranger, "host", "a", None)
    containers = [
        client.create_container("lab/host", name=objects.name_of(key, "decoy"))["Id"],
        client.create_container("lab/host", labels=labels)["Id"],
        client.create_container("lab/host", labels={objects.LAB: name})["Id"],
    ]
    networks = [
        client.create_network(objects.name_of(key, "decoy"))["Id"],
        client.create_network(f"decoy-{name}", labels=objects.labels(stranger, "network", "n", None))["Id"],
    ]
    try:
        client.start(containers[0])
        lab = topology("networks: {n: {}}\nhosts: {a: {role: server, networks: [n]}}", name)
        outcome = bringup.up(lab, "docker")
        assert client.inspect_container(objects.name_of(key, "a"))["State"]["Running"]
        outcome.lab.down()
        assert sorted(left(client, key)) == sorted(
            [f"/{objects.name_of(key, 'decoy')}", objects.name_of(key, "decoy")]
        )
        assert client.inspect_container(containers[0])["State"]["Running"]
        assert all(client.inspect_container(one) for one in containers)
        assert all(client.inspect_network(one) for one in networks)
    finally:
        for one in containers:
            client.remove_container(one, force=True)
        for one in networks:
            client.remove_network(one)


MANY = "name: {name}\nengine: docker\nnetworks: {{one: {{}}, two: {{}}}}\nhosts:\n" + "".join(
    f"  h{i}: {{{{role: client, networks: [{('one', 'two')[i % 2]}]}}}}\n" for i in range(6)
)


@pytest.mark.parametrize("moment", [0, 1, 3, 6])
def test_a_killed_command_leaves_nothing_after_the_next_down(
    client: docker.APIClient, engine: Engine, tmp_path: Path, moment: int
) -> None:
    """Killed when that many of the lab's containers are there."""
    key = LabKey(owner=owner(), name=unique_name())
    file = tmp_path / "lab.yaml"
    file.write_text(MANY.format(name=key.name))
    command = [sys.executable, "-m", "orchestrator", "up", "-f", str(file)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: len(left(client, key)) > 0, 60)
            filters = {"label": objects.of_lab(key)}
            eventually(lambda: len(client.containers(all=True, filters=filters)) >= moment, 60)
        finally:
            process.send_signal(signal.SIGKILL)
    assert [found.state for found in engine.find(key.owner) if found.key == key] in (["incomplete"], [])
    engine.remove(key, lambda _: None)
    assert left(client, key) == []
    settled = time.monotonic() + 1.0  # what the Engine was still about to do for the killed command
    while time.monotonic() < settled:
        assert left(client, key) == []
        time.sleep(0.1)
    assert [found for found in engine.find(key.owner) if found.key == key] == []


def test_a_lab_whose_daemon_was_killed_is_found_and_removed(
    lab_factory: LabFactory, client: docker.APIClient, engine: Engine
) -> None:
    rig = lab_factory("networks: {n: {}}\nhosts: {a: {role: server, networks: [n], listen: [80]}}")
    key = rig.lab.key
    rig.channel.call("pause", host="a")  # nothing lets it run on, and it can be removed nevertheless
    client.kill(objects.daemon_name(key))
    eventually(lambda: engine.open(key) is None)
    assert [found.state for found in engine.find(key.owner) if found.key == key] == ["incomplete"]
    engine.remove(key, lambda _: None)
    assert left(client, key) == []


def test_a_daemon_that_hangs_is_silent_not_incomplete(
    lab_factory: LabFactory, client: docker.APIClient, engine: Engine
) -> None:
    rig = lab_factory("networks: {n: {}}\nhosts: {a: {role: server, networks: [n]}}")
    key = rig.lab.key
    client.kill(objects.daemon_name(key), "SIGSTOP")
    try:
        assert [found.state for found in engine.find(key.owner) if found.key == key] == ["silent"]
    finally:
        client.kill(objects.daemon_name(key), "SIGCONT")
    assert [found.state for found in engine.find(key.owner) if found.key == key] == ["running"]


def test_without_a_shared_folder_the_bridge_is_the_way(
    monkeypatch: pytest.MonkeyPatch, lab_factory: LabFactory, engine: Engine
) -> None:
    """As with an Engine on another computer, or in a virtual machine."""
    monkeypatch.setattr(docker_client.Docker, "is_here", False)
    rig = lab_factory("networks: {n: {}}\nhosts: {a: {role: server, networks: [n], listen: [80]}}")
    folder = docker_daemon.runtime_folder(rig.lab.key)
    assert folder is not None
    assert not folder.exists()
    channel = engine.open(rig.lab.key)
    assert channel is not None
    with channel:
        assert isinstance(stream_of(channel), docker_daemon.Bridge)
        big = os.urandom(3_000_000)
        request = channel.ask("put", host="a", path="/root/big", mode=0o644)
        for at in range(0, len(big), 65536):
            channel.feed(request, big[at : at + 65536])
        channel.feed(request, eof=True)
        assert any("ok" in message for message, _ in channel.parts(request))
        parts = channel.parts(channel.ask("get", host="a", path="/root/big"))
        assert b"".join(data for _, data in parts) == big


_BRIDGED = """
import sys
from orchestrator.engines import registry
from orchestrator.model.plan import LabKey
channel = registry.engine("docker").open(LabKey(owner=sys.argv[1], name=sys.argv[2]))
assert type(channel.stream).__name__ == "Bridge"
listen = {"do": "listen", "port": 7900}
assert channel.call("call", host="a", scoped=True, call=listen)["errno"] is None
channel.call("pause", host="a")
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_client_that_is_killed_leaves_nothing_behind_a_bridge(
    monkeypatch: pytest.MonkeyPatch, lab_factory: LabFactory
) -> None:
    """The daemon hears of it by the Engine alone, which ends the bridge's input."""
    monkeypatch.setattr(docker_client.Docker, "is_here", False)
    rig = lab_factory("networks: {n: {}}\nhosts: {a: {role: server, networks: [n], listen: [80]}}")
    key = rig.lab.key
    command = [sys.executable, "-c", _BRIDGED, key.owner, key.name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            assert process.stdout.readline() == b"ready\n"
            assert rig.lab.hosts()[0]["paused"]
            assert rows.listeners(rig, 7900)
        finally:
            process.kill()
    eventually(lambda: not rig.lab.hosts()[0]["paused"])
    eventually(lambda: not rows.listeners(rig, 7900))
