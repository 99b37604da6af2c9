"""Networks: plain bridges that the computer is not on (decision 0006), and subnets that are taken already."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator import errors
from orchestrator.engines import docker_objects as objects
from orchestrator.engines.docker_client import Docker, translated
from orchestrator.model.plan import LabKey, PlannedNetwork

_BRIDGE = "com.docker.network.bridge."
_MTU = "com.docker.network.driver.mtu"
Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network


def make(docker: Docker, key: LabKey, network: PlannedNetwork) -> str:
    """Make a network; its id. Raises SubnetInUse."""
    from docker.types import IPAMConfig, IPAMPool

    pools = [IPAMPool(subnet=network.subnet, gateway=network.gateway)] if network.subnet else []
    options = {f"{_BRIDGE}enable_ip_masquerade": "false", f"{_BRIDGE}inhibit_ipv4": "true"}
    if network.internet:
        options = {f"{_BRIDGE}enable_ip_masquerade": "true", _MTU: _mtu(docker)}
    if network.vni is not None:
        options[f"{_BRIDGE}name"] = objects.bridge_name(network.vni)
    if network.mtu is not None:
        options[_MTU] = str(network.mtu)
    with _in_use(network), translated(f"network {network.name} cannot be made"):
        made = docker.api.create_network(
            objects.name_of(key, network.name),
            driver="bridge",
            options=options,
            ipam=IPAMConfig(pool_configs=pools) if pools else None,
            labels=objects.labels(key, "network", network.name, network),
            check_duplicate=True,
        )
    return str(made["Id"])


@contextlib.contextmanager
def _in_use(network: PlannedNetwork) -> Iterator[None]:
    """What came between our look and the Engine's own."""
    try:
        yield
    except errors.EngineError as error:
        if "overlaps" not in error.message:
            raise
        raise errors.SubnetInUse(
            f"network {network.name}: its subnet {network.subnet} overlaps with one that Docker uses",
            "choose another subnet, or leave it out",
        ) from error


def _mtu(docker: Docker) -> str:
    """The way to the internet may carry less than 1,500 bytes: what the Engine's own bridge uses."""
    with translated("the Engine's own bridge cannot be looked at"):
        default = docker.api.inspect_network("bridge")
    return str((default.get("Options") or {}).get(_MTU, "1500"))


def refuse_overlaps(docker: Docker, key: LabKey, networks: Sequence[PlannedNetwork]) -> None:
    """Raise SubnetInUse, naming what is in the way, before anything is made."""
    there = docker.networks() if networks else []
    for network in networks:
        wanted = _subnet(network.subnet)
        if wanted is None:
            continue
        for other in there:
            for subnet in _pools(other):
                if subnet.version == wanted.version and subnet.overlaps(wanted):
                    raise _named(network, key, other, subnet)
        if network.internet and (route := _route_in_the_way(docker, wanted)):
            raise errors.SubnetInUse(
                f"network {network.name}: the computer has a route to {route}, which {wanted} overlaps",
                "choose another subnet, or leave it out",
            )


def _named(
    network: PlannedNetwork, key: LabKey, other: Mapping[str, Any], subnet: Subnet
) -> errors.SubnetInUse:
    owner = objects.key_of(other)
    if owner.name:
        mine = owner.owner == key.owner
        who = f"lab {owner.name}" if mine else f"lab {owner.name} of {owner.owner}"
        cure = f"`lab down {owner.name}`, or choose another subnet"
    else:
        who = f"the Docker network {other['Name']}"
        cure = (
            f"choose another subnet, or leave it out; `docker network rm {other['Name']}` if it is not needed"
        )
    return errors.SubnetInUse(
        f"network {network.name}: {who} has {subnet}, which {network.subnet} overlaps", cure
    )


def _subnet(text: str | None) -> Subnet | None:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_network(text, strict=False) if text else None
    return None


def _pools(network: Mapping[str, Any]) -> list[Subnet]:
    configs = (network.get("IPAM") or {}).get("Config") or ()
    found = (_subnet(config.get("Subnet")) for config in configs)
    return [subnet for subnet in found if subnet is not None]


def taken(docker: Docker) -> list[str]:
    """Subnets that a new network is not to have: those of the Engine's networks and of the computer's
    routes.
    """
    pools = [str(pool) for network in docker.networks() for pool in _pools(network)]
    return [*pools, *(str(route) for route in _routes(docker))]


def _route_in_the_way(docker: Docker, wanted: Subnet) -> Subnet | None:
    return next((route for route in _routes(docker) if route.overlaps(wanted)), None)


def _routes(docker: Docker) -> Iterator[ipaddress.IPv4Network]:
    """IPv4 routes of the Engine's computer but the default one, if they can be known (proc(5), net/route)."""
    if not docker.is_here and docker.machine.is_local:
        return
    told = docker.machine.run(["cat", "/proc/net/route"]).out.decode(errors="replace")
    for line in told.splitlines()[1:]:
        _, destination, _, _, _, _, _, mask, *_ = line.split()
        network, bits = (socket.inet_ntoa(struct.pack("=I", int(text, 16))) for text in (destination, mask))
        if bits != "0.0.0.0":
            yield ipaddress.IPv4Network(f"{network}/{bits}")
