"""The process that holds packets: it is told of each by the kernel and lets it go when its time has come.

One for a lab, forked from the zygote when a link is first impaired. It has a netlink socket of each host
whose incoming packets are held; when it ends, they pass. Time is kept by a timer of the kernel, which is set
a little early; the rest is waited for by looking at the clock.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import heapq
import os
import random
import select
import socket
import struct
import time
from collections import deque
from typing import Any, NoReturn

from orchestrator import errors, wire
from orchestrator.daemon import nfqueue, sysc
from orchestrator.daemon.cut_rules import PROBE, TRAIN_PROBE
from orchestrator.daemon.effects import Line, damage, fate

EARLY = 150e-6  # seconds that the timer is early: a processor that slept takes so long to run
DENSE = 1e-3  # seconds between packets, below which nothing is waited for by looking at the clock: that would
# keep a processor busy, which who sends and who receives need; what is due meanwhile goes on together
_AT_ONCE = 128  # packets that are read of one host before others are looked at
_ROUNDED = 1e-6  # seconds: a timer counts in whole nanoseconds, and must not be over before the moment is
_ABSOLUTE = 1  # TFD_TIMER_ABSTIME
_PR_SET_TIMERSLACK = 29

_ECHO_REPLY = {4: (9, 1, 0), 6: (6, 58, 129)}  # where the protocol stands, its number, the ICMP type

# A held packet: when it is due, its number, what replaces it (where it is not simply accepted), and whether
# that comes as a new packet.
Held = tuple[float, bytes, bytes | None, bool]


class Timer:
    """timerfd_create(2), for which Python 3.11 has no function: epoll(7) itself counts in milliseconds."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = int(self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._at = 0.0

    def set(self, at: float) -> None:
        """It is readable from then on."""
        if at != self._at:
            whole = int(at)
            told = struct.pack("=4q", 0, 0, whole, max(1, int((at - whole) * 1e9)))
            self._libc.timerfd_settime(self.fd, _ABSOLUTE, told, None)
            self._at = at


class Queue:
    """What comes to a host on one way, in the order in which it came.

    `echoes`: it is for ICMP. ping(8) asks the kernel when the answer came, and the kernel says when it came
    in, before it was held. So the answer is dropped when its time has come, and sent once more from within.
    """

    def __init__(self, number: int, *, echoes: bool) -> None:
        self.number, self.echoes = number, echoes
        self.lines: list[Line] = []
        self.held: deque[Held] = deque()
        self.last = 0.0
        self.constant: float | None = None  # a delay that is all there is
        self.seen = self.lost = 0

    def change(self, lines: list[Line]) -> bytes:
        """It consists of these lines from now on; how the kernel is to be told."""
        self.lines = lines
        by_segment = any(line.by_segment for line in lines)
        simple = not by_segment and not any(line.rate or line.jitter for line in lines)
        self.constant = sum(line.delay for line in lines) if simple else None
        if self.echoes:
            self.constant = None
        copy = (
            0xFFFF if self.echoes or any(line.changes for line in lines) else 0 if simple else nfqueue.HEADER
        )
        return nfqueue.configure(self.number, copy=copy, bundles=not by_segment)


class Incoming:
    """The queues of one host, on one socket. `again`: sockets that packets are sent on a second time."""

    def __init__(self, sock: socket.socket, again: dict[int, socket.socket]) -> None:
        self.socket, self.again = sock, again
        self.queues: dict[int, Queue] = {}
        self.own: frozenset[bytes] = frozenset()  # the host's addresses
        self.refused = 0  # errno of the last answer
        self.answered = 0
        sock.setblocking(False)

    def close(self) -> None:
        """What is held is dropped, what comes passes."""
        for sock in (self.socket, *self.again.values()):
            sock.close()


class DelayLine:
    """All of it: one loop."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._hosts: dict[str, Incoming] = {}
        self._by_fd: dict[int, Incoming] = {}
        self._lines: dict[str, Line] = {}  # by what they are called; one line, one bucket
        self._heap: list[
            tuple[float, int, int]
        ] = []  # when a queue's first is due, its host's fd, its number
        self._epoll, self._timer = select.epoll(), Timer()
        self._epoll.register(channel.fileno(), select.EPOLLIN)
        self._epoll.register(self._timer.fd, select.EPOLLIN | select.EPOLLET)  # nobody reads it
        self._buffer = memoryview(bytearray(1 << 17))
        self._released = 0.0  # when something was let go last
        self._chance = random.Random()
        self._stamps = _stamped()

    def serve(self) -> NoReturn:
        """Until the daemon is gone."""
        channel = self._channel.fileno()
        while True:
            for fd, _ in self._epoll.poll(self._wait()):
                if fd == channel:
                    self._take_request()
                elif fd in self._by_fd:
                    self._read(self._by_fd[fd])
            self._release(time.monotonic())

    def _wait(self) -> float:
        """Seconds for epoll: -1, the timer ends it."""
        if not self._heap:
            return -1.0
        now = time.monotonic()
        at = self._heap[0][0] - self._early(now)
        if at <= now:
            return 0.0
        self._timer.set(at + _ROUNDED)
        return -1.0

    def _early(self, now: float) -> float:
        """How much of the time before a packet is due is waited for by looking at the clock."""
        return EARLY if now - self._released > DENSE else 0.0

    # Packets.

    def _read(self, host: Incoming) -> None:
        buffer, sock = self._buffer, host.socket
        now = time.monotonic()
        skew = time.time() - now
        for _ in range(_AT_ONCE):
            try:
                size = sock.recv_into(buffer)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ENOBUFS:  # more came than the socket holds; the kernel dropped it
                    continue
                raise
            if (short := nfqueue.brief(buffer)) is not None:
                queue = host.queues.get(short[0])
                if queue is not None and queue.constant is not None:
                    queue.seen += 1
                    due = max(_came(short[2] - skew, now) + queue.constant, queue.last)
                    self._hold(host, queue, due, (short[1], None, False))
                    continue
            if (answer := nfqueue.answer(buffer)) is not None:
                host.refused, host.answered = answer, host.answered + 1
                continue
            packet = nfqueue.packet(buffer, size)
            if packet is not None and (queue := host.queues.get(packet.queue)) is not None:
                self._take(host, queue, packet, _came(packet.taken - skew, now))

    def _take(self, host: Incoming, queue: Queue, packet: nfqueue.Packet, arrived: float) -> None:
        queue.seen += 1
        if queue.constant is not None:
            self._hold(host, queue, max(arrived + queue.constant, queue.last), (packet.number, None, False))
            return
        payload = packet.payload
        probe = is_spared(payload)
        length = packet.length + 14  # as on the wire: with the Ethernet header
        what = fate(queue.lines, arrived, length, packet.hardware, self._chance, probe=probe)
        if what.due is None:
            queue.lost += 1
            self._say(host, nfqueue.verdict(queue.number, packet.number, nfqueue.DROP))
            return
        if what.twice:
            self._send_again(host, payload)
        other = damage(payload, self._chance) if what.damaged else None
        if what.overtakes:
            self._say(host, nfqueue.verdict(queue.number, packet.number, nfqueue.ACCEPT, other))
        else:
            again = queue.echoes and is_echo_reply(payload, host.own)
            if again and other is None:
                other = payload
            self._hold(host, queue, max(what.due, queue.last), (packet.number, other, again))

    def _hold(self, host: Incoming, queue: Queue, due: float, what: tuple[bytes, bytes | None, bool]) -> None:
        if not queue.held:
            heapq.heappush(self._heap, (due, host.socket.fileno(), queue.number))
        queue.last = due
        queue.held.append((due, *what))

    def _release(self, now: float) -> None:
        """Let go what is due; of what is due in a moment wait for it."""
        heap, early = self._heap, self._early(now)
        while heap and heap[0][0] <= now + early:
            due, fd, number = heap[0]
            while now < due:
                now = time.monotonic()
            heapq.heappop(heap)
            host = self._by_fd.get(fd)
            queue = host.queues.get(number) if host else None
            if host is None or queue is None:
                continue
            self._let_go(host, queue, now)
            self._released = now
            if queue.held:
                heapq.heappush(heap, (queue.held[0][0], fd, number))
            now = time.monotonic()

    def _let_go(self, host: Incoming, queue: Queue, now: float) -> None:
        held, last = queue.held, None
        while held and held[0][0] <= now:
            _, number, other, again = held.popleft()
            if other is None:
                last = number
                continue
            if last is not None:
                self._say(host, nfqueue.accept_up_to(queue.number, last))
                last = None
            if again:
                self._say(host, nfqueue.verdict(queue.number, number, nfqueue.DROP))
                self._send_again(host, other)
            else:
                self._say(host, nfqueue.verdict(queue.number, number, nfqueue.ACCEPT, other))
        if last is not None:
            self._say(host, nfqueue.accept_up_to(queue.number, last))

    @staticmethod
    def _say(host: Incoming, message: bytes) -> None:
        try:
            host.socket.send(message)
        except OSError as error:  # the host is gone; or that packet is, with the rule that queued it
            if error.errno not in (errno.ENOENT, errno.ENOBUFS, errno.EAGAIN, errno.ECONNREFUSED):
                raise

    @staticmethod
    def _send_again(host: Incoming, packet: bytes) -> None:
        """A second time, from within the host: it comes by lo, where nothing is held."""
        version = packet[0] >> 4
        sock = host.again.get(version)
        if sock is None:
            return
        place = slice(16, 20) if version == 4 else slice(24, 40)
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        try:
            sock.sendto(packet, (socket.inet_ntop(family, packet[place]), 0))
        except OSError:
            pass  # as any packet may get lost

    # What the daemon asks.

    def _take_request(self) -> None:
        header, fds, _, _ = socket.recv_fds(self._channel, wire.HEADER.size, 4)
        if not header:
            os._exit(0)
        if len(header) < wire.HEADER.size:
            header += wire.read_exactly(self._channel, wire.HEADER.size - len(header))
        length, _ = wire.lengths(header, wire.MAX_JSON, 0)
        message = wire.decode(wire.read_exactly(self._channel, length)).message
        try:
            answer = {"ok": getattr(self, f"_do_{message['do']}")(message, fds)}
        except (OSError, errors.LabError) as error:
            answer = {"error": str(error)}
        self._channel.sendall(wire.encode(answer))

    def _do_host(self, message: wire.Message, fds: list[int]) -> None:
        """A host whose packets may be held from now on."""
        self._do_forget(message, [])
        sock, *again = [socket.socket(fileno=fd) for fd in fds]
        host = Incoming(sock, dict(zip((4, 6), again, strict=False)))
        self._hosts[str(message["host"])] = self._by_fd[sock.fileno()] = host
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _do_forget(self, message: wire.Message, _: list[int]) -> None:
        host = self._hosts.pop(str(message["host"]), None)
        if host is not None:
            fd = host.socket.fileno()
            self._epoll.unregister(fd)
            del self._by_fd[fd]
            self._heap = [one for one in self._heap if one[1] != fd]
            heapq.heapify(self._heap)
            host.close()

    def _do_lines(self, message: wire.Message, _: list[int]) -> None:
        """What lines are like, by their names."""
        for name, told in message["lines"].items():
            self._lines.setdefault(name, Line()).change(told)

    def _do_queues(self, message: wire.Message, _: list[int]) -> None:
        """Exactly these queues of a host: {number: names of the lines on the way}. What others hold goes on
        its way at once. Raises OSError where there can be none."""
        host = self._hosts[str(message["host"])]
        wanted = {int(number): names for number, names in message["queues"].items()}
        host.own = frozenset(_packed(address) for address in message.get("own") or ())
        for number in [one for one in host.queues if one not in wanted]:
            self._let_go(host, host.queues.pop(number), float("inf"))
            self._configure(host, nfqueue.unbind(number))
        for number, names in wanted.items():
            queue = host.queues.get(number)
            if queue is None:
                self._configure(host, nfqueue.bind(number))
                queue = host.queues[number] = Queue(number, echoes=number >= int(message["beside"]))
            self._configure(host, queue.change([self._lines[name] for name in names]))

    def _configure(self, host: Incoming, message: bytes) -> None:
        """Wait for the answer; packets that come meanwhile are taken."""
        before, until = host.answered, time.monotonic() + 1
        host.socket.send(message)
        while host.answered == before and time.monotonic() < until:
            self._read(host)
        if host.answered == before:
            raise OSError(errno.ETIMEDOUT, "the kernel's queues do not answer")
        if host.refused:
            raise OSError(host.refused, f"no queue of packets: {os.strerror(host.refused)}")

    def _do_counts(self, _: wire.Message, __: list[int]) -> dict[str, Any]:
        """What was seen and lost, by host and queue."""
        return {
            name: {str(number): [queue.seen, queue.lost] for number, queue in host.queues.items()}
            for name, host in self._hosts.items()
        }


def _came(noted: float, now: float) -> float:
    """When a packet came: as the kernel has noted it, where it has, and nobody has set the clock."""
    return noted if -1 < now - noted < 1 else now


def is_spared(packet: bytes) -> bool:
    """Whether it is a probe that is held as others are, and nothing else happens to it (verifying.py)."""
    place, header = (9, 20) if packet and packet[0] >> 4 == 4 else (6, 40)
    return len(packet) > header and packet[place] == PROBE and packet[header] != TRAIN_PROBE


def is_echo_reply(packet: bytes, own: frozenset[bytes]) -> bool:
    """Whether it answers a ping of this very host."""
    version = packet[0] >> 4 if packet else 0
    if version not in _ECHO_REPLY or len(packet) < 48 - 20 * (version == 4):
        return False
    place, protocol, kind = _ECHO_REPLY[version]
    header = (packet[0] & 15) * 4 if version == 4 else 40
    target = packet[16:20] if version == 4 else packet[24:40]
    return packet[place] == protocol and packet[header] == kind and target in own


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _stamped() -> socket.socket:
    """While a socket wants to know when packets came, the kernel notes it (net_enable_timestamp())."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS, asm-generic/socket.h
    return sock


def serve(channel: socket.socket) -> NoReturn:
    """Be the delay line."""
    gc.disable()  # nothing here is part of a cycle, and a collection takes longer than a delay may be off
    sysc.prctl(_PR_SET_TIMERSLACK, 1)
    DelayLine(channel).serve()
