"""Plan, Plan → Changes: what to do to a running lab, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from orchestrator.model.impairments import Impaired
from orchestrator.model.plan import Change, Plan, PlannedFile, PlannedHost, PlannedNetwork

# What cannot be changed in a host that runs: it is made anew.
_FIXED = ("kind", "interfaces", "image", "env", "sysctls", "resources", "machine")
WITH_IMAGES = ("docker",)  # engines whose hosts are of the file's image, and may have a program by it
_FIXED_NETWORK = ("subnet", "subnet6", "internet", "gateway", "fabric", "vni", "mtu")


def changes(running: Plan | None, wanted: Plan) -> tuple[Change, ...]:
    """In the order in which they are done: remove, make, configure, then what agents and programs do."""
    difference = _Difference(running, wanted)
    return (
        *difference.removals(),
        *difference.makings(),
        *difference.configurations(),
        *difference.files(),
        *difference.listens(),
        *difference.answering(),
        *difference.runs(),
        *difference.impairments(),
        *difference.connects(),
    )


class _Difference:
    def __init__(self, running: Plan | None, wanted: Plan) -> None:
        self.old = {host.name: host for host in running.hosts} if running else {}
        self.new = {host.name: host for host in wanted.hosts}
        self.old_networks = {one.name: one for one in running.networks} if running else {}
        self.new_networks = {one.name: one for one in wanted.networks}
        self.lab, self.impaired = wanted.key.name, wanted.impaired
        self.old_impaired = running.impaired if running else Impaired()
        self.images = wanted.engine in WITH_IMAGES
        self.named = running is None or running.names != wanted.names
        self.remade_networks = dict(self._remade_networks())
        self.made = dict(self._made())  # why each host is made, new ones too

    def _remade_networks(self) -> Iterator[tuple[str, str]]:
        for name, network in self.new_networks.items():
            why = _differing(self.old_networks.get(name), network, _FIXED_NETWORK)
            if why:
                yield name, why

    def _made(self) -> Iterator[tuple[str, str]]:
        for name, host in self.new.items():
            old = self.old.get(name)
            if old is None:
                yield name, "new"
                continue
            why = _differing(old, host, _FIXED) or self._dropped(old, host)
            moved = [one.network for one in host.interfaces if one.network in self.remade_networks]
            if why or moved:
                yield name, why or f"network {moved[0]} is made anew"

    @staticmethod
    def _dropped(old: PlannedHost, new: PlannedHost) -> str:
        """What is no longer wanted and can only be got rid of with its host: copied files, a resolver."""
        kept = {one.target for one in new.files}
        gone = [one.target for one in old.files if one.target not in kept]
        if old.resolver and not new.resolver:
            return "it no longer asks a resolver"  # what the engine wrote there before is not known
        return f"{gone[0]} is no longer copied" if gone else ""

    def removals(self) -> Iterator[Change]:
        for name in self.old:
            if name not in self.new:
                yield Change(action="remove-host", subject=name, why="no longer in the file")
            elif name in self.made:
                yield Change(action="remove-host", subject=name, why=self.made[name])
        for name in self.old_networks:
            if name not in self.new_networks:
                yield Change(action="remove-network", subject=name, why="no longer in the file")
            elif name in self.remade_networks:
                yield Change(action="remove-network", subject=name, why=self.remade_networks[name])

    def makings(self) -> Iterator[Change]:
        for name in self.new_networks:
            if name not in self.old_networks or name in self.remade_networks:
                yield Change(action="make-network", subject=name, why=self.remade_networks.get(name, "new"))
        yield from self._spanning()
        for name, why in self.made.items():
            yield Change(action="make-host", subject=name, why=why)

    def _spanning(self) -> Iterator[Change]:
        """Networks that stay as they are, and are on more machines or fewer."""
        for name, network in self.new_networks.items():
            old = self.old_networks.get(name)
            if old is None or name in self.remade_networks or old.machines == network.machines:
                continue
            more = [one for one in network.machines if one not in old.machines]
            less = [one for one in old.machines if one not in network.machines]
            said = [f"also on {', '.join(more)}"] if more else []
            said += [f"no longer on {', '.join(less)}"] if less else []
            if said:
                yield Change(action="span-network", subject=name, why="; ".join(said))

    def configurations(self) -> Iterator[Change]:
        """Routes, NAT and names; a name more or less concerns every host."""
        for name, host in self.new.items():
            if name in self.made:
                yield Change(action="configure", subject=name, why=self.made[name])
                continue
            why = _differing(self.old[name], host, ("routes", "nat", "resolver"))
            if why or self.named:
                yield Change(action="configure", subject=name, why=why or "names differ")

    def files(self) -> Iterator[Change]:
        for name, host in self.new.items():
            known = set() if name in self.made else {_copy(one) for one in self.old[name].files}
            fresh = [one.target for one in host.files if _copy(one) not in known]
            if fresh:
                yield Change(action="files", subject=name, why=", ".join(fresh))

    def listens(self) -> Iterator[Change]:
        yield from self._told("listen", {})

    def answering(self) -> Iterator[Change]:
        """DNS servers."""
        yield from self._told("dns", {})

    def runs(self) -> Iterator[Change]:
        """A program is started anew when its command or a file of its host changes."""
        copied = {change.subject: "its files changed" for change in self.files()}
        yield from self._told("run", copied)
        for name in self.made if self.images else ():
            host = self.new[name]
            if host.image and not host.run:
                yield Change(action="run", subject=name, why="its image's own program, if it has one")

    def impairments(self) -> Iterator[Change]:
        """What the file declares of links and cuts, where it does, or did."""
        if self.old_impaired != self.impaired:
            yield Change(action="impair", subject=self.lab, why="differs" if self.old else "new")
        elif self.made and self.impaired != Impaired():
            yield Change(action="impair", subject=self.lab, why="hosts are made")

    def connects(self) -> Iterator[Change]:
        """Connections are opened anew when what is at their other end was."""
        again = {name: f"{name} is made anew" for name in self.made}
        for change in (*self.listens(), *self.runs()):
            again.setdefault(change.subject, f"{change.subject} listens anew")
        lost = {
            name: next(again[one.host] for one in host.connect if one.host in again)
            for name, host in self.new.items()
            if any(one.host in again for one in host.connect)
        }
        yield from self._told("connect", lost)

    def _told(
        self, what: Literal["listen", "dns", "run", "connect"], also: Mapping[str, str]
    ) -> Iterator[Change]:
        """Hosts of which `what` differs from what runs, or that stand in `also`."""
        for name, host in self.new.items():
            value = getattr(host, what) or ()
            before = () if name in self.made else getattr(self.old[name], what) or ()
            if value == before and not (value and name in also):
                continue
            why = self.made.get(name) or ("differs" if value != before else also[name])
            yield Change(action=what, subject=name, why=why)


def _copy(file: PlannedFile) -> tuple[str, str, int]:
    """What makes a copied file another one: not where it came from."""
    return file.target, file.sha256, file.mode


def _differing(
    old: PlannedHost | PlannedNetwork | None, new: PlannedHost | PlannedNetwork, fields: Iterable[str]
) -> str:
    """Which of the fields differs; nothing where none does or there was nothing before."""
    if old is None:
        return ""
    names = [field for field in fields if getattr(old, field) != getattr(new, field)]
    return f"{names[0]} differs" if names else ""
