"""What machines say, read; and what is made of it."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.engines import docker_checks as checks
from orchestrator.machines import path_probe, paths, readings
from orchestrator.machines.local import LocalMachine
from orchestrator.model.machine_checks import Finding, MachineReport
from orchestrator.model.machines import Capacity
from orchestrator.report.machines import lines

SAID = """motd of a talkative shell
lab: time 1764300000.250000000
lab: memory 22552000
lab: cpus 2
lab: disk 79272960
lab: vxlan 4790
lab: vxlan 8472
"""


def test_a_machine_is_read() -> None:
    found = readings.parse(SAID)
    assert found == readings.Readings(22552000 << 10, 2, 79272960 << 10, 1764300000.25, (4790, 8472))


def test_what_is_missing_or_nonsense_is_unknown() -> None:
    assert readings.parse("") == readings.Readings(None, None, None, None, ())
    assert readings.parse("lab: time 1764300000.%N\nlab: disk \n").clock is None
    states = {one.state for one in checks.system_findings(readings.parse(""))}
    assert states == {"unknown"}
    assert checks.clock_findings(None)[0].state == "unknown"


def test_this_computers_own_shell_says_what_its_kernel_does() -> None:
    ended = LocalMachine().run(["sh", "-s", "--", "/"], readings.SCRIPT)
    found = readings.parse(ended.out.decode())
    assert ended.code == 0, ended
    with open("/proc/meminfo") as file:
        free = next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable"))
    assert found.memory_free == pytest.approx(free, rel=0.25)
    assert found.disk_free
    assert found.clock
    assert found.cpus


def test_shortage_is_wrong_and_has_a_cure() -> None:
    memory, disk = checks.system_findings(readings.Readings(100 << 20, 2, 100 << 20, 0.0, ()))
    assert (memory.state, disk.state) == ("wrong", "wrong")
    assert memory.cure
    assert disk.cure


@pytest.mark.parametrize(
    ("offset", "state"), [(0.4, "ok"), (-0.9, "ok"), (1.2, "note"), (-60.0, "note"), (1.05, "ok")]
)
def test_a_clock_is_far_off_only_beyond_what_the_question_took(offset: float, state: str) -> None:
    assert checks.clock_findings((offset, 0.1))[0].state == state


INFO: dict[str, Any] = {"OperatingSystem": "Debian GNU/Linux 12", "OSType": "linux", "SecurityOptions": []}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, []),
        ({"OperatingSystem": "Docker Desktop"}, ["Docker Desktop runs in a virtual machine"]),
        ({"OSType": "windows"}, ["it does not"]),
        ({"SecurityOptions": ["name=seccomp", "name=rootless"]}, ["a rootless Engine"]),
    ],
)
def test_what_cannot_take_part(more: dict[str, Any], said: list[str]) -> None:
    found = checks.engine_findings(INFO | more)
    assert len(found) == len(said)
    for finding, begin in zip(found, said, strict=True):
        assert finding.state == "wrong"
        assert finding.detail.startswith(begin)
        assert finding.cure


def test_a_swarm_has_one_name_for_all_of_its_nodes() -> None:
    managers = [{"NodeID": "b"}, {"NodeID": "a"}]
    assert checks.swarm_of({"LocalNodeState": "active", "RemoteManagers": managers}) == "a"
    assert checks.swarm_of({"LocalNodeState": "active", "RemoteManagers": managers[::-1]}) == "a"
    assert checks.swarm_of({"LocalNodeState": "inactive", "RemoteManagers": None}) == ""


def test_ways_are_read() -> None:
    text = "lab: bound ok\nlab: peer 10.0.0.2 1400 1500 0.000421 -0.000069\nlab: peer fd00::3 0 1500 -\n"
    assert paths.parse(text) == (
        "",
        {"10.0.0.2": paths.Way(1400, 1500, 0.000421, -0.000069), "fd00::3": paths.Way(None, 1500)},
    )
    assert paths.parse("lab: bound EADDRINUSE\n") == ("EADDRINUSE", {})
    assert paths.parse("")[0]


@pytest.mark.parametrize(
    ("way", "state"),
    [
        (paths.Way(1500, 1500, 0.001), "ok"),
        (paths.Way(1400, 1500, 0.001), "note"),
        (paths.Way(1300, 1300, 0.001), "note"),
        (paths.Way(None, 1500, 0.001), "wrong"),
        (paths.Way(None, 1500), "wrong"),
    ],
)
def test_a_way_is_judged(way: paths.Way, state: str) -> None:
    (found,) = checks.way_findings("m2", "10.0.0.2", way)
    assert found.state == state
    assert state == "ok" or found.detail


@pytest.mark.parametrize("passes", [576, 577, 1279, 1399, 1400, 1499, 1500])
def test_the_largest_packet_is_found_in_few_rounds(passes: int) -> None:
    """As Probe.round does it, with a path that says nothing of what it drops."""
    passed, failed, rounds = 0, 1501, 0
    while failed - passed > 1:
        tried = path_probe.sizes(passed, failed)
        passed = max([size for size in tried if size <= passes], default=passed)
        failed = min([size for size in tried if size > passed], default=failed)
        rounds += 1
    assert (passed, failed) == (passes, passes + 1)
    assert rounds <= 5


def test_the_table_and_what_is_said_below() -> None:
    good = MachineReport(
        name="m1",
        url="ssh://m1",
        findings=(Finding(what="clock", state="ok"),),
        engine="20.10.24",
        capacity=Capacity(memory_free=3 << 30, cpus=2, address="10.0.0.1"),
        disk_free=5 << 30,
        clock=-0.5,
    )
    bad = MachineReport(
        name="m\x1b2",
        url="ssh://m2",
        findings=(Finding(what="way to m1", state="wrong", detail="no", cure="do"),),
    )
    assert [*lines([good, bad])] == [
        "MACHINE  STATE      ENGINE    ADDRESS   CPUS  MEMORY   DISK     MTU   CLOCK",
        "m1       ready      20.10.24  10.0.0.1  2     3.0 GiB  5.0 GiB  1500  -0.500 s",
        "m\\x1b2   not ready  -         -         -     -        -        -     -",
        "",
        "m\\x1b2 (ssh://m2)",
        "  -- way to m1: no",
        "     -> do",
    ]
    assert (good.ready, bad.ready) == (True, False)
