"""rtnetlink by hand: just what a lab's links need (netlink(7), rtnetlink(7), linux/if_link.h).

Many messages go to the kernel in one datagram: 0.3 ms for a host's veth pair, address and route, against 2 ms
with a general library.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_ERROR = 2
_REQUEST, _ACK, _REPLACE, _EXCL, _CREATE = 1, 4, 0x100, 0x200, 0x400
_NEWLINK, _DELLINK, _NEWADDR, _NEWROUTE, _DELROUTE, _NEWNEIGH, _DELNEIGH = 16, 17, 20, 24, 25, 28, 29
_SOL_NETLINK, _CAP_ACK = 270, 10
IFF_UP = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 1, 3, 4, 10, 18, 28
_IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES = 31, 32
_INFO_KIND, _INFO_DATA, _VETH_INFO_PEER, _BR_MCAST_SNOOPING = 1, 2, 1, 23
_IFA_ADDRESS, _IFA_LOCAL, _IFA_F_NODAD = 1, 2, 2
_VXLAN_ID, _VXLAN_LOCAL, _VXLAN_PORT, _VXLAN_GROUP6, _VXLAN_LOCAL6 = 1, 4, 15, 16, 17
_RTA_DST, _RTA_GATEWAY = 1, 5
_RT_TABLE_MAIN, _RTPROT_STATIC, _RTN_UNICAST = 254, 4, 1
_NDA_DST, _NDA_LLADDR, _NUD_NOARP, _NUD_PERMANENT, _NTF_SELF = 1, 2, 0x40, 0x80, 2
_AF_BRIDGE, _APPEND = 7, 0x800
_FIRST_NUMBER = 1 << 20  # of links whose index is chosen; the kernel counts up from 1
_MANY = 64  # messages in one datagram: their acknowledgements must fit into the receive buffer


class Request(NamedTuple):
    """One message to the kernel, and what it is about for the error's text."""

    kind: int
    flags: int
    body: bytes
    about: str = ""


def _attribute(kind: int, value: bytes | int | str) -> bytes:
    if isinstance(value, int):
        value = struct.pack("=I", value)
    elif isinstance(value, str):
        value = value.encode() + b"\0"
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _link(index: int = 0, flags: int = 0) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, flags, flags)


def packed(address: str) -> tuple[int, bytes]:
    """(family, bytes) of an address's text."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.inet_pton(family, address)


def mac_bytes(mac: str) -> bytes:
    """The six bytes of "02:00:…"."""
    return bytes.fromhex(mac.replace(":", ""))


def bridge(name: str) -> Request:
    """Make a bridge that is up and floods multicast (no querier would answer snooping)."""
    data = _attribute(_INFO_DATA, _attribute(_BR_MCAST_SNOOPING, b"\0"))
    info = _attribute(_IFLA_LINKINFO, _attribute(_INFO_KIND, "bridge") + data)
    return Request(_NEWLINK, _CREATE | _EXCL, _link(0, IFF_UP) + _attribute(_IFLA_IFNAME, name) + info, name)


def veth(
    name: str,
    peer: str,
    *,
    master: int,
    peer_namespace: int | None = None,
    peer_mac: str | None = None,
    numbers: tuple[int, int] = (0, 0),
    size: int | None = None,
) -> Request:
    """Make a veth pair: `name` here, up and a port of bridge `master`; `peer` in another network namespace.

    One queue each: the default is one for each processor that there could be, and costs 0.2 ms. The peer is
    down; it could not be up before the other end exists. `numbers`: the indexes of both, or of neither
    (drivers/net/veth.c, veth_newlink()). `size`: the MTU of both.
    """
    queues = _attribute(_IFLA_NUM_TX_QUEUES, 1) + _attribute(_IFLA_NUM_RX_QUEUES, 1)
    queues += b"" if size is None else _attribute(_IFLA_MTU, size)
    there = _link(numbers[1]) + _attribute(_IFLA_IFNAME, peer) + queues
    if peer_namespace is not None:
        there += _attribute(_IFLA_NET_NS_FD, peer_namespace)
    if peer_mac:
        there += _attribute(_IFLA_ADDRESS, mac_bytes(peer_mac))
    data = _attribute(_INFO_DATA, _attribute(_VETH_INFO_PEER, there))
    info = _attribute(_IFLA_LINKINFO, _attribute(_INFO_KIND, "veth") + data)
    here = (
        _link(numbers[0], IFF_UP) + _attribute(_IFLA_IFNAME, name) + _attribute(_IFLA_MASTER, master) + queues
    )
    return Request(_NEWLINK, _CREATE | _EXCL, here + info, f"{name} to {peer}")


def vxlan(
    name: str, *, namespace: int, vni: int, port: int, size: int, family: int, local: str | None
) -> Request:
    """Make a VXLAN that sends and receives here, and whose device is in another network namespace."""
    own = {socket.AF_INET: _VXLAN_LOCAL, socket.AF_INET6: _VXLAN_LOCAL6}[socket.AddressFamily(family)]
    data = _attribute(_VXLAN_ID, vni) + _attribute(_VXLAN_PORT, struct.pack("!H", port))
    if local is not None:
        data += _attribute(own, packed(local)[1])
    elif family == socket.AF_INET6:  # it is of IPv4 unless an address says otherwise
        data += _attribute(_VXLAN_GROUP6, bytes(16))
    info = _attribute(_IFLA_LINKINFO, _attribute(_INFO_KIND, "vxlan") + _attribute(_INFO_DATA, data))
    body = _link() + _attribute(_IFLA_IFNAME, name) + _attribute(_IFLA_MTU, size)
    body += _attribute(_IFLA_NET_NS_FD, namespace) + info
    return Request(_NEWLINK, _CREATE | _EXCL, body, f"VXLAN {vni}")


def _flooding(index: int, peer: str) -> bytes:
    body = struct.pack("=BxxxiHBB", _AF_BRIDGE, index, _NUD_NOARP | _NUD_PERMANENT, _NTF_SELF, 0)
    return body + _attribute(_NDA_LLADDR, bytes(6)) + _attribute(_NDA_DST, packed(peer)[1])


def flood(index: int, peer: str) -> Request:
    """A VXLAN sends to this peer too what is for everybody or nobody known: `bridge fdb append`."""
    return Request(_NEWNEIGH, _CREATE | _APPEND, _flooding(index, peer), f"peer {peer}")


def stop_flooding(index: int, peer: str) -> Request:
    """The opposite of `flood`."""
    return Request(_DELNEIGH, 0, _flooding(index, peer), f"peer {peer}")


def mtu(index: int, size: int) -> Request:
    """Set a link's MTU, in bytes of an IP packet."""
    return Request(_NEWLINK, 0, _link(index) + _attribute(_IFLA_MTU, size), f"MTU of link {index}")


def join(index: int, master: int) -> Request:
    """Make a link a port of a bridge, up."""
    return Request(_NEWLINK, 0, _link(index, IFF_UP) + _attribute(_IFLA_MASTER, master), f"link {index}")


def up(index: int) -> Request:
    """Set a link up."""
    return Request(_NEWLINK, 0, _link(index, IFF_UP), f"link {index}")


def down(index: int) -> Request:
    """Set a link down: from now on nothing goes out by it, and what was routed by it is dropped."""
    return Request(_NEWLINK, 0, struct.pack("=BxHiII", 0, 0, index, 0, IFF_UP), f"link {index}")


def delete(index: int) -> Request:
    """Remove a link."""
    return Request(_DELLINK, 0, _link(index), f"link {index}")


def address(index: int, text: str, prefix: int) -> Request:
    """Give a link an address; IPv6 without duplicate detection, which would take seconds."""
    family, raw = packed(text)
    flags = _IFA_F_NODAD if family == socket.AF_INET6 else 0
    body = struct.pack("=BBBBI", family, prefix, flags, 0, index)
    body += _attribute(_IFA_LOCAL, raw) + _attribute(_IFA_ADDRESS, raw)
    return Request(_NEWADDR, _CREATE | _REPLACE, body, f"{text}/{prefix}")


def _route(destination: str, via: str) -> bytes:
    family, gateway = packed(via)
    network, _, bits = destination.partition("/")
    length = 0 if destination == "default" else int(bits)
    body = struct.pack("=BBBBBBBBI", family, length, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, 0, _RTN_UNICAST, 0)
    if length:
        body += _attribute(_RTA_DST, packed(network)[1])
    return body + _attribute(_RTA_GATEWAY, gateway)


def route(destination: str, via: str) -> Request:
    """A static route to a subnet or "default", or another gateway for it."""
    return Request(_NEWROUTE, _CREATE | _REPLACE, _route(destination, via), f"{destination} via {via}")


def delete_route(destination: str, via: str) -> Request:
    """Remove a static route."""
    return Request(_DELROUTE, 0, _route(destination, via), f"{destination} via {via}")


def neighbour(index: int, text: str, mac: str) -> Request:
    """A permanent neighbour: not counted against gc_thresh3, which is one limit for the whole computer."""
    family, raw = packed(text)
    body = struct.pack("=BxxxiHBB", family, index, _NUD_PERMANENT, 0, 0)
    body += _attribute(_NDA_DST, raw) + _attribute(_NDA_LLADDR, mac_bytes(mac))
    return Request(_NEWNEIGH, _CREATE | _REPLACE, body, f"neighbour {text}")


def delete_neighbour(index: int, text: str) -> Request:
    """Forget a neighbour."""
    family, raw = packed(text)
    body = struct.pack("=BxxxiHBB", family, index, 0, 0, 0) + _attribute(_NDA_DST, raw)
    return Request(_DELNEIGH, 0, body, f"neighbour {text}")


class Batch(NamedTuple):
    """Requests as one datagram; `first` is the sequence number before theirs."""

    data: bytes
    first: int
    requests: Sequence[Request]


def batches(requests: Iterable[Request], first: int = 0) -> list[Batch]:
    """Requests for a socket that has sent `first` of them."""
    todo = list(requests)
    return [_batch(todo[start : start + _MANY], first + start) for start in range(0, len(todo), _MANY)]


def _batch(part: Sequence[Request], first: int) -> Batch:
    out = bytearray()
    for sequence, request in enumerate(part, first + 1):
        length, flags = 16 + len(request.body), request.flags | _REQUEST | _ACK
        out += struct.pack("=IHHII", length, request.kind, flags, sequence, 0) + request.body
        out += b"\0" * (-length % 4)
    return Batch(bytes(out), first, part)


class Netlink:
    """A route socket of the network namespace in which it was opened; it stays there wherever it is used."""

    def __init__(self, sock: socket.socket | None = None) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self.socket = sock or socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        if sock is None:
            self.socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)  # an error does not repeat the request
        self._sequence = 0

    def do(self, requests: Iterable[Request], missing_ok: bool = False) -> None:
        """Carry these out in order. Raises the first error, after what was sent with it was answered.

        `missing_ok`: what is to be removed may be gone already.
        """
        self.carry_out(batches(requests, self._sequence), missing_ok)

    def carry_out(self, prepared: Iterable[Batch], missing_ok: bool = False) -> None:
        """As `do`, of what was made into datagrams beforehand."""
        for batch in prepared:
            self._sequence = batch.first + len(batch.requests)
            self.socket.send(batch.data)
            failed = self._answers(len(batch.requests), batch.first)
            for position, number in sorted(failed.items()) if failed else ():
                if missing_ok and number in (2, 3, 19):  # ENOENT, ESRCH, ENODEV
                    continue
                about = batch.requests[position].about
                raise OSError(number, f"{about}: {os.strerror(number)}")

    def _answers(self, count: int, first: int) -> dict[int, int]:
        """{position in the batch: errno} of those that failed."""
        failed: dict[int, int] = {}
        while count:
            data, offset = self.socket.recv(65536), 0
            while offset < len(data):
                length, kind, _, sequence, _ = struct.unpack_from("=IHHII", data, offset)
                if kind == _ERROR and sequence > first:
                    count -= 1
                    number = struct.unpack_from("=i", data, offset + 16)[0]
                    if number:
                        failed[sequence - first - 1] = -number
                offset += (length + 3) & ~3
        return failed

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def number(port: str) -> int:
    """The index that the daemon's end of a host's link is given, by its name: p1, p2, …"""
    return _FIRST_NUMBER + int(port[1:])


def index(name: str) -> int:
    """A link's index in this thread's network namespace."""
    return socket.if_nametoindex(name)
