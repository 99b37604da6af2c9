"""Where nothing can be impaired: the lab is there all the same, and what needs it is unknown."""

from __future__ import annotations

import pytest

from orchestrator import bringup
from orchestrator.engines.base import Engine
from orchestrator.errors import DaemonError
from orchestrator.runs import Runner
from tests.support.rig import topology
from tests.support.scenarios import Silent

pytestmark = pytest.mark.engine("fake")  # the engine that has no packets
LAB = """
networks: {net: {delay: 5ms}}
hosts:
  web: {role: server, networks: [net], listen: [80]}
  alice: {role: client, networks: [net], connect: [web:80]}
"""
SCENARIO = """
scenarios:
  cut:
    steps:
      - cut: alice web
      - expect: {listener: "web:80", state: LISTEN}
"""


@pytest.mark.parametrize("delayed", [True, False])
def test_the_lab_is_up_and_its_scenarios_are_unknown(engine: Engine, delayed: bool) -> None:
    text = LAB if delayed else LAB.replace("{delay: 5ms}", "{}")
    wanted = topology(text + SCENARIO)
    outcome = bringup.up(wanted, engine.name)
    try:
        assert [line.partition(":")[0] for line in outcome.failed] == ["cannot impair"] * delayed
        assert all(host["alive"] for host in outcome.lab.hosts())
        record = Runner(outcome.lab, Silent()).run(wanted.scenarios[0])
        assert (record.verdict, record.problem) == ("unknown", "")
        assert not any(one.verdict != "unknown" for one in record.expectations)
        with pytest.raises(DaemonError):
            outcome.lab.channel.call("cut", text="cut")
    finally:
        outcome.lab.down()


NAMES = """
networks: {net: {}}
hosts:
  ns: {role: server, networks: [net], dns: {}}
  alice: {role: client, networks: [net], resolver: ns}
scenarios:
  refused:
    steps:
      - dns: ns answer=refused
"""


def test_so_are_names(engine: Engine) -> None:
    wanted = topology(NAMES)
    outcome = bringup.up(wanted, engine.name)
    try:
        assert [line.rpartition(":")[0] for line in outcome.failed] == ["ns: cannot be a DNS server"]
        record = Runner(outcome.lab, Silent()).run(wanted.scenarios[0])
        assert (record.verdict, record.problem) == ("unknown", "")
    finally:
        outcome.lab.down()
