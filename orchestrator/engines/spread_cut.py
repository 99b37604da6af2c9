"""A plan and its changes, cut up by machine. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from orchestrator.engines.spread_where import Where
from orchestrator.model.plan import Change, Plan, PlannedNetwork

NETWORKS = ("remove-host", "remove-network", "make-network")
HOSTS = ("make-host",)


class Cut:
    """A plan and its changes by machine. `before`, `where`: where hosts were and are."""

    def __init__(self, plan: Plan, changes: Sequence[Change], before: Where, where: Where) -> None:
        self._plan, self._where, self._all = plan, where, changes
        hosts = {host.name: host for host in plan.hosts}
        self.hosts = {m: [hosts[name] for name in where.on(m)] for m in where.fleet}
        self.networks = {m: self._networks(m) for m in where.fleet}
        self.changes: dict[str, list[Change]] = {m: [] for m in where.machines if m not in before.machines}
        for change in changes:
            for machine in self._machines(change, before):
                self.changes.setdefault(machine, []).append(change)
        for machine in where.machines:  # one that has hosts on a network for the first time
            there = {c.subject for c in self.changes.get(machine, ()) if c.action == "make-network"}
            for name in sorted(self._new_networks(machine, before) - there):
                new = Change(action="make-network", subject=name, why=f"{machine} has hosts on it")
                self.changes.setdefault(machine, []).insert(0, new)

    def _new_networks(self, machine: str, before: Where) -> set[str]:
        """Of hosts that are to be made on a machine that has had others, or none."""
        making = {c.subject for c in self.changes.get(machine, ()) if c.action == "make-host"}
        stayed = [
            h for h in self.hosts[machine] if h.name not in making and before.hosts.get(h.name) == machine
        ]
        known = {i.network for host in stayed for i in host.interfaces}
        hosts = [host for host in self.hosts[machine] if host.name in making]
        return {i.network for host in hosts for i in host.interfaces} - known

    def spanning(self) -> list[PlannedNetwork]:
        """The networks that are to be joined anew: on two and more machines, and not as they were; or no
        longer on so many."""
        moved = {c.subject for c in self._all if c.action == "span-network"}
        changed = moved | {c.subject for c in self._all if c.action == "make-network"}
        changed |= {c.subject for some in self.changes.values() for c in some if c.action == "make-network"}
        return [
            network
            for network in self._plan.networks
            if network.name in moved
            or (network.name in changed and sum(network.name in used for used in self.networks.values()) > 1)
        ]

    def only(self, actions: Sequence[str]) -> dict[str, list[Change]]:
        """The changes of these kinds, of the machines that have such; for networks, of all that have any."""
        found = {m: [c for c in some if c.action in actions] for m, some in self.changes.items()}
        return {m: some for m, some in found.items() if some or actions == NETWORKS}

    def _networks(self, machine: str) -> set[str]:
        used = {i.network for host in self.hosts[machine] for i in host.interfaces}
        return used | {n.name for n in self._plan.networks if machine in n.machines}

    def _machines(self, change: Change, before: Where) -> Sequence[str]:
        """A host that is no longer planned is removed where it was, else everywhere."""
        subject, machines = change.subject, self._where.machines
        if change.action == "span-network":
            return ()  # what joins it is no machine's alone
        if change.action == "remove-network":
            return before.machines or machines
        if change.action == "make-network":
            return [m for m in machines if subject in self.networks[m]]
        if change.action == "remove-host":
            was = before.hosts.get(subject) or self._where.hosts.get(subject)
            return (was,) if was else machines
        return (self._where.hosts[subject],) if subject in self._where.hosts else ()

    def part(self, machine: str) -> Plan:
        """What one machine has to make. It knows all names."""
        return msgspec.structs.replace(
            self._plan,
            hosts=tuple(self.hosts[machine]),
            networks=tuple(n for n in self._plan.networks if n.name in self.networks[machine]),
        )
