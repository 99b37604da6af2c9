"""Topology → Plan. Pure: what is on the disk comes in as `contents`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from orchestrator.model.machines import Fleet
from orchestrator.model.plan import Interface, LabKey, Plan, PlannedHost, PlannedNetwork
from orchestrator.model.reach import domains
from orchestrator.model.topology import Topology
from orchestrator.plan.addresses import Addresses, interfaces
from orchestrator.plan.expand import Member, expand
from orchestrator.plan.files import Content, planned
from orchestrator.plan.nameservers import Names, served
from orchestrator.plan.placement import place
from orchestrator.plan.routes import Family, Routes
from orchestrator.plan.sockets import Targets, listens
from orchestrator.plan.spanning import check_running, machines, spanning
from orchestrator.plan.subnets import choose, clashes

Interfaces = dict[str, tuple[Interface, ...]]


def build(
    topology: Topology,
    key: LabKey,
    engine: str,
    *,
    running: Plan | None,
    taken: Sequence[str],
    contents: dict[str, Content],
    fleet: Fleet,
) -> Plan:
    """The whole lab as it is to be deployed. Raises PlanError."""
    check_running(topology, engine, running)
    members = expand(topology)
    where = place(topology, fleet.capacities, running) if topology.machines else {}
    wanted = Counter(network for member in members for network in member.on)
    subnets = choose(topology.networks, wanted, running, taken)
    own = [one.name for one in topology.networks if engine == "docker" or one.internet]
    addresses = Addresses(members, subnets, running, own)
    networks = _networks(topology, members, subnets, addresses)
    if where:
        networks = spanning(topology, key, networks, members, where=where, fleet=fleet, running=running)
    clashes(networks, apart=engine != "docker")
    by_name = {network.name: network for network in networks}
    macs: set[str] = set()
    links = {member.name: interfaces(key, member, addresses, by_name, macs) for member in members}
    names = _names(members, links)
    hosts = _hosts(members, networks, addresses, links, contents, where=where)
    hosts = tuple(_asked(host, member, names, members) for host, member in zip(hosts, members, strict=True))
    return Plan(
        key=key,
        engine=engine,
        networks=networks,
        hosts=hosts,
        names=names,
        impaired=topology.impaired,
        path=topology.path,
        machines=machines(topology, fleet),
    )


def _networks(
    topology: Topology,
    members: Sequence[Member],
    subnets: Mapping[str, tuple[str, str | None]],
    addresses: Addresses,
) -> tuple[PlannedNetwork, ...]:
    groups = domains([one.name for one in topology.networks], {member.on for member in members})
    return tuple(
        PlannedNetwork(
            name=one.name,
            subnet=subnets[one.name][0],
            subnet6=subnets[one.name][1],
            internet=one.internet,
            domain=groups[one.name],
            gateway=addresses.gateways.get(one.name),
        )
        for one in topology.networks
    )


def _hosts(
    members: Sequence[Member],
    networks: Sequence[PlannedNetwork],
    addresses: Addresses,
    links: Interfaces,
    contents: dict[str, Content],
    *,
    where: Mapping[str, str],
) -> tuple[PlannedHost, ...]:
    routers = [member for member in members if member.router]
    four = Family({one.name: one.subnet for one in networks if one.subnet}, addresses.four, routers)
    six = four.like({one.name: one.subnet6 for one in networks if one.subnet6}, addresses.six, routers)
    routes = Routes(networks, (four, six), routers)
    targets = Targets(members, links, four.reach, six.reach)
    return tuple(
        _host(member, routes, targets, links[member.name], contents, machine=where.get(member.name))
        for member in members
    )


def _host(
    member: Member,
    routes: Routes,
    targets: Targets,
    links: tuple[Interface, ...],
    contents: dict[str, Content],
    *,
    machine: str | None,
) -> PlannedHost:
    host = member.host
    if host is None:
        nat = member.router.nat if member.router else None
        return PlannedHost(
            name=member.name,
            kind="router",
            interfaces=links,
            routes=routes.of(member),
            nat=nat,
            machine=machine,
        )
    return PlannedHost(
        name=member.name,
        role=host.role,
        interfaces=links,
        routes=routes.of(member),
        image=host.image,
        listen=listens(host, any(link.address6 for link in links)),
        connect=targets.connects(member),
        run=host.run,
        files=planned(host, contents),
        env=host.env,
        sysctls=host.sysctls,
        logs=host.logs,
        resolver=targets.resolvers(member),
        resources=host.resources,
        machine=machine,
    )


def _asked(planned: PlannedHost, member: Member, names: Names, members: Sequence[Member]) -> PlannedHost:
    """With its DNS server, where it is one."""
    if member.host is None or member.host.dns is None:
        return planned
    dns = served(member.host, planned.interfaces, names, members)
    return msgspec.structs.replace(planned, dns=dns)


def _names(members: Sequence[Member], links: Interfaces) -> Names:
    """Every name and all its addresses, IPv4 first."""
    return tuple(
        (
            member.name,
            (
                *(link.address for link in links[member.name] if link.address),
                *(link.address6 for link in links[member.name] if link.address6),
            ),
        )
        for member in members
    )
