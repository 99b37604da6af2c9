"""What a lab file may only do once its user has said yes: open the internet, and reach other computers.

Asked once for each file and content: a stranger's file opens and reaches nothing unasked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.model.machines import LOCAL
from orchestrator.model.reach import Door, Reach
from orchestrator.model.topology import Topology
from orchestrator.owner import confirm, was_confirmed


def missing(topology: Topology) -> str:
    """What is still to be said yes to, as one sentence; nothing where that is all done."""
    what = list(_asked(topology))
    if not what or was_confirmed(topology.path, topology.digest):
        return ""
    return f"{topology.path} {', and '.join(what)}"


def give(topology: Topology) -> None:
    """The user has said yes to all of it."""
    confirm(topology.path, topology.digest)


def _asked(topology: Topology) -> Iterator[str]:
    opened = [network.name for network in topology.networks if network.internet]
    if opened:
        behind = networks_behind(topology, opened)
        also = f", and by a router with nat also those on {', '.join(behind)}" if behind else ""
        yield f"lets hosts on {', '.join(opened)} reach the internet (internet: true){also}"
    others = [machine.url for machine in topology.machines if machine.url != LOCAL]
    if others:
        yield f"makes hosts on other computers (machines): {', '.join(others)}"


def networks_behind(topology: Topology, opened: Sequence[str]) -> list[str]:
    """The networks from which a router that masquerades to one of the opened ones is reached."""
    routers = topology.routers
    reach = Reach(Door(r.name, tuple(one.network for one in r.attachments), r.nat) for r in routers)
    exits = {router.name for router in routers if router.nat in opened}
    names = [network.name for network in topology.networks if network.name not in opened]
    return [name for name in names if reach.way_out(name, exits)]
