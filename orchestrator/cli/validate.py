"""`lab validate`."""

from __future__ import annotations

import click

from orchestrator.cli.ending import say
from orchestrator.cli.naming import DEFAULT_FILE, file_option


@click.command("validate")
@file_option
def command(path: str | None) -> int:
    """Check a lab file, and whether what it describes can be planned. Nothing is started."""
    from orchestrator.engines.base import counted
    from orchestrator.model.plan import LabKey
    from orchestrator.owner import owner
    from orchestrator.plan import make_plan
    from orchestrator.read import read_file

    topology = read_file(path or DEFAULT_FILE)
    auto = "docker" if topology.machines else "namespaces"
    engine = auto if topology.engine == "auto" else topology.engine
    plan = make_plan(topology, LabKey(owner=owner(), name=topology.name), engine)
    size = f"{counted(plan.networks, 'network')}, {counted(plan.hosts, 'host')}"
    say(f"{path or DEFAULT_FILE}: lab {topology.name}: {size}; all right")
    return 0
