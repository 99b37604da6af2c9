"""On what a lab is brought up: an engine of this computer, or one on each of the machines of its file."""

from __future__ import annotations

from orchestrator import roster
from orchestrator.engines import registry
from orchestrator.engines.base import counted
from orchestrator.errors import DaemonError, EngineUnavailable, UsageError
from orchestrator.lab import Lab
from orchestrator.model.plan import PlannedMachine
from orchestrator.model.topology import Topology


def chosen(topology: Topology, asked: str) -> registry.Chosen:
    """The engine: here, or on the machines of the file. Raises EngineUnavailable for all that is wrong."""
    if not topology.machines:
        return registry.choose(asked)
    name = registry.AUTO[0] if asked == "auto" else asked
    machines = planned_machines(topology)
    engine = roster.engine_over(topology.name, name, machines)
    probe = engine.probe()
    if not probe.works:
        raise EngineUnavailable(
            f"the engine {name} does not work on all machines: {probe.reason}", probe.cure
        )
    return registry.Chosen(engine, f"engine: {name} on {counted(machines, 'machine')}")


def planned_machines(topology: Topology) -> tuple[PlannedMachine, ...]:
    """Those of the file."""
    return tuple(PlannedMachine(name=m.name, url=m.url, address=m.address) for m in topology.machines)


def with_machines(running: Lab, topology: Topology) -> Lab:
    """The running lab, asked on those machines too that the file has and it has nothing on yet."""
    there = {machine.name: machine for machine in running.plan.machines}
    wanted = {machine.name: machine for machine in planned_machines(topology)}
    if bool(there) is not bool(wanted):
        running.close()
        raise UsageError(
            f"lab {running.key.name} runs on {'several machines' if there else 'this computer alone'}, "
            f"and the file says otherwise",
            f"`lab down {running.key.name}` removes it first",
        )
    if wanted.keys() <= there.keys():
        return running
    engine = roster.engine_over(running.key.name, running.engine.name, (*(there | wanted).values(),))
    running.close()
    channel = engine.open(running.key)
    if channel is None:
        raise DaemonError(f"the daemons of lab {running.key.name} are gone", "`lab gc` removes what is left")
    return Lab(engine, running.key, channel, running.plan)
