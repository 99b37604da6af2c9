"""What is deployed: every name expanded, every address, route and port chosen.

A Plan is a value: equal plans mean equal labs. It is stored beside what runs (in the daemon, in Docker's
labels) so that a running lab can be compared with a file. Each struct goes to the daemon as the JSON that
`msgspec.to_builtins` makes of it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from orchestrator.model.impairments import Impaired
from orchestrator.model.topology import Resources, Role


class LabKey(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A lab is known by its owner (the user's name) and its own name."""

    owner: str
    name: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"


class PlannedNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """One segment with its subnets. Networks of one `domain` reach each other by routers; subnets may
    repeat in different domains only."""

    name: str
    subnet: str | None = None  # "10.20.1.0/24"; None: IPv6 only
    subnet6: str | None = None  # "fd20:2::/64"
    internet: bool = False
    domain: int = 0
    gateway: str | None = None  # the computer's own address on it (docker wants one, `internet` needs one)


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


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A whole lab as deployed. `names` is what /etc/hosts of every host says: (name, addresses)."""

    key: LabKey
    engine: str
    networks: tuple[PlannedNetwork, ...] = ()
    hosts: tuple[PlannedHost, ...] = ()  # routers first, then hosts in file order
    names: tuple[tuple[str, tuple[str, ...]], ...] = ()
    impaired: Impaired = Impaired()
    path: str = ""  # the lab.yaml that it came from, for `lab status`

    def host(self, name: str) -> PlannedHost | None:
        """The host or router of that name."""
        return next((h for h in self.hosts if h.name == name), None)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One step from what runs to what is wanted, in the order in which it is done.

    make and remove concern existence; `configure` what can be altered in a running host (names, routes);
    `files`, `listen`, `run`, `connect` what its agent does. `why` is what `--dry-run` prints.
    """

    action: Literal[
        "remove-host",
        "remove-network",
        "make-network",
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
