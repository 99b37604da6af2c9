"""Blocks of a ring, as the kernel writes them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import errors
from orchestrator.join.packets import Packet, packets

_FIRST = 48  # where the kernel's first packet stands


def block(*found: Packet) -> bytes:
    """As net/packet/af_packet.c writes it."""
    body = bytearray()
    for one in found:
        head = struct.pack("<IIII", *divmod(one.at, 10**9), len(one.data), one.length)
        kind = ("unicast", "broadcast", "multicast", "other", "outgoing").index(one.kind)
        address = struct.pack("<HHiHBB8x", 17, 8, 2, 1, kind, 6)
        rest = struct.pack("<IHH20x", 1, 82, 96) + address + bytes(14) + one.data
        length = (4 + len(head) + len(rest) + 7) & ~7
        body += struct.pack("<I", length) + head + rest + bytes(length - 4 - len(head) - len(rest))
    whole = _FIRST + len(body)
    return struct.pack("<IIIIII24x", 1, 0, 1, len(found), _FIRST, whole) + bytes(body)


FOUND = (
    Packet(1_700_000_000_123_456_789, "outgoing", 74, b"a" * 74),
    Packet(1_700_000_000_999_999_999, "unicast", 1514, b"b" * 33),
)


def test_packets_come_in_order_with_time_and_direction() -> None:
    assert tuple(packets(block(*FOUND))) == FOUND
    assert tuple(packets(block())) == ()


@pytest.mark.parametrize("size", [0, 20, 47, 100, 250])
def test_a_block_that_is_cut_is_no_block(size: int) -> None:
    with pytest.raises(errors.ObservationError):
        list(packets(block(*FOUND)[:size]))


@given(st.binary(max_size=300))
def test_nothing_else_is_raised(data: bytes) -> None:
    try:
        for number, one in enumerate(packets(data)):
            assert len(one.data) <= len(data)
            if number > 100:
                break
    except errors.ObservationError:
        pass
