"""The network of a docker host becomes what the plan says: run inside its network namespace, idempotent.

Docker gives it interfaces with IPv4 addresses. What Docker does not do, or not everywhere, is done here, so
that a host needs no NET_ADMIN: MAC and IPv6 addresses, routes, sysctls. Interfaces are found by what Docker
said their MAC address was, since it names them in an order of its own.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator import errors
from orchestrator.daemon import netlink
from orchestrator.daemon.process import set_sysctl, set_sysctls

Spec = Mapping[str, Any]
_SIOCGIFADDR, _SIOCGIFNETMASK, _SIOCGIFHWADDR = 0x8915, 0x891B, 0x8927  # linux/sockios.h
_NEWLINK, _DELADDR = 16, 21  # linux/rtnetlink.h
_IFLA_ADDRESS, _IFA_LOCAL = 1, 2
_RTF_GATEWAY = 0x2  # linux/route.h
_RTF_DYNAMIC = 0x00040000 | 0x0010  # RTF_ADDRCONF, RTF_DYNAMIC: routes that nobody here has set


class Link(NamedTuple):
    """An interface of the plan and what it is here."""

    wanted: Spec
    name: str
    number: int  # its interface index
    mac: str


def settle(spec: Spec, macs: Mapping[str, str]) -> None:
    """Make it so. `macs`: Docker's MAC address of each network's interface. Raises OSError, EngineError."""
    route = netlink.Netlink()
    try:
        links = list(_links(spec, macs))
        route.do(_macs(links))  # first: the link-local address follows from it
        _sysctls(spec, links)
        route.do(_addresses(links))
        set_routes(spec, route)
    finally:
        route.close()
    set_sysctls(spec["name"], spec.get("sysctls") or {})


def _links(spec: Spec, macs: Mapping[str, str]) -> Iterator[Link]:
    here = {_mac(name): (index, name) for index, name in socket.if_nameindex() if name != "lo"}
    for wanted in spec["interfaces"]:
        for mac in (macs.get(wanted["network"], ""), wanted["mac"]):
            if mac in here:
                index, name = here[mac]
                yield Link(wanted, name, index, mac)
                break
        else:
            raise errors.EngineError(f"host {spec['name']} has no interface on network {wanted['network']}")


def _ioctl(name: str, request: int) -> bytes:
    """The struct sockaddr of an ioctl of netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return fcntl.ioctl(sock, request, struct.pack("16s24x", name.encode()))[16:]


def _mac(name: str) -> str:
    return _ioctl(name, _SIOCGIFHWADDR)[2:8].hex(":")


def _macs(links: list[Link]) -> Iterator[netlink.Request]:
    for link in links:
        if link.mac != link.wanted["mac"]:
            raw = netlink.mac_bytes(link.wanted["mac"])
            body = struct.pack("=BxHiII", 0, 0, link.number, 0, 0) + _attribute(_IFLA_ADDRESS, raw)
            yield netlink.Request(_NEWLINK, 0, body, f"MAC address of {link.name}")


def _addresses(links: list[Link]) -> Iterator[netlink.Request]:
    for link in links:
        if link.wanted.get("address6"):
            yield netlink.address(link.number, link.wanted["address6"], link.wanted["prefix6"])
        if not link.wanted.get("address"):
            yield from _without_ipv4(link)


def _without_ipv4(link: Link) -> Iterator[netlink.Request]:
    """Docker gives every interface an IPv4 address, also on a network that is to have none."""
    try:
        address = _ioctl(link.name, _SIOCGIFADDR)[4:8]
        mask = _ioctl(link.name, _SIOCGIFNETMASK)[4:8]
    except OSError:
        return
    prefix = int.from_bytes(mask, "big").bit_count()
    body = struct.pack("=BBBBI", socket.AF_INET, prefix, 0, 0, link.number) + _attribute(_IFA_LOCAL, address)
    yield netlink.Request(_DELADDR, 0, body, f"IPv4 address of {link.name}")


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _sysctls(spec: Spec, links: list[Link]) -> None:
    """A namespace takes some values over from the computer (forwarding, rp_filter): say them all."""
    forward = "1" if spec["kind"] == "router" else "0"
    set_sysctl("net/ipv4/ip_forward", forward)
    for scope in ("all", "default", *(link.name for link in links)):
        set_sysctl(f"net/ipv4/conf/{scope}/rp_filter", "0")
        set_sysctl(f"net/ipv4/conf/{scope}/send_redirects", "0")
    set_sysctl("net/ipv4/ping_group_range", "0 2147483647")
    if not os.path.isdir("/proc/sys/net/ipv6"):
        return
    set_sysctl("net/ipv6/conf/lo/disable_ipv6", "0", missing_ok=True)
    for link in links:
        for key, value in (("accept_ra", "0"), ("accept_dad", "0"), ("router_solicitations", "0")):
            set_sysctl(f"net/ipv6/conf/{link.name}/{key}", value, missing_ok=True)
        unused = "0" if link.wanted.get("address6") else "1"
        set_sysctl(f"net/ipv6/conf/{link.name}/disable_ipv6", unused, missing_ok=True)
    set_sysctl("net/ipv6/conf/all/forwarding", forward, missing_ok=True)


def set_routes(spec: Spec, route: netlink.Netlink) -> None:
    """Its routes over a gateway become those of the plan; the default one that Docker set leads nowhere."""
    wanted = {_canonical(r["destination"], r["via"]) for r in spec["routes"]}
    there = {*_ipv4_routes(), *_ipv6_routes()}
    kept = {(destination, ":" in via) for destination, via in wanted}
    gone = [r for r in there - wanted if (r[0], ":" in r[1]) not in kept]
    route.do((_forget(*r) for r in gone), missing_ok=True)
    route.do(netlink.route(*r) for r in sorted(wanted - there))


def _forget(destination: str, via: str) -> netlink.Request:
    """Remove a route whoever set it: netlink's own removes static ones only, and Docker's is none."""
    request = netlink.delete_route(destination, via)
    protocol = 5  # offset of rtm_protocol in struct rtmsg; 0 is any (net/ipv4/fib_trie.c, fib_table_delete)
    return request._replace(body=request.body[:protocol] + b"\0" + request.body[protocol + 1 :])


def _canonical(destination: str, via: str) -> tuple[str, str]:
    if destination != "default":
        network = ipaddress.ip_network(destination, strict=False)
        destination = str(network) if network.prefixlen else "default"
    return destination, str(ipaddress.ip_address(via))


def _lines(table: str) -> list[list[str]]:
    """/proc/net of this thread: a thread may be in another network namespace than its process (proc(5))."""
    try:
        return [line.split() for line in Path(f"/proc/thread-self/net/{table}").read_text().splitlines()]
    except FileNotFoundError:
        return []


def _ipv4_routes() -> Iterator[tuple[str, str]]:
    """(destination, via): net/ipv4/fib_trie.c, fib_route_seq_show(); addresses in the machine's byte
    order.
    """
    for _, destination, gateway, flags, _, _, _, mask, *_ in _lines("route")[1:]:
        if int(flags, 16) & _RTF_GATEWAY:
            yield _canonical(f"{_ipv4(destination)}/{_ipv4(mask)}", _ipv4(gateway))


def _ipv4(text: str) -> str:
    return socket.inet_ntoa(struct.pack("=I", int(text, 16)))


def _ipv6_routes() -> Iterator[tuple[str, str]]:
    """(destination, via): net/ipv6/route.c, rt6_info_route()."""
    for destination, length, _, _, gateway, _, _, _, flags, *_ in _lines("ipv6_route"):
        if int(flags, 16) & _RTF_GATEWAY and not int(flags, 16) & _RTF_DYNAMIC:
            yield _canonical(f"{_ipv6(destination)}/{int(length, 16)}", _ipv6(gateway))


def _ipv6(text: str) -> str:
    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(text))
