"""The commands on the fake engine: what they say, where, and how they end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from orchestrator import bringup, roster
from orchestrator.cli import ending
from orchestrator.engines import registry
from orchestrator.engines.fake import FakeEngine
from orchestrator.errors import EngineError, EngineUnavailable
from orchestrator.lab import Lab
from orchestrator.model.plan import PlannedMachine
from orchestrator.owner import locked

LAB = """
name: fake-lab
engine: fake
networks: {office: {subnet: 10.1.0.0/24}}
hosts:
  web: {role: server, networks: {office: 10.1.0.80}, listen: [80], env: {A: b}}
  alice: {role: client, networks: [office], connect: ["web:80 x2"]}
"""


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class Run:
    """`lab …` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Ended:
        code = ending.run(arguments)
        return Ended(code, *self._capsys.readouterr())


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """In a folder with a lab file; `auto` and looking for labs know the fake engine only."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("LAB_DEBUG", raising=False)
    monkeypatch.setattr(registry, "REAL", ("fake",))
    monkeypatch.setattr(registry, "AUTO", ("fake",))
    Path("lab.yaml").write_text(LAB)
    run = Run(capsys)
    yield run
    run("down", "fake-lab")


def test_up_conns_down(lab: Run) -> None:
    up = lab("up")
    assert up.code == 0
    assert up.out.count("web 10.1.0.80:80") == 2
    assert "engine: fake" in up.err
    document = json.loads(lab("conns", "--json").out)
    assert (document["lab"], document["engine"]) == ("fake-lab", "fake")
    assert [row["status"] for row in document["connections"]] == ["joined", "joined"]
    assert lab("up").err.endswith("lab fake-lab is up already: 2 hosts, nothing to do\n")
    assert lab("down") == (0, "", "removing fake-lab\nlab fake-lab is removed (fake)\n")
    assert lab("down") == (0, "", "there is no lab fake-lab; nothing to remove\n")


def test_json_is_one_document_and_nothing_else(lab: Run) -> None:
    lab("up")
    for arguments in (("conns",), ("conns", "--listeners"), ("status",), ("status", "fake-lab"), ("doctor",)):
        json.loads(lab(*arguments, "--json").out)


def test_a_lab_is_named_by_name_file_folder_or_by_being_the_only_one(lab: Run, tmp_path: Path) -> None:
    lab("up")
    for arguments in ((), ("--lab", "fake-lab"), ("-f", str(tmp_path / "lab.yaml"))):
        assert lab("conns", *arguments).code == 0
    os.remove("lab.yaml")
    assert lab("conns").code == 0
    assert lab("conns", "--lab", "x", "-f", "y").code == 2
    Path("lab.yaml").write_text(LAB)
    lab("up", "--name", "second")
    os.remove("lab.yaml")
    assert lab("conns").code == 2
    assert "fake-lab, second" in lab("conns").err
    assert lab("down", "second").code == 0


def test_status_shows_labs_and_hosts(lab: Run) -> None:
    assert lab("status") == (0, "", "no lab is running\n")
    lab("up")
    assert "fake-lab  fake    running" in lab("status").out
    assert "alice" in lab("status", "fake-lab").out


def test_a_failure_midway_removes_what_was_made(lab: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.bringup import Steps

    def fail(_: Any) -> list[str]:
        raise EngineError("no more", "get more")

    monkeypatch.setattr(Steps, "connect", fail)
    ended = lab("up")
    assert ended.code == 3
    assert ended.err.endswith("removing what was made of lab fake-lab\nlab: no more\n  get more\n")
    assert lab("status").err == "no lab is running\n"


def test_a_failure_on_a_running_lab_leaves_it(lab: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.bringup import Steps

    lab("up")
    Path("lab.yaml").write_text(LAB + "  bob: {role: client, networks: [office], connect: [web:80]}\n")

    def fail(_: Any) -> list[str]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Steps, "connect", fail)
        ended = lab("up")
    assert ended.code == 130
    assert "runs on, changed in part" in ended.err
    assert lab("up").code == 0
    assert len(json.loads(lab("conns", "--json").out)["connections"]) == 3


def test_a_mistake_of_our_own_is_one_line(lab: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(Lab, "observe", fail)
    lab("up")
    ended = lab("conns")
    assert (ended.code, ended.out) == (3, "")
    assert "Traceback" not in ended.err
    assert "ZeroDivisionError: by" in ended.err
    monkeypatch.setenv("LAB_DEBUG", "1")
    assert "Traceback" in lab("conns").err


def test_internet_is_confirmed_once_for_a_file_and_its_content(lab: Run) -> None:
    text = LAB.replace("subnet: 10.1.0.0/24", "subnet: 10.1.0.0/24, internet: true")
    Path("lab.yaml").write_text(text)
    refused = lab("up")
    assert (refused.code, refused.out) == (2, "")
    assert "office" in refused.err
    assert "by a router with nat" not in refused.err
    assert "--yes" in refused.err
    assert lab("status").err == "no lab is running\n"
    assert lab("up", "--dry-run").code == 0
    assert lab("up", "--yes").code == 0
    lab("down")
    assert lab("up").code == 0
    Path("lab.yaml").write_text(text + "# changed\n")
    assert lab("up").code == 2


NOBODY = "ssh://student@127.0.0.1:1"  # nothing listens there
MACHINES = LAB + f"machines: {{m1: {NOBODY}, here: local}}\n"


def test_a_lab_on_machines_is_planned_and_not_made_where_one_is_missing(lab: Run) -> None:
    Path("lab.yaml").write_text(MACHINES)
    assert lab("validate").code == 0
    planned = lab("up", "--dry-run")
    assert planned.code == 0
    assert f"m1    {NOBODY}; " in planned.out
    assert "the machines were not looked at" in planned.err
    refused = lab("up", "--yes", "--engine", "docker")
    assert (refused.code, refused.out) == (3, "")
    assert "m1: reachable over SSH: machine m1" in refused.err
    assert lab("status").err == "no lab is running\n"


def test_a_lab_on_machines_is_found_again_and_removed(lab: Run) -> None:
    Path("lab.yaml").write_text(MACHINES)
    assert "engine: fake on 2 machines" in lab("up", "--yes").err
    found = lab("status").out
    assert "fake-lab" in found
    assert "m1: " in found
    assert "here: " in found
    assert lab("down").code == 0
    assert lab("status").err == "no lab is running\n"
    assert lab("gc").err == "nothing was left behind\n"


def test_other_computers_are_confirmed_once_for_a_file_and_its_content(lab: Run) -> None:
    Path("lab.yaml").write_text(MACHINES)
    asked = f"makes hosts on other computers (machines): {NOBODY}"
    assert asked in lab("up").err
    assert asked not in lab("up", "--yes").err
    assert asked not in lab("up").err
    Path("lab.yaml").write_text(MACHINES + "# changed\n")
    assert asked in lab("up").err
    assert lab("down").code == 0
    Path("lab.yaml").write_text(LAB + "machines: {here: local}\n")
    refused = lab("up", "--engine", "namespaces")
    assert "the engine namespaces makes hosts on this computer only" in refused.err


def test_who_is_asked_hears_who_gets_out_behind_a_router(lab: Run) -> None:
    text = "name: x\nnetworks: {wan: {internet: true}, a: {}, b: {}, c: {}}\nrouters:\n"
    text += "  edge: {networks: [wan, a], nat: wan}\n  inner: {networks: [a, b]}\n"
    Path("lab.yaml").write_text(text + "hosts: {h: {role: client, networks: [c]}}\n")
    assert (
        "hosts on wan reach the internet (internet: true), and by a router with nat also those on a, b"
        in (lab("up").err)
    )


def test_control_characters_of_names_are_harmless(lab: Run) -> None:
    ended = lab("conns", "--lab", "\x1b[2J\u202ex")
    assert ended.code == 2
    assert "\x1b" not in ended.err
    assert "\u202e" not in ended.err


def test_gc_removes_what_is_incomplete_and_nothing_else(lab: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lab("up")
    engine = FakeEngine()
    plan = Lab.find("fake-lab").plan
    import msgspec

    half = msgspec.structs.replace(plan, key=msgspec.structs.replace(plan.key, name="half"))
    engine.apply(half, (), lambda _: None)
    found = {one.key.name: one.state for one in engine.find(plan.key.owner)}
    assert found == {"fake-lab": "running", "half": "incomplete"}
    with locked("half", print, "starting"):  # as by an `up` that is alive
        states = {one["name"]: one["state"] for one in json.loads(lab("status", "--json").out)["labs"]}
        assert states == {"fake-lab": "running", "half": "starting"}
        assert lab("gc").err == "nothing was left behind\n"
    assert "incomplete" in lab("status").out
    assert "removed what was left of lab half" in lab("gc").err
    assert [one.key.name for one in engine.find(plan.key.owner)] == ["fake-lab"]
    assert lab("gc") == (0, "", "nothing was left behind\n")


def test_auto_says_which_engine_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def docker_is_missing(name: str) -> FakeEngine:
        if name == "docker":
            raise EngineUnavailable("no Docker Engine answers", "start it")
        return FakeEngine()

    monkeypatch.setattr(registry, "engine", docker_is_missing)
    chosen = registry.choose("auto")
    assert chosen.reason == "engine: namespaces (not docker: no Docker Engine answers)"
    monkeypatch.setattr(registry, "AUTO", ("docker",))
    with pytest.raises(EngineUnavailable, match="no Docker Engine answers"):
        registry.choose("auto")


def test_doctor_ends_with_3_where_nothing_works(lab: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lab("doctor").code == 0
    monkeypatch.setattr(registry, "REAL", ("no-such",))
    monkeypatch.setitem(registry.ENGINES, "no-such", ("orchestrator.no_such", "X"))
    assert lab("doctor").code == 3


def test_restart_goes_by_the_plan_of_now(lab: Run) -> None:
    """Another `up` may have changed the lab between finding it and getting its lock."""
    lab("up")
    with Lab.find("fake-lab") as before:
        Path("lab.yaml").write_text(LAB + '  bob: {role: client, networks: [office], connect: ["web:80"]}\n')
        lab("up")
        assert before.plan.host("bob") is None
        bringup.restart(before, "web")
    with Lab.find("fake-lab") as now:
        assert now.plan.host("bob") is not None
        assert "bob" in {row.client.host for row in now.observe().joined.connections if row.client}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(lab: Run, shell: str) -> None:
    ended = lab("completion", shell)
    assert ended.code == 0
    assert f"_LAB_COMPLETE={shell}_complete" in ended.out


def test_validate_and_schema(lab: Run) -> None:
    assert lab("validate") == (0, "", "lab.yaml: lab fake-lab: 1 network, 2 hosts; all right\n")
    assert "properties" in json.loads(lab("schema").out)


def test_restart_and_logs(lab: Run) -> None:
    lab("up")
    assert lab("restart", "web").code == 0
    rows = json.loads(lab("conns", "--json").out)["connections"]
    assert sum(row["status"] == "joined" for row in rows) == 2
    assert lab("logs", "web").code == 0


def test_a_lab_on_machines_that_will_never_answer_again_is_forgotten(lab: Run) -> None:
    roster.note(
        roster.Record(
            name="gone", engine="docker", machines=(PlannedMachine(name="m1", url=NOBODY),), ending=True
        )
    )
    assert "machine m1" in lab("gc").err, "as long as it may come back"
    assert roster.of("gone") is not None
    assert lab("gc", "--forget").code == 2
    assert "lab gone is forgotten" in lab("gc", "--forget", "gone").err
    assert roster.of("gone") is None
    assert lab("gc").err == "nothing was left behind\n"
