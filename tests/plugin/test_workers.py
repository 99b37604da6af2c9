"""pytest-xdist: whose lab is whose, and what is left when workers are killed."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.plugin.conftest import LAB, PLUGINS, Project
from tests.support.rig import eventually

TESTS = """
import json, pathlib, time
from orchestrator.wire import VERSION
pytestmark = pytest.mark.lab("lab.yaml")

@pytest.mark.parametrize("number", range(8))
def test_each(lab, number, worker_id):
    began = time.monotonic()
    lab.do("web: listen :80 as door")
    lab.do("alice: connect web:80 as call")
    lab.expect(connection="alice -> web:80", count=1)
    lab.do("wait: 100ms")
    assert len(lab.connections(state="ESTABLISHED")) == 1
    ended = time.monotonic()
    daemon = lab.running.channel.call("hello", version=VERSION)["pid"]
    address = lab.host("web").address()
    what = dict(worker=worker_id, name=lab.name, daemon=daemon, address=address, began=began, ended=ended)
    pathlib.Path(f"done-{number}.json").write_text(json.dumps(what))
"""


def run(project: Project, *arguments: str) -> list[dict[str, Any]]:
    """What each test of TESTS found."""
    project.tests(TESTS)
    project.run("-n", "4", *arguments).assert_outcomes(passed=8)
    return [json.loads(path.read_text()) for path in sorted(project.folder.glob("done-*.json"))]


def together(found: list[dict[str, Any]]) -> bool:
    """Whether two tests used one lab at the same time."""
    turns = sorted((one["name"], one["began"], one["ended"]) for one in found)
    return any(a[0] == b[0] and b[1] < a[2] for a, b in itertools.pairwise(turns))


@pytest.mark.engine("namespaces")
def test_workers_have_labs_of_their_own_with_the_same_subnets(project: Project) -> None:
    found = run(project)
    assert len({one["worker"] for one in found}) == 4
    assert {(one["worker"], one["name"].rpartition("-")[2]) for one in found} == {
        (worker, worker) for worker in ("gw0", "gw1", "gw2", "gw3")
    }
    assert len({one["name"] for one in found}) == 4
    assert len({one["address"] for one in found}) == 1
    assert not together(found)


@pytest.mark.engine("docker")
def test_on_docker_all_share_one_lab_one_at_a_time(project: Project) -> None:
    found = run(project)
    assert len({one["worker"] for one in found}) > 1
    assert len({one["name"] for one in found}) == 1
    assert not together(found)


@pytest.mark.engine("docker")
def test_on_docker_a_file_that_chooses_its_subnets_is_copied(project: Project) -> None:
    project.lab(text=LAB.replace("{{subnet: {net}.0/24}}", "{{subnet: auto}}"))
    project.tests(TESTS.replace("range(8)", "range(4)"))
    project.run("-n", "2").assert_outcomes(passed=4)
    found = [json.loads(path.read_text()) for path in sorted(project.folder.glob("done-*.json"))]
    assert len({one["name"] for one in found}) == len({one["worker"] for one in found}) == 2
    assert len({one["address"] for one in found}) == 2


KILLED = """
import signal
pytestmark = pytest.mark.lab("lab.yaml")

def test_killed(lab):
    lab.do("web: listen :80 as door")
    os.kill(os.getpid(), signal.SIGKILL)

@pytest.mark.parametrize("number", range(3))
def test_other(lab, number):
    lab.do("web: listen :80 as door")
"""


@pytest.mark.engine("namespaces", "docker")
def test_nothing_is_left_of_a_worker_that_was_killed(project: Project) -> None:
    project.tests(KILLED)
    result = project.run("-n", "2")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*worker 'gw*' crashed while running 'test_it.py::test_killed'*"])
    # `project` sees to it that nothing is left


@pytest.mark.engine("namespaces")
def test_the_next_run_removes_what_a_killed_one_has_left(project: Project) -> None:
    project.tests(
        "@pytest.mark.lab('lab.yaml')\ndef test_it(lab): open('up', 'w'); __import__('time').sleep(60)"
    )
    command = ["-m", "pytest", *PLUGINS, "--lab-engine", "namespaces"]
    first = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, cwd=project.folder)
    eventually((project.folder / "up").exists)
    assert len(project.left()) > 1
    project.tests("@pytest.mark.lab('other.yaml')\ndef test_it(lab): print(lab.name)")
    project.lab("# another\n", file="other.yaml")
    project.run().assert_outcomes(passed=1)
    assert len(project.left()) > 1, "that of a living run is left alone"
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    project.run().assert_outcomes(passed=1)
