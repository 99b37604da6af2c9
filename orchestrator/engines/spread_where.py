"""Which machine each host of a lab is on, and what of a request is about which machine. Pure."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from orchestrator.errors import AgentError
from orchestrator.model.plan import Plan
from orchestrator.wire import Message

MOST_NAMED = 20  # hosts in a hint
Unplaced = Callable[[str], str] | None  # from a host's name to a machine


class Where(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Of one lab. `fleet`: all machines; `machines`: those that have something of the lab. `hosts`: its
    machine, by the host's name, in the order of the plan."""

    fleet: tuple[str, ...]
    machines: tuple[str, ...] = ()
    hosts: Mapping[str, str] = {}
    specs: Mapping[str, Any] = {}  # as planned, by name: a PlannedHost, or its JSON

    @classmethod
    def of(cls, plan: Plan, machines: Iterable[str], unplaced: Unplaced = None) -> Where:
        """As planned."""
        return cls(fleet=tuple(machines)).moved(plan.hosts, unplaced)

    def moved(self, hosts: Iterable[Any], unplaced: Unplaced = None) -> Where:
        """The same machines with these hosts, a PlannedHost or its JSON each. One of which it is not said
        where it is is on the first, or `unplaced`.
        """
        otherwise = unplaced or (lambda _: self.fleet[0])
        specs = {_of(host, "name"): host for host in hosts}
        placed = {name: _of(host, "machine") or otherwise(name) for name, host in specs.items()}
        used = {*placed.values()} or {self.fleet[0]}
        machines = tuple(m for m in self.fleet if m in used)
        return Where(fleet=self.fleet, machines=machines, hosts=placed, specs=specs)

    def on(self, machine: str) -> list[str]:
        """The hosts of a machine."""
        return self._by_machine.get(machine, [])

    @functools.cached_property
    def _by_machine(self) -> Mapping[str, list[str]]:
        found: dict[str, list[str]] = {}
        for host, machine in self.hosts.items():
            found.setdefault(machine, []).append(host)
        return found

    def machine(self, host: Any) -> str:
        """Raises AgentError for a host that the lab has not."""
        found = self.hosts.get(host) if isinstance(host, str) else None
        if found is None:
            names = ", ".join([*self.hosts][:MOST_NAMED])
            raise AgentError(f"the lab has no host {host!r}", f"hosts: {names}")
        return found

    def grouped(self, hosts: Iterable[Any]) -> dict[str, list[str]]:
        """By machine, in the order of the machines."""
        found: dict[str, list[str]] = {}
        for host in hosts:
            found.setdefault(self.machine(host), []).append(host)
        return {machine: found[machine] for machine in self.machines if machine in found}


def _of(host: Any, field: str) -> Any:
    return host.get(field) if isinstance(host, Mapping) else getattr(host, field)


Parts = dict[str, Message]  # what is asked of each machine
Split = Callable[[Message, Where], Parts]


def everywhere(asked: Message, where: Where) -> Parts:
    """Every machine is asked the same."""
    return dict.fromkeys(where.machines, asked)


def by_host(asked: Message, where: Where) -> Parts:
    """The machine of the host that it is about."""
    return {where.machine(asked.get("host")): asked}


def by_hosts(asked: Message, where: Where) -> Parts:
    """Each machine is asked of its own hosts; all of all where none are named."""
    hosts = asked.get("hosts")
    if hosts is None:
        return everywhere(asked, where)
    return {machine: {**asked, "hosts": names} for machine, names in where.grouped(hosts).items()}


def by_specs(asked: Message, where: Where) -> Parts:
    """Each machine is told of its own hosts, whose plans are given."""
    specs = {spec["name"]: spec for spec in asked.get("hosts", ())}
    return {
        machine: {**asked, "hosts": [specs[name] for name in names]}
        for machine, names in where.grouped(specs).items()
    }


def of_history(asked: Message, where: Where) -> Parts:
    """As by_hosts; those that are watched before others, too."""
    first: Sequence[str] = [name for name in asked.get("first") or () if name in where.hosts]
    mine = where.grouped(first)
    return {
        machine: {**part, "first": mine.get(machine, [])} for machine, part in by_hosts(asked, where).items()
    }


def of_removal(asked: Message, where: Where) -> Parts:
    """Hosts on their machines; networks on all. What no plan has any more may be anywhere."""
    known = where.grouped(name for name in asked.get("hosts", ()) if name in where.hosts)
    unknown = [name for name in asked.get("hosts", ()) if name not in where.hosts]
    return {machine: {**asked, "hosts": [*known.get(machine, []), *unknown]} for machine in where.machines}


def of_impairment(asked: Message, where: Where) -> Parts:
    """Every machine is asked: what is cut or held is so where it comes in, and each end's machine has to know
    the other's addresses, and those of the routers between them.
    """
    named = dict.fromkeys([*_impaired(asked), *_impaired_by(asked.get("declared") or {})])
    named |= dict.fromkeys(n for n, spec in where.specs.items() if _of(spec, "kind") == "router")
    at = {name: where.machine(name) for name in named}
    return {
        machine: {**asked, "strangers": [_spec(where, n) for n, its in at.items() if its != machine]}
        for machine in where.machines
    }


def _impaired(one: Message) -> Iterator[str]:
    """The hosts that it is about."""
    yield from one.get("from") or ()
    yield from one.get("to") or ()
    yield from (host for host, _ in (*(one.get("links") or ()), *(one.get("places") or ())) if host)


def _impaired_by(declared: Message) -> Iterator[str]:
    for one in (*declared.get("links", ()), *declared.get("cuts", ())):
        yield from _impaired(one)


def _spec(where: Where, name: str) -> Any:
    found = msgspec.to_builtins(where.specs[name])
    return {key: found.get(key) for key in ("name", "kind", "interfaces", "routes")}


def of_healing(asked: Message, where: Where) -> Parts:
    """An impairment has a number on each machine."""
    numbers = asked.get("ids")
    if numbers is None:
        return everywhere(asked, where)
    return {
        machine: {**asked, "ids": [n[machine] for n in numbers if machine in n]} for machine in where.machines
    }
