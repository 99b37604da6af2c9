"""What is deployed: every name expanded, every address, route and port chosen.

A Plan is a value: equal plans mean equal labs. It is stored beside what runs (in the daemon, in Docker's
labels) so that a running lab can be compared with a file. Each struct goes to the daemon as the JSON that
`msgspec.to_builtins` makes of it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Literal

import msgspec

from orchestrator.model.impairments import Impaired
from orchestrator.model.machines import Fabric
from orchestrator.model.topology import Resources, Role


class LabKey(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A lab is known by its owner (the user's name) and its own name."""

    owner: str
    name: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"


class PlannedMachine(msgspec.Struct, frozen=True, kw_only=True):
    """A computer of a lab on several. `address`: where the other machines reach it; None: not known yet."""

    name: str
    url: str  # "ssh://student@10.0.0.11", or "local"
    address: str | None = None


class PlannedNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """One segment with its subnets. Networks of one `domain` reach each other by routers; subnets may
    repeat in different domains only.

    What stands last is of a lab with machines only. A network on two and more of them spans, and its fabric
    joins what each has of it.
    """

    name: str
    subnet: str | None = None  # "10.20.1.0/24"; None: IPv6 only
    subnet6: str | None = None  # "fd20:2::/64"
    internet: bool = False
    domain: int = 0
    gateway: str | None = None  # the computer's own address on it (docker wants one, `internet` needs one)
    machines: tuple[str, ...] = ()  # on which it has hosts, in the order of the plan
    fabric: Fabric | None = None
    vni: int | None = None  # VXLAN network identifier, RFC 7348: 1 … 2^24 - 1
    mtu: int | None = None  # of its interfaces; None: the engine's usual

    @property
    def spans(self) -> bool:
        """Whether it is on more than one machine."""
        return len(self.machines) > 1


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """`device` is eth0, eth1 … in file order where the engine can choose it; addresses have no prefix."""

    device: str
    network: str
    mac: str  # deterministic: 02:…; permanent neighbour entries rely on it
    address: str | None = None
    address6: str | None = None
    prefix: int = 24
    prefix6: int = 64


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A static route. `destination` is a subnet, or "default"."""

    destination: str
    via: str


class PlannedListen(msgspec.Struct, frozen=True, kw_only=True):
    """One listening socket of the agent. `address` "0.0.0.0", "::" or one of the host's;
    `dual` true: an IPv6 socket that takes IPv4 too (v4-mapped)."""

    address: str
    port: int
    dual: bool = False


class PlannedConnect(msgspec.Struct, frozen=True, kw_only=True):
    """`times` connections of the agent to an address of another host (or of its own)."""

    host: str
    address: str
    port: int
    times: int = 1


class PlannedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A copied file; sha256 makes a changed source a changed plan. `source` never leaves the client."""

    source: str
    target: str
    sha256: str
    mode: int = 0o644


class PlannedDns(msgspec.Struct, frozen=True, kw_only=True):
    """A DNS server of the agent: where it is asked, and the addresses of each name, in small letters."""

    addresses: tuple[str, ...]
    records: dict[str, tuple[str, ...]]


class PlannedHost(msgspec.Struct, frozen=True, kw_only=True):
    """A host or a router, as deployed."""

    name: str
    kind: Literal["host", "router"] = "host"
    role: Role | None = None
    interfaces: tuple[Interface, ...] = ()
    routes: tuple[Route, ...] = ()
    nat: str | None = None  # the network whose interface masquerades
    image: str | None = None  # None: the engine's own (docker: lab/host); namespaces ignore it
    listen: tuple[PlannedListen, ...] = ()
    connect: tuple[PlannedConnect, ...] = ()
    run: tuple[str, ...] = ()
    files: tuple[PlannedFile, ...] = ()
    env: dict[str, str] = {}
    sysctls: dict[str, str] = {}  # {"net.ipv4.tcp_syncookies": "2"}
    logs: tuple[str, ...] = ()
    dns: PlannedDns | None = None
    resolver: tuple[str, ...] = ()  # addresses for its /etc/resolv.conf; none: as the engine makes it
    resources: Resources = Resources()
    machine: str | None = None  # None: this computer, of a lab without machines


class Plan(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A whole lab as deployed. `names` is what /etc/hosts of every host says: (name, addresses)."""

    key: LabKey
    engine: str
    networks: tuple[PlannedNetwork, ...] = ()
    hosts: tuple[PlannedHost, ...] = ()  # routers first, then hosts in file order
    names: tuple[tuple[str, tuple[str, ...]], ...] = ()
    impaired: Impaired = Impaired()
    path: str = ""  # the lab.yaml that it came from, for `lab status`
    machines: tuple[PlannedMachine, ...] = ()  # in file order; none: this computer

    def host(self, name: str) -> PlannedHost | None:
        """The host or router of that name."""
        return self._by_name.get(name)

    @functools.cached_property
    def _by_name(self) -> Mapping[str, PlannedHost]:
        """Asked for each of 10,000 hosts, a look through all of them would take seconds."""
        return {host.name: host for host in self.hosts}

    @functools.cached_property
    def _by_machine(self) -> Mapping[str | None, tuple[PlannedHost, ...]]:
        found: dict[str | None, list[PlannedHost]] = {}
        for host in self.hosts:
            found.setdefault(host.machine, []).append(host)
        return {machine: tuple(hosts) for machine, hosts in found.items()}

    def on(self, machine: str) -> tuple[PlannedHost, ...]:
        """The hosts and routers of one machine, in the order of the plan."""
        return self._by_machine.get(machine, ())

    def part(self, machine: str) -> Plan:
        """What one machine has to make: its hosts, with all their routes, and the networks that they are on.

        The names stay complete, for /etc/hosts of every host names all, and so do the machines, which are
        the peers of a network that spans; and what is declared of links and cuts.
        """
        return msgspec.structs.replace(
            self,
            hosts=self.on(machine),
            networks=tuple(network for network in self.networks if machine in network.machines),
        )


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One step from what runs to what is wanted, in the order in which it is done.

    make and remove concern existence; `configure` what can be altered in a running host (names, routes);
    `files`, `listen`, `run`, `connect` what its agent does. `span-network`: a network that stays is from now
    on on other machines than before. `why` is what `--dry-run` prints.
    """

    action: Literal[
        "remove-host",
        "remove-network",
        "make-network",
        "span-network",
        "make-host",
        "configure",
        "files",
        "listen",
        "dns",
        "run",
        "connect",
        "impair",
    ]
    subject: str  # the host's or network's name
    why: str = ""
