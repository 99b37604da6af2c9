"""The well-formed part of a lab file → Topology, and what is wrong with it as a whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from orchestrator.model.machines import FABRICS, Fabric
from orchestrator.model.reach import Door, Reach, domains
from orchestrator.model.topology import Attachment, Network, Router
from orchestrator.read.findings import Findings, shown
from orchestrator.read.nodes import Mapping, Node, Scalar, Sequence
from orchestrator.read.schema import MOST_HOSTS
from orchestrator.read.subnets import Address, Net, read_address, read_subnet, room

_LIKE_ADDRESS = re.compile("[0-9]+|0[xX][0-9A-Fa-f]*")  # inet_aton(3) takes them
_RESERVED = ("localhost", "ip6-localhost", "ip6-loopback")  # /etc/hosts of every host has them


@dataclass
class Joined:
    """A host or a router while it is read. `at`: its name in the file; `times`: its count."""

    at: Scalar
    node: Mapping
    router: bool
    times: int = 1
    attachments: list[Attachment] = field(default_factory=list)
    joined: set[str] = field(default_factory=set)  # the networks of these
    nat: str | None = None

    @property
    def name(self) -> str:
        """As written."""
        return self.at.text

    def names(self) -> Iterator[str]:
        """As in the running lab."""
        if self.times == 1:
            yield self.name
        else:
            yield from (f"{self.name}-{number}" for number in range(1, self.times + 1))

    def on(self) -> tuple[str, ...]:
        """The names of its networks."""
        return tuple(one.network for one in self.attachments)


class Draft:
    """What is known of a file while it is read; each step adds to it and to the findings."""

    def __init__(self, written: Mapping, kept: Mapping, findings: Findings) -> None:
        self.findings = findings
        self.kept = kept
        parts = ("routers", "hosts")
        self.written_networks = {key.text: None for key, _ in _entries(written, "networks")}
        self.written_names = {key.text: None for part in parts for key, _ in _entries(written, part)}
        self.nets: dict[str, Net] = {}
        self.members: dict[str, Joined] = {}
        self.names: dict[str, Joined] = {}  # every name of the running lab, in small letters
        self._given: dict[tuple[str, Address], Joined] = {}
        for key, value in _entries(kept, "networks"):
            self.nets[key.text] = self._network(key, value)
        for part in parts:
            for key, value in _entries(kept, part):
                if isinstance(value, Mapping):
                    self._member(Joined(key, value, part == "routers"))
        self._case_of_networks()
        self._overlaps()
        self._capacity()
        self.reach = Reach(Door(one.name, one.on(), one.nat) for one in self.members.values() if one.router)

    def _network(self, key: Scalar, node: Node) -> Net:
        """A network; what is wrong with its subnets is said here."""
        record = node if isinstance(node, Mapping) else Mapping(key.line, key.column, ())
        found: dict[str, object] = {}
        broken = False
        for name, version in (("subnet", 4), ("subnet6", 6)):
            scalar = text_of(record, name)
            if scalar is not None and scalar.text != "auto":
                found[name] = read_subnet(scalar, version, self.findings)
                broken = broken or found[name] is None
        internet = text_of(record, "internet")
        six = text_of(record, "subnet6")
        return Net(
            at=key,
            subnet=found.get("subnet"),  # type: ignore[arg-type]
            subnet6=found.get("subnet6"),  # type: ignore[arg-type]
            auto6=six is not None and six.text == "auto",
            broken=broken,
            internet=internet is not None and internet.text.lower() == "true",
            fabric=fabric_of(record),
        )

    def _member(self, one: Joined) -> None:
        """A host or router: its name, its number and where it is attached."""
        times = text_of(one.node, "count")
        one.times = int(times.text) if times else 1
        self._names(one)
        node = one.node.get("networks")
        for network, addresses in _attached(node) if node else ():
            self._attach(one, network, addresses)
        if one.router:
            self._router(one, node)
        self.members.setdefault(one.name, one)

    def _names(self, one: Joined) -> None:
        """Take its names; of a collision the later one is told."""
        self._one_name(one.at)
        self._count(one)
        for name, other in self._holders(one):
            if other is not one:
                whom = f"{shown(other.name)} in line {other.at.line}"
                self.findings.add(one.at, f"the name {shown(name)} is already that of {whom}")
                break

    def _holders(self, one: Joined) -> Iterator[tuple[str, Joined]]:
        """Who has each of its names: the one as written, and those of the running lab."""
        yield one.name, self.members.get(one.name, one)
        for name in one.names():
            yield name, self.names.setdefault(name.lower(), one)

    def _one_name(self, at: Scalar) -> None:
        """Names that a resolver would not look up."""
        if at.text.lower() in _RESERVED:
            self.findings.add(at, f"the name {shown(at.text)} means the host itself", "choose another")
        elif _LIKE_ADDRESS.fullmatch(at.text):
            self.findings.add(at, f"{shown(at.text)} would be taken for an address", "choose another name")

    def _count(self, one: Joined) -> None:
        """The number of hosts, and whether their names still are labels."""
        if len(self.names) + one.times > MOST_HOSTS:
            text = f"with {shown(one.name)} the lab has more than {MOST_HOSTS} hosts"
            self.findings.add(one.at, text, "lower its `count`")
            one.times = 1
        last = f"{one.name}-{one.times}"
        if one.times > 1 and len(last) > 63:
            self.findings.add(one.at, f"{shown(last)} is longer than 63 letters", "shorten the name")

    def _attach(self, one: Joined, network: Scalar, addresses: tuple[Scalar, ...]) -> None:
        """One attachment, with the addresses given for it."""
        net = self.nets.get(network.text)
        if net is None:
            self._no_network(network)
            return
        if net.name in one.joined:
            self.findings.add(network, f"{shown(one.name)} is on network {shown(net.name)} already")
            return
        given: dict[int, str] = {}
        for scalar in addresses:
            address = None if scalar.text == "auto" else read_address(scalar, net, self.findings)
            if address is None:
                continue
            if address.version in given:
                self.findings.add(
                    scalar, f"a second IPv{address.version} address on one network is not supported"
                )
            elif self._take(one, net, address, scalar):
                given[address.version] = str(address)
        one.joined.add(net.name)
        one.attachments.append(Attachment(network=net.name, address=given.get(4), address6=given.get(6)))

    def _take(self, one: Joined, net: Net, address: Address, at: Scalar) -> bool:
        """Note who has an address; False after a diagnostic."""
        if one.times > 1:
            text = f"{one.times} hosts {shown(one.name)} cannot share {address}"
            self.findings.add(at, text, "leave the address out, or the `count`")
            return False
        other = self._given.setdefault((net.name, address), one)
        if other is not one:
            whom = f"{shown(other.name)} in line {other.at.line}"
            self.findings.add(at, f"{address} is given twice, first to {whom}")
        return other is one

    def _no_network(self, name: Scalar) -> None:
        if name.text not in self.written_networks:
            hint = self.findings.meant(name.text, self.written_networks)
            self.findings.add(name, f"there is no network {shown(name.text)}", hint)

    def _router(self, one: Joined, node: Node | None) -> None:
        """What a router alone can have: several networks and NAT."""
        entries = [] if node is None else list(_attached(node))
        if len(entries) == 1:
            self.findings.add(
                entries[0][0],
                f"router {shown(one.name)} is on one network only",
                "a router joins two or more",
            )
        nat = text_of(one.node, "nat")
        if nat is None:
            return
        if nat.text in one.on():
            one.nat = nat.text
        elif nat.text not in self.written_networks:
            self._no_network(nat)
        elif nat.text not in [name.text for name, _ in entries]:
            hint = self.findings.meant(nat.text, one.on()) or f"it is on {', '.join(map(shown, one.on()))}"
            self.findings.add(nat, f"router {shown(one.name)} is not on network {shown(nat.text)}", hint)

    def _case_of_networks(self) -> None:
        seen: dict[str, Net] = {}
        for net in self.nets.values():
            other = seen.setdefault(net.name.lower(), net)
            if other is not net:
                text = f"the network {shown(net.name)} differs from {shown(other.name)} by case only"
                self.findings.add(net.at, text, "choose another name")

    def _overlaps(self) -> None:
        """Subnets may overlap only where no router and no host is on both sides."""
        groups = domains(self.nets, (one.on() for one in self.members.values()))
        for family in ("subnet", "subnet6"):
            last: dict[int, Net] = {}
            having = [net for net in self.nets.values() if getattr(net, family) is not None]
            for net in sorted(having, key=lambda net: (getattr(net, family), net.at.line)):
                other = last.get(groups[net.name])
                mine = getattr(net, family)
                if other is not None and getattr(other, family).overlaps(mine):
                    self._overlap(net, other, family)
                if other is None or getattr(other, family).broadcast_address < mine.broadcast_address:
                    last[groups[net.name]] = net

    def _overlap(self, net: Net, other: Net, family: str) -> None:
        first, second = sorted((net, other), key=lambda one: (one.at.line, one.at.column))
        text = (
            f"{getattr(second, family)} of network {shown(second.name)} overlaps {getattr(first, family)} of "
            f"{shown(first.name)} in line {first.at.line}, and a router or a host is on both sides"
        )
        self.findings.add(second.at, text, f"give one of them another {family}")

    def _capacity(self) -> None:
        """Every host needs an address in each of its subnets."""
        wanted: dict[str, int] = {}
        for one in self.members.values():
            for network in one.on():
                wanted[network] = wanted.get(network, 0) + one.times
        for net in self.nets.values():
            for subnet in (net.subnet, net.subnet6):
                if subnet is not None and wanted.get(net.name, 0) > room(subnet):
                    text = f"network {shown(net.name)} is full: {subnet} has {room(subnet)} addresses for "
                    self.findings.add(
                        net.at, f"{text}{wanted[net.name]} hosts and routers", "give it a larger subnet"
                    )

    def networks(self) -> tuple[Network, ...]:
        """The networks for the model."""
        return tuple(
            Network(
                name=net.name,
                subnet=str(net.subnet) if net.subnet else None,
                subnet6="auto" if net.auto6 else str(net.subnet6) if net.subnet6 else None,
                internet=net.internet,
                fabric=net.fabric,
            )
            for net in self.nets.values()
        )

    def routers(self) -> tuple[Router, ...]:
        """The routers for the model."""
        return tuple(
            Router(name=one.name, attachments=tuple(one.attachments), nat=one.nat)
            for one in self.members.values()
            if one.router
        )


def _entries(root: Mapping, part: str) -> tuple[tuple[Scalar, Node], ...]:
    node = root.get(part)
    return node.entries if isinstance(node, Mapping) else ()


def text_of(record: Mapping, key: str) -> Scalar | None:
    """The scalar under a key of a record."""
    node = record.get(key)
    return node if isinstance(node, Scalar) else None


def fabric_of(record: Mapping) -> Fabric | None:
    """The `fabric` of a lab or a network."""
    scalar = text_of(record, "fabric")
    return next((one for one in FABRICS if scalar is not None and one == scalar.text), None)


def _attached(node: Node) -> Iterator[tuple[Scalar, tuple[Scalar, ...]]]:
    """Networks and given addresses of `[dc]`, `{dc: 10.20.2.80}` or `{dc: [10.20.2.80, "fd20:2::80"]}`."""
    if isinstance(node, Sequence):
        for item in node.items:
            if isinstance(item, Scalar):
                yield item, ()
    elif isinstance(node, Mapping):
        for key, value in node.entries:
            listed = value.items if isinstance(value, Sequence) else (value,)
            yield key, tuple(one for one in listed if isinstance(one, Scalar) and not one.nothing)
