"""More hosts than a lesson has: every client of one server is connected, and every connection one row."""

from __future__ import annotations

import pytest

from orchestrator.engines.base import Engine
from orchestrator.observe import observe
from tests.conftest import LabFactory

COUNTS = {"fake": 2000, "namespaces": 300, "docker": 12}
LAB = """
networks: {{net: {{}}}}
hosts:
  web: {{role: server, networks: [net], listen: [80]}}
  c: {{role: client, networks: [net], count: {count}, connect: [web:80]}}
"""


@pytest.mark.engine("fake", "namespaces", "docker")
def test_all_clients_of_one_server(engine: Engine, lab_factory: LabFactory) -> None:
    count = COUNTS[engine.name]
    lab = lab_factory(LAB.format(count=count))
    rows = observe(lab.channel, lab.lab.plan).joined.connections
    assert {(row.status, row.accepted) for row in rows} == {("joined", True)}
    assert {row.client.host for row in rows if row.client} == {f"c-{n + 1}" for n in range(count)}
    assert len(rows) == count
