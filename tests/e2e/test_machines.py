"""Real machines, sshd and a Docker Engine in containers: stopped, cut off, changed and mistrusted."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator import bringup, errors
from orchestrator.engines import docker_checks, docker_images, docker_transfer
from orchestrator.engines.docker_client import Docker, translated
from orchestrator.engines.docker_places import There
from orchestrator.machines.base import Machine, open_machine
from orchestrator.model.machine_checks import Finding, MachineReport
from orchestrator.model.plan import LabKey
from orchestrator.owner import owner
from tests.support import machines as lane
from tests.support.compose import Machines, alone
from tests.support.rig import eventually, topology

PORT = docker_checks.PORT
TWO = "networks: {n: {}}\nhosts: {a: {role: server, networks: [n], listen: [80]}, "
TWO += "b: {role: client, networks: [n], connect: [a:80]}}"
DEAD_SECONDS = 10.0  # within which a dead line is noticed
_SSHD = "/usr/sbin/sshd -o HostKey=/var/lib/docker/ssh/host_key"
_LISTENS = "; while [ ! -s /run/sshd.pid ]; do sleep 0.02; done"  # written when it does, sshd(8)
_USUAL = f"{_SSHD} -o PasswordAuthentication=no{_LISTENS}"
_STOP_SSHD = "kill $(cat /run/sshd.pid); while [ -e /run/sshd.pid ]; do sleep 0.02; done; "
_END_SESSIONS = "pkill -x sshd || true"
_CUT = "iptables -{0} INPUT -p tcp --dport 22 -j DROP; iptables -{0} OUTPUT -p tcp --sport 22 -j DROP"


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with alone(tmp_path_factory.mktemp("machines")) as found:
        yield found


@pytest.fixture
def config(machines: Machines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of the settings that a test may change."""
    text = machines.config.read_text()
    known = machines.config.parent / "machines/known_hosts"
    copy = tmp_path / "ssh_config"
    copy.write_text(text.replace(str(known), str(tmp_path / "known_hosts")))
    (tmp_path / "known_hosts").write_text(known.read_text())
    monkeypatch.setenv("LAB_SSH_CONFIG", str(copy))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return copy


@pytest.fixture
def m1(config: Path) -> Iterator[Machine]:
    found = open_machine("m1", "ssh://lab-m1")
    yield found
    found.close()


@contextmanager
def undone(machines: Machines, do: str, undo: str, service: str = "m1") -> Iterator[None]:
    machines.on(service, do)
    try:
        yield
    finally:
        machines.on(service, undo)


@contextmanager
def two(config: Path) -> Iterator[list[Machine]]:
    found = [open_machine(name, f"ssh://lab-{name}") for name in ("m1", "m2")]
    try:
        yield found
    finally:
        for one in found:
            one.close()


def look(config: Path) -> dict[str, MachineReport]:
    with two(config) as found:
        return {report.name: report for report in docker_checks.look(found)}


def of(report: MachineReport, what: str) -> Finding:
    return next(one for one in report.findings if one.what == what)


class TestStarting:
    def test_one_command_starts_them_and_says_how_they_are_reached(self, machines: Machines) -> None:
        began = time.monotonic()
        again = machines.start()
        assert again.code == 0
        assert "ssh://lab-m1" in again.out
        assert time.monotonic() - began < 60
        assert (machines.config.parent / "machines/id_ed25519").stat().st_mode & 0o777 == 0o600
        key = machines.on("m1", "cut -d ' ' -f 2 /var/lib/docker/ssh/host_key.pub").strip()
        assert key in (machines.config.parent / "machines/known_hosts").read_text()
        done = machines.run("ssh", "-F", str(machines.config), "-o", "BatchMode=yes", "lab-m1", "hostname")
        assert (done.code, done.out) == (0, "lab-m1\n"), done

    def test_they_have_no_more_rights_than_are_named(self, machines: Machines) -> None:
        found = machines.run("docker", "inspect", machines.container("m1"))
        settings = json.loads(found.out)[0]["HostConfig"]
        assert settings["Privileged"] is False
        assert len(settings["CapAdd"]) == 9

    def test_a_file_of_the_users_own_is_not_overwritten(self, machines: Machines, tmp_path: Path) -> None:
        own = tmp_path / "ssh_config"
        own.write_text("Host mine\n")
        done = machines.run("images/start-machines.sh", LAB_SSH_CONFIG=str(own))
        assert done.code == 3
        assert own.read_text() == "Host mine\n"


class TestLooking:
    def test_machines_that_are_ready(self, machines: Machines) -> None:
        done = machines.lab("machines", "ssh://lab-m1", "ssh://lab-m2", "--json")
        assert done.code == 0, done
        found = json.loads(done.out)
        assert found["ready"] is True
        by_name = {one["name"]: one for one in found["machines"]}
        version = machines.on("m1", "docker version -f '{{.Server.Version}}'").strip()
        assert by_name["lab-m1"]["engine"] == version
        address = machines.on("m1", "hostname -i").strip()
        assert by_name["lab-m1"]["capacity"]["address"] == address
        mtu = int(machines.on("m1", "cat /sys/class/net/eth0/mtu"))
        assert by_name["lab-m1"]["capacity"]["mtu"] == mtu
        free = int(machines.on("m1", "awk '/MemAvailable/ {print $2}' /proc/meminfo")) << 10
        assert abs(by_name["lab-m1"]["capacity"]["memory_free"] - free) < free / 4
        m1 = by_name["lab-m1"]
        assert abs(m1["clock"]) <= m1["clock_error"] + 0.01, "one kernel, one clock"

    def test_all_that_is_wrong_is_said_at_once(self, machines: Machines) -> None:
        urls = ("ssh://lab-m1", "ssh://lab-m2", "ssh://no-such-host.invalid", "ssh://root@127.0.0.1:9")
        rule = f"iptables -{{}} INPUT -p udp --dport {PORT} -j DROP"
        with undone(machines, rule.format("I"), rule.format("D")):
            done = machines.lab("machines", *urls)
        assert done.code == 3
        for said in (
            "no computer of the name no-such-host.invalid",
            "nobody answers on port 9",
            "way to lab-m2: nothing comes back from",
            "-> let UDP pass between the machines",
        ):
            assert said in done.out, (said, done.out)

    def test_a_path_that_carries_less_than_its_interface_says(self, machines: Machines, config: Path) -> None:
        rule = f"iptables -{{}} OUTPUT -p udp --dport {PORT} -m length --length 1401:65535 -j DROP"
        with undone(machines, rule.format("I"), rule.format("D")):
            found = look(config)
        assert found["m1"].capacity.mtu == 1400
        assert found["m2"].capacity.mtu == 1500
        assert of(found["m1"], "way to m2").state == "note"
        assert found["m1"].ready

    def test_a_port_that_a_program_holds(self, machines: Machines, config: Path) -> None:
        holder = (
            f"python3 -c 'import socket,time; s=socket.socket(2,2); s.bind((\"\",{PORT})); time.sleep(60)'"
        )
        with undone(machines, f"{holder} & echo $! >/tmp/holder; sleep 0.5", "kill $(cat /tmp/holder)"):
            found = look(config)
        port = of(found["m1"], "the fabric's UDP port")
        assert (port.state, port.detail) == ("wrong", "a program holds it")
        assert of(found["m2"], "way to m1").state == "unknown"

    def test_a_port_that_a_fabric_has_already(self, machines: Machines, config: Path) -> None:
        add = f"ip link add vxtest type vxlan id 99 dstport {PORT} dev eth0; ip link set vxtest up"
        with undone(machines, add, "ip link del vxtest"):
            found = look(config)
        port = of(found["m1"], "the fabric's UDP port")
        assert (port.state, found["m1"].ready) == ("note", True), port

    def test_an_engine_that_does_not_run(self, machines: Machines, config: Path) -> None:
        away = "mv /run/docker.sock /run/docker.sock.away"
        with undone(machines, away, "mv /run/docker.sock.away /run/docker.sock"):
            found = look(config)
        engine = of(found["m1"], "a Docker Engine answers")
        assert engine.state == "wrong"
        assert "apt-get install docker.io" in engine.cure
        assert found["m1"].capacity.memory_free, "the rest is looked at"
        assert found["m2"].ready

    def test_one_machine_under_two_names(self, config: Path) -> None:
        both = [open_machine(name, "ssh://lab-m1") for name in ("a", "b")]
        reports = docker_checks.look(both)
        for one in both:
            one.close()
        assert of(reports[1], "it is a machine of its own").detail == "it is a"

    def test_machines_of_one_swarm(self, machines: Machines, config: Path) -> None:
        address = machines.on("m1", "hostname -i").strip()
        init = f"docker swarm init --advertise-addr {address} >/dev/null; docker swarm join-token -q worker"
        token = machines.on("m1", init).strip()
        try:
            assert not docker_checks.fleet([*look(config).values()]).swarm
            join = f"docker swarm join --token {token} {address}"
            with undone(machines, join, "docker swarm leave --force", "m2"):
                found = look(config)
                assert docker_checks.fleet([*found.values()]).swarm, found
        finally:
            machines.on("m1", "docker swarm leave --force")


class TestTrust:
    def test_a_changed_host_key(self, machines: Machines, config: Path) -> None:
        """Made anew and accepted as the hint says; then the old one is refused."""
        keep = "cd /var/lib/docker/ssh; mv host_key kept; mv host_key.pub kept.pub; "
        new = keep + "ssh-keygen -q -t ed25519 -N '' -f host_key; " + _STOP_SSHD + _USUAL
        old = "cd /var/lib/docker/ssh; mv kept host_key; mv kept.pub host_key.pub; " + _STOP_SSHD + _USUAL
        with undone(machines, new, old):
            with pytest.raises(errors.HostKeyChanged) as refused:
                open_machine("m1", "ssh://lab-m1").facts()
            fingerprint = machines.on("m1", "ssh-keygen -lf /var/lib/docker/ssh/host_key.pub").split()[1]
            assert fingerprint in refused.value.message
            forget, _, accept = refused.value.hint.split("`")[1::2]
            subprocess.run(["sh", "-ec", f"{forget}; {accept}"], check=True, capture_output=True)
            assert open_machine("m1", "ssh://lab-m1").facts().uid == 0
        with pytest.raises(errors.HostKeyChanged):
            open_machine("m1", "ssh://lab-m1").facts()

    def test_an_unknown_host(self, config: Path) -> None:
        (config.parent / "known_hosts").write_text("")
        with pytest.raises(errors.HostKeyUnknown):
            open_machine("m1", "ssh://lab-m1").facts()

    def test_a_wrong_key(self, config: Path, tmp_path: Path) -> None:
        other = tmp_path / "other"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
        lines = config.read_text().splitlines()
        config.write_text(
            "\n".join(f"IdentityFile {other}" if "IdentityFile" in line else line for line in lines)
        )
        with pytest.raises(errors.LoginRefused) as refused:
            open_machine("m1", "ssh://lab-m1").facts()
        assert "ssh-copy-id" in refused.value.hint

    def test_a_password(self, machines: Machines, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        allow = "echo root:geheim | chpasswd; " + _STOP_SSHD + _SSHD + " -o PermitRootLogin=yes" + _LISTENS
        lines = [line for line in config.read_text().splitlines() if "IdentityFile" not in line]
        config.write_text("\n".join(lines))
        monkeypatch.setenv("LAB_SSH_PASSWORD", "geheim")
        with undone(machines, allow, "passwd -d root; " + _STOP_SSHD + _USUAL):
            assert open_machine("m1", "ssh://lab-m1").facts().uid == 0

    def test_by_way_of_another(self, machines: Machines, config: Path) -> None:
        """m2 at its own address, which only m1 is asked to connect to."""
        address = machines.on("m2", "hostname -i").strip()
        key = machines.on("m2", "cut -d ' ' -f 1,2 /var/lib/docker/ssh/host_key.pub").strip()
        with (config.parent / "known_hosts").open("a") as known:
            known.write(f"{address} {key}\n")
        block = config.read_text().split("Host lab-m2")[1]
        identity = next(line for line in block.splitlines() if "IdentityFile" in line)
        hosts = f"\nHost inner\n HostName {address}\n User root\n ProxyJump lab-m1\n{identity}\n"
        config.write_text(f"{config.read_text()}{hosts} UserKnownHostsFile {config.parent / 'known_hosts'}\n")
        found = open_machine("inner", "ssh://inner")
        assert found.run(["hostname"]).out == b"lab-m2\n"
        seen = machines.on("m2", "echo; ss -tnH state established sport = :22")
        assert machines.on("m1", "hostname -i").strip() in seen
        found.close()


class TestLine:
    def test_whatever_is_asked_it_is_one_connection(self, machines: Machines, m1: Machine) -> None:
        """100 streams, 24 calls of the Engine at once and 20 programs, with a stock sshd (MaxSessions 10)."""
        count = "ss -tnH state established sport = :22"
        before = len(machines.on("m1", count).splitlines())
        docker = Docker(m1)
        streams = [m1.open_socket("/var/run/docker.sock") for _ in range(100)]
        failed: list[Exception] = []

        def attempt(work: Callable[[], Any]) -> None:
            try:
                work()
            except Exception as error:
                failed.append(error)

        works: list[Callable[[], Any]] = [lambda: docker.labelled(["x"]) for _ in range(24)]
        works += [lambda: m1.run(["sleep", "0.3"]) for _ in range(20)]
        threads = [threading.Thread(target=attempt, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        for stream in streams:
            stream.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            assert stream.recv(8) == b"HTTP/1.0"
            stream.close()
        assert "MaxSessions" not in machines.on("m1", "cat /etc/ssh/sshd_config | grep -v '^#'")
        assert len(machines.on("m1", count).splitlines()) == before + 1

    def test_a_cut_line_is_noticed_and_waits_for_nobody(self, machines: Machines, m1: Machine) -> None:
        docker = Docker(m1)
        stream = m1.open_socket("/var/run/docker.sock")
        began = []
        with undone(machines, _CUT.format("I"), _CUT.format("D")):
            began.append(time.monotonic())
            with pytest.raises(errors.MachineUnreachable, match="has not answered"):
                stream.recv(1)
            took = time.monotonic() - began[0]
            assert took < DEAD_SECONDS, took
            with pytest.raises(errors.MachineUnreachable):
                docker.labelled(["x"])
        with pytest.raises(errors.MachineUnreachable):
            m1.check()
        again = open_machine("m1", "ssh://lab-m1")
        assert again.facts().uid == 0
        again.close()

    def test_a_call_of_the_engine_that_waits_ends_with_the_line(
        self, machines: Machines, m1: Machine
    ) -> None:
        """One whose answer just stops would else have been taken for one that is complete."""
        docker = Docker(m1)
        seen: list[Exception] = []

        def wait() -> None:
            try:
                with translated("events cannot be followed"):
                    list(docker.api.events())
            except Exception as error:
                seen.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        with undone(machines, _CUT.format("I"), _CUT.format("D")):
            thread.join(DEAD_SECONDS)
            assert not thread.is_alive()
        assert [type(one) for one in seen] == [errors.MachineUnreachable], seen

    def test_a_network_that_was_unplugged(self, machines: Machines, config: Path) -> None:
        """The path to the published port ends, too."""
        network = f"{machines.project}_between"
        m2 = open_machine("m2", "ssh://lab-m2")
        stream = m2.open_socket("/var/run/docker.sock")
        assert machines.run("docker", "network", "disconnect", network, machines.container("m2")).code == 0
        try:
            began = time.monotonic()
            with pytest.raises(errors.MachineUnreachable):
                stream.recv(1)
            assert time.monotonic() - began < DEAD_SECONDS
        finally:
            machines.run("docker", "network", "connect", network, machines.container("m2"))
            assert machines.start().code == 0

    def test_an_sshd_that_is_stopped(self, machines: Machines, m1: Machine) -> None:
        """Its kernel goes on acknowledging: only an answer of sshd itself says that it lives."""
        stream = m1.open_socket("/var/run/docker.sock")
        with undone(machines, "pkill -STOP sshd", "pkill -CONT sshd"):
            began = time.monotonic()
            with pytest.raises(errors.MachineUnreachable, match="has not answered"):
                stream.recv(1)
            assert time.monotonic() - began < DEAD_SECONDS

    def test_an_sshd_that_is_ended(self, machines: Machines, m1: Machine, config: Path) -> None:
        stream = m1.open_socket("/var/run/docker.sock")
        with undone(machines, _STOP_SSHD + _END_SESSIONS, _USUAL):
            with pytest.raises(errors.MachineUnreachable):
                stream.recv(1)
            with pytest.raises(errors.MachineUnreachable) as refused:
                open_machine("m1", "ssh://lab-m1").facts()
        assert refused.value.hint

    def test_a_machine_without_forwarding_is_told_what_to_set(self, machines: Machines, config: Path) -> None:
        shut = _STOP_SSHD + _SSHD + " -o AllowStreamLocalForwarding=no" + _LISTENS
        with undone(machines, shut, _STOP_SSHD + _USUAL):
            found = open_machine("m1", "ssh://lab-m1")
            with pytest.raises(errors.EngineUnavailable) as refused:
                Docker(found)
            found.close()
        assert "AllowStreamLocalForwarding" in refused.value.hint


class TestImages:
    def test_they_are_sent_once_side_by_side_and_told(self, machines: Machines, config: Path) -> None:
        for service in ("m1", "m2"):
            remove = "docker rmi -f lab/host lab/daemon >/dev/null 2>&1 || true; docker image prune -f"
            machines.on(service, remove)
        said: list[str] = []
        with two(config) as found:
            engines = [Docker(machine) for machine in found]
            wanted = [docker_images.HOST, docker_images.DAEMON]
            docker_transfer.bring_all(engines, wanted, said.append)
            assert {line.split(":")[0] for line in said} == {
                f"sending lab/host, lab/daemon to {name}" for name in ("m1", "m2")
            }
            ids = {str(engine.api.inspect_image("lab/host")["Id"]) for engine in (*engines, Docker())}
            assert len(ids) == 1
            said.clear()
            began = time.monotonic()
            docker_transfer.bring_all(engines, wanted, said.append)
            assert said == []
            assert time.monotonic() - began < 2

    def test_one_that_is_nowhere_is_said_to_be(self, config: Path, m1: Machine) -> None:
        assert docker_transfer.lacking(Docker(m1), ["no/such"]) == ["no/such"]
        docker_transfer.bring(Docker(m1), ["no/such"], lambda _: None)


@pytest.mark.parametrize("user", ["root", "student"])
def test_the_daemons_socket_is_reached_without_docker(machines: Machines, config: Path, user: str) -> None:
    """By the line alone, in a folder that is the user's there, and of which nothing stays."""
    make = "id student >/dev/null 2>&1 || { useradd -m -s /bin/sh -G docker student; "
    make += "install -d -o student -m 700 ~student/.ssh; "
    make += "install -o student -m 600 /root/.ssh/authorized_keys ~student/.ssh; }"
    machines.on("m1", make)
    lane.machine.cache_clear()
    with lane.instead_of_docker(f"ssh://{user}@lab-m1") as machine:
        base = f"/tmp/lab-{machine.facts().uid}"
        outcome = bringup.up(topology(TWO), "docker")
        try:
            listing = machines.on("m1", f"stat -c '%a %U' {base} {base}/docker {base}/docker/*")
            assert listing.split() == ["700", user] * 3
            seen = machines.on("m1", "docker events --since 10m --until 0s --filter event=exec_create")
            assert seen == "", "no exec of the Docker API was a way to the daemon"
            assert outcome.lab.another_channel().hello()["state"] == "running"
            assert [row.status for row in outcome.lab.connections()] == ["joined"]
            assert [one.key for one in outcome.lab.engine.find(outcome.lab.key.owner)] == [outcome.lab.key]
        finally:
            outcome.lab.down()
        machine.close()
    lane.machine.cache_clear()
    left = f"ls -A {base} 2>/dev/null || true; docker ps -aq; docker network ls -qf label=io.lab.owner"
    assert machines.on("m1", left) == ""


def test_a_machine_that_is_cut_off_in_the_middle_of_up(machines: Machines, config: Path) -> None:
    """A clear line, in time; what was made is found again when the machine is back, and removed."""
    lane.machine.cache_clear()
    with lane.instead_of_docker() as machine:
        said: list[str] = []

        def cut(line: str) -> None:
            said.append(line)
            if line.startswith("starting"):
                machines.on("m1", _CUT.format("I"))

        lab = topology(TWO)
        began = time.monotonic()
        try:
            with pytest.raises(errors.MachineUnreachable, match="is not reached any more"):
                bringup.up(lab, "docker", cut)
            took = time.monotonic() - began
        finally:
            machines.on("m1", _CUT.format("D"))
        assert any(line.startswith("starting") for line in said)
        assert took < 30, took
        machine.close()
        lane.machine.cache_clear()
        engine = lane.DockerOverSsh()
        key = LabKey(owner=owner(), name=lab.name)
        engine.remove(key, lambda _: None)
        assert [one for one in engine.find(key.owner) if one.key == key] == []
        engine.machine.close()
    lane.machine.cache_clear()
    assert machines.on("m1", "docker ps -aq; docker network ls -qf label=io.lab.owner") == ""


def test_a_folder_that_a_stranger_has_made_is_not_used(machines: Machines, config: Path, m1: Machine) -> None:
    key = LabKey(owner="o", name="l")
    with undone(machines, "mkdir -p /tmp/lab-0/docker; chmod 777 /tmp/lab-0", "rm -rf /tmp/lab-0"):
        place = There(m1)
        assert place.make(Docker(m1), key) is None
        assert place.open(place.folder(key)) is None


def test_nothing_is_left_when_they_are_taken_down(tmp_path: Path, machines: Machines) -> None:
    other = Machines(tmp_path)
    other.project = f"labgone{os.getpid()}"
    other.env["COMPOSE_PROJECT_NAME"] = other.project
    other._keep = False
    try:
        assert other.start().code == 0
        assert len(other.left()) >= 6, "two containers, a network, three volumes"
    finally:
        assert other.down().code == 0
    assert other.left() == []
    assert eventually(lambda: list(tmp_path.iterdir()) == [])
