"""What address a name of the lab has, as seen from one of its hosts. Pure."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from orchestrator.model.plan import Plan, PlannedHost

LOCALHOST = "localhost"


class Resolver:
    """Looks names up in the plan, as the hosts' own /etc/hosts would; IPv4 before IPv6, and of a host with
    several addresses one that is on a network with the asker."""

    def __init__(self, plan: Plan) -> None:
        self._hosts = {host.name.lower(): host for host in plan.hosts}

    def __call__(self, host: str, name: str) -> str:
        """The address of `name` as `host` should use it; the name itself where it is none of the lab."""
        target, asker = self._hosts.get(name.lower()), self._hosts.get(host.lower())
        if name.lower() == LOCALHOST:
            return "127.0.0.1"
        if target is None:
            return name
        found = _addresses(target)
        families = {ip_address(one).version for one in (_addresses(asker) if asker else ())}
        usable = [one for one in found if not families or ip_address(one).version in families] or found
        near = [one for one in usable if asker is not None and _on_a_network_with(asker, one)]
        return (near or usable or [name])[0]


def _addresses(host: PlannedHost) -> list[str]:
    """IPv4 first, then in the order of its interfaces."""
    four = [link.address for link in host.interfaces if link.address]
    return four + [link.address6 for link in host.interfaces if link.address6]


def _on_a_network_with(asker: PlannedHost, address: str) -> bool:
    for link in asker.interfaces:
        for own, prefix in ((link.address, link.prefix), (link.address6, link.prefix6)):
            if own and ip_address(address) in ip_network(f"{own}/{prefix}", strict=False):
                return True
    return False
