"""Scenarios that stop, end and overhear hosts and their programs; afterwards the lab is as it was."""

from __future__ import annotations

import pytest

from tests.support.rig import Rig, eventually
from tests.support.scenarios import explained, perform, verdicts

pytestmark = pytest.mark.engine("namespaces", "docker")
LAB = """
networks: {net: {}}
hosts:
  web: {role: server, networks: [net], run: sleep 3600, logs: [/tmp/app.log]}
  alice: {role: client, networks: [net]}
"""


def program(lab: Rig) -> tuple[int, str]:
    """(pid, state) of web's program."""
    (host,) = [one for one in lab.lab.hosts() if one["name"] == "web"]
    (one,) = host["programs"]
    return one["pid"], one["state"]


def test_what_is_said_in_a_log_since_the_scenario_began(lab: Rig) -> None:
    lab.run("web", "sh", "-c", "echo before >> /tmp/app.log")
    record = perform(
        lab,
        LAB,
        """
steps:
  - web: run sh -c 'echo it went boom >> /tmp/app.log'
  - expect: {log: web, contains: boom}
  - expect: {log: web, matches: 'went (bang|boom)$', count: 1}
  - expect: {log: web, contains: before, within: 50ms}
""",
    )
    assert verdicts(record) == ["pass", "pass", "fail"], explained(record)
    assert "it went boom" in record.expectations[0].evidence[1]


def test_a_paused_hosts_kernel_goes_on(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - web: listen :80 as door
  - pause: web
  - alice: connect web:80 as call
  - alice: send call hello
  - expect: {connection: alice.call, server: ESTABLISHED, server.rx_queue: 5, accepted: false}
  - resume: web
  - web: accept door as conn
  - web: recv conn
  - expect: {received: web.conn, text: hello}
""",
    )
    assert record.verdict == "pass", explained(record)


def test_a_host_that_is_left_paused_runs_on_afterwards(lab: Rig) -> None:
    assert perform(lab, LAB, "steps: [pause: web]").verdict == "pass"
    assert lab.run("web", "true").code == 0


def test_a_host_that_lost_its_power_is_silent_and_made_anew(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - web: listen :80 as door
  - alice: connect web:80 as call
  - web: accept door as conn
  - kill: web
  - expect: {connection: alice.call, client: ESTABLISHED, server: none, status: client-only}
  - expect: {connection: alice.call, client: ESTABLISHED, for: 300ms}
""",
    )
    assert record.verdict == "pass", explained(record)
    assert record.problem == ""
    eventually(lambda: program(lab)[1] == "running")
    assert perform(lab, LAB, "steps: [web: listen :80, alice: connect web:80]").verdict == "pass"


def test_a_program_that_was_ended_runs_again(lab: Rig) -> None:
    before, _ = program(lab)
    record = perform(lab, LAB, "steps: [kill: web.run, wait: 50ms]")
    assert record.verdict == "pass", explained(record)
    after, state = program(lab)
    assert (after != before, state) == (True, "running")


def test_a_step_of_a_program_is_stopped_and_ended(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - web: run sh -c 'sleep 0.3; echo done' as slow timeout=20s &
  - pause: web.slow
  - expect: {step: web.slow, running: true, for: 500ms}
  - resume: web.slow
  - wait: web.slow
  - expect: {step: web.slow, contains: done, duration: ">=500ms"}
  - web: run sleep 60 as nap timeout=20s fails=143 &
  - {kill: web.nap, signal: TERM}
  - wait: web.nap
  - expect: {step: web.nap, result: 143}
""",
    )
    assert record.verdict == "pass", explained(record)
