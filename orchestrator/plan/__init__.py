"""Topology (+ what runs) → Plan: addresses, routes, names; and Plan, Plan → Changes."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.model.plan import LabKey, Plan
from orchestrator.model.topology import Topology
from orchestrator.plan.build import build
from orchestrator.plan.describe import describe
from orchestrator.plan.difference import changes
from orchestrator.plan.files import contents

__all__ = ["changes", "describe", "make_plan"]


def make_plan(
    topology: Topology, key: LabKey, engine: str, running: Plan | None = None, taken: Sequence[str] = ()
) -> Plan:
    """The plan of a lab. Pure but for the contents of copied files, which are read to be told apart.

    `running` keeps its addresses. `taken`: subnets in use on the machine, left out when one is chosen.
    Raises PlanError for what the file asks and cannot be built.
    """
    return build(topology, key, engine, running=running, taken=taken, contents=contents(topology))
