"""What joins the networks of a lab across machines: each machine's daemon is told of its own part and of the
others' addresses (daemon/vxlan.py)."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence

from orchestrator.engines import docker_objects as objects
from orchestrator.engines.side_by_side import failures, side_by_side
from orchestrator.errors import EngineError
from orchestrator.model.machines import VXLAN_PORT
from orchestrator.model.plan import Plan, PlannedNetwork
from orchestrator.wire import Channel, Message


def join(plan: Plan, networks: Sequence[PlannedNetwork], channels: Mapping[str, Channel]) -> None:
    """Join these networks, on the machines to which there is a channel; on one machine alone, no longer.
    Raises EngineError.
    """
    used = {machine for network in networks for machine in network.machines}
    addresses = {one.name: address_of(one.name, one.address) for one in plan.machines if one.name in used}

    def tell(machine: str) -> Message:
        mine = [part(network, machine, addresses) for network in networks if machine in network.machines]
        return channels[machine].call("stitch", networks=mine) if mine else {}

    errors = failures(side_by_side([m for m in channels if m in used], tell))
    if errors:
        machine, error = next(iter(errors.items()))
        raise EngineError(f"{machine}: {error.message}", error.hint) from error


def part(network: PlannedNetwork, machine: str, addresses: Mapping[str, str]) -> Message:
    """What one machine is told of a network."""
    if network.vni is None or network.mtu is None:
        raise EngineError(f"network {network.name} has no VXLAN identifier", "`lab down`, then `lab up`")
    return {
        "name": network.name,
        "bridge": objects.bridge_name(network.vni),
        "vni": network.vni,
        "mtu": network.mtu,
        "port": VXLAN_PORT,
        "local": addresses[machine],
        "peers": [addresses[other] for other in network.machines if other != machine],
    }


def address_of(machine: str, known: str | None) -> str:
    """The address of a machine for the others; a name is looked up here. Raises EngineError."""
    hint = f"give it one that the others reach: `machines: {{{machine}: {{…, address: 10.0.0.11}}}}`"
    if known is None:
        raise EngineError(f"machine {machine} has no address", hint)
    try:
        return str(ipaddress.ip_address(known))
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(known, None, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise EngineError(f"the address of machine {machine}, {known}, is unknown: {error}", hint) from error
    return str(min(found, key=lambda one: one[0] != socket.AF_INET)[4][0])
