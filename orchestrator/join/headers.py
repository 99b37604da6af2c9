"""Headers of TCP segments, as the kernel wrote them into frames of a ring, to segments of a recording. Pure.

A frame is a struct tpacket2_hdr and a struct sockaddr_ll of linux/if_packet.h and the first bytes of a packet
(daemon/header_taps.py), in the byte order of the daemon's machine, which is little-endian where lab runs.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from functools import lru_cache

from orchestrator.errors import ObservationError
from orchestrator.model.recording import Segment

FRAME = 160  # bytes
# tp_len, tp_snaplen, tp_mac, tp_sec, tp_nsec; behind tp_status
_FRAME = struct.Struct("<4xIIH2xII")
_PACKET_TYPE = 32 + 10  # sll_pkttype
_OUTGOING = 4  # PACKET_OUTGOING
_ETHERNET = 14
_IPV4, _IPV6 = 0x0800, 0x86DD
_TCP = 6
_KIND = struct.Struct(">12xH")
_IP4 = struct.Struct(">BxH5xB2x4s4s")
_IP6 = struct.Struct(">4xHBx16s16s")
_PORTS = struct.Struct(">HHIIBBH")

Moment = Callable[[int], float]  # from a stamp (ns since 1970) to seconds of the recording


def segments(data: bytes, host: str, device: str, moment: Moment) -> Iterator[Segment]:
    """Each TCP segment of whole frames. What is none is passed over. Raises ObservationError for what is no
    frame."""
    if len(data) % FRAME:
        raise ObservationError("packets of a host cannot be read")
    for at in range(0, len(data), FRAME):
        length, kept, mac, seconds, nanoseconds = _FRAME.unpack_from(data, at)
        if mac + kept > FRAME:
            raise ObservationError("packets of a host cannot be read")
        try:
            found = _tcp(data, at + mac, length)
        except struct.error:  # the last frame of all, and too short
            continue
        if found is None or found[0] > kept:
            continue
        _, source, target, flags, seq, ack, size, window = found
        yield Segment(
            moment(seconds * 1_000_000_000 + nanoseconds),
            host,
            device,
            data[at + _PACKET_TYPE] == _OUTGOING,
            source,
            target,
            flags,
            seq,
            ack,
            size,
            window,
        )


_Found = tuple[int, tuple[str, int], tuple[str, int], int, int, int, int, int]


def _tcp(data: bytes, at: int, length: int) -> _Found | None:
    """How far the headers go, both ends, and what the header says; None where it is no TCP."""
    (kind,) = _KIND.unpack_from(data, at)
    start = at + _ETHERNET
    if kind == _IPV4:
        first, total, protocol, source, target = _IP4.unpack_from(data, start)
        header = (first & 15) * 4
        size = (total or length - _ETHERNET) - header  # a total of 0: more than 64 KiB in one (BIG TCP)
        if header < 20:
            return None
    elif kind == _IPV6:
        size, protocol, source, target = _IP6.unpack_from(data, start)
        header = 40
    else:
        return None
    if protocol != _TCP:
        return None
    sport, dport, seq, ack, offset, flags, window = _PORTS.unpack_from(data, start + header)
    ends = _end(source, sport), _end(target, dport)
    return _ETHERNET + header + 20, *ends, flags, seq, ack, max(0, size - (offset >> 4) * 4), window


@lru_cache(maxsize=65536)
def _end(address: bytes, port: int) -> tuple[str, int]:
    """One value for all segments of a connection."""
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, address), port
