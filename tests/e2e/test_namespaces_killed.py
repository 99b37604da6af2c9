"""Whoever is killed, whenever: nothing is left. The kernel removes it; these tests only look."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestrator.engines import namespaces_find
from orchestrator.engines.base import Engine
from orchestrator.model.plan import LabKey
from orchestrator.owner import owner
from tests.conftest import LabFactory
from tests.support.rig import eventually, unique_name

pytestmark = pytest.mark.engine("namespaces")
HOSTS = 40

# A client of its own that brings a lab up by the engine, tells how far it is, and commits or waits.
CLIENT = """
import sys
from orchestrator.engines.namespaces import NamespacesEngine
from orchestrator.model.plan import *

name, count, commit = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "commit"
link = lambda i: Interface(device="eth0", network="net", mac=f"02:00:00:00:00:{i:02x}", address=f"10.0.0.{i}")
hosts = tuple(PlannedHost(name=f"{name}-{i}", interfaces=(link(i),)) for i in range(1, count + 1))
from orchestrator.owner import owner
networks = (PlannedNetwork(name="net"),)
plan = Plan(key=LabKey(owner=owner(), name=name), engine="namespaces", networks=networks, hosts=hosts)
changes = [Change(action="make-network", subject="net")]
changes += [Change(action="make-host", subject=h.name) for h in hosts]
say = lambda text: print(text, flush=True)
channel = NamespacesEngine().apply(plan, changes, say)
if commit:
    channel.call("commit")
say("done")
sys.stdin.read()
"""


def client(name: str, commit: str = "no", user: int | None = None) -> subprocess.Popen[str]:
    """Start one."""
    command = [sys.executable, "-c", CLIENT, name, str(HOSTS), commit]
    return subprocess.Popen(
        command,
        text=True,
        env={**os.environ, "HOME": "/"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )


def until(process: subprocess.Popen[str], text: str) -> None:
    """Read what it says until it says this."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"it ended before it said {text!r}")


def processes(name: str, client: int = 0) -> list[str]:
    """The command lines of a lab: its daemon's has the lab's name in it, its agents' the hosts'; and those of
    its clients but this one, for what a client has forked is called as the client until it executes."""
    found = []
    for pid in os.listdir("/proc"):
        if pid.isdigit() and int(pid) not in (os.getpid(), client):
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if name.encode() in line:
                found.append(line.replace(b"\0", b" ").decode())
    return found


def network_namespaces(user_namespace: str) -> set[str]:
    """Those of all processes that are in a user namespace."""
    found = set()
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                if os.readlink(f"/proc/{pid}/ns/user") == user_namespace:
                    found.add(os.readlink(f"/proc/{pid}/ns/net"))
            except OSError:
                continue
    return found


def traces(name: str) -> list[str]:
    """Files, mounts and links of the computer that carry the name."""
    places = [Path(p) for p in ("/tmp", "/run", "/var/run", "/dev/shm", "/run/user") if Path(p).is_dir()]
    files = [str(p) for place in places for p in place.iterdir() if name in p.name]
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line]
    links = [
        p.name for p in Path("/sys/class/net").iterdir() if p.name.startswith("p") and p.name[1:].isdigit()
    ]
    return files + mounts + links


def nothing_left(name: str, user: str, client: int = 0) -> None:
    """Wait until no process of it is there, and find nothing else. A daemon that starts forks itself and
    ends: one look at /proc may miss both, the next does not."""
    eventually(lambda: not processes(name, client) and not processes(name, client))
    assert list(namespaces_find.daemons(user, name)) == []
    assert traces(name) == []


@pytest.fixture(params=["this user", "nobody"])
def user(request: pytest.FixtureRequest, engine: Engine) -> int | None:
    """Everything here is tried rootless, too, where the tests run as root."""
    if request.param == "this user":
        return None
    if os.geteuid() != 0:
        pytest.skip("this user is no root already")
    return 65534


def name_of(user: int | None) -> str:
    """The owner's name."""
    import pwd

    return owner() if user is None else pwd.getpwuid(user).pw_name


def test_killing_the_daemon_leaves_nothing(engine: Engine, user: int | None) -> None:
    name = unique_name()
    process = client(name, "commit", user)
    try:
        until(process, "done")
        assert len(processes(name)) >= HOSTS + 1
        (daemon,) = namespaces_find.daemons(name_of(user), name)
        world = os.readlink(f"/proc/{daemon.pid}/ns/user")
        assert len(network_namespaces(world)) == HOSTS + 1
        signal.pidfd_send_signal(daemon.pidfd, signal.SIGKILL)
        daemon.close()
        nothing_left(name, name_of(user), process.pid)
        eventually(lambda: not network_namespaces(world))  # the dying have no name, and these yet
    finally:
        process.communicate()
        engine.remove(LabKey(owner=name_of(user), name=name), print)


@pytest.mark.parametrize("when", ["starting", f"{HOSTS // 10} of", f"{HOSTS} of", "done"])
def test_killing_the_client_before_it_commits_leaves_nothing(
    engine: Engine, user: int | None, when: str
) -> None:
    name = unique_name()
    process = client(name, "no", user)
    try:
        until(process, when)
    finally:
        process.kill()
        process.communicate()
    nothing_left(name, name_of(user))


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3])
def test_killing_the_client_at_any_moment_leaves_nothing(engine: Engine, delay: float) -> None:
    name = unique_name()
    process = client(name)
    until(process, "starting")
    waited = threading.Event()
    waited.wait(delay)  # not for anything: each delay is another moment
    process.kill()
    process.communicate()
    nothing_left(name, owner())


def test_a_committed_lab_outlives_its_client(engine: Engine, user: int | None) -> None:
    name = unique_name()
    key = LabKey(owner=name_of(user), name=name)
    process = client(name, "commit", user)
    until(process, "done")
    process.kill()
    process.communicate()
    try:
        channel = engine.open(key)
        assert channel is not None
        with channel:
            assert channel.call("hello", version=1)["state"] == "running"
            assert len(channel.call("hosts")["hosts"]) == HOSTS
    finally:
        engine.remove(key, print)
    nothing_left(name, key.owner)


def test_a_daemon_that_hangs_is_silent_not_incomplete(engine: Engine) -> None:
    """As one that is very busy: nothing is known of its lab, and it is left alone."""
    name = unique_name()
    process = client(name, "commit")
    until(process, "done")
    process.kill()
    process.communicate()
    (daemon,) = namespaces_find.daemons(owner(), name)
    try:
        signal.pidfd_send_signal(daemon.pidfd, signal.SIGSTOP)
        states = [found.state for found in engine.find(owner()) if found.key == daemon.key]
        assert states == ["silent"]
        signal.pidfd_send_signal(daemon.pidfd, signal.SIGCONT)
        assert [found.state for found in engine.find(owner()) if found.key == daemon.key] == ["running"]
    finally:
        engine.remove(daemon.key, print)
        daemon.close()
    nothing_left(name, owner())


def test_two_at_once_make_one_lab(engine: Engine) -> None:
    name = unique_name()
    both = [client(name, "commit") for _ in range(2)]
    try:
        for process in both:
            until(process, "done")
        assert len(list(namespaces_find.daemons(owner(), name))) == 1
        assert sum(line.startswith("agent ") for line in processes(name)) == HOSTS
    finally:
        for process in both:
            process.communicate()
        engine.remove(LabKey(owner=owner(), name=name), print)
    nothing_left(name, owner())


def test_remove_returns_when_all_is_gone(lab_factory: LabFactory) -> None:
    lab = lab_factory("networks: {net: {}}\nhosts: {one: {role: client, networks: [net], count: 30}}")
    name = lab.lab.key.name
    lab.channel.close()
    lab.lab.engine.remove(lab.lab.key, print)
    assert [line for line in processes(name) if "daemon" in line] == []
    assert lab.lab.engine.open(lab.lab.key) is None


def test_a_decoy_is_left_alone(engine: Engine) -> None:
    """A process that says it is the daemon of a lab, and is not."""
    name = unique_name()
    words = ["orchestrator.daemon", "namespaces", owner(), name]
    decoy = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()", *words], stdin=subprocess.PIPE
    )
    try:
        key = LabKey(owner=owner(), name=name)
        assert engine.open(key) is None
        engine.remove(key, print)
        assert key not in [found.key for found in engine.find(owner())]
        assert decoy.poll() is None
    finally:
        decoy.communicate()
    assert decoy.returncode == 0
