"""Root in a host tries to reach the computer, and must fail. What is tried here is tried for real."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rig import Rig

pytestmark = pytest.mark.engine("namespaces")

LAB = """
networks:
  net: {subnet: 10.30.1.0/24, subnet6: "fd30:1::/64"}
hosts:
  jail: {role: client, networks: [net]}
  other: {role: client, networks: [net]}
"""


def shell(lab: Rig, command: str) -> tuple[int, str]:
    """A command of the host's root, and what it says."""
    ended = lab.run("jail", "sh", "-c", command)
    return ended.code, (ended.out + ended.err).decode(errors="replace")


@pytest.fixture
def secret() -> Iterator[Path]:
    """A folder of the user's with a file and a listening unix socket that anybody may use."""
    for base in (Path.home(), Path(tempfile.gettempdir())):
        if os.access(base, os.W_OK):
            folder = Path(tempfile.mkdtemp(dir=base, prefix="lab-secret-"))
            break
    folder.chmod(0o755)
    (folder / "letter").write_text("for nobody else")
    (folder / "letter").chmod(0o666)
    yield folder
    shutil.rmtree(folder)


def test_only_the_allow_list_is_there(lab: Rig) -> None:
    _, said = shell(lab, "ls -A /")
    assert set(said.split()) <= set(
        [
            "bin",
            "boot",
            "dev",
            "etc",
            "home",
            "lib",
            "lib32",
            "lib64",
            "libx32",
            "media",
            "mnt",
            "nix",
            "gnu",
            "opt",
            "proc",
            "root",
            "run",
            "sbin",
            "srv",
            "sys",
            "tmp",
            "usr",
            "var",
        ]
    )
    assert (
        shell(lab, "ls -A /home /root /opt /mnt /media /srv /tmp; ls /run")[1].split()
        == [
            *["/home:", "/root:", "/opt:", "/mnt:", "/media:", "/srv:", "/tmp:"],
            "lock",
        ]
        or shell(lab, "find /home /root /opt /mnt /media /srv /tmp -mindepth 1")[1] == ""
    )


def test_the_users_files_cannot_be_found(lab: Rig, secret: Path) -> None:
    letter = secret / "letter"
    for place in (
        "",
        "/proc/1/root",
        "/proc/self/root",
        "/proc/1/cwd",
        "/proc/1/cwd/..",
        "/proc/1/root/../..",
    ):
        code, _ = shell(lab, f"cat {place}{letter}")
        assert code != 0, place
    assert "for nobody else" not in shell(lab, "cat /proc/1/environ /proc/1/maps /proc/1/mountinfo")[1]


@pytest.mark.parametrize("place", ["", "/proc/1/root", "/proc/self/root", "/proc/1/cwd"])
def test_the_computers_programs_cannot_be_written(lab: Rig, place: str) -> None:
    for folder in ("/usr", "/usr/bin", "/usr/lib", "/bin", "/lib", "/sbin", "/dev"):
        code, _ = shell(lab, f"echo x > {place}{folder}/lab-was-here")
        assert code != 0
        assert not Path(f"{folder}/lab-was-here").exists()


def test_what_a_host_writes_stays_in_it(lab: Rig) -> None:
    name = f"lab-wrote-{os.getpid()}"
    for folder in ("/etc", "/tmp", "/var/tmp", "/root", "/home", "/run", "/srv", "/dev/shm"):
        code, said = shell(lab, f"echo x > /proc/1/root{folder}/{name} && cat {folder}/{name}")
        assert (code, said) == (0, "x\n")
        assert not os.path.exists(f"{folder}/{name}")
        assert lab.run("other", "test", "-e", f"{folder}/{name}").code == 1
    assert shell(lab, "echo 'evil::0:0::/:/bin/sh' >> /etc/passwd")[0] == 0
    assert "evil" not in Path("/etc/passwd").read_text()


def test_read_only_stays_read_only(lab: Rig) -> None:
    for command in (
        "mount -o remount,rw /usr",
        "mount -o remount,rw,bind /usr",
        "umount /usr",
        "mount -t tmpfs x /mnt",
        "mount --bind /proc /mnt",
        "unshare -m true",
        "unshare -U true",
        "unshare -Urm mount -t tmpfs x /mnt",
        "nsenter -t 1 -m true",
        "chroot /proc/1/root mount -t tmpfs x /mnt",
    ):
        assert shell(lab, command)[0] != 0, command


def test_kernel_settings_of_the_computer_cannot_be_changed(lab: Rig) -> None:
    paths = (
        "kernel/core_pattern",
        "kernel/modprobe",
        "kernel/hostname_",
        "vm/overcommit_memory",
        "fs/file-max",
    )
    for path in paths:
        assert shell(lab, f"echo x > /proc/sys/{path}")[0] != 0, path
    for path in ("/proc/sysrq-trigger", "/sys/kernel/uevent_helper", "/sys/power/state"):
        assert shell(lab, f"echo x > {path}")[0] != 0, path


def test_no_device_but_the_harmless_ones(lab: Rig) -> None:
    assert shell(lab, "mknod /tmp/disk b 8 0 && head -c1 /tmp/disk")[0] != 0
    assert shell(lab, "mknod /tmp/mem c 1 1 && head -c1 /tmp/mem")[0] != 0
    _, said = shell(lab, "find /dev -type b -o -type c")
    known = {"null", "zero", "full", "random", "urandom", "tty", "tun", "ptmx"}
    assert {line.rpartition("/")[2] for line in said.split() if "/pts/" not in line} <= known


def test_the_computers_processes_are_not_there(lab: Rig) -> None:
    _, said = shell(lab, "ps -e -o args=")
    lines = [line.split()[0] for line in said.splitlines() if line.strip()]
    assert lines[0] == "agent"
    assert set(lines) <= {"agent", "sh", "ps"}
    assert shell(lab, f"kill -0 {os.getpid()}")[0] != 0 or os.getpid() < 50


def test_killing_everything_kills_only_what_is_in_the_host(lab: Rig) -> None:
    shell(lab, "kill -9 -1")
    shell(lab, "kill -9 1")
    shell(lab, "kill -SEGV 1; kill -TERM 1")
    assert shell(lab, "echo here")[1] == "here\n"
    assert lab.run("other", "true").code == 0


CONNECT = "import socket,sys; socket.socket(socket.AF_UNIX).connect({0!r}); print('through')"


def test_unix_sockets_of_the_computer_are_out_of_reach(lab: Rig, secret: Path) -> None:
    path, abstract = str(secret / "door"), f"\0lab-door-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as named, socket.socket(socket.AF_UNIX) as unnamed:
        for sock, name in ((named, path), (unnamed, abstract)):
            sock.bind(name)
            sock.listen()
            socket.socket(socket.AF_UNIX).connect(name)  # it works from here
        os.chmod(path, 0o777)
        for name in (path, f"/proc/1/root{path}", abstract, "/run/docker.sock", "/var/run/docker.sock"):
            ended = lab.run("jail", "python3", "-c", CONNECT.format(name))
            assert ended.code != 0, name
            assert b"through" not in ended.out


def test_the_daemons_socket_is_out_of_reach(lab: Rig) -> None:
    for path in ("/lab/daemon.sock", "/proc/1/root/lab/daemon.sock", "/proc/2/root/lab/daemon.sock"):
        assert lab.run("jail", "python3", "-c", CONNECT.format(path)).code != 0
    _, said = shell(lab, "ls -l /proc/1/fd")
    assert "/lab" not in said


def test_the_computer_cannot_be_reached_by_ip(lab: Rig) -> None:
    """Neither at any of its own addresses nor beyond it."""
    with (
        socket.create_server(("", 0)) as four,
        socket.create_server(("::", 0), family=socket.AF_INET6) as six,
    ):
        doors = [("1.1.1.1", 53), ("10.30.1.254", four.getsockname()[1]), ("2606:4700::1111", 53)]
        for address in _own_addresses():
            doors.append((address, (six if ":" in address else four).getsockname()[1]))
        for address, port in doors:
            program = f"import socket; socket.create_connection(({address!r}, {port}), 1)"
            assert lab.run("jail", "python3", "-c", program).code != 0, address
        four.setblocking(False)
        with pytest.raises(BlockingIOError):
            four.accept()


def _own_addresses() -> list[str]:
    import subprocess

    said = subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True, check=True).stdout
    words = [line.split()[3].partition("/")[0] for line in said.splitlines()]
    return [w for w in words if not w.startswith(("127.", "::1", "fe80"))]


def test_the_daemon_has_no_address_and_no_way_out(lab: Rig) -> None:
    """What bridges the hosts is in a namespace that ends with the lab and has only ports."""
    from orchestrator.engines import namespaces_find

    daemon = next(namespaces_find.daemons(lab.lab.key.owner, lab.lab.key.name))
    try:
        routes = Path(f"/proc/{daemon.pid}/net/route").read_text().splitlines()[1:]
        sockets = Path(f"/proc/{daemon.pid}/net/tcp").read_text().splitlines()[1:]
        six = Path(f"/proc/{daemon.pid}/net/if_inet6").read_text().split("\n")
    finally:
        daemon.close()
    assert routes == []
    assert sockets == []
    assert [line for line in six if line and not line.endswith(" lo")] == []


def test_programs_have_no_capability_that_reaches_beyond(lab: Rig) -> None:
    _, said = shell(lab, "grep -h ^Cap /proc/self/status /proc/1/status")
    beyond = sum(
        1 << c for c in (2, 9, 14, 16, 17, 20, 21, 22, 23, 24, 25, 27, 30, 32, 33, 34, 35, 36, 37, 38, 39, 40)
    )
    for line in said.splitlines():
        assert int(line.split()[1], 16) & beyond == 0, line


def test_another_user_cannot_reach_the_daemon(lab: Rig) -> None:
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    from orchestrator.engines import namespaces_find

    daemon = next(namespaces_find.daemons(lab.lab.key.owner, lab.lab.key.name))
    path = f"/proc/{daemon.pid}/root{namespaces_find.SOCKET}"
    daemon.close()
    assert _connects_as(0, path) == 0, "its user gets through"
    assert _connects_as(65534, path) == 13, "EACCES"


def _connects_as(uid: int, path: str) -> int:
    """The errno of a connect by a child that is that user."""
    child = os.fork()
    if not child:
        code = 255
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            code = socket.socket(socket.AF_UNIX).connect_ex(path)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
