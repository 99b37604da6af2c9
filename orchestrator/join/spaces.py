"""Where an address means one host only: a routed domain of the plan, or the inside of a single host."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.join.snapshot import normal_address
from orchestrator.model.plan import Interface, Plan, PlannedHost

Space = (
    int | str
)  # a domain's number, or the name of the host whose own it is (loopback, unplanned addresses)


def is_loopback(address: str) -> bool:
    """127.0.0.0/8 or ::1: never leaves its host."""
    return address.startswith("127.") or address == "::1"


def link_local(mac: str) -> str:
    """The fe80:: address that the kernel gives an interface by itself (RFC 4291, appendix A)."""
    raw = bytearray.fromhex(mac.replace(":", ""))
    raw[0] ^= 2
    return normal_address("fe80::" + (raw[:3] + b"\xff\xfe" + raw[3:]).hex(":", 2))


class Spaces:
    """Looks addresses up in a plan. A host's networks are all of one domain (see model/reach.py)."""

    def __init__(self, plan: Plan) -> None:
        domains = {network.name: network.domain for network in plan.networks}
        self._domain: dict[str, int] = {}
        self._owner: dict[tuple[int, str], str] = {}
        self._seen: dict[tuple[str, str], Space] = {}
        for host in plan.hosts:
            for interface in host.interfaces:
                domain = domains.get(interface.network)
                if domain is not None:
                    self._add(host, interface, domain)

    def _add(self, host: PlannedHost, interface: Interface, domain: int) -> None:
        self._domain[host.name] = domain
        for address in _addresses(interface):
            self._owner.setdefault((domain, address), host.name)

    def domain(self, host: str) -> Space:
        """The domain that the host's networks are of; a host without networks is its own."""
        return self._domain.get(host, host)

    def space(self, host: str, address: str) -> Space:
        """Where a socket of that host with this local address is to be joined."""
        key = (host, address)
        found = self._seen.get(key)
        if found is None:
            found = self._seen[key] = self._find(host, address)
        return found

    def _find(self, host: str, address: str) -> Space:
        domain = self._domain.get(host)
        if domain is None or is_loopback(address) or self._owner.get((domain, address)) != host:
            return host
        return domain

    def owner(self, host: str, address: str) -> str | None:
        """The host that has this address, as seen from `host`; None: it is no host of this lab."""
        if is_loopback(address):
            return host
        domain = self._domain.get(host)
        return None if domain is None else self._owner.get((domain, address))


def _addresses(interface: Interface) -> Iterator[str]:
    for address in (interface.address, interface.address6):
        if address is not None:
            yield normal_address(address)
    try:
        yield link_local(interface.mac)
    except ValueError:  # an engine that gives no MAC
        return
