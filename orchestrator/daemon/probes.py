"""Packets that see whether an impairment is there: sent in one host, received in another behind its rules.

A probe is an IP packet of a protocol that nothing else uses (cut_rules.PROBE), so it never shows in a table
of sockets: the raw sockets that send and receive it exist only meanwhile.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from orchestrator import errors
from orchestrator.daemon import cut_rules, within
from orchestrator.daemon.in_force import InForce

_ROUND = 0.05  # seconds after which probes that have not come are sent again
_CONTROL = 0  # the number of a cut that there is not: such a probe passes every rule
_IPV4 = 0x0800  # ETH_P_IP
_BODY = struct.Struct(">4sI")


class Way(NamedTuple):
    """From one host to another, by addresses of one family."""

    sender: InForce
    receiver: InForce
    source: str
    target: str

    doors: tuple[tuple[str, bytes], ...] = ()  # routers beside the sender: by which device, their MAC

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.target else 4

    def __str__(self) -> str:
        return f"{self.sender.host.name} -> {self.receiver.host.name}"


class Seen(NamedTuple):
    """What probes have seen of a way. `through` None: not even what nothing stops came through."""

    way: Way
    through: bool | None
    seconds: float = 0.0  # of the fastest


@dataclass
class Trial:
    """One way that is tried."""

    way: Way
    token: int
    sent: float = 0.0
    control: bool = False
    came: bool = False
    fastest: float = field(default=float("inf"))


class Probes:
    """The sockets of some hosts, for as long as a verification lasts. Blocks; raises EngineError."""

    def __init__(self, ways: Sequence[Way]) -> None:
        self._sockets: dict[tuple[str, int], socket.socket] = {}
        self._frames: dict[str, socket.socket] = {}
        self._receivers: dict[int, tuple[str, int]] = {}
        first = random.randrange(1 << 31)
        self._trials = {first + at: Trial(way, first + at) for at, way in enumerate(ways)}
        try:
            for way in ways:
                for room in (way.sender, way.receiver):
                    self._open(room, way.version)
                if way.doors:
                    self._open_frames(way.sender)
        except OSError as error:
            self.close()
            raise errors.EngineError(f"no probe can be sent: {error}") from error

    def _open(self, room: InForce, version: int) -> None:
        key = (room.host.name, version)
        if key not in self._sockets:
            family = socket.AF_INET6 if version == 6 else socket.AF_INET
            kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            sock = within.network(room.proc, lambda: socket.socket(family, kind, cut_rules.PROBE))
            self._sockets[key] = sock
            self._receivers[sock.fileno()] = key

    def _open_frames(self, room: InForce) -> None:
        if room.host.name not in self._frames:
            kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
            self._frames[room.host.name] = within.network(
                room.proc, lambda: socket.socket(socket.AF_PACKET, kind, 0)
            )

    def cut(self, number: int, seconds: float) -> list[Seen]:
        """Whether what a cut stops comes through, each way, known by what is sent right behind it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            waiting = [one for one in self._trials.values() if not one.control]
            if not waiting:
                break
            for one in waiting:
                for which in (number, _CONTROL):
                    self._send(one, cut_rules.probe(cut_rules.CUT_PROBE, which))
            self._receive(min(until, time.monotonic() + _ROUND))
        return [
            Seen(one.way, one.came if one.control else None, one.fastest) for one in self._trials.values()
        ]

    def time(self, seconds: float, times: int) -> list[Seen]:
        """How long the fastest of so many probes took, each way. `seconds`: what one may take at most."""
        for _ in range(times):
            for one in self._trials.values():
                one.control = False
                one.sent = time.monotonic()
                self._send(one, cut_rules.probe(cut_rules.DELAY_PROBE, 0))
            self._receive(time.monotonic() + seconds)
        return [
            Seen(one.way, one.fastest < float("inf") or None, one.fastest) for one in self._trials.values()
        ]

    def _send(self, trial: Trial, head: bytes) -> None:
        self._send_body(trial, _BODY.pack(head, trial.token))

    def _send_body(self, trial: Trial, body: bytes) -> None:
        way = trial.way
        sock = self._sockets[way.sender.host.name, way.version]
        try:
            sock.sendto(body, (way.target, 0))
        except OSError:  # it has no route there, where its router translates addresses
            for device, mac in way.doors:
                self._by_door(trial, body, device, mac)

    def _by_door(self, trial: Trial, body: bytes, device: str, mac: bytes) -> None:
        """To a router, whatever the routes say; it does not come where that leads nowhere."""
        if trial.way.version == 4:
            sock = self._frames[trial.way.sender.host.name]
            with contextlib.suppress(OSError):
                sock.sendto(_packet(trial.way, body), (device, _IPV4, 0, 0, mac))

    def _receive(self, until: float) -> None:
        poll = select.poll()
        for fd in self._receivers:
            poll.register(fd, select.POLLIN)
        while (
            not all(one.control for one in self._trials.values()) and (left := until - time.monotonic()) > 0
        ):
            for fd, _ in poll.poll(max(1, left * 1000)):
                name, version = self._receivers[fd]
                self._take(self._sockets[name, version], name, version)

    def _take(self, sock: socket.socket, name: str, version: int) -> None:
        """All that has come to one host."""
        while True:
            try:
                data, source = sock.recvfrom(2048)
            except OSError:
                return
            now = time.monotonic()
            self._arrived(data[(data[0] & 15) * 4 :] if version == 4 else data, source[0], name, now)

    def _arrived(self, body: bytes, _source: str, name: str, now: float) -> None:
        """What has come to a host, without its IP header."""
        if len(body) < _BODY.size:
            return
        head, token = _BODY.unpack_from(body)
        trial = self._trials.get(token)
        if trial is None or trial.way.receiver.host.name != name:
            return
        if head[0] == cut_rules.CUT_PROBE and head[1:] != bytes(3):
            trial.came = True
            return
        trial.control = True
        trial.fastest = min(trial.fastest, now - trial.sent)

    def close(self) -> None:
        """Close all sockets."""
        for sock in (*self._sockets.values(), *self._frames.values()):
            sock.close()


def _packet(way: Way, body: bytes) -> bytes:
    """With its IP header, RFC 791."""
    ends = socket.inet_aton(way.source) + socket.inet_aton(way.target)
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, cut_rules.PROBE, 0) + ends
    total = sum(struct.unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    check = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return header[:10] + struct.pack(">H", check) + header[12:] + body
