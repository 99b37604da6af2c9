"""On what a lab is brought up: an engine of this computer, or one on each of the machines of its file, which
are looked at before anything is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from orchestrator import roster
from orchestrator.engines import registry
from orchestrator.engines.base import Engine, Progress, counted
from orchestrator.engines.spread import SpreadEngine
from orchestrator.errors import DaemonError, EngineUnavailable, PlanError
from orchestrator.lab import Lab
from orchestrator.model.machines import VXLAN_PORT, Capacity, Fleet
from orchestrator.model.plan import Plan, PlannedMachine
from orchestrator.model.topology import Topology


def chosen(topology: Topology, asked: str) -> registry.Chosen:
    """The engine: here, or on the machines of the file. Raises EngineUnavailable where none works here."""
    if not topology.machines:
        return registry.choose(asked)
    name = registry.AUTO[0] if asked == "auto" else asked
    machines = planned_machines(topology)
    engine = roster.engine_over(topology.name, name, machines)
    return registry.Chosen(engine, f"engine: {name} on {counted(machines, 'machine')}")


def planned_machines(topology: Topology) -> tuple[PlannedMachine, ...]:
    """Those of the file."""
    return tuple(PlannedMachine(name=m.name, url=m.url, address=m.address) for m in topology.machines)


def with_machines(running: Lab, topology: Topology) -> Lab:
    """The running lab, asked on those machines too that the file has and it has nothing on yet."""
    there = {machine.name: machine for machine in running.plan.machines}
    wanted = {machine.name: machine for machine in planned_machines(topology)}
    asked = running.engine.members.keys() if isinstance(running.engine, SpreadEngine) else there.keys()
    if not there or wanted.keys() <= asked:  # the lab's are those that it has something on
        return running
    engine = roster.engine_over(running.key.name, running.engine.name, (*(there | wanted).values(),))
    running.close()
    channel = engine.open(running.key)
    if channel is None:
        raise DaemonError(f"the daemons of lab {running.key.name} are gone", "`lab gc` removes what is left")
    return Lab(engine, running.key, channel, running.plan)


def members(engine: Engine) -> tuple[Engine, ...]:
    """Of an engine on several machines; of another itself."""
    return tuple(engine.members.values()) if isinstance(engine, SpreadEngine) else (engine,)


def look(topology: Topology, engine: Engine, say: Progress) -> Fleet:
    """The machines of the file as they are before anything is made, all of them side by side. Raises
    EngineUnavailable for all that keeps a lab away, each with its cure.
    """
    if not topology.machines or engine.name != "docker":
        return Fleet()
    from orchestrator.engines import docker_checks

    lines: list[Any] = [getattr(member, "machine") for member in members(engine)]  # noqa: B009
    say(f"looking at {counted(lines, 'machine')}")
    wanted = sorted({host.image for host in topology.hosts if host.image})
    addresses = {machine.name: machine.address for machine in topology.machines if machine.address}
    reports = docker_checks.look(lines, wanted=wanted, addresses=addresses)
    wrong = [(report, one) for report in reports for one in report.findings if one.state == "wrong"]
    if wrong:
        raise EngineUnavailable(
            "; ".join(f"{report.name}: {one.what}: {one.detail}" for report, one in wrong),
            "\n  ".join(f"{report.name}: {one.cure}" for report, one in wrong if one.cure),
        )
    return Fleet(capacities={report.name: report.capacity for report in reports})


def supported(plan: Plan) -> Plan:
    """The plan. Raises PlanError where it needs what is not built yet."""
    for network in plan.networks:
        if network.spans and network.fabric not in (None, "vxlan"):
            raise PlanError(
                f"network `{network.name}`: `fabric: {network.fabric}` is not supported yet",
                "use `fabric: vxlan`, which needs one UDP port between the machines",
            )
    return plan


def told(plan: Plan) -> Iterator[str]:
    """What is said of the fabric before it is made, if there is one."""
    across = [network.name for network in plan.networks if network.spans and network.fabric == "vxlan"]
    if across:
        yield (
            f"{', '.join(across[:3])}{' …' if len(across) > 3 else ''} between machines: by VXLAN, UDP port "
            f"{VXLAN_PORT}, not encrypted: whoever is on the network between them can read and forge it"
        )


def as_it_was(running: Plan) -> Fleet:
    """The machines of a running lab as far as its plan tells of them: enough where nothing is to change."""
    spanning = [network for network in running.networks if network.spans]
    capacities = {one.name: Capacity(address=one.address) for one in running.machines}
    return Fleet(
        capacities=capacities, swarm=bool(spanning) and all(one.fabric == "swarm" for one in spanning)
    )


def taken(engine: Engine, topology: Topology, running: Plan | None) -> Sequence[str]:
    """Subnets of others that must not be chosen: only docker has such, asked where one is to be chosen."""
    known = {network.name for network in running.networks} if running else set()
    if all(
        network.name in known or (network.subnet and network.subnet6 != "auto")
        for network in topology.networks
    ):
        return ()
    found: list[str] = []
    for member in members(engine):
        ask: Callable[[], Sequence[str]] = getattr(member, "taken", tuple)
        found += ask()
    return tuple(dict.fromkeys(found))
