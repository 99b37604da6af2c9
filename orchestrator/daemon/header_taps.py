"""A tap for the headers of TCP segments alone: what the history of a lab's connections is made from.

As `taps.py`, but with the ring of TPACKET_V2 (packet(7), linux/if_packet.h): frames of one length, each ours
as soon as its packet is in it. Nothing runs while no packet comes (a ring of TPACKET_V3 has a timer of its
own), and what a program in a host can know of already is in the ring already. So all taps of a lab may stay
open for as long as it lives.
"""

from __future__ import annotations

import mmap
import socket
import struct
from collections.abc import Iterator

from orchestrator.daemon import packet_filter, sysc
from orchestrator.daemon.hosts import Host
from orchestrator.daemon.taps import Interface, attach

SNAP = 94  # bytes: the headers of Ethernet, of IPv4 with all its options (or IPv6), and TCP without options
FRAME = 160  # bytes: struct tpacket2_hdr, struct sockaddr_ll and padding are 66
BLOCK = 1 << 16  # bytes; frames do not go across the end of a block
FRAMES = BLOCK // FRAME
LEAST_BLOCKS, MOST_BLOCKS = 2, 64  # of one ring: 128 KiB and 818 segments, 4 MiB and 26,176
_MAC = 66  # where a packet begins in a frame
_IPV4, _IPV6 = 0x08, 0x86  # first bytes of their EtherTypes, 0x0800 and 0x86dd
_PLAIN = 0x45  # a header of IPv4 without options
_FLAGS_4, _FLAGS_6 = _MAC + 14 + 20 + 13, _MAC + 14 + 40 + 13  # of TCP
_OPENING = 0x07  # FIN, SYN, RST
_STRIDE = FRAME // 4  # words; the first of a frame is its tp_status
_KERNEL = 0  # TP_STATUS_KERNEL: the frame is free
_SOL_PACKET, _PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION = 263, 5, 6, 10
_TPACKET_V2 = 1
_ETH_P_ALL = 3  # linux/if_ether.h


def opening(frames: bytes) -> bytes:
    """Those of segments that open or close a connection, with SYN, FIN or RST; and what is not told at a
    glance."""
    columns = (frames[at::FRAME] for at in (_MAC + 12, _MAC + 14, _FLAGS_4, _FLAGS_6))
    kept = (
        number
        for number, (kind, first, plain, six) in enumerate(zip(*columns, strict=True))
        if (plain if kind == _IPV4 and first == _PLAIN else six if kind == _IPV6 else _OPENING) & _OPENING
    )
    return b"".join(frames[number * FRAME : (number + 1) * FRAME] for number in kept)


class HeaderTap:
    """One interface's. Made by a thread that is in its network namespace. Raises OSError."""

    def __init__(self, host: Host, interface: Interface, blocks: int) -> None:
        self.host, self.interface = host, interface
        self.dropped = 0
        self._at, self._frames = 0, FRAMES * blocks
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self.socket = socket.socket(socket.AF_PACKET, kind, 0)  # protocol 0: nothing comes before the filter
        try:
            attach(self.socket, packet_filter.tcp_headers(SNAP, loopback=interface.device == "lo"))
            self.socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
            ring = struct.pack("=4I", BLOCK, blocks, FRAME, self._frames)
            sysc.setsockopt(self.socket.fileno(), _SOL_PACKET, _PACKET_RX_RING, ring)
            self._ring = mmap.mmap(self.socket.fileno(), BLOCK * blocks)
            self._words = memoryview(self._ring).cast("I")
            self.socket.bind((interface.device, _ETH_P_ALL))
        except BaseException:
            self.socket.close()
            raise

    def taken(self) -> bytes:
        """All frames that are ours by now, as the kernel wrote them, once round the ring at most."""
        return b"".join(self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        left = self._frames
        while left:
            block, first = divmod(self._at, FRAMES)
            count = min(self._ready(block, first), left)
            if not count:
                return
            start = block * BLOCK + first * FRAME
            piece = self._ring[start : start + count * FRAME]
            for word in range(start // 4, start // 4 + count * _STRIDE, _STRIDE):
                self._words[word] = _KERNEL
            self._at = (self._at + count) % self._frames
            left -= count
            yield piece

    def _ready(self, block: int, first: int) -> int:
        """How many frames of this block are ours, from `first` on."""
        start = (block * BLOCK + first * FRAME) // 4
        if self._words[start] == _KERNEL:
            return 0
        end = (block * BLOCK + FRAMES * FRAME) // 4
        states = self._words[start:end:_STRIDE].tolist()
        return states.index(_KERNEL) if _KERNEL in states else len(states)

    def count(self) -> None:
        """Bring `dropped` up to date: packets that found no free frame. The kernel counts from 0 again after
        each question."""
        said = self.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        self.dropped += int(struct.unpack("=II", said)[1])

    def settle(self) -> None:
        """Take note of an error of the socket, an interface that went down: else it is ready for ever."""
        self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def close(self) -> None:
        """Takes some ms: the kernel waits until no processor looks at the ring any more."""
        self._words.release()
        self._ring.close()
        self.socket.close()
