"""Queues of netfilter (linux/netfilter/nfnetlink_queue.h): packets that wait for our word, pure.

The kernel keeps the packet and tells of it; we answer with a verdict on its number, or on all up to a number.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_SUBSYSTEM = 3  # NFNL_SUBSYS_QUEUE
_PACKET, _VERDICT, _CONFIG, _VERDICT_BATCH = 0, 1, 2, 3
_REQUEST, _ACK, _ERROR = 1, 4, 2
_BIND, _UNBIND = 1, 2  # NFQNL_CFG_CMD_*
_COPY_META, _COPY_PACKET = 1, 2
_GSO = 4  # NFQA_CFG_F_GSO: what is bundled stays bundled; else the kernel cuts it into segments first
ACCEPT, DROP = 1, 0
_LONGEST = 200_000  # packets that a queue holds: 0.2 s at 1,000,000/s; what is more is dropped by the kernel
_TIMESTAMP, _HARDWARE, _PAYLOAD, _LENGTH = 4, 9, 10, 13  # NFQA_*, the last CAP_LEN
HEADER = 48  # bytes that are copied where the IP header is to be seen: of IPv6, and 8 more

_ATTRIBUTE = struct.Struct("=HH")
_MESSAGE = struct.Struct("=IHHII")
_TIME = struct.Struct(">QQ")
NUMBER = struct.Struct(">I")
_KIND, _FIRST = struct.pack("=H", _SUBSYSTEM << 8 | _PACKET), struct.pack("=H", 1)


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def _message(kind: int, queue: int, body: bytes, flags: int = 0) -> bytes:
    whole = struct.pack(">BBH", 0, 0, queue) + body
    return _MESSAGE.pack(16 + len(whole), _SUBSYSTEM << 8 | kind, _REQUEST | flags, 0, 0) + whole


def bind(queue: int) -> bytes:
    """Listen on a queue."""
    return _message(_CONFIG, queue, _attribute(1, struct.pack(">BxH", _BIND, 0)), _ACK)


def unbind(queue: int) -> bytes:
    """Listen no more: what it holds is dropped, what comes then passes."""
    return _message(_CONFIG, queue, _attribute(1, struct.pack(">BxH", _UNBIND, 0)), _ACK)


def configure(queue: int, *, copy: int, bundles: bool) -> bytes:
    """What is told of a packet: its first `copy` bytes, and whether bundles stay as they are."""
    mode = struct.pack(">IB", copy, _COPY_PACKET if copy else _COPY_META)
    body = _attribute(2, mode) + _attribute(3, struct.pack(">I", _LONGEST))
    body += _attribute(4, struct.pack(">I", _GSO)) + _attribute(5, struct.pack(">I", _GSO if bundles else 0))
    return _message(_CONFIG, queue, body, _ACK)


def accept_up_to(queue: int, number: bytes) -> bytes:
    """All that the queue holds up to that packet's number pass."""
    return _message(_VERDICT_BATCH, queue, _attribute(2, struct.pack(">I", ACCEPT) + number))


def verdict(queue: int, number: bytes, what: int, payload: bytes | None = None) -> bytes:
    """What becomes of one packet, perhaps with another content."""
    body = _attribute(2, struct.pack(">I", what) + number)
    return _message(_VERDICT, queue, body + (_attribute(_PAYLOAD, payload) if payload is not None else b""))


def answer(data: memoryview) -> int | None:
    """The errno (0: done) of a message of the kernel that answers a configuration; None where it is none."""
    if struct.unpack_from("=H", data, 4)[0] != _ERROR:
        return None
    return -int(struct.unpack_from("=i", data, 16)[0])


_STAMP = _ATTRIBUTE.pack(20, _TIMESTAMP)
_PLACES = (56, 40, 64, 48)  # where it usually stands


def brief(data: memoryview) -> tuple[int, bytes, float] | None:
    """Queue, number and time of a packet, where the message is as it nearly always is: `packet` reads any."""
    if data[4:6] != _KIND or data[22:24] != _FIRST:
        return None
    for at in _PLACES:
        if data[at : at + 4] == _STAMP:
            seconds, micro = _TIME.unpack_from(data, at + 4)
            return data[18] << 8 | data[19], bytes(data[24:28]), seconds + micro * 1e-6
    return None


class Packet(NamedTuple):
    """One that waits. `taken`: seconds since 1970 at which the host received it; 0: not known."""

    queue: int
    number: bytes  # as it is sent back
    taken: float
    hardware: bytes  # the sender's
    length: int
    payload: bytes


def packet(data: memoryview, size: int) -> Packet | None:
    """A message of the kernel; None where it is none about a packet."""
    kind = struct.unpack_from("=H", data, 4)[0]
    if kind != _SUBSYSTEM << 8 | _PACKET:
        return None
    queue = struct.unpack_from(">H", data, 18)[0]
    number, taken, hardware, length, payload = b"", 0.0, b"", 0, b""
    at = 20
    while at < size:
        long, name = _ATTRIBUTE.unpack_from(data, at)
        if name == 1:
            number = bytes(data[at + 4 : at + 8])
        elif name == _TIMESTAMP:
            seconds, micro = _TIME.unpack_from(data, at + 4)
            taken = seconds + micro * 1e-6
        elif name == _HARDWARE:
            hardware = bytes(data[at + 8 : at + 14])
        elif name == _PAYLOAD:
            payload = bytes(data[at + 4 : at + long])
            length = length or len(payload)
        elif name == _LENGTH:
            length = NUMBER.unpack_from(data, at + 4)[0]
        at += (long + 3) & ~3
    return Packet(queue, number, taken, hardware, length, payload)
