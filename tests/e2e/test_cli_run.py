"""`lab run` through the real launcher: what it prints and writes, its exits, and that nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from orchestrator.engines.base import Engine
from tests.support.cli import LAUNCHER, Commands
from tests.support.rig import eventually
from tests.support.terminal import Terminal

pytestmark = pytest.mark.engine("namespaces", "docker")
FILE = """
name: {name}
networks:
  office: {subnet: {net}.1.0/24}
  dc: {subnet: {net}.2.0/24}
routers:
  edge: {networks: [office, dc]}
hosts:
  web: {role: server, networks: {dc: {net}.2.80}}
  alice: {role: client, networks: [office]}
scenarios:
  good:
    title: All is well
    steps:
      - web: listen :80 as door
      - alice: connect web:80 as call
      - note: they are connected now
      - expect: {connection: alice.call, client: ESTABLISHED}
  bad:
    steps:
      - web: listen :80 as door
      - alice: connect web:80 as call
      - expect: {connection: alice.call, client: LAST_ACK, within: 50ms}
  outside:
    steps:
      - alice: {connect: null, to: "{net}.1.213:80", as: call, timeout: 300ms, fails: timeout|EHOSTUNREACH}
      - expect: {connection: alice.call, server: none, within: 50ms}
  long:
    steps:
      - web: listen :80 as door
      - alice: connect web:80 as call
      - web: accept door as conn
      - alice: recv call timeout=100s fails=timeout
    cleanup:
      - alice: connect web:81 fails=ECONNREFUSED
  shown:
    title: Before a class
    setup:
      - web: listen :80 as door
    steps:
      - alice: connect web:80 as call
      - expect: {connection: alice.call, client: ESTABLISHED, within: 2s}
      - parallel: [alice: send call hello, web: accept door as conn]
    cleanup:
      - alice: connect web:81 fails=ECONNREFUSED
"""


@pytest.fixture(scope="module")
def lab(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """A lab that runs, in a folder with its file."""
    commands = Commands(tmp_path_factory.mktemp("run"), engine.name)
    commands.write(FILE)
    commands.up()
    yield commands
    commands.good("down")


def run(lab: Commands, *arguments: str) -> tuple[int, str, str]:
    """(exit, stdout, stderr) of `lab run`."""
    code, out, err = lab.bytes("run", *arguments)
    return code, out.decode(), err.decode()


def document(path: Path) -> Any:
    """A JSON document."""
    return json.loads(path.read_text())


def test_it_brings_the_lab_up_and_can_take_it_down(engine: Engine, tmp_path: Path) -> None:
    commands = Commands(tmp_path, engine.name)
    commands.write(FILE)
    code, out, err = run(commands, "good", "--engine", engine.name, "--down")
    assert code == 0, err
    assert f"engine: {engine.name}" in err
    assert "1 scenario: 1 pass" in out
    assert commands.name not in commands.labs()


def test_steps_calls_and_rows_are_printed(lab: Commands) -> None:
    code, out, _ = run(lab, "good")
    assert code == 0
    assert out.startswith("good: All is well\n")
    assert "  web: listen :80 as door" in out
    assert f"→ {lab.net}.2.80:80" in out
    assert "# they are connected now" in out
    assert "      + alice " in out
    assert "→ pass" in out


@pytest.mark.parametrize(
    ("names", "code", "verdicts"),
    [
        (["good"], 0, ["pass"]),
        (["bad"], 1, ["fail"]),
        (["outside"], 4, ["unknown"]),
        (["good", "outside"], 4, ["pass", "unknown"]),
        (["outside", "bad"], 1, ["fail", "unknown"]),  # in the file's order
        (["goo*", "ba?"], 1, ["pass", "fail"]),
    ],
)
def test_exits(lab: Commands, names: list[str], code: int, verdicts: list[str]) -> None:
    found, out, err = run(lab, *names, "--json", "-")
    assert (found, [one["verdict"] for one in json.loads(out)["scenarios"]]) == (code, verdicts), err


def test_the_json_document_has_what_the_contract_says(lab: Commands) -> None:
    path = lab.folder / "run.json"
    assert run(lab, "bad", "good", "--json", str(path))[0] == 1
    found = document(path)
    assert (found["lab"], found["engine"], found["verdict"]) == (lab.name, lab.engine, "fail")
    assert found["environment"]["kernel"] == os.uname().release
    good, bad = found["scenarios"]
    assert (good["name"], good["title"], good["verdict"]) == ("good", "All is well", "pass")
    steps = good["steps"]
    assert [one["host"] for one in steps] == ["web", "alice"]
    lines = (lab.folder / "lab.yaml").read_text().splitlines()
    for one in steps:
        assert one["text"] in lines[one["line"] - 1]
        assert {"began", "duration", "result", "errno"} <= set(one)
    (expectation,) = bad["expectations"]
    assert expectation["verdict"] == "fail"
    assert expectation["expected"] == "client LAST_ACK"
    assert expectation["observed"] == "client ESTABLISHED"
    assert "alice" in expectation["evidence"][0]


def test_junit(lab: Commands) -> None:
    path = lab.folder / "junit.xml"
    assert run(lab, "good", "bad", "outside", "--junit", str(path))[0] == 1
    suite = ElementTree.parse(path).getroot()[0]
    assert [suite.get(key) for key in ("tests", "failures", "errors")] == ["3", "1", "1"]
    cases = {case.get("name"): [child.tag for child in case] for case in suite.iter("testcase")}
    assert cases == {"good": [], "bad": ["failure"], "outside": ["error"]}


def test_a_run_is_kept_in_a_folder(lab: Commands) -> None:
    _, out, _ = run(lab, "good")
    folder = Path(out.splitlines()[-1].removeprefix("kept in "))
    assert document(folder / "run.json")["verdict"] == "pass"
    assert (folder / "lab.yaml").read_bytes() == (lab.folder / "lab.yaml").read_bytes()


def test_again_and_again(lab: Commands) -> None:
    _, out, _ = run(lab, "good", "--repeat", "3", "-q")
    assert out.count("pass  good") == 3
    code, out, _ = run(lab, "good", "bad", "--until-fail", "-q")
    assert code == 1
    assert "2 scenarios: 1 pass, 1 fail" in out
    code, out, _ = run(lab, "good", "--until-fail", "--repeat", "1", "-q")
    assert code == 0
    assert "1 scenario: 1 pass" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["goood"], "there is no scenario goood\n  did you mean good?"),
        (["good", "--json", "-", "--junit", "-"], "cannot both go to stdout"),
        (["good", "--json", "nosuch/run.json"], "nosuch/run.json: No such file or directory"),
        (["good", "--html", "x.html"], "not supported yet"),
    ],
)
def test_usage(lab: Commands, arguments: list[str], words: str) -> None:
    code, out, err = run(lab, *arguments)
    assert (code, out) == (2, "")
    assert words in err


def rows(lab: Commands) -> int:
    """Ends of connections that have a descriptor, and listeners."""
    listeners: list[Any] = lab.good("conns", "--listeners", "--json").json["listeners"]
    ends = [end for row in lab.conns() for end in (row["client"], row["server"]) if end]
    return len(listeners) + len([end for end in ends if end["state"] != "TIME_WAIT"])


def in_the_middle(lab: Commands, *arguments: str) -> Any:
    """A `lab run long` that has come to its last step."""
    process = lab.start("run", "long", *arguments)
    eventually(lambda: rows(lab) == 3, 30)  # the listener, and both ends of the connection
    time.sleep(0.3)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ended_in_the_middle_nothing_stays_open(lab: Commands, number: signal.Signals) -> None:
    path = lab.folder / f"{number.name}.json"
    process = in_the_middle(lab, "--json", str(path))
    os.kill(process.pid, number)
    assert process.wait(30) == (-number if number == signal.SIGKILL else 128 + number)
    eventually(lambda: rows(lab) == 0, 15)
    if number != signal.SIGKILL:
        (scenario,) = document(path)["scenarios"]
        assert (scenario["verdict"], scenario["why"]) == ("unknown", "interrupted")
        assert scenario["steps"][-1]["part"] == "cleanup"
    assert run(lab, "good", "-q")[0] == 0, "the lab is usable"


# Step by step.


@pytest.fixture
def shown(lab: Commands) -> Iterator[Terminal]:
    """`lab run --step`, which waits before its first step."""
    terminal = Terminal(replace(lab, environment={"NO_COLOR": "1"}), "run", "shown", "--step", columns=300)
    try:
        terminal.expect(
            "shown: Before a class\r\n setup:\r\n.*q: end the run\r\n  web: listen :80 as door  .Enter.", 5
        )
        yield terminal
    finally:
        terminal.close()


def test_step_waits_for_a_key_before_each_step(lab: Commands, shown: Terminal) -> None:
    shown.no_more(r"→")
    assert rows(lab) == 0
    shown.type("\n")
    shown.expect(r"→ fd \d+ .*\r\n steps:\r\n  alice: connect web:80 as call  \[Enter\]")
    assert rows(lab) == 1
    shown.type("x ")  # a key that means nothing, and space
    shown.expect(r"→ fd \d+ .*\r\n      \+ alice .*\r\n  expect: .*\[Enter\]")
    time.sleep(2.2)  # longer than `within`, which has not begun
    shown.type("\n")
    shown.expect("→ pass")
    shown.expect(r"  parallel:\r\n    alice: send call hello\r\n    web: accept door as conn  \[Enter\]")
    shown.type("\n")
    shown.expect(r"alice: send call hello +→ fd")
    shown.expect(r" cleanup:\r\n  alice: connect web:81 fails=ECONNREFUSED  \[Enter\]")
    shown.type("\n")
    shown.expect("1 scenario: 1 pass")
    assert shown.ended() == 0


def test_step_goes_on_without_waiting(shown: Terminal) -> None:
    shown.type("c")
    shown.expect("1 scenario: 1 pass")
    assert shown.ended() == 0


@pytest.mark.parametrize(("key", "code", "why"), [("q", 4, "ended by a key"), ("\x03", 130, "interrupted")])
def test_step_can_be_ended_and_is_cleaned_up(
    lab: Commands, shown: Terminal, key: str, code: int, why: str
) -> None:
    shown.type("\n")
    shown.expect(r"alice: connect web:80 as call  \[Enter\]")
    shown.type(key)
    shown.expect(f"→ unknown\r\n +why: +not reached: {why}")
    shown.expect(r" cleanup:\r\n  alice: connect web:81 fails=ECONNREFUSED +→ ")
    shown.expect(r"1 scenario: 1 unknown")
    assert shown.ended() == code
    assert rows(lab) == 0


def test_step_without_a_terminal(lab: Commands) -> None:
    code, out, err = lab.bytes("run", "shown", "--step", stdin=b"\n \n")
    assert code == 0, err
    assert out.count(b"[Enter]") == 3, "the end of the input ends the waiting"
    with_no_input = subprocess.run(
        [str(LAUNCHER), "run", "shown", "--step", "--json", "-"],
        cwd=lab.folder,
        env=lab.env(),
        capture_output=True,
        preexec_fn=lambda: os.close(0),
        check=True,
        timeout=60,
    )
    assert json.loads(with_no_input.stdout)["verdict"] == "pass"
    assert b"[Enter]" in with_no_input.stderr
    assert run(lab, "shown", "--step", "-q")[0] == 2


def test_an_up_waits_until_the_scenario_is_over(lab: Commands) -> None:
    """Else it would mend what the scenario stopped or ended on purpose."""
    process = in_the_middle(lab)
    up = lab.start("up", "--engine", lab.engine, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert up.stderr is not None
    said = b""
    while b"waiting for another command" not in said:
        said += up.stderr.readline()
    assert up.poll() is None
    os.kill(process.pid, signal.SIGINT)
    process.wait(30)
    assert up.wait(30) == 0
    up.communicate()
