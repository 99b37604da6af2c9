"""What a lab on machines has beyond one on this computer: which networks span, what joins them, and how large
their packets are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address

import msgspec

from orchestrator.errors import PlanError
from orchestrator.model.machines import Fabric, Fleet, Machine, ssh_url
from orchestrator.model.plan import LabKey, Plan, PlannedMachine, PlannedNetwork
from orchestrator.model.topology import Topology
from orchestrator.plan.expand import Member

ENGINES = ("docker", "fake")  # that make hosts on machines
LEAST_MTU = 1280  # of a lab's network: IPv6 needs it (RFC 8200, 5)
MOST_VNI = (1 << 24) - 1  # RFC 7348, 5
# By what a packet of a lab's network is longer between machines: IPv4 or IPv6 (20, 40), UDP (8), VXLAN (8),
# its own Ethernet header (14): RFC 7348, 5. WireGuard: IP again, UDP (8), its header (16) and tag (16).
_VXLAN, _VXLAN6 = 50, 70
_WIREGUARD, _WIREGUARD6 = 60, 80
USUAL_MTU = 1500


def check_running(topology: Topology, engine: str, running: Plan | None) -> None:
    """Raise PlanError for what a running lab cannot become: its hosts stay where they are."""
    if topology.machines and engine not in ENGINES:
        raise PlanError(
            f"the engine {engine} makes hosts on this computer only", "leave out `machines`, or use docker"
        )
    if running is None or not (running.machines or topology.machines):
        return
    down = f"`lab down {running.key.name}` removes it first"
    if not running.machines:
        raise PlanError(
            f"{topology.machines[0].at}: lab {running.key.name} runs on this computer, not on machines", down
        )
    if not topology.machines:
        on = ", ".join(machine.name for machine in running.machines)
        raise PlanError(f"lab {running.key.name} runs on machines ({on}), not on this computer", down)
    _check_machines(topology, running)


def _check_machines(topology: Topology, running: Plan) -> None:
    """A machine on which a host of the file runs must still be there, and be the same."""
    wanted = {one.name for one in topology.routers}
    wanted |= {name for one in topology.hosts for name in _names(one.name, one.count)}
    new = {machine.name: machine for machine in topology.machines}
    for old in running.machines:
        hosts = [host.name for host in running.on(old.name) if host.name in wanted]
        machine = new.get(old.name)
        if not hosts or (machine is not None and machine.url == old.url):
            continue
        who = ", ".join(hosts[:5]) + (f" and {len(hosts) - 5} more" if len(hosts) > 5 else "")
        hint = f"keep it, take its hosts out of the file, or `lab down {running.key.name}` first"
        if machine is None:
            raise PlanError(f"machine {old.name} is no longer in the file, and there run {who}", hint)
        raise PlanError(f"{machine.at}: machine {old.name} was {old.url}, and there run {who}", hint)


def _names(name: str, count: int) -> Iterator[str]:
    if count == 1:
        yield name
    else:
        yield from (f"{name}-{number}" for number in range(1, count + 1))


def machines(topology: Topology, fleet: Fleet) -> tuple[PlannedMachine, ...]:
    """In file order. The address of a machine: the file's, else what was seen, else its url's."""
    return tuple(
        PlannedMachine(name=one.name, url=one.url, address=_address(one, fleet)) for one in topology.machines
    )


def _address(machine: Machine, fleet: Fleet) -> str | None:
    seen = fleet.capacities.get(machine.name)
    ssh = ssh_url(machine.url)
    return machine.address or (seen.address if seen else None) or (ssh.host if ssh else None)


def spanning(
    topology: Topology,
    key: LabKey,
    networks: Sequence[PlannedNetwork],
    members: Sequence[Member],
    *,
    where: Mapping[str, str],
    fleet: Fleet,
    running: Plan | None,
) -> tuple[PlannedNetwork, ...]:
    """The networks with their machines, fabric, VXLAN identifier and MTU. Raises PlanError.

    All but the machines is chosen whether a network spans already or not: so it can begin to while it runs.
    """
    order = {machine.name: number for number, machine in enumerate(topology.machines)}
    on: dict[str, set[str]] = {network.name: set() for network in networks}
    for member in members:
        for name in member.on:
            on[name].add(where[member.name])
    before = {network.name: network for network in running.networks} if running else {}
    asked = {network.name: network.fabric or topology.fabric for network in topology.networks}
    vnis, underlay = _Vnis(key, fleet, before), _Underlay(topology, fleet)
    found = []
    for network in networks:
        here = tuple(sorted(on[network.name], key=order.__getitem__))
        old = before.get(network.name)
        fabric = _fabric(network, here, asked[network.name] or (old.fabric if old else None), fleet)
        if fabric is not None:
            vni = vnis.of(network.name) if fabric != "swarm" else None
            mtu = underlay.mtu(fabric, old)
            found.append(msgspec.structs.replace(network, machines=here, fabric=fabric, vni=vni, mtu=mtu))
        else:
            found.append(msgspec.structs.replace(network, machines=here))
    return tuple(found)


def _fabric(
    network: PlannedNetwork, here: Sequence[str], asked: Fabric | None, fleet: Fleet
) -> Fabric | None:
    """What joins it, or would; None where it stays on one machine for good."""
    fabric = asked or ("swarm" if fleet.swarm else "vxlan")
    if network.internet:
        return None
    if fabric == "swarm" and network.subnet6:
        if len(here) > 1:
            raise PlanError(
                f"network `{network.name}` has IPv6 and is on {', '.join(here)}: an overlay of a swarm "
                "carries IPv4 only",
                "give it `fabric: vxlan`, leave out its `subnet6`, or keep its hosts together",
            )
        return None
    return fabric


class _Underlay:
    """What is between the machines."""

    def __init__(self, topology: Topology, fleet: Fleet) -> None:
        self._least = min((one.mtu for one in fleet.capacities.values()), default=USUAL_MTU)
        self._six = any(_is6(machine.address) for machine in machines(topology, fleet))

    def mtu(self, fabric: Fabric, old: PlannedNetwork | None) -> int:
        """What passes between any two machines. A running network keeps its own where that still passes."""
        longer = _VXLAN6 if self._six else _VXLAN
        if fabric == "wireguard":
            longer += _WIREGUARD6 if self._six else _WIREGUARD
        mtu = self._least - longer
        if mtu < LEAST_MTU:
            raise PlanError(
                f"packets of {self._least} bytes pass between the machines: {mtu} are left on a network of "
                f"the lab, which needs {LEAST_MTU}",
                "raise the MTU between them" + ("" if fabric != "wireguard" else ", or use `fabric: vxlan`"),
            )
        return old.mtu if old and old.mtu and old.mtu <= mtu else mtu


def _is6(address: str | None) -> bool:
    try:
        return address is not None and ip_address(address).version == 6
    except ValueError:  # a name
        return False


class _Vnis:
    """VXLAN identifiers: the same on every `up`, one for each network, none that another lab has there."""

    def __init__(self, key: LabKey, fleet: Fleet, before: Mapping[str, PlannedNetwork]) -> None:
        self._key = key
        self._before = {name: one.vni for name, one in before.items() if one.vni is not None}
        others = {vni for one in fleet.capacities.values() for vni in one.vnis}
        self._taken = others | set(self._before.values())

    def of(self, network: str) -> int:
        """The one that it has, or else a free one."""
        if network in self._before:
            return self._before[network]
        for number in range(1 << 16):
            text = f"{self._key.owner}/{self._key.name}/{network}/{number}"
            digest = hashlib.blake2b(text.encode(), digest_size=3).digest()
            vni = int.from_bytes(digest, "big")
            if 0 < vni <= MOST_VNI and vni not in self._taken:
                self._taken.add(vni)
                return vni
        raise PlanError("no VXLAN identifier is left on the machines")
