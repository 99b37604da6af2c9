"""Packets as the kernel wrote them into a block of a ring: struct tpacket_block_desc of linux/if_packet.h.

The fields are in the byte order of the daemon's machine, which is little-endian where lab runs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from orchestrator import errors

# num_pkts, offset_to_first_pkt, blk_len of struct tpacket_hdr_v1, behind version and offset_to_priv
_BLOCK = struct.Struct("<12xIII")
# struct tpacket3_hdr: next_offset, sec, nsec, snaplen, len, status, mac, net; up to struct sockaddr_ll
_PACKET = struct.Struct("<IIIIIIH2x")
_PACKET_TYPE = 48 + 10  # sll_pkttype, in the struct sockaddr_ll that follows
_LEAST = 48 + 20


class Packet(NamedTuple):
    """`at`: nanoseconds since 1970, by the clock of the host's machine. `kind`: one of KINDS. `length` as it
    was on the wire, of which `data` is the beginning.
    """

    at: int
    kind: str
    length: int
    data: bytes


# linux/if_packet.h, PACKET_HOST and those after it: how the packet concerned the host
KINDS = ("unicast", "broadcast", "multicast", "other", "outgoing")


def packets(block: bytes) -> Iterator[Packet]:
    """Each packet of a block, in the kernel's order. Raises ObservationError where it cannot be read."""
    try:
        count, at, _ = _BLOCK.unpack_from(block)
        for _ in range(count):
            following, seconds, nanoseconds, kept, length, _, mac = _PACKET.unpack_from(block, at)
            if at + mac + kept > len(block) or mac < _LEAST:
                raise IndexError
            kind = KINDS[block[at + _PACKET_TYPE]]
            data = block[at + mac : at + mac + kept]
            yield Packet(seconds * 1_000_000_000 + nanoseconds, kind, length, data)
            at += following
    except (IndexError, struct.error) as error:
        raise errors.ObservationError("packets of a host cannot be read") from error
