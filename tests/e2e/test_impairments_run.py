"""Cuts and links in scenarios and by command: what is told, what is unknown, and what a run records."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.engines.base import Engine
from tests.support.cli import Commands

pytestmark = pytest.mark.engine("namespaces", "docker")
FILE = """
name: {name}
networks:
  office: {subnet: {net}.1.0/24, delay: 50ms}
  dc: {subnet: {net}.2.0/24}
routers:
  edge: {networks: [office, dc]}
hosts:
  web: {role: server, networks: {dc: {net}.2.80}, listen: [80]}
  alice: {role: client, networks: [office]}
  bob: {role: client, networks: [office], count: 2}
scenarios:
  cut:
    steps:
      - cut: bob web for 20s
      - bob-2: connect web:80 timeout=300ms fails=timeout
      - heal: bob web
      - bob-2: connect web:80 as call
      - expect: {step: bob-2.call, duration: ">=60ms"}
      - link: alice delay=100ms
      - alice: connect web:80 as call
      - expect: {step: alice.call, duration: ">=110ms"}
      - link: alice down for 500ms
      - alice: send call hello
  unknown:
    steps:
      - kill: alice
      - cut: alice web
      - expect: {listener: "web:80", state: LISTEN}
"""


@pytest.fixture
def commands(tmp_path: Path, engine: Engine) -> Commands:
    """`lab` on this engine."""
    found = Commands(tmp_path, engine.name)
    found.write(FILE)
    return found


def test_scenarios_and_commands(commands: Commands) -> None:
    try:
        up = commands.run("up", "--engine", commands.engine)
        assert up.code == 0, up.err
        assert "delay=50ms" in commands.run("link").out
        ran = commands.run("run", "cut", "--json", "-")
        document = ran.json["scenarios"][0]
        assert ran.code == 0, (ran.err, document["expectations"], document["steps"])
        said = [one["kind"] for one in document["events"] if one["source"] == "impairment"]
        assert {"cut", "heal", "link"} <= set(said)
        unknown = commands.run("run", "unknown", "--json", "-")
        assert unknown.code == 4, unknown.out
        assert unknown.json["scenarios"][0]["verdict"] == "unknown"
        by_hand(commands)
        healed = commands.run("heal")
        assert healed.code == 0, healed.err
        assert commands.run("link").out == ""
        assert commands.run("up", "--engine", commands.engine).code == 0
        assert "delay=50ms" in commands.run("link").out, "`lab up` puts back what the file declares"
    finally:
        commands.run("down")


def by_hand(commands: Commands) -> None:
    """The verbs."""
    cut = commands.run("cut", "alice", "web", "--for", "30s", "--port", "80", "--one-way")
    assert (cut.code, cut.out) == (0, ""), cut.err
    assert "verified" in cut.err
    link = commands.run("link", "alice:office", "set", "delay=5ms", "loss=1%")
    assert link.code == 0, link.err
    status = commands.run("status", commands.name).out
    assert "cut alice web one-way port=80" in status
    assert "link alice:office: delay=5ms loss=1%" in status
    wrong = commands.run("link", "alice", "set", "dealy=5ms")
    assert wrong.code == 2
    assert "did you mean `delay`?" in wrong.err
    assert commands.run("link", "alice", "clear").code == 0
    assert commands.run("heal", "alice", "web").code == 0
    assert "link alice" not in commands.run("status", commands.name).out
