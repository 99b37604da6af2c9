"""Topology (+ what runs) → Plan: addresses, routes, names; and Plan, Plan → Changes."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.model.machines import Fleet
from orchestrator.model.plan import LabKey, Plan
from orchestrator.model.topology import Topology
from orchestrator.plan.build import build
from orchestrator.plan.describe import describe
from orchestrator.plan.difference import changes
from orchestrator.plan.files import contents
from orchestrator.plan.placement import place

_UNSEEN = Fleet()
__all__ = ["changes", "describe", "make_plan", "place"]


def make_plan(
    topology: Topology,
    key: LabKey,
    engine: str,
    running: Plan | None = None,
    taken: Sequence[str] = (),
    *,
    fleet: Fleet = _UNSEEN,
) -> Plan:
    """The plan of a lab. Pure but for the contents of copied files, which are read to be told apart.

    `running` keeps its addresses, and each host its machine. `taken`: subnets in use on the machine (of
    several, on any), left out when one is chosen. `fleet`: the machines of the file, as they were looked at.
    Raises PlanError for what the file asks and cannot be built.
    """
    return build(
        topology, key, engine, running=running, taken=taken, contents=contents(topology), fleet=fleet
    )
