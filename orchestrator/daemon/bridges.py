"""A lab's networks in the namespaces engine: bridges in the daemon's network namespace, without addresses.

A bridge takes 1,024 ports (BR_MAX_PORTS); a larger network is several, each joined to the first by a veth
pair.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from orchestrator.daemon import netlink
from orchestrator.daemon.process import set_sysctl

PORTS = 1000  # of a bridge, leaving some for the other bridges of its network


@dataclass
class _Bridge:
    index: int
    ports: int = 0


@dataclass
class _Network:
    bridges: list[_Bridge] = field(default_factory=list)


class Bridges:
    """All networks of one lab."""

    def __init__(self, route: netlink.Netlink) -> None:
        self._route = route
        self._networks: dict[str, _Network] = {}
        self._made = 0  # names are never used again: what is removed may linger for a moment

    def make(self, name: str) -> None:
        """Make a network, unless it is there."""
        if name not in self._networks:
            self._networks[name] = _Network([self._bridge()])

    def port(self, name: str) -> int:
        """Take a port of a network: the index of the bridge that it is on."""
        network = self._networks[name]
        bridge = next((b for b in network.bridges if b.ports < PORTS), None) or self._another(network)
        bridge.ports += 1
        return bridge.index

    def release(self, name: str, index: int) -> None:
        """Give a port back."""
        for bridge in self._networks[name].bridges if name in self._networks else ():
            if bridge.index == index:
                bridge.ports -= 1

    def unplug(self, port: str) -> None:
        """Delete a host's link now: the kernel ends a namespace only later, and until then it answers."""
        with contextlib.suppress(OSError):  # it is gone already
            self._route.do([netlink.delete(netlink.number(port))], missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a network, if it is there."""
        network = self._networks.pop(name, None)
        if network is not None:
            self._route.do((netlink.delete(b.index) for b in reversed(network.bridges)), missing_ok=True)

    def name(self) -> str:
        """A name that no link of this lab has had."""
        self._made += 1
        return f"p{self._made}"

    def _bridge(self) -> _Bridge:
        name = self.name()
        self._route.do([netlink.bridge(name)])
        return _Bridge(netlink.index(name))

    def _another(self, network: _Network) -> _Bridge:
        bridge = self._bridge()
        first = network.bridges[0].index
        here, there = self.name(), self.name()
        self._route.do([netlink.veth(here, there, master=first)])
        self._route.do([netlink.join(netlink.index(there), bridge.index)])
        network.bridges.append(bridge)
        return bridge


def set_up() -> netlink.Netlink:
    """Ready the daemon's network namespace, in which bridges are and nothing has an address."""
    set_sysctl("net/ipv6/conf/default/disable_ipv6", "1")
    for name in ("iptables", "ip6tables", "arptables"):
        set_sysctl(f"net/bridge/bridge-nf-call-{name}", "0", missing_ok=True)
    route = netlink.Netlink()
    route.do([netlink.up(1)])
    return route
