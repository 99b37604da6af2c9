"""The hosts of a lab as impairments see them: who is beside whom, by what ways packets go between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator import errors
from orchestrator.daemon import flows
from orchestrator.daemon.cut_rules import Flow, Which
from orchestrator.daemon.hosts import Host
from orchestrator.daemon.in_force import InForce
from orchestrator.daemon.probes import Way
from orchestrator.daemon.wanted import Cut, Place


class Rooms(dict[str, InForce]):
    """By name. What is asked of hosts that are not there is nothing. `strangers`: the plans of hosts on other
    machines, as far as an impairment is about them: what is stopped or held is so where it comes in."""

    def __init__(self, strangers: Mapping[str, Mapping[str, Any]] = {}) -> None:
        super().__init__()
        self.strangers = dict(strangers)

    def spec(self, name: str) -> Mapping[str, Any] | None:
        """How a host is planned, here or elsewhere."""
        return self[name].host.spec if name in self else self.strangers.get(name)

    def _interfaces(self, name: str) -> Sequence[Mapping[str, Any]]:
        spec = self.spec(name)
        return spec["interfaces"] if spec is not None else ()

    def addresses(self, name: str) -> list[str]:
        """All of a host."""
        interfaces = self._interfaces(name)
        return [i[key] for i in interfaces for key in ("address", "address6") if i.get(key)]

    def mac(self, name: str, network: str) -> str:
        """Of its interface on a network."""
        found = (i["mac"] for i in self._interfaces(name) if i["network"] == network)
        return str(next(found, "00:00:00:00:00:00"))

    def on(self, network: str) -> list[str]:
        """Who of this machine is on a network."""
        return [
            name
            for name, room in self.items()
            if any(i["network"] == network for i in room.host.spec["interfaces"])
        ]

    def routers(self) -> list[str]:
        """Who forwards."""
        here = [name for name, room in self.items() if room.host.spec.get("kind") == "router"]
        return here + [name for name, spec in self.strangers.items() if spec.get("kind") == "router"]

    def shared(self, one: str, other: str) -> str | None:
        """A network that both are on."""
        networks = {i["network"] for i in self._interfaces(one)}
        found = (i["network"] for i in self._interfaces(other) if i["network"] in networks)
        return next(found, None)

    def where(self, sender: str, receiver: str, which: Which) -> list[str]:
        """Where packets of this way are stopped: the receiver, and the routers, behind which addresses may be
        translated. Where packets are counted, there is one place only."""
        if self.spec(sender) is None or self.spec(receiver) is None:
            return []
        if self.shared(sender, receiver):
            return [receiver]
        if not which.packets:
            return [receiver, *(name for name in self.routers() if name not in (sender, receiver))]
        for end, other in ((sender, receiver), (receiver, sender)):
            first = self._first_hop(end)
            if first and first != other:
                return [first]
        return [receiver]

    def flows(self, ways: Sequence[tuple[str, str]]) -> dict[tuple[str, str], list[Flow]]:
        """The connections that there are between these, each way. Blocks; raises EngineError."""
        found: dict[tuple[str, str], list[Flow]] = {}
        for sender, receiver in ways:
            if sender in self or receiver in self:
                ends = (sender, receiver), (receiver, sender)
                try:
                    own, others = (
                        list(flows.of(self[a].host, self.addresses(b))) if a in self else [] for a, b in ends
                    )
                except OSError as error:
                    raise errors.EngineError(
                        f"the connections of {sender} cannot be seen: {error}"
                    ) from error
                found[sender, receiver] = list(dict.fromkeys([*own, *map(flows.back, others)]))
        return found

    def _first_hop(self, name: str) -> str | None:
        """The router that a host sends to."""
        spec = self.spec(name)
        vias = {route["via"] for route in spec["routes"]} if spec is not None else set()
        return next(
            (router for router in (*self, *self.strangers) if vias & set(self.addresses(router))), None
        )

    def ways(self, pairs: Sequence[tuple[str, str]]) -> list[Way]:
        """Between these, by each family that both have."""
        return [way for sender, receiver in pairs for way in self.way(sender, receiver)]

    def way(self, sender: str, receiver: str, network: str | None = None) -> Iterator[Way]:
        """Between two hosts, over a network that both are on where there is one."""
        if sender not in self or receiver not in self:
            return
        network = network or self.shared(sender, receiver)
        doors = () if network else tuple(self._doors(sender))
        for key in ("address", "address6"):
            source, target = (_address(self[name].host, key, network) for name in (sender, receiver))
            if source and target:
                yield Way(self[sender], self[receiver], source, target, doors)

    def _doors(self, sender: str) -> Iterator[tuple[str, bytes]]:
        """The routers beside a host: by which device, and their MAC address. Blocks."""
        self[sender].open()
        for interface in self[sender].host.spec["interfaces"]:
            for router in self.routers():
                if router != sender and router in self.on(interface["network"]):
                    mac = self.mac(router, interface["network"])
                    device = self[sender].devices.get(interface["mac"])
                    if device:
                        yield device, bytes.fromhex(mac.replace(":", ""))

    def ways_of(self, cut: Cut) -> list[Way]:
        """All that a cut is to stop."""
        pulled = [
            way
            for host, network in cut.links
            for name in self.on(network)
            if name != host
            for pair in ((host, name), (name, host))
            for way in self.way(*pair, network)
        ]
        return [*self.ways(cut.ways), *pulled]

    def ways_into(self, name: str, links: Mapping[Place, object]) -> Iterator[tuple[Place, list[Place]]]:
        """The ways into a host that are impaired, each with the lines on it: the sender's link, the network's
        own."""
        for interface in self[name].host.spec["interfaces"]:
            network = interface["network"]
            whole: list[Place] = [("", network)] if ("", network) in links else []
            for place in links:
                if place[1] == network and place[0] != name and self.spec(place[0]) is not None:
                    yield place, [place, *whole]
            if whole:
                yield ("", network), whole


def _address(host: Host, key: str, network: str | None) -> str | None:
    """Its address on a network, or its first."""
    interfaces = [i for i in host.spec["interfaces"] if network is None or i["network"] == network]
    return next((i[key] for i in interfaces if i.get(key)), None)
