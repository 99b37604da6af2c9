"""What a scenario follows of logs: all from its first step on, whichever host's agent answers late."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.requests import Requests
from orchestrator.scenarios.logs import LogFollower
from tests.support.rig import Rig, eventually

LAB = """
networks: {net: {}}
hosts:
  a: {role: server, networks: [net], logs: [/tmp/a.log]}
  b: {role: client, networks: [net]}
"""
pytestmark = pytest.mark.engine("namespaces", "docker")


@pytest.fixture
def requests(lab: Rig) -> Iterator[Requests]:
    """Those of a scenario."""
    found = Requests(lab.another())
    yield found
    found.close()


def write(lab: Rig, text: str) -> None:
    """Add a line to the log of host a."""
    assert lab.run("a", "sh", "-c", f"echo {text} >> /tmp/a.log").code == 0


def test_it_follows_when_it_has_begun(lab: Rig, requests: Requests) -> None:
    write(lab, "earlier")
    following = LogFollower(requests, lab.lab.plan, ["a"])
    write(lab, "later")
    eventually(lambda: following.logs()["a"].lines == ("later",))
