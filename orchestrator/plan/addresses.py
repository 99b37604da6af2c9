"""Which addresses the interfaces get: given ones, those that run already, and the lowest free ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from orchestrator.errors import PlanError
from orchestrator.model.plan import Interface, LabKey, Plan, PlannedNetwork
from orchestrator.plan.expand import Member

Key = tuple[str, str]  # member, network


class Pool:
    """The addresses of one subnet, as numbers. What is asked for in order comes from the low end."""

    def __init__(self, network: str, subnet: str) -> None:
        self.network = network
        self.subnet = ip_network(subnet)
        self._next = int(self.subnet.network_address) + 1
        self._last = int(self.subnet.broadcast_address) - (1 if self.subnet.version == 4 else 0)
        self._owners: dict[int, str] = {}

    def holds(self, address: str | None) -> bool:
        """Whether the address is one of this subnet's hosts'."""
        if address is None:
            return False
        parsed = ip_address(address)
        return parsed.version == self.subnet.version and self._next <= int(parsed) <= self._last

    def keep(self, address: str, owner: str) -> None:
        """Mark as taken. Raises PlanError where another has it."""
        other = self._owners.setdefault(int(ip_address(address)), owner)
        if other != owner:
            raise PlanError(
                f"{address} on network `{self.network}` is wanted by `{owner}`, but belongs to `{other}`",
                f"give `{owner}` another address, or run `lab down` first",
            )

    def lowest(self, owner: str) -> str:
        """The lowest free address."""
        while self._next in self._owners:
            self._next += 1
        if self._next > self._last:
            raise self._full(owner)
        self._owners[self._next] = owner
        return self._text(self._next)

    def highest(self, owner: str) -> str:
        """The highest free address."""
        at = self._last
        while at in self._owners:
            at -= 1
        if at < self._next:
            raise self._full(owner)
        self._owners[at] = owner
        return self._text(at)

    def _text(self, number: int) -> str:
        return str(IPv4Address(number) if self.subnet.version == 4 else IPv6Address(number))

    def _full(self, owner: str) -> PlanError:
        return PlanError(
            f"network `{self.network}` is full: no address of {self.subnet} is left for {owner}",
            "give it a larger subnet; that of a running network changes only after `lab down`",
        )


class Addresses:
    """All addresses of a lab, chosen on construction. Raises PlanError where they do not suffice."""

    def __init__(
        self,
        members: Sequence[Member],
        subnets: Mapping[str, tuple[str, str | None]],
        running: Plan | None,
        own: Sequence[str],
    ) -> None:
        """`own`: the networks on which the computer itself needs an (IPv4) address."""
        self.gateways: dict[str, str] = {}
        self.four: dict[Key, str] = {}
        self.six: dict[Key, str] = {}
        pools = {name: Pool(name, subnet) for name, (subnet, _) in subnets.items()}
        pools6 = {name: Pool(name, subnet) for name, (_, subnet) in subnets.items() if subnet}
        self._given(members, pools, pools6)
        self._running(members, pools, pools6, running)
        gateways = {one.name: one.gateway for one in running.networks} if running else {}
        given = {(network, address) for (_, network), address in self.four.items()}
        for name in own:
            known = gateways.get(name)
            taken = (name, known) in given
            self.gateways[name] = _gateway(pools[name], None if taken else known)
        for member in members:
            for network in member.on:
                key = (member.name, network)
                if key not in self.four:
                    self.four[key] = pools[network].lowest(f"`{member.name}`")
                if network in pools6 and key not in self.six:
                    self.six[key] = pools6[network].lowest(f"`{member.name}`")

    def _given(
        self, members: Sequence[Member], pools: Mapping[str, Pool], pools6: Mapping[str, Pool]
    ) -> None:
        for member in members:
            for one in member.attachments:
                if one.address:
                    self._keep(self.four, pools, member.name, one.network, one.address)
                if one.address6:
                    self._keep(self.six, pools6, member.name, one.network, one.address6)

    def _running(
        self,
        members: Sequence[Member],
        pools: Mapping[str, Pool],
        pools6: Mapping[str, Pool],
        running: Plan | None,
    ) -> None:
        """What runs is never renumbered, unless the file itself now gives it another address."""
        hosts = {host.name: host for host in running.hosts} if running else {}
        for member in members:
            host = hosts.get(member.name)
            for interface in host.interfaces if host else ():
                if interface.network not in member.on:
                    continue
                key = (member.name, interface.network)
                for found, of, address in (
                    (self.four, pools, interface.address),
                    (self.six, pools6, interface.address6),
                ):
                    pool = of.get(interface.network)
                    if address and pool and key not in found and pool.holds(address):
                        self._keep(found, of, member.name, interface.network, address)

    @staticmethod
    def _keep(
        found: dict[Key, str], pools: Mapping[str, Pool], member: str, network: str, address: str
    ) -> None:
        pools[network].keep(address, member)
        found[(member, network)] = address


def _gateway(pool: Pool, known: str | None) -> str:
    """The computer's own address: as it runs, else the highest free one, out of the way of the hosts'."""
    if known and pool.holds(known):
        pool.keep(known, "the computer")
        return known
    return pool.highest("the computer")


def mac(key: LabKey, member: str, network: str, taken: set[str]) -> str:
    """A locally administered address that is the same on every `up`; `taken` are the others of the lab."""
    for number in range(1 << 16):
        text = f"{key.owner}/{key.name}/{member}/{network}/{number}"
        digest = hashlib.blake2b(text.encode(), digest_size=5).hexdigest()
        found = "02:" + ":".join(digest[at : at + 2] for at in range(0, 10, 2))
        if found not in taken:
            taken.add(found)
            return found
    raise PlanError("no free MAC address is left")


def interfaces(
    key: LabKey,
    member: Member,
    addresses: Addresses,
    networks: Mapping[str, PlannedNetwork],
    macs: set[str],
) -> tuple[Interface, ...]:
    """eth0, eth1 … in file order."""
    return tuple(
        Interface(
            device=f"eth{number}",
            network=name,
            mac=mac(key, member.name, name, macs),
            address=addresses.four.get((member.name, name)),
            address6=addresses.six.get((member.name, name)),
            prefix=_prefix(networks[name].subnet, 24),
            prefix6=_prefix(networks[name].subnet6, 64),
        )
        for number, name in enumerate(member.on)
    )


def _prefix(subnet: str | None, usual: int) -> int:
    return int(subnet.rpartition("/")[2]) if subnet else usual
