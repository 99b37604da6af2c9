"""A tap: what the kernel hands over of the packets of one interface, into memory that it shares with us.

Opened inside a host's network namespace and kept here, as the sockets of sock_diag are: nothing has to be
in the host, whose /proc/net/packet alone shows it. The ring is TPACKET_V3's (packet(7), linux/if_packet.h):
blocks that the kernel fills with packets and gives us when they are full or some time has passed. What finds
no free block is dropped by the kernel, which counts that. A ring is not bounded by net.core.rmem_max, as a
socket's buffer is for who is not root on the computer.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from orchestrator import errors
from orchestrator.daemon import packet_filter, sysc, within
from orchestrator.daemon.hosts import Host

BLOCK = 1 << 17  # bytes: room for the longest packet that is not cut into segments yet (64 KiB, ip(7))
BUDGET = 128 << 20  # bytes of all rings of a capture
MOST_BLOCKS = 32  # of one ring: 4 MiB
LEAST_BLOCKS = 2
RETIRE_MS = 20  # after which a block that is not full is ours
_FRAME = 2048  # only has to divide a block; frames of TPACKET_V3 are as long as their packets
_ETH_P_ALL = 3  # linux/if_ether.h
_SOL_PACKET, _PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION = 263, 5, 6, 10
_TPACKET_V3 = 2
_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
_STATUS, _COUNT, _LENGTH = 8, 12, 20  # of struct tpacket_block_desc: block_status, num_pkts, blk_len
_USER = 1  # TP_STATUS_USER: the block is ours
_SIOCGIFFLAGS, _SIOCGIFHWADDR, _SIOCGIFMTU = 0x8913, 0x8927, 0x8921  # linux/sockios.h
_IFF_UP = 1
_ETHERNET, _LOOPBACK = 1, 772  # linux/if_arp.h: what has frames of Ethernet's form


class Interface(NamedTuple):
    """One of a host's, as its kernel has it."""

    device: str
    mac: str
    mtu: int


class Tap:
    """One interface's. Made by a thread that is in its network namespace. Raises OSError."""

    def __init__(self, host: Host, interface: Interface, program: bytes, blocks: int) -> None:
        self.host, self.interface = host, interface
        self.deaf = self.closed = False
        self.received = self.dropped = 0
        self._at, self._blocks = 0, blocks
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self.socket = socket.socket(socket.AF_PACKET, kind, 0)  # protocol 0: nothing comes before the filter
        try:
            attach(self.socket, program)
            self.socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
            ring = (BLOCK, blocks, _FRAME, BLOCK // _FRAME * blocks, RETIRE_MS, 0, 0)
            sysc.setsockopt(self.socket.fileno(), _SOL_PACKET, _PACKET_RX_RING, struct.pack("=7I", *ring))
            self._ring = mmap.mmap(self.socket.fileno(), BLOCK * blocks)
            self.socket.bind((interface.device, _ETH_P_ALL))
        except BaseException:
            self.socket.close()
            raise

    def deafen(self) -> None:
        """Nothing more comes; what is in the ring stays."""
        attach(self.socket, packet_filter.nothing())
        self.deaf = True

    def taken(self) -> Iterator[bytes]:
        """Each block that is ours, as the kernel wrote it; once round the ring, for there are others."""
        for _ in range(self._blocks):
            start = self._at * BLOCK
            if not self._word(start + _STATUS) & _USER:
                return
            block = self._ring[start : start + min(self._word(start + _LENGTH), BLOCK)]
            struct.pack_into("=II", self._ring, start + _STATUS, 0, 0)  # and it has no packets now
            self._at = (self._at + 1) % self._blocks
            yield block

    def holds_some(self) -> bool:
        """Whether packets are in the ring that are not taken yet."""
        start = self._at * BLOCK
        return bool(self._word(start + _STATUS) & _USER or self._word(start + _COUNT))

    def count(self) -> None:
        """Bring `received` (what the filter let through) and `dropped` (of these) up to date: the kernel
        counts from 0 again after each question."""
        said = self.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 12)
        received, dropped, _ = struct.unpack("=III", said)
        self.received += received
        self.dropped += dropped

    def settle(self) -> None:
        """Take note of an error of the socket, an interface that went down: else it is ready for ever."""
        self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def _word(self, at: int) -> int:
        return int(struct.unpack_from("=I", self._ring, at)[0])

    def close(self) -> None:
        """Takes some ms: the kernel waits until no processor looks at the ring any more. Idempotent."""
        self.closed = True
        self._ring.close()
        self.socket.close()


def attach(sock: socket.socket, program: bytes) -> None:
    """From now on only what the program lets through comes to the socket. Raises OSError."""
    code = ctypes.create_string_buffer(program, len(program))
    told = struct.pack("HP", len(program) // 8, ctypes.addressof(code))  # struct sock_fprog
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, told)


def open_taps(found: list[Tap], host: Host, told: Mapping[str, Any] | None, snap: int, blocks: int) -> None:
    """Add a tap for each interface of a host. Raises EngineError; what is in `found` is open then, too."""

    def work() -> None:
        for interface in interfaces():
            program = packet_filter.program(told, snap, loopback=interface.device == "lo")
            found.append(Tap(host, interface, program, blocks))

    try:
        within.network(host.proc, work)
    except OSError as error:
        raise errors.EngineError(f"the packets of host {host.name} cannot be seen: {error}") from error


def count_interfaces(host: Host) -> int:
    """How many taps a host would take. Raises EngineError."""
    try:
        return within.network(host.proc, lambda: len(list(interfaces())))
    except OSError as error:
        raise errors.EngineError(f"host {host.name} cannot be entered: {error}") from error


def interfaces() -> Iterator[Interface]:
    """Of this thread's network namespace: those that are up and have frames of Ethernet's form."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            flags, hardware, mtu = (
                fcntl.ioctl(sock, request, struct.pack("16s24x", name.encode()))[16:]
                for request in (_SIOCGIFFLAGS, _SIOCGIFHWADDR, _SIOCGIFMTU)
            )
            kind = struct.unpack_from("=H", hardware)[0]
            if struct.unpack_from("=H", flags)[0] & _IFF_UP and kind in (_ETHERNET, _LOOPBACK):
                yield Interface(name, hardware[2:8].hex(":"), struct.unpack_from("=i", mtu)[0])
