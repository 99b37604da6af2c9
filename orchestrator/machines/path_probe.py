"""Does a fabric's UDP port let packets through to other machines, how large ones? How far apart are clocks?

This file is sent as it is to every machine and run there by its python3, all at the same time: nothing is
installed, and even Debian's python3-minimal has what it needs. Each binds the port, calls the others until
they answer, and then looks for the largest packet that passes unfragmented (RFC 8899 does the same by the
name of datagram packetization layer path MTU discovery). It prints a line for each peer and ends when all
have been served, or its time is over.

    python3 - NONCE PORT SECONDS PEER…

What is not of this run carries another nonce and is passed over.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
import sys
import time

_CALL, _PROBE, _ANSWER, _DONE = range(4)
_HEAD = struct.Struct("!8sBHd")  # nonce, kind, size of the packet that is meant, when the sender sent it
_ASKED = struct.Struct("!Hdd")  # what follows in an answer: size and time of the packet, when it was received
_EVERY = 0.05  # seconds between two calls
_PATIENCE = 0.15  # for the answers to a round of packets
_ROUNDS = 12
_PER_ROUND = 6
_LEAST, _MOST = 576, 9216  # bytes of an IP packet: what everybody passes (RFC 1122), and jumbo frames
_DO_PROBE = 3  # ip(7), IP_PMTUDISC_PROBE: never fragment, and believe no cached MTU
_MTU_DISCOVER = {socket.AF_INET: (socket.IPPROTO_IP, 10), socket.AF_INET6: (socket.IPPROTO_IPV6, 23)}
_MTU = {socket.AF_INET: (socket.IPPROTO_IP, 14), socket.AF_INET6: (socket.IPPROTO_IPV6, 24)}
_OVER = {socket.AF_INET: 28, socket.AF_INET6: 48}  # bytes of the IP and the UDP header


class Peer:
    """What is known of the way to one other machine."""

    def __init__(self, address: str, interface: int) -> None:
        self.address, self.interface = address, interface
        self.called = 0.0
        self.rtt: float | None = None
        self.offset = 0.0
        # sizes: the largest that came through, and the smallest that did not
        self.passed, self.failed = 0, min(max(interface, _LEAST), _MOST) + 1
        self.tried: list[int] = []
        self.rounds, self.until = 0, 0.0
        self.asked, self.heard = 0.0, True  # when a round's call was sent, and whether it was answered
        self.served = False

    @property
    def done(self) -> bool:
        """Whether nothing more is to be found out."""
        return self.rtt is not None and (self.failed - self.passed <= 1 or self.rounds >= _ROUNDS)


class Probe:
    """One machine's part."""

    def __init__(self, nonce: bytes, sock: socket.socket, port: int) -> None:
        self.nonce, self.sock, self.port = nonce, sock, port
        self.peers: dict[str, Peer] = {}

    def add(self, address: str) -> None:
        """One more to be called."""
        interface = 1500  # with no route to it nobody will answer
        with contextlib.suppress(OSError), socket.socket(self.sock.family, socket.SOCK_DGRAM) as route:
            route.connect((address, self.port))
            interface = route.getsockopt(*_MTU[self.sock.family])
        self.peers[address] = Peer(address, interface)

    def send(self, address: str, kind: int, size: int = 0, more: bytes = b"") -> None:
        """A packet of that size, or as small as it can be."""
        packet = _HEAD.pack(self.nonce, kind, size, time.time()) + more
        with contextlib.suppress(OSError):  # EMSGSIZE: the interface takes no such packet; EPERM: a firewall
            self.sock.sendto(packet.ljust(size - _OVER[self.sock.family], b"."), (address, self.port))

    def turn(self, now: float) -> None:
        """Say to each peer what is due."""
        for peer in self.peers.values():
            if peer.rtt is not None and not peer.done:
                if now >= peer.until:
                    self.round(peer, now)
            elif now - peer.called >= _EVERY:
                peer.called = now
                self.send(peer.address, _DONE if peer.done else _CALL)

    def round(self, peer: Peer, now: float) -> None:
        """See what came of a round, and send the next: sizes between the largest that has passed and the
        smallest that has not. Each twice, for one lost packet says nothing; a call goes after them, and while
        that is not answered, nothing is known: one of us has had no processor.
        """
        if peer.tried and peer.heard:
            peer.rounds += 1
            peer.failed = min([size for size in peer.tried if size > peer.passed], default=peer.failed)
        peer.tried = sizes(peer.passed, peer.failed)
        for size in 2 * peer.tried:
            self.send(peer.address, _PROBE, size)
        peer.asked, peer.heard, peer.until = time.time(), False, now + _PATIENCE
        self.send(peer.address, _CALL)

    def take(self, packet: bytes, sender: str) -> None:
        """A packet has come."""
        if len(packet) < _HEAD.size or packet[:8] != self.nonce:
            return
        _, kind, size, sent = _HEAD.unpack(packet[: _HEAD.size])
        peer = self.peers.get(sender)
        if kind in (_CALL, _PROBE):
            self.send(sender, _ANSWER, 0, _ASKED.pack(size, sent, time.time()))
        elif kind == _ANSWER and peer is not None and len(packet) >= _HEAD.size + _ASKED.size:
            self.answered(peer, packet, sent)
        elif kind == _DONE and peer is not None:
            peer.served = True

    def answered(self, peer: Peer, packet: bytes, back: float) -> None:
        """A call's answer has four times, as NTP's (RFC 5905, 8); one to a large packet says that it came."""
        size, asked, received = _ASKED.unpack(packet[_HEAD.size : _HEAD.size + _ASKED.size])
        now = time.time()
        rtt = (now - asked) - (back - received)
        if not size:
            peer.heard = peer.heard or asked >= peer.asked
            if peer.rtt is None or rtt < peer.rtt:
                peer.rtt, peer.offset = rtt, ((received - asked) + (back - now)) / 2
        elif peer.passed < size < peer.failed:
            peer.passed = size


def sizes(passed: int, failed: int) -> list[int]:
    """The sizes of a round, spread in between; and the largest of all that may pass."""
    low = passed or _LEAST - 1
    width = failed - low
    count = min(_PER_ROUND, width - 1)
    found = {low + width * step // (count + 1) for step in range(1, count + 1)}
    return sorted(found | {failed - 1}) if width > 1 else []


def main(nonce: bytes, port: int, seconds: float, addresses: list[str]) -> None:
    """All of it."""
    family = socket.AF_INET6 if any(":" in one for one in addresses) else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.bind(("", port))
    except OSError as error:
        print("lab: bound", errno.errorcode.get(error.errno or 0, "?"))
        return
    print("lab: bound ok")
    sock.setsockopt(*_MTU_DISCOVER[family], _DO_PROBE)
    probe = Probe(nonce, sock, port)
    for address in addresses:
        probe.add(address)
    peers = probe.peers.values()
    end = time.monotonic() + seconds
    while time.monotonic() < end and not all(peer.done and peer.served for peer in peers):
        probe.turn(time.monotonic())
        wait = 0.01
        while select.select([sock], [], [], wait)[0]:
            wait = 0.0  # what has come is read before it is judged
            with contextlib.suppress(OSError):  # ECONNREFUSED of a peer that is not there yet
                packet, sender = sock.recvfrom(65536)
                probe.take(packet, sender[0])
    for peer in 3 * list(peers):  # who is served need not wait for us
        probe.send(peer.address, _DONE)
    for peer in peers:
        known = "-" if peer.rtt is None else f"{peer.rtt:.6f} {peer.offset:.6f}"
        print("lab: peer", peer.address, peer.passed, peer.interface, known)


if __name__ == "__main__":
    main(bytes.fromhex(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
