"""What a user wrote: lab.yaml after reading, before anything is chosen or expanded.

Addresses are text, checked by `read`. Everything is frozen and can be encoded as JSON by msgspec.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from orchestrator.model.impairments import Impaired
from orchestrator.model.machines import Fabric, Machine, Placing
from orchestrator.model.steps import Scenario

Role = Literal["client", "server"]
EngineChoice = Literal["auto", "namespaces", "docker", "fake"]


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """One layer-2 segment. A subnet of None is chosen by the plan (IPv6 only if asked: "auto")."""

    name: str
    subnet: str | None = None  # "10.20.1.0/24"; None: choose a free one
    subnet6: str | None = None  # "fd20:2::/64", "auto", or None: no IPv6
    internet: bool = False
    fabric: Fabric | None = None  # what joins it across machines; None: the lab's


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """A host's or router's interface on a network; addresses of None are chosen."""

    network: str
    address: str | None = None  # "10.20.2.80"
    address6: str | None = None  # "fd20:2::80"


class Router(msgspec.Struct, frozen=True, kw_only=True):
    """A host that forwards. What leaves through network `nat` is masqueraded."""

    name: str
    attachments: tuple[Attachment, ...]
    nat: str | None = None


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    """The agent listens here from `up` on and accepts. address None: every address of the host."""

    port: int
    address: str | None = None


class ConnectTo(msgspec.Struct, frozen=True, kw_only=True):
    """The agent connects there at `up`, `times` times, and holds the connections."""

    host: str
    port: int
    times: int = 1


class FileCopy(msgspec.Struct, frozen=True, kw_only=True):
    """`source` (absolute, links resolved, checked to lie below the file's folder) is copied to `target`."""

    source: str
    target: str


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one host; None: the engine's default."""

    memory: int | None = None  # bytes
    cpus: float | None = None
    pids: int | None = None


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """A host as written; `count` > 1 becomes NAME-1 … NAME-n in the plan."""

    name: str
    role: Role
    attachments: tuple[Attachment, ...]
    count: int = 1
    listen: tuple[Listen, ...] = ()
    connect: tuple[ConnectTo, ...] = ()
    run: tuple[str, ...] = ()  # argv; split as a shell splits words, but no shell runs it
    image: str | None = None
    files: tuple[FileCopy, ...] = ()
    env: dict[str, str] = {}
    sysctls: dict[str, str] = {}  # {"net.ipv4.tcp_syncookies": "2"}
    logs: tuple[str, ...] = ()
    dns: dict[str, tuple[str, ...]] | None = None  # {"shop.lab": ("web", "10.0.0.9")}; None: no DNS server
    resolver: tuple[str, ...] = ()  # hosts or addresses that it asks for names
    resources: Resources = Resources()


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of one lab.yaml. `path` and `folder` are absolute."""

    name: str
    engine: EngineChoice = "auto"
    networks: tuple[Network, ...] = ()
    routers: tuple[Router, ...] = ()
    hosts: tuple[Host, ...] = ()
    scenarios: tuple[Scenario, ...] = ()
    impaired: Impaired = Impaired()
    machines: tuple[Machine, ...] = ()  # none: this computer
    placing: Placing = Placing()
    fabric: Fabric | None = None  # None: a swarm where the machines are one, else vxlan
    path: str = ""
    folder: str = ""
    digest: str = ""  # sha256 of the file's bytes, and of what it includes: what a confirmation is bound to
    included: tuple[str, ...] = ()  # files whose scenarios are its own, below `folder`
