"""What restricts on which machine a host may be, as values that a search can take one by one.

Machines are bits of a number, the first of the file the lowest: what is asked here is asked for each of
10,000 hosts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from orchestrator.model.machines import Group, Machine, Naming, PlaceRule
from orchestrator.model.plan import Plan
from orchestrator.model.topology import Topology
from orchestrator.plan.expand import Member


class Constraint(NamedTuple):
    """`only`: these hosts on the machines of `mask`; `together`: all of them on one; `apart`: those of
    different parts never on the same one."""

    kind: Literal["only", "together", "apart"]
    text: str  # as a person reads it in an error
    parts: tuple[tuple[str, ...], ...]
    mask: int = 0
    at: str = ""  # FILE:LINE:COLUMN; nothing for what no line of the file says
    runs: bool = False  # it is so because the host runs there

    def said(self) -> str:
        """With its place."""
        return f"{self.text} ({self.at})" if self.at else self.text


def constraints(
    topology: Topology, members: Sequence[Member], running: Plan | None
) -> tuple[Constraint, ...]:
    """All of a lab, those of the file first."""
    groups: dict[str, list[str]] = {}
    for member in members:
        groups.setdefault(member.host.name if member.host else member.name, []).append(member.name)
    naming = Naming(groups)
    return (
        *_rules(topology, naming),
        *(_group(group, naming) for group in topology.placing.groups),
        *_on_internet(topology, members),
        *_where_they_run(topology.machines, members, running),
    )


def _rules(topology: Topology, naming: Naming) -> Iterator[Constraint]:
    ruled: dict[PlaceRule, list[str]] = {}
    for name, rule in naming.ruling(topology.placing.rules):
        ruled.setdefault(rule, []).append(name)
    for rule, names in ruled.items():
        place = rule.machine if rule.label is None else f"{{label: {rule.label}}}"
        text = f"`place: {{{rule.who}: {place}}}`"
        mask = sum(
            1 << number
            for number, machine in enumerate(topology.machines)
            if machine.name == rule.machine or rule.label in machine.labels
        )
        yield Constraint("only", text, (tuple(names),), mask, rule.at)


def _group(group: Group, naming: Naming) -> Constraint:
    text = f"`keep {group.kind}: [{', '.join(group.who)}]`"
    parts = tuple(naming.members(who) for who in group.who)
    if group.kind == "together":
        parts = (tuple(name for part in parts for name in part),)
    elif len(parts) == 1:
        parts = tuple((name,) for name in parts[0])
    return Constraint(group.kind, text, parts, at=group.at)


def _on_internet(topology: Topology, members: Sequence[Member]) -> Iterator[Constraint]:
    """What is on a network that leads out needs the one computer that lets it out."""
    for network in (network for network in topology.networks if network.internet):
        names = tuple(member.name for member in members if network.name in member.on)
        if len(names) > 1:
            text = f"that the hosts of `{network.name}` share a machine, for it leads to the internet"
            yield Constraint("together", text, (names,))


def _where_they_run(
    machines: Sequence[Machine], members: Sequence[Member], running: Plan | None
) -> Iterator[Constraint]:
    """A host that runs stays where it is."""
    bits = {machine.name: 1 << number for number, machine in enumerate(machines)}
    for member in members if running else ():
        host = running.host(member.name) if running else None
        if host is not None and host.machine in bits:
            text = f"that `{host.name}` runs on {host.machine}"
            yield Constraint("only", text, ((host.name,),), bits[host.machine], runs=True)
