"""What is asked of subnets and addresses as written: each is right in itself and in its place."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from orchestrator.model.machines import Fabric
from orchestrator.read.findings import Findings, shown
from orchestrator.read.nodes import Scalar

Subnet = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
# Prefix lengths: shortest, and longest that leaves two addresses beside network and broadcast.
_LENGTHS = {4: (8, 30), 6: (16, 126)}
# Addresses that mean something else to every kernel.
_SPECIAL = (
    (ip_network("0.0.0.0/8"), "means this network"),
    (ip_network("127.0.0.0/8"), "is loopback"),
    (ip_network("224.0.0.0/4"), "is multicast"),
    (ip_network("240.0.0.0/4"), "is reserved"),
    (ip_network("::/127"), "is loopback"),
    (ip_network("::ffff:0:0/96"), "is for IPv4-mapped addresses"),
    (ip_network("fe80::/10"), "is link-local"),
    (ip_network("ff00::/8"), "is multicast"),
)


class Net(NamedTuple):
    """A network as written; `broken` families have been complained of and are not looked at again."""

    at: Scalar  # its name
    subnet: IPv4Network | None = None
    subnet6: IPv6Network | None = None
    auto6: bool = False
    broken: bool = False
    internet: bool = False
    fabric: Fabric | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return self.at.text


def read_subnet(node: Scalar, version: int, findings: Findings) -> Subnet | None:
    """The subnet that a scalar gives, of this family, or None after a diagnostic."""
    text = node.text
    address, _, length = text.partition("/")
    try:
        found = ip_address(address)
    except ValueError:
        findings.add(node, f"{shown(text)} is no subnet", "did you mean `10.20.1.0/24`?")
        return None
    if found.version != version:
        key = "subnet6" if found.version == 6 else "subnet"
        findings.add(node, f"{shown(text)} is IPv{found.version}", f"did you mean `{key}: {text}`?")
        return None
    if not length:
        usual = 24 if version == 4 else 64
        findings.add(
            node, f"{shown(text)} is an address, not a subnet", f"did you mean `{_network(found, usual)}`?"
        )
        return None
    return _sized(node, found, int(length), findings)


def _network(address: Address, length: int) -> Subnet:
    return ip_network(f"{address}/{length}", strict=False)


def _sized(node: Scalar, address: Address, length: int, findings: Findings) -> Subnet | None:
    """A subnet of a sensible size, without host bits, and not one that has another meaning."""
    version = address.version
    shortest, longest = _LENGTHS[version]
    if not shortest <= length <= longest:
        limit = 32 if version == 4 else 128
        what = "is too large" if length < shortest else "is too small" if length <= limit else "is no length"
        where = f"lengths from /{shortest} to /{longest} are possible"
        findings.add(node, f"{shown(node.text)}: /{length} {what}", where)
        return None
    subnet = _network(address, length)
    if subnet.network_address != address:
        findings.add(node, f"{shown(node.text)} has host bits set", f"did you mean `{subnet}`?")
        return None
    for special, why in _SPECIAL:
        if special.version == version and special.overlaps(subnet):
            findings.add(node, f"{shown(node.text)} {why}", "did you mean a private one, `10.20.1.0/24`?")
            return None
    return subnet


def read_address(node: Scalar, net: Net, findings: Findings) -> Address | None:
    """The address that a scalar gives a host on this network, or None after a diagnostic."""
    try:
        address = ip_address(node.text)
    except ValueError:
        findings.add(node, f"{shown(node.text)} is no address", "did you mean one such as `10.20.2.80`?")
        return None
    subnet = net.subnet if address.version == 4 else net.subnet6
    if net.broken:
        return None
    if subnet is None:
        key = "subnet" if address.version == 4 else "subnet6"
        findings.add(
            node,
            f"{address}: network {shown(net.name)} is given no IPv{address.version} subnet",
            f"give it `{key}: {_network(address, 24 if address.version == 4 else 64)}`",
        )
        return None
    problem = outside(address, subnet)
    if problem:
        findings.add(
            node, f"{address} {problem} {subnet} of network {shown(net.name)}", _instead(address, subnet)
        )
        return None
    return address


def outside(address: Address, subnet: Subnet) -> str:
    """Why a host cannot have that address there, or nothing."""
    if address not in subnet:
        return "is outside of"
    if address == subnet.network_address:
        return "is the address of the network itself in"
    if subnet.version == 4 and address == subnet.broadcast_address:
        return "is the broadcast address of"
    return ""


def _instead(address: Address, subnet: Subnet) -> str:
    """The same host part inside the subnet, where that is possible."""
    mask = int(subnet.hostmask)
    inside = type(address)(int(subnet.network_address) | (int(address) & mask))
    if outside(inside, subnet):
        return f"the first one is `{subnet.network_address + 1}`"
    return f"did you mean `{inside}`?" if inside != address else ""


def room(subnet: Subnet) -> int:
    """How many hosts fit: all addresses but the network's, and but broadcast in IPv4."""
    return subnet.num_addresses - (2 if subnet.version == 4 else 1)
