"""One lab on two real machines, sshd and a Docker Engine in containers each: as on one, and with one that
is cut off in the middle. The networks of the two are not joined here: what joins them has tests of its own.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator import bringup, roster
from orchestrator.errors import LabError, MachineUnreachable
from orchestrator.lab import Lab, all_found
from orchestrator.model.runs import StepRecord
from tests.support.cli import LAUNCHER, SECONDS
from tests.support.compose import Machines, alone
from tests.support.rig import Rig, topology
from tests.support.scenarios import Silent, explained, perform, verdicts

LAB = """
networks: {n1: {}, n2: {}}
hosts:
  web1: {role: server, networks: [n1], listen: [80]}
  alice1: {role: client, networks: [n1], connect: [web1:80]}
  web2: {role: server, networks: [n2], listen: [80]}
  alice2: {role: client, networks: [n2], connect: [web2:80]}
machines: {m1: "ssh://lab-m1", m2: "ssh://lab-m2"}
place: {web1: m1, alice1: m1, web2: m2, alice2: m2}
"""
PATIENCE = 30.0  # seconds: 10 until a dead line is noticed, once for each thing that is asked anew
_CUT = "iptables -{0} INPUT -p tcp --dport 22 -j DROP; iptables -{0} OUTPUT -p tcp --sport 22 -j DROP"


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Two that are ours alone."""
    with alone(tmp_path_factory.mktemp("machines")) as found:
        yield found


@pytest.fixture
def config(machines: Machines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """How they are reached; and a state folder for this test."""
    monkeypatch.setenv("LAB_SSH_CONFIG", str(machines.config))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return machines.config


@pytest.fixture
def rig(config: Path) -> Iterator[Rig]:
    """The lab."""
    outcome = bringup.up(topology(LAB))
    assert not outcome.failed
    yield Rig(outcome.lab)
    if roster.of(outcome.lab.key.name) is not None:
        roster.engine(outcome.lab.key.name, "docker").remove(outcome.lab.key, lambda _: None)


@contextmanager
def cut_off(machines: Machines, service: str) -> Iterator[None]:
    """Nothing of SSH comes to a machine, or leaves it."""
    machines.on(service, _CUT.format("I"))
    try:
        yield
    finally:
        machines.on(service, _CUT.format("D"))


def left(machines: Machines, service: str) -> str:
    """What is there of labs."""
    return machines.on(service, "docker ps -aq; docker network ls -qf label=io.lab.owner")


def statuses(lab: Lab) -> list[tuple[str | None, str]]:
    """Of each row."""
    return [(row.client.host if row.client else None, row.status) for row in lab.observe().joined.connections]


STEPS = (
    "web1: listen :7103 as l",
    "web2: listen :7103 as l",
    "alice1: connect web1:7103 as call",
    "alice2: connect web2:7103 as call",
    "web1: accept as conn",
    "web2: accept as conn",
    "alice1: close call",
)
SCENARIO = (
    "steps:\n"
    + "".join(f"  - {step}\n" for step in STEPS)
    + """
  - expect: {connection: alice1.call, first to close: client, closed by: FIN}
  - expect: {connection: alice2.call, client: ESTABLISHED, server: ESTABLISHED}
"""
)


def test_as_on_one_machine(rig: Rig, machines: Machines) -> None:
    assert statuses(rig.lab) == [("alice1", "joined"), ("alice2", "joined")]
    record = perform(rig, LAB, SCENARIO)
    assert verdicts(record) == ["pass", "pass"], explained(record)
    assert rig.run("web2", "hostname").out == b"web2\n"
    rig.put("web1", "/root/x", b"1")
    rig.put("web2", "/root/x", b"2")
    assert [rig.get(host, "/root/x")[0] for host in ("web1", "web2")] == [b"1", b"2"]
    assert bringup.up(topology(LAB, rig.lab.key.name)).changes == ()
    (found,) = [one for one in all_found()[0] if one.key == rig.lab.key]
    assert (found.state, found.what) == (
        "running",
        "m1: 2 hosts, 1 network; m2: 2 hosts, 1 network",
    )
    rig.lab.down()
    assert left(machines, "m1") == left(machines, "m2") == ""
    assert roster.of(rig.lab.key.name) is None


def test_conns_while_a_machine_is_cut_off(rig: Rig, machines: Machines) -> None:
    with cut_off(machines, "m2"):
        began = time.monotonic()
        seen = rig.lab.observe()  # by a client that was there before
        assert time.monotonic() - began < PATIENCE
        assert set(seen.not_observed) == {"web2", "alice2"}
        assert statuses(rig.lab) == [("alice1", "joined")]
        began = time.monotonic()
        with Lab.find(rig.lab.key.name) as another:
            assert statuses(another) == [("alice1", "joined")]
        assert time.monotonic() - began < PATIENCE
    with Lab.find(rig.lab.key.name) as another:
        assert statuses(another) == [("alice1", "joined"), ("alice2", "joined")]


def test_a_machine_is_cut_off_in_the_middle_of_a_run(rig: Rig, machines: Machines) -> None:
    """What is on the other machine is judged; what is on this one cannot be known."""
    done = 0

    def on_step(_: StepRecord) -> None:
        nonlocal done
        done += 1
        if done == len(STEPS):
            machines.on("m2", _CUT.format("I"))

    try:
        began = time.monotonic()
        record = perform(rig, LAB, SCENARIO, audience=Silent(on_step))
        assert time.monotonic() - began < 2 * PATIENCE
    finally:
        machines.on("m2", _CUT.format("D"))
    assert done == len(STEPS)
    assert verdicts(record) == ["pass", "unknown"], explained(record)


def test_down_while_a_machine_is_cut_off_and_gc_when_it_is_back(rig: Rig, machines: Machines) -> None:
    name = rig.lab.key.name
    with cut_off(machines, "m2"):
        began = time.monotonic()
        with pytest.raises((MachineUnreachable, LabError)) as raised:
            rig.lab.down()
        assert time.monotonic() - began < PATIENCE
        assert "m2" in raised.value.message
        assert "may be left there" in raised.value.message
        assert left(machines, "m1") == ""
    record = roster.of(name)
    assert record is not None
    assert [machine.name for machine in record.machines] == ["m2"]
    assert left(machines, "m2") != ""
    done = subprocess.run(
        [str(LAUNCHER), "gc", name], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"removed what was left of lab {name}" in done.stderr
    assert left(machines, "m2") == ""
    assert roster.of(name) is None


def test_a_machine_is_cut_off_in_the_middle_of_up(config: Path, machines: Machines) -> None:
    """What was made on the other is removed; what may be left is kept in mind."""
    wanted = topology(LAB)
    cut: list[str] = []

    def say(line: str) -> None:
        if line.startswith("m2: starting") and not cut:
            cut.append(line)
            machines.on("m2", _CUT.format("I"))

    try:
        with pytest.raises((LabError, ExceptionGroup)) as raised:
            bringup.up(wanted, say=say)
    finally:
        machines.on("m2", _CUT.format("D"))
    assert cut
    assert "m2" in str(raised.value)
    assert left(machines, "m1") == ""
    record = roster.of(wanted.name)
    assert record is not None
    assert record.ending
    roster.engine(wanted.name, "docker").remove(
        next(one.key for one in all_found()[0] if one.key.name == wanted.name), lambda _: None
    )
    assert left(machines, "m2") == ""
