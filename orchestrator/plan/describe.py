"""Plan and Changes → the text of `lab up --dry-run`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from orchestrator.model.plan import Change, Interface, Plan, PlannedConnect, PlannedHost, PlannedNetwork
from orchestrator.model.rows import endpoint

_SIGNS = {"make": "+", "remove": "-"}


def describe(plan: Plan, changes: Sequence[Change]) -> str:
    """The lab as it will be, then what is done for it; ends with a newline."""
    return "\n".join((*_lab(plan), *_steps(changes))) + "\n"


def _lab(plan: Plan) -> Iterator[str]:
    yield f"lab {plan.key.name} of {plan.key.owner}, engine {plan.engine}"
    yield from _machines(plan)
    yield "networks"
    width = max((len(one.name) for one in plan.networks), default=0)
    for network in plan.networks:
        yield f"  {network.name:{width}}  {_network(network)}"
    width = max((len(one.name) for one in plan.hosts), default=0)
    for title, kind in (("routers", "router"), ("hosts", "host")):
        chosen = [host for host in plan.hosts if host.kind == kind]
        if chosen:
            yield title
        for host in chosen:
            yield f"  {host.name:{width}}  {'; '.join(_host(host))}"


def _network(network: PlannedNetwork) -> str:
    subnets = [subnet for subnet in (network.subnet, network.subnet6) if subnet]
    said = ", ".join([*subnets, *(["internet"] if network.internet else [])])
    return "; ".join([said, *_spanning(network)])


def _machines(plan: Plan) -> Iterator[str]:
    """Each machine, and how many hosts it has."""
    if plan.machines:
        yield "machines"
    width = max((len(one.name) for one in plan.machines), default=0)
    for machine in plan.machines:
        at = f" at {machine.address}" if machine.address and machine.address not in machine.url else ""
        number = len(plan.on(machine.name))
        yield f"  {machine.name:{width}}  {machine.url}{at}; {number} host{'' if number == 1 else 's'}"


def _spanning(network: PlannedNetwork) -> Iterator[str]:
    """Where a network is, and what joins it where that is more than one machine."""
    if network.machines:
        yield "on " + ", ".join(network.machines)
    if network.spans:
        vni = f" {network.vni}" if network.vni is not None else ""
        yield f"joined by {network.fabric}{vni}, MTU {network.mtu}"


def _host(host: PlannedHost) -> Iterator[str]:
    """What there is to say of one host, part by part."""
    if host.machine:
        yield f"on {host.machine}"
    yield ", ".join(_interface(one) for one in host.interfaces)
    if host.routes:
        yield "routes " + ", ".join(f"{one.destination} via {one.via}" for one in host.routes)
    if host.nat:
        yield f"nat {host.nat}"
    if host.image:
        yield f"image {host.image}"
    if host.sysctls:
        yield "sysctls " + ", ".join(f"{name}={value}" for name, value in host.sysctls.items())
    if host.files:
        yield "files " + ", ".join(one.target for one in host.files)
    if host.run:
        yield "runs " + shlex.join(host.run)
    if host.dns:
        yield f"answers {len(host.dns.records)} names"
    if host.resolver:
        yield "asks " + ", ".join(host.resolver)
    if host.listen:
        yield "listens " + ", ".join(endpoint(one.address, one.port) for one in host.listen)
    if host.connect:
        yield "connects " + ", ".join(_connect(one) for one in host.connect)


def _interface(one: Interface) -> str:
    return " ".join([one.network, *(address for address in (one.address, one.address6) if address)])


def _connect(one: PlannedConnect) -> str:
    times = f" x{one.times}" if one.times > 1 else ""
    return f"{one.host} {endpoint(one.address, one.port)}{times}"


def _steps(changes: Sequence[Change]) -> Iterator[str]:
    if not changes:
        yield "nothing to change"
        return
    yield f"{len(changes)} steps"
    for change in changes:
        sign = _SIGNS.get(change.action.partition("-")[0], "~")
        why = f" ({change.why})" if change.why and change.why != "new" else ""
        yield f"  {sign} {change.action.replace('-', ' ')} {change.subject}{why}"
