"""What a running lab has lost of what its file asks for: a host that has ended, a listener, a connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from orchestrator.errors import DaemonError, MachineUnreachable
from orchestrator.lab import Lab
from orchestrator.model.impairments import Impaired
from orchestrator.model.plan import Change, Plan, PlannedHost
from orchestrator.plan import changes as changes_between

STRUCTURE = (
    *("remove-host", "remove-network", "make-network", "span-network", "make-host"),  # what an engine does
)
ORDER = (
    *STRUCTURE,
    "configure",
    "files",
    "listen",
    "dns",
    "run",
    "impair",
    "connect",
)  # in which changes are carried out


def differences(running: Lab, plan: Plan) -> tuple[Change, ...]:
    """From what really runs to the plan: with the same file, a host or a connection may have gone."""
    seen = {str(host.get("name")): host for host in running.hosts()}
    if away := [host for host in seen.values() if host.get("alive") is None]:
        raise MachineUnreachable(str(away[0].get("why")), "`lab up` needs all machines of the lab")
    dead = [h.name for h in running.plan.hosts if not seen.get(h.name, {}).get("alive")]
    there = msgspec.structs.replace(
        running.plan, hosts=tuple(h for h in running.plan.hosts if h.name not in dead)
    )
    removals = [Change(action="remove-host", subject=name, why="it has ended") for name in dead]
    found = changes_between(there, plan)
    known = {(change.action, change.subject) for change in found}
    lost = [
        c
        for h in plan.hosts
        if h.name in seen
        for c in missing(h, seen[h.name])
        if (c.action, c.subject) not in known
    ]
    if plan.impaired != Impaired() and ("impair", plan.key.name) not in known and healed(running):
        lost.append(Change(action="impair", subject=plan.key.name, why="it was healed"))
    return tuple(sorted((*removals, *found, *lost), key=lambda change: ORDER.index(change.action)))


def healed(running: Lab) -> bool:
    """Whether what the file declares of links and cuts was taken back."""
    try:
        return running.channel.call("impairments").get("declared") is None
    except DaemonError:
        return False


def missing(host: PlannedHost, seen: dict[str, Any]) -> Iterator[Change]:
    """What a running host should hold open, or run, and does not. A program that has ended is left alone."""
    open_ports = {int(one.get("port", 0)) for one in seen.get("listening", [])}
    if any(one.port not in open_ports for one in host.listen):
        yield Change(action="listen", subject=host.name, why="it no longer listens")
    if host.run and not seen.get("programs"):
        yield Change(action="run", subject=host.name, why="its program does not run")
    wanted = sum(one.times for one in host.connect)
    if seen.get("connected", 0) < wanted:
        yield Change(
            action="connect", subject=host.name, why=f"{seen.get('connected', 0)} of {wanted} are open"
        )
