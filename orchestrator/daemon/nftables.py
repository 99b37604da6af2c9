"""nf_tables by hand, pure but `Socket`: what impairments need (linux/netfilter/nf_tables.h, nfnetlink.h).

A batch of messages is one transaction: all of it is in force from one packet to the next, or nothing is. A
table that is made with `owner` belongs to the socket that made it (Linux 5.12): the kernel removes it when
that socket is closed, however its process ends, and nobody else can change it meanwhile.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_NETFILTER = 12  # NETLINK_NETFILTER, netlink(7)
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_BEGIN, _END = 0x10, 0x11  # NFNL_MSG_BATCH_*
_ERROR = 2
_SOL_NETLINK, _CAP_ACK = 270, 10
_REQUEST, _ACK, _CREATE, _APPEND = 1, 4, 0x400, 0x800
_NEWTABLE, _DELTABLE, _NEWCHAIN, _DELCHAIN, _NEWRULE, _DELRULE = 0, 2, 3, 5, 6, 8
_NEWSET, _DELSET, _NEWELEMENT, _DELELEMENT = 9, 11, 12, 14
_NESTED = 0x8000  # NLA_F_NESTED
_INET = 1  # NFPROTO_INET: IPv4 and IPv6
_OWNER = 2  # NFT_TABLE_F_OWNER
_TIMEOUT = 0x10  # NFT_SET_TIMEOUT
_LIST = 1  # NFTA_LIST_ELEM
_LINK, _NETWORK, _TRANSPORT = 0, 1, 2  # NFT_PAYLOAD_*_HEADER
_NUMBERS = struct.Struct("=IHHII")  # struct nlmsghdr
PREROUTING, OUTPUT = 0, 3  # NF_INET_PRE_ROUTING, NF_INET_LOCAL_OUT
DROP, ACCEPT, JUMP, GOTO, RETURN = 0, 1, -3, -4, -5  # NF_DROP, NF_ACCEPT, NFT_JUMP, NFT_GOTO, NFT_RETURN
# Keys of `meta` and of `ct`, NFT_META_* and NFT_CT_*.
IIF, FAMILY, PROTOCOL = 4, 15, 16
EQUAL, NOT_EQUAL, LESS = 0, 1, 2  # NFT_CMP_*
REGISTER, SECOND = 1, 2  # NFT_REG_1, NFT_REG_2: of 16 bytes
# NFT_REG32_*: of 4 bytes, from 8 on
SECOND_WORD, THIRD_WORD, FOURTH_WORD, NINTH_WORD, TENTH_WORD = 9, 10, 11, 16, 17
MOST_ELEMENTS = 300  # in one message: a nested attribute has 64 KiB at most


class Message(NamedTuple):
    """One of a batch; `about` is for the error's text."""

    kind: int
    flags: int
    body: bytes
    about: str


def attribute(kind: int, value: bytes | int | str) -> bytes:
    """Numbers are of 32 bits, in network byte order, as everywhere in nf_tables."""
    if isinstance(value, int):
        value = struct.pack(">I", value & 0xFFFFFFFF)
    elif isinstance(value, str):
        value = value.encode() + b"\0"
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _nested(kind: int, *inner: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(inner))


# Expressions: each is one attribute of a rule.


def expression(name: str, *attributes: bytes) -> bytes:
    """Any."""
    return _nested(_LIST, attribute(1, name), _nested(2, *attributes))


def meta(key: int, register: int = REGISTER) -> bytes:
    """Load what is known beside the packet."""
    return expression("meta", attribute(1, register), attribute(2, key))


def payload(base: int, offset: int, length: int, register: int = REGISTER) -> bytes:
    """Load bytes of a header."""
    return expression(
        "payload",
        attribute(1, register),
        attribute(2, base),
        attribute(3, offset),
        attribute(4, length),
    )


def link(offset: int, length: int, register: int = REGISTER) -> bytes:
    """Of the Ethernet header."""
    return payload(_LINK, offset, length, register)


def network(offset: int, length: int, register: int = REGISTER) -> bytes:
    """Of the IP header."""
    return payload(_NETWORK, offset, length, register)


def transport(offset: int, length: int, register: int = REGISTER) -> bytes:
    """Of what is behind the IP header."""
    return payload(_TRANSPORT, offset, length, register)


def compare(value: bytes, how: int = EQUAL) -> bytes:
    """Go on with the rule where the register is (not) this."""
    return expression("cmp", attribute(1, REGISTER), attribute(2, how), _nested(3, attribute(1, value)))


def masked(mask: bytes) -> bytes:
    """Keep these bits of the register."""
    return expression(
        "bitwise",
        attribute(1, REGISTER),
        attribute(2, REGISTER),
        attribute(3, len(mask)),
        _nested(4, attribute(1, mask)),
        _nested(5, attribute(1, bytes(len(mask)))),
    )


def lookup(name: str) -> bytes:
    """Go on where the register is in that set."""
    return expression("lookup", attribute(1, name), attribute(2, REGISTER))


def conntrack(key: int) -> bytes:
    """Load what connection tracking knows."""
    return expression("ct", attribute(1, REGISTER), attribute(2, key))


def beyond(packets: int) -> bytes:
    """Go on for none of the first so many packets: a bucket that takes a week to be filled by one."""
    week = 7 * 86_400
    return expression(
        "limit",
        attribute(1, struct.pack(">Q", 1)),
        attribute(2, struct.pack(">Q", week)),
        attribute(3, packets),
        attribute(4, 0),
        attribute(5, 1),  # NFT_LIMIT_F_INV
    )


def verdict(code: int, chain: str = "") -> bytes:
    """What becomes of the packet."""
    inner = attribute(1, code) + (attribute(2, chain) if chain else b"")
    return expression("immediate", attribute(1, 0), _nested(2, _nested(2, inner)))


def reset() -> bytes:
    """Answer with RST: NFT_REJECT_TCP_RST."""
    return expression("reject", attribute(1, 1), attribute(2, b"\0"))


def unreachable() -> bytes:
    """Answer with "administratively prohibited", of either family: NFT_REJECT_ICMPX_UNREACH."""
    return expression("reject", attribute(1, 2), attribute(2, b"\x03"))


def untracked() -> bytes:
    """No connection is made of it, so nothing translates its addresses."""
    return expression("notrack")


def counter() -> bytes:
    """Count packets and bytes."""
    return expression("counter", attribute(1, bytes(8)), attribute(2, bytes(8)))


def queue(number: int) -> bytes:
    """Hand it to who listens on that queue; where nobody does it passes (NFQ_FLAG_BYPASS).

    By the target of iptables: the statement of nft is missing in some kernels (CONFIG_NFT_QUEUE), the target
    in none that has queues. struct xt_NFQ_info_v3.
    """
    info = struct.pack("=HHHxx", number, 1, 1)
    return expression("target", attribute(1, "NFQUEUE"), attribute(2, 3), attribute(3, info))


# Messages.


def new_table(table: str, *, owner: bool) -> Message:
    """Make a table."""
    body = attribute(1, table) + (attribute(2, _OWNER) if owner else b"")
    return Message(_NEWTABLE, _CREATE, body, f"table {table}")


def delete_table(table: str) -> Message:
    """Remove a table with all that is in it."""
    return Message(_DELTABLE, 0, attribute(1, table), f"table {table}")


def base_chain(table: str, chain: str, priority: int, hook: int = PREROUTING) -> Message:
    """A chain that packets come to as they enter the host, before it is known whether they are for it."""
    hook_ = _nested(4, attribute(1, hook), attribute(2, priority))
    body = attribute(1, table) + attribute(3, chain) + hook_ + attribute(7, "filter")
    return Message(_NEWCHAIN, _CREATE, body, f"chain {chain}")


def new_chain(table: str, chain: str) -> Message:
    """A chain that others jump to."""
    return Message(_NEWCHAIN, _CREATE, attribute(1, table) + attribute(3, chain), f"chain {chain}")


def delete_chain(table: str, chain: str) -> Message:
    """Remove one, its rules before it (`empty`)."""
    body = attribute(1, table) + attribute(3, chain)
    return Message(_DELCHAIN, 0, body, f"chain {chain}")


def empty(table: str, chain: str) -> Message:
    """Remove all rules of a chain."""
    return Message(_DELRULE, 0, attribute(1, table) + attribute(2, chain), f"chain {chain}")


def rule(table: str, chain: str, *expressions: bytes) -> Message:
    """A rule behind the others of its chain."""
    body = attribute(1, table) + attribute(2, chain) + _nested(4, *expressions)
    return Message(_NEWRULE, _CREATE | _APPEND, body, f"rule of {chain}")


class Key(NamedTuple):
    """What a set has: for nft(8) the types (six bits each, include/datatype.h), for the kernel the bytes."""

    types: int
    length: int


PAIR = {4: Key(7 << 6 | 7, 8), 6: Key(8 << 6 | 8, 32)}  # ipv4_addr . ipv4_addr, ipv6_addr . ipv6_addr
_PORTS = 13 << 6 | 13  # inet_service . inet_service
FLOW = {4: Key((7 << 6 | 7) << 12 | _PORTS, 16), 6: Key((8 << 6 | 8) << 12 | _PORTS, 40)}  # pairs with ports
NEIGHBOUR = Key(20 << 6 | 9, 12)  # iface_index . ether_addr
INTERFACE = Key(20, 4)  # iface_index


def new_set(table: str, name: str, number: int, key: Key) -> Message:
    """A set of keys, each with a time after which the kernel removes it. `number`: what it is known by within
    its batch."""
    body = (
        attribute(1, table)
        + attribute(2, name)
        + attribute(3, _TIMEOUT)
        + attribute(4, key.types)
        + attribute(5, key.length)
        + attribute(10, number)
    )
    return Message(_NEWSET, _CREATE, body, f"set {name}")


def delete_set(table: str, name: str) -> Message:
    """Remove a set that no rule uses any more."""
    return Message(_DELSET, 0, attribute(1, table) + attribute(2, name), f"set {name}")


def elements(table: str, name: str, keys: Sequence[bytes], seconds: float) -> Iterable[Message]:
    """Add these, each for so long."""
    timeout = attribute(4, struct.pack(">Q", max(1, round(seconds * 1000))))
    for start in range(0, len(keys), MOST_ELEMENTS):
        part = keys[start : start + MOST_ELEMENTS]
        listed = [_nested(_LIST, _nested(1, attribute(1, key)), timeout) for key in part]
        body = attribute(1, table) + attribute(2, name) + _nested(3, *listed)
        yield Message(_NEWELEMENT, _CREATE, body, f"set {name}")


def empty_set(table: str, name: str) -> Message:
    """Remove all elements of a set."""
    return Message(_DELELEMENT, 0, attribute(1, table) + attribute(2, name), f"set {name}")


class Socket:
    """Of the network namespace in which it was opened; it stays there wherever it is used."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
        self.socket.setblocking(False)
        self.socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)  # an error does not repeat the message
        self._sequence = 1

    def commit(self, messages: Iterable[Message]) -> None:
        """One transaction. Raises OSError of the first message that the kernel refused."""
        listed = list(messages)
        if not listed:
            return
        first = self._sequence
        out = bytearray(self._encoded(Message(_BEGIN, 0, b"", ""), plain=True))
        for message in listed:
            out += self._encoded(message)
        out += self._encoded(Message(_END, 0, b"", ""), plain=True)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, max(1 << 18, 2 * len(out)))
        self.socket.send(out)
        self._answers(listed, first + 1)

    def _encoded(self, message: Message, *, plain: bool = False) -> bytes:
        kind = message.kind if plain else _SUBSYSTEM << 8 | message.kind
        family, about = (0, _SUBSYSTEM) if plain else (_INET, 0)
        body = struct.pack(">BBH", family, 0, about) + message.body
        flags = _REQUEST | message.flags | (0 if plain else _ACK)
        self._sequence += 1
        return _NUMBERS.pack(16 + len(body), kind, flags, self._sequence - 1, 0) + body

    def _answers(self, sent: Sequence[Message], first: int) -> None:
        """All are there when `send` returns. A transaction is refused as a whole, for what failed first."""
        failed: list[tuple[int, int]] = []
        while True:
            try:
                data, offset = self.socket.recv(1 << 16), 0
            except BlockingIOError:
                break
            while offset < len(data):
                length, kind, _, sequence, _ = _NUMBERS.unpack_from(data, offset)
                place = max(0, min(sequence - first, len(sent) - 1))
                number = -struct.unpack_from("=i", data, offset + 16)[0] if kind == _ERROR else 0
                if number:
                    failed.append((place, number))
                offset += (length + 3) & ~3
        for place, number in sorted(failed):
            raise OSError(number, f"nf_tables: {sent[place].about}: {os.strerror(number)}")

    def close(self) -> None:
        """With it go the tables that it owns."""
        self.socket.close()
