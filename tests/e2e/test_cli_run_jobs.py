"""`lab run --jobs`: the same verdicts and documents as one after the other, and that nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from orchestrator import kept
from orchestrator.engines import registry
from orchestrator.engines.base import Engine
from orchestrator.errors import LabError
from orchestrator.join.timeline import timeline
from orchestrator.lab import Lab
from orchestrator.model.plan import LabKey
from orchestrator.model.recording import Recording
from orchestrator.owner import owner
from tests.support.cli import Commands
from tests.support.rig import eventually

pytestmark = pytest.mark.engine("namespaces", "docker")
FILE = """
name: {name}
networks:
  office: {subnet: auto}
  dc: {subnet: auto}
routers:
  edge: {networks: [office, dc]}
hosts:
  web: {role: server, networks: [dc]}
  alice: {role: client, networks: [office]}
scenarios:
  slow:
    title: The longest of all
    steps:
      - web: listen :80 as door
      - wait: 1s
  full:
    table:
      - {n: 1, sure: 2}
      - {n: 2, sure: 3}
    steps:
      - web: listen :80 backlog=${n} as door
      - alice: connect web:80 as call x${sure}
      - expect: {listener: "web:80", queue: "${sure}"}
      - alice: connect web:80 as late blocking=no fails=EINPROGRESS
      - expect: {counter: web.TcpExtListenDrops, difference: ">=1"}
  bad:
    steps:
      - web: listen :80 as door
      - alice: connect web:80 as call
      - expect: {connection: alice.call, client: LAST_ACK, within: 50ms}
  outside:
    steps:
      - alice: {connect: null, to: "192.0.2.7:80", as: call, timeout: 300ms, fails: timeout|ENETUNREACH}
      - expect: {connection: alice.call, server: none, within: 50ms}
  broken:
    steps:
      - kill: web
      - expect: {connection: alice -> web:80, count: 0}
  good:
    steps:
      - web: listen :80 as door
      - alice: connect web:80 as call
      - expect: {connection: alice.call, client: ESTABLISHED, server: ESTABLISHED}
  long:
    steps:
      - web: listen :80 as door
      - alice: connect web:80 as call
      - web: accept door as conn
      - alice: recv call timeout=100s fails=timeout
    cleanup:
      - alice: connect web:81 fails=ECONNREFUSED
"""
SHORT = ("slow", "full", "bad", "outside", "broken", "good")
LABELS = ["slow", "full[n=1,sure=2]", "full[n=2,sure=3]", "bad", "outside", "broken", "good"]
VERDICTS = ["pass", "pass", "pass", "fail", "unknown", "pass", "pass"]


@pytest.fixture
def lab(engine: Engine, tmp_path: Path) -> Iterator[Commands]:
    """A folder with a lab file; afterwards nothing is left of any copy."""
    commands = Commands(tmp_path, engine.name)
    commands.write(FILE)
    yield commands
    eventually(lambda: not left(commands), 20)
    assert not list((tmp_path / "state/lab/leases").glob("*.lab"))


def left(lab: Commands) -> list[str]:
    """Labs of this file that are there."""
    found = registry.engine(lab.engine).find(owner())
    return [one.key.name for one in found if one.key.name.startswith(lab.name)]


def run(lab: Commands, *arguments: str) -> tuple[int, str, str]:
    """(exit, stdout, stderr) of `lab run`."""
    code, out, err = lab.bytes("run", "--engine", lab.engine, *arguments)
    return code, out.decode(), err.decode()


def start(lab: Commands, *arguments: str) -> subprocess.Popen[bytes]:
    """A `lab run` that goes on."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return lab.start("run", "--engine", lab.engine, *arguments, **quiet)


def workers(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes that it has started."""
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in found]


def gone(pids: Sequence[int]) -> None:
    """Wait for the end of processes that are not ours to wait for: until then they hold their leases."""
    for pid in pids:
        eventually(lambda pid=pid: not Path(f"/proc/{pid}").exists(), 30)  # type: ignore[misc]


def awaiting(lab: Commands, name: str) -> bool:
    """Whether the scenario `long` has come to its last step in this copy."""
    try:
        running = Lab.look_for(LabKey(owner=owner(), name=name), lab.engine)
        if running is None:
            return False
        with running:
            rows = running.connections()
    except LabError:  # it is being removed just now
        return False
    return any(row.accepted and row.client and row.client.state == "ESTABLISHED" for row in rows)


def in_the_middle(lab: Commands, count: int) -> None:
    """Wait until so many copies are at the last step of `long`."""
    eventually(lambda: sum(awaiting(lab, name) for name in left(lab)) == count, 60)


def essence(path: Path) -> list[Any]:
    """Of a document what does not depend on when it was: nearly everything."""
    return [
        (
            one["name"],
            one["title"],
            one["line"],
            one["verdict"],
            one["why"],
            one["problem"],
            one["recording"],
            [(s["part"], s["host"], s["text"], s["errno"], s["verdict"], s["count"]) for s in one["steps"]],
            [(e["text"], e["line"], e["verdict"], e["expected"]) for e in one["expectations"]],
        )
        for one in json.loads(path.read_text())["scenarios"]
    ]


def test_the_documents_are_the_same_as_one_after_the_other(lab: Commands) -> None:
    found = []
    for jobs in "1", "3":
        path, junit = lab.folder / f"{jobs}.json", lab.folder / f"{jobs}.xml"
        arguments = ("--json", str(path), "--junit", str(junit), "--jobs", jobs, "--down")
        code, out, err = run(lab, *SHORT, *arguments)
        assert code == 1, (out, err)
        cases = [
            (case.get("name"), [child.tag for child in case])
            for case in ElementTree.parse(junit).iter("testcase")
        ]
        record = json.loads(path.read_text())
        assert (record["lab"], record["verdict"]) == (lab.name, "fail")
        assert [(one["label"], one["verdict"]) for one in record["scenarios"]] == list(
            zip(LABELS, VERDICTS, strict=True)
        ), record
        assert "7 scenarios: 5 pass, 1 fail, 1 unknown" in out
        found.append((essence(path), cases))
        folder = Path(out.splitlines()[-1].removeprefix("kept in "))
        kept_record = kept.read(folder)
        recordings = kept.read_recordings(folder, kept_record)
        assert len(recordings) == len(LABELS)
        for recording in recordings.values():
            assert isinstance(recording, Recording)
            assert (recording.lab, recording.plan and recording.plan.key.name) == (lab.name, lab.name)
            assert timeline(recording).events
    assert found[0] == found[1]


@pytest.mark.engine("namespaces")
def test_each_is_told_in_one_piece(lab: Commands) -> None:
    _, out, err = run(lab, *SHORT, "--jobs", "3", "--timeline")
    told = out.splitlines()
    at = {line.partition(":")[0].strip(): place for place, line in enumerate(told)}
    assert "slow" in at, (out, err)
    title = told.index("slow: The longest of all")
    assert told[title + 1].startswith("  web: listen :80 as door")
    assert told[title + 2].startswith("  wait: 1s")
    assert told[title + 3].startswith("  pass  slow")


@pytest.mark.engine("namespaces")
def test_a_lab_of_the_user_is_left_alone(lab: Commands) -> None:
    lab.up()
    before = lab.good("status", lab.name, "--json").json
    assert run(lab, *SHORT, "--jobs", "3", "-q")[0] == 1
    assert lab.good("status", lab.name, "--json").json == before
    assert left(lab) == [lab.name]
    lab.good("down")


@pytest.mark.engine("namespaces")
def test_again_and_again(lab: Commands) -> None:
    code, out, _ = run(lab, "good", "full", "--jobs", "3", "--repeat", "2", "-q")
    assert (code, out.count("pass  good"), out.count("pass  full")) == (0, 2, 4)
    code, out, _ = run(lab, "good", "bad", "--jobs", "2", "--until-fail", "-q")
    assert code == 1
    assert " 1 fail" in out


def test_interrupted_in_the_middle(lab: Commands) -> None:
    path = lab.folder / "run.json"
    process = start(lab, "good", "long", "--repeat", "2", "--jobs", "2", "--json", str(path))
    in_the_middle(lab, 2)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) == 128 + signal.SIGINT
    assert left(lab) == []
    found = json.loads(path.read_text())["scenarios"]
    assert sorted((one["label"], one["verdict"], one["why"]) for one in found) == [
        *[("good", "pass", "")] * 2,
        *[("long", "unknown", "interrupted")] * 2,
    ]
    assert all(one["steps"][-1]["part"] == "cleanup" for one in found if one["label"] == "long")


def test_a_worker_that_is_killed_is_a_failure_of_its_scenario_alone(lab: Commands) -> None:
    path = lab.folder / "run.json"
    process = start(lab, *SHORT, "long", "--jobs", "3", "--json", str(path))
    in_the_middle(lab, 1)
    eventually(lambda: len(workers(process)) == 1, 30)  # all others are done
    os.kill(workers(process)[0], signal.SIGKILL)
    assert process.wait(60) == 3
    found = json.loads(path.read_text())["scenarios"]
    assert [one["verdict"] for one in found] == [*VERDICTS, "unknown"]
    assert [one["problem"] for one in found if one["problem"]] == [
        "the process that performed it was ended by SIGKILL"
    ]
    assert left(lab) == []


@pytest.mark.engine("namespaces")
def test_another_takes_the_place_of_one_that_was_killed(lab: Commands) -> None:
    path = lab.folder / "run.json"
    process = start(lab, "long", "--repeat", "4", "--jobs", "2", "--json", str(path))
    in_the_middle(lab, 2)
    first = workers(process)
    os.kill(first[0], signal.SIGKILL)
    eventually(lambda: len(set(workers(process)) - set(first)) == 1, 30)
    eventually(lambda: len(left(lab)) == 3, 60)  # that of the killed one, too
    in_the_middle(lab, 2)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) == 128 + signal.SIGINT
    found = json.loads(path.read_text())["scenarios"]
    assert sorted(one["problem"] for one in found) == [
        "",
        "",
        "the process that performed it was ended by SIGKILL",
    ]
    assert left(lab) == []


def test_all_ends_with_a_parent_that_is_killed(lab: Commands) -> None:
    process = start(lab, "long", "--repeat", "2", "--jobs", "2")
    in_the_middle(lab, 2)
    pids = workers(process)
    process.kill()
    process.wait()
    gone(pids)
    assert left(lab) == []


def test_what_is_left_when_all_are_killed_goes_with_the_next(lab: Commands) -> None:
    for cure in ("gc",), ("run", "good", "--engine", lab.engine, "--jobs", "2"):
        process = start(lab, "long", "--repeat", "2", "--jobs", "2")
        in_the_middle(lab, 2)
        pids = workers(process)
        os.kill(process.pid, signal.SIGSTOP)
        for pid in (*pids, process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()
        gone(pids)
        assert len(left(lab)) == 2
        lab.good(*cure)
        assert left(lab) == []


@pytest.mark.engine("namespaces")
def test_a_lab_that_does_not_come_up(lab: Commands) -> None:
    lab.write(FILE.replace("networks: [office]}", 'networks: [office], connect: ["web:81"]}'))
    code, _, err = run(lab, "good", "--jobs", "2")
    assert code == 3
    assert "a copy of the lab did not come up: " in err
    assert "web [" in err or "ECONNREFUSED" in err


@pytest.mark.engine("namespaces")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--jobs", "0"], "--jobs 0: neither a number from 1 on nor auto"),
        (["--jobs", "many"], "--jobs many: neither"),
        (["--jobs", "2", "--step"], "--step waits for a key"),
    ],
)
def test_usage(lab: Commands, arguments: list[str], words: str) -> None:
    code, out, err = run(lab, "good", *arguments)
    assert (code, out) == (2, "")
    assert words in err


def test_a_subnet_of_the_file_is_there_once_on_docker(lab: Commands) -> None:
    lab.write(FILE.replace("dc: {subnet: auto}", "dc: {subnet: {net}.3.0/24}"))
    code, _, err = run(lab, "good", "full", "--jobs", "2", "-q")
    if lab.engine == "docker":
        assert code == 2
        assert "--jobs: a Docker Engine knows a subnet once, and the file gives one to dc" in err
    else:
        assert code == 0, err
