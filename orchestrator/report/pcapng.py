"""Packets as a file that Wireshark reads: pcapng (draft-ietf-opsawg-pcapng), pure.

A file is a section header, an interface block for each interface of a host, names of addresses, and then
packets, each with its direction; at the end how much each interface has lost. All little-endian.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Sequence

import msgspec

from orchestrator.join.packets import Packet

# Block types, and options by block (the draft's section 4)
_SECTION, _INTERFACE, _NAMES, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 4, 5, 6
_END, _COMMENT = 0, 1
_USER_APPLICATION = 4
_IF_NAME, _IF_DESCRIPTION, _IF_IPV4, _IF_IPV6, _IF_MAC, _IF_RESOLUTION = 2, 3, 4, 5, 6, 9
_PACKET_FLAGS = 2
_RECEIVED, _DROPPED, _BY_SYSTEM = 4, 5, 7
_NAME_IPV4, _NAME_IPV6 = 1, 2
_ETHERNET = 1  # LINKTYPE_ETHERNET
_NANOSECONDS = 9  # 10^-9
_ORDER = 0x1A2B3C4D
# epb_flags: bits 0-1 direction (1 in, 2 out), bits 2-4 how it was received (1 unicast … 4 promiscuous)
_FLAGS = {
    "unicast": 1 | 1 << 2,
    "multicast": 1 | 2 << 2,
    "broadcast": 1 | 3 << 2,
    "other": 1 | 4 << 2,
    "outgoing": 2,
}
Options = Iterable[tuple[int, bytes]]


class CapturedInterface(msgspec.Struct, frozen=True, kw_only=True):
    """An interface of a host; addresses have their prefix: "10.20.1.2/24"."""

    host: str
    device: str
    network: str = ""  # "": lo, or one that the lab did not make
    mac: str = ""
    addresses: tuple[str, ...] = ()
    mtu: int = 0  # 0: not known

    @property
    def name(self) -> str:
        """`web:eth0 (dc)`."""
        return f"{self.host}:{self.device}" + (f" ({self.network})" if self.network else "")


def section(application: str, comment: str) -> bytes:
    """The head of a file; its length is not known beforehand."""
    body = struct.pack("<IHHq", _ORDER, 1, 0, -1)
    return _block(_SECTION, body, [(_COMMENT, comment.encode()), (_USER_APPLICATION, application.encode())])


def interface(one: CapturedInterface, snap: int) -> bytes:
    """One interface; they are numbered in the order in which they are written."""
    options = [(_IF_NAME, one.name.encode())]
    for text in one.addresses:
        address = ipaddress.ip_interface(text)
        if isinstance(address, ipaddress.IPv4Interface):
            options.append((_IF_IPV4, address.packed + address.netmask.packed))
        else:
            options.append((_IF_IPV6, address.packed + bytes([address.network.prefixlen])))
    if one.mac:
        options.append((_IF_MAC, bytes.fromhex(one.mac.replace(":", ""))))
    options.append((_IF_RESOLUTION, bytes([_NANOSECONDS])))
    return _block(_INTERFACE, struct.pack("<HHI", _ETHERNET, 0, snap), options)


def names(known: Iterable[tuple[str, Sequence[str]]]) -> bytes:
    """Names of addresses: (name, addresses)."""
    records = bytearray()
    for name, addresses in known:
        for text in addresses:
            address = ipaddress.ip_address(text)
            kind = _NAME_IPV4 if address.version == 4 else _NAME_IPV6
            records += _option(kind, address.packed + name.encode() + b"\0")
    return _block(_NAMES, bytes(records) + struct.pack("<HH", _END, 0), [])


def packet(number: int, one: Packet, comments: Sequence[str] = ()) -> bytes:
    """A packet of interface `number`."""
    head = struct.pack("<IIIII", number, one.at >> 32, one.at & 0xFFFFFFFF, len(one.data), one.length)
    options = [(_COMMENT, comment.encode()) for comment in comments]
    options.append((_PACKET_FLAGS, struct.pack("<I", _FLAGS[one.kind])))
    return _block(_PACKET, head + _padded(one.data), options)


def statistics(number: int, at: int, received: int, dropped: int) -> bytes:
    """What interface `number` has seen until `at` (ns): packets that the filter let through, and how many of
    these were lost.
    """
    body = struct.pack("<III", number, at >> 32, at & 0xFFFFFFFF)
    counts = ((_RECEIVED, received), (_DROPPED, dropped), (_BY_SYSTEM, dropped))
    return _block(_STATISTICS, body, [(kind, struct.pack("<Q", count)) for kind, count in counts])


def _block(kind: int, body: bytes, options: Options) -> bytes:
    told = b"".join(_option(*one) for one in options)
    if told:
        told += struct.pack("<HH", _END, 0)
    length = 12 + len(body) + len(told)
    return b"".join((struct.pack("<II", kind, length), body, told, struct.pack("<I", length)))


def _option(kind: int, value: bytes) -> bytes:
    return struct.pack("<HH", kind, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
