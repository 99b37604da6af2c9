"""Which host is on which machine: what the file says first, and the rest spread. The same each time.

`constraints` are collected, `solving` finds for each host the machines that keep them, `spreading` chooses
among these. Where they cannot hold, a least set of them that cannot is named. Decision 0024.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.errors import PlanError
from orchestrator.model.machines import Capacity
from orchestrator.model.plan import Plan
from orchestrator.model.topology import Topology
from orchestrator.plan.constraints import Constraint, constraints
from orchestrator.plan.expand import Member, expand
from orchestrator.plan.solving import Solved, bits, conflict, solve
from orchestrator.plan.spreading import Need, NoRoom, Room, Unit, need_of, rooms, spread

MOST_NAMED = 5  # constraints, or machines, in one message


def place(
    topology: Topology, capacities: Mapping[str, Capacity], running: Plan | None = None
) -> dict[str, str]:
    """Host or router → machine, for each of the lab, in the order of the plan. What runs stays where it is.

    `capacities` of machines that were looked at, by name. Raises PlanError.
    """
    members = expand(topology)
    machines = rooms([capacities.get(machine.name, Capacity()) for machine in topology.machines])
    needs = {member.name: need_of(member.host.resources if member.host else None) for member in members}
    runs = _running(topology, members, running)
    wanted = (*constraints(topology, members, running), *_large(needs, machines, runs))
    names = [member.name for member in members]
    solved = solve(names, wanted, [machine.memory for machine in machines])
    if solved is None:
        raise _cannot_hold(names, wanted, machines)
    found = dict(runs)
    by_name = {member.name: member for member in members}
    for name, number in runs.items():
        machines[number].take(_unit([by_name[name]], needs, 1 << number), runs=True)
    try:
        found |= spread(list(_units(solved, by_name, needs, runs)), machines)
    except NoRoom as error:
        raise _no_room(topology, error, machines, wanted) from error
    return {name: topology.machines[found[name]].name for name in names}


def _running(topology: Topology, members: Sequence[Member], running: Plan | None) -> dict[str, int]:
    """Those of the lab that run, and on which machine."""
    numbers = {machine.name: number for number, machine in enumerate(topology.machines)}
    hosts = {member.name: running.host(member.name) for member in members} if running else {}
    return {name: numbers[host.machine] for name, host in hosts.items() if host and host.machine in numbers}


def _units(
    solved: Solved, members: Mapping[str, Member], needs: Mapping[str, Need], runs: Mapping[str, int]
) -> Iterator[Unit]:
    """What is to be spread: hosts that do not run."""
    for first, names in solved.units.items():
        fresh = [members[name] for name in names if name not in runs]
        if fresh:
            yield _unit(fresh, needs, solved.masks[first])


def _unit(members: Sequence[Member], needs: Mapping[str, Need], mask: int) -> Unit:
    if len(members) == 1:  # nearly all: nothing is added up
        one = members[0]
        return Unit((one.name,), needs[one.name], one.on, mask, one.router is not None)
    mine = [needs[member.name] for member in members]
    return Unit(
        names=tuple(member.name for member in members),
        need=Need(
            sum(one.memory for one in mine), sum(one.cpus for one in mine), max(one.at_least for one in mine)
        ),
        on=tuple(network for member in members for network in member.on),
        mask=mask,
        router=any(member.router for member in members),
    )


def _large(
    needs: Mapping[str, Need], machines: Sequence[Room], runs: Mapping[str, int]
) -> Iterator[Constraint]:
    """Hosts for which a machine would be too small even if it were empty."""
    known = {
        need: sum(1 << machine.number for machine in machines if machine.big_enough(need))
        for need in set(needs.values())
    }
    everywhere = (1 << len(machines)) - 1
    for name, need in needs.items():
        if known[need] != everywhere and name not in runs:
            yield Constraint("only", f"that `{name}` has {_wants(need)}", ((name,),), known[need])


def _cannot_hold(names: Sequence[str], wanted: Sequence[Constraint], machines: Sequence[Room]) -> PlanError:
    """The constraints of which each is in the way of the others."""
    speeds = [machine.memory for machine in machines]
    found = conflict(wanted, lambda some: solve(names, some, speeds) is not None)
    found.sort(key=wanted.index)
    first, *others = found
    start = f"{first.at}: " if first.at else ""
    many = f"{len(machines)} machine{'' if len(machines) == 1 else 's'}"
    if not others:
        return PlanError(f"{start}{first.text} cannot hold on {many}", "change it, or add a machine")
    said = _listed([one.said() for one in others])
    hint = "change one of them, or add a machine"
    if any(one.runs for one in found):
        hint = "a host that runs does not move: change the file, or run `lab down` first"
    return PlanError(f"{start}{first.text} cannot hold on {many} together with {said}", hint)


def _no_room(
    topology: Topology, error: NoRoom, machines: Sequence[Room], wanted: Sequence[Constraint]
) -> PlanError:
    unit, who = error.unit, _listed([f"`{name}`" for name in error.unit.names])
    if error.ports:
        return PlanError(
            f"{who}: no machine takes another host on {', '.join(dict.fromkeys(unit.on))}, "
            "for a bridge takes 1,023",
            "add a machine, or spread the hosts over more networks",
        )
    names = set(unit.names)
    why = [one for one in wanted if one.at and any(names & set(part) for part in one.parts)]
    start = f"{why[0].at}: " if why else ""
    held = f" by {_listed([one.said() for one in why])}" if why else ""
    free = [
        f"{topology.machines[one.number].name} {_size((one.limit or 0) - one.used_memory)}"
        for one in (machines[number] for number in bits(unit.mask))
    ]
    text = f"{start}no machine has room for {who}, {_size(unit.need.memory)}{held}; free: {_listed(free)}"
    return PlanError(text, "add a machine, or lower the `memory` of hosts under `resources`")


def _listed(what: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(what) - MOST_NAMED} more" if len(what) > MOST_NAMED else ""
    return ", ".join(what[:MOST_NAMED]) + more


def _wants(need: Need) -> str:
    return f"{_size(need.memory)} of memory" + (f" and {need.at_least:g} CPUs" if need.at_least else "")


def _size(memory: int) -> str:
    """Bytes as a person reads them."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if abs(memory) >= size:
            return f"{memory / size:.3g} {unit}"
    return f"{memory} B"
