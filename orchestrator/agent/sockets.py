"""Named descriptors and addresses: what the calls of an agent work on."""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from orchestrator import errors
from orchestrator.agent.poll import Loop

if TYPE_CHECKING:
    from orchestrator.agent.tls import Tls

Address = tuple[str, int]
Attempt = Callable[[], None]
TCP_ESTABLISHED = 1  # include/net/tcp_states.h


class Line:
    """Who waits for one direction of a descriptor: calls are served in the order in which they were made."""

    __slots__ = ("resting", "waiters", "watched")

    def __init__(self) -> None:
        self.waiters: deque[Attempt] = deque()
        self.resting: Attempt | None = None  # the first in line, while it waits for a moment
        self.watched = False  # is epoll asked to wake it?


class Descriptor:
    """A socket with a name, TLS where it has that, and who waits for it."""

    __slots__ = ("auto", "host", "lines", "name", "sock", "tls")

    def __init__(self, name: str, sock: socket.socket, auto: bool = False) -> None:
        sock.setblocking(False)
        self.name = name
        self.sock = sock
        self.auto = auto  # made by `up`, not by a step: never the one that is meant when no name is given
        self.host = ""  # the name that `connect` was told, with the port where that says something
        self.tls: Tls | None = None
        self.lines = (Line(), Line())  # of readers, of writers

    @property
    def is_stream(self) -> bool:
        """TCP, not UDP."""
        return self.sock.type == socket.SOCK_STREAM

    def waiting(self, writing: bool) -> bool:
        """Does a call wait here already?"""
        return bool(self.lines[writing].waiters)

    def send(self, data: bytes | memoryview) -> int:
        """send(2), through TLS where there is some. Raises BlockingIOError."""
        return self.tls.send(data) if self.tls else self.sock.send(data)

    def flushed(self) -> bool:
        """Is all that was sent with the kernel? (A record of TLS goes there in one piece or in several.)"""
        return self.tls is None or self.tls.flush()

    def recv(self, size: int) -> bytes:
        """recv(2), through TLS where there is some. Raises BlockingIOError."""
        return self.tls.recv(size) if self.tls else self.sock.recv(size)

    def peek(self, size: int) -> bytes:
        """What `recv` would give, which stays where it is (MSG_PEEK). Raises BlockingIOError."""
        return self.tls.peek(size) if self.tls else self.sock.recv(size, socket.MSG_PEEK)

    @property
    def buffered(self) -> bool:
        """Is there something to read that the kernel does not know of?"""
        return self.tls is not None and self.tls.buffered

    def describe(self) -> dict[str, Any]:
        """For `list`: what a program could find out about its own descriptor."""
        family = {socket.AF_INET: 4, socket.AF_INET6: 6}.get(self.sock.family)
        kind = "tcp" if self.is_stream else "udp"
        ends = {"local": local(self.sock), "peer": peer(self.sock)}
        return {
            "name": self.name,
            "fd": self.sock.fileno(),
            "family": family,
            "kind": kind,
            "auto": self.auto,
            "tls": self.tls.version if self.tls else None,
            **ends,
        }


class Descriptors:
    """All sockets of the agent that have a name."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._by_name: dict[str, Descriptor] = {}
        self.on_close: Callable[[], None] = lambda: None  # a descriptor's number has become free

    def __iter__(self) -> Iterator[Descriptor]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def free(self, name: str) -> None:
        """Raise AgentError if this name is taken."""
        if name in self._by_name:
            raise errors.AgentError(
                f"there is a descriptor {name!r} already", "close it first, or choose another name"
            )

    def add(self, name: str | None, sock: socket.socket, auto: bool = False) -> Descriptor:
        """Keep a socket under a name; without one it is called after its number, as fd5."""
        name = name or f"fd{sock.fileno()}"
        self.free(name)
        descriptor = self._by_name[name] = Descriptor(name, sock, auto)
        return descriptor

    def get(self, name: str | None) -> Descriptor:
        """The descriptor of that name, or the only one that a step has made."""
        if name is not None:
            if name in self._by_name:
                return self._by_name[name]
            raise errors.AgentError(f"no descriptor {name!r} is open", self._names())
        ours = [d for d in self._by_name.values() if not d.auto]
        if len(ours) == 1:
            return ours[0]
        raise errors.AgentError(f"{len(ours)} descriptors are open: say which one is meant", self._names())

    def drop(self, descriptor: Descriptor) -> None:
        """Forget it and close it; calls that wait for it end with EBADF."""
        self._by_name.pop(descriptor.name, None)
        if descriptor.sock.fileno() >= 0:
            self._loop.forget(descriptor.sock.fileno())
        descriptor.sock.close()
        for line in descriptor.lines:
            for attempt in list(line.waiters):
                attempt()
        self.on_close()

    def wait(self, descriptor: Descriptor, writing: bool, attempt: Attempt, ready: bool = True) -> None:
        """Call `attempt` whenever it may succeed, until `unwait`; after those who wait already, but not after
        those that came later while this one waited for the other direction. Not `ready`: keep its place, and
        everybody behind it waiting, without being called.
        """
        line, other = descriptor.lines[writing], descriptor.lines[not writing]
        if attempt in other.waiters:
            self._out(descriptor, not writing, attempt)
            line.waiters.appendleft(attempt)
        elif attempt not in line.waiters:
            line.waiters.append(attempt)
        if not ready:
            line.resting = attempt
        elif line.resting == attempt:
            line.resting = None
        self._watch(descriptor, writing)

    def unwait(self, descriptor: Descriptor, attempt: Attempt) -> None:
        """This one waits no more."""
        for writing in (False, True):
            if attempt in descriptor.lines[writing].waiters:
                self._out(descriptor, writing, attempt)

    def _out(self, descriptor: Descriptor, writing: bool, attempt: Attempt) -> None:
        line = descriptor.lines[writing]
        line.waiters.remove(attempt)
        if line.resting == attempt:
            line.resting = None
        self._watch(descriptor, writing)
        if not writing and line.waiters and descriptor.buffered:
            self._loop.soon(lambda: self._ready(descriptor, writing))

    def _ready(self, descriptor: Descriptor, writing: bool) -> None:
        line = descriptor.lines[writing]
        if line.waiters and line.waiters[0] != line.resting:
            line.waiters[0]()

    def _watch(self, descriptor: Descriptor, writing: bool) -> None:
        """Have epoll wake the first in line, if there is one that wants that."""
        line, fd = descriptor.lines[writing], descriptor.sock.fileno()
        wanted = bool(line.waiters) and line.waiters[0] != line.resting
        if wanted == line.watched or fd < 0:
            return
        line.watched = wanted
        watch = self._loop.writing if writing else self._loop.reading
        watch(fd, (lambda: self._ready(descriptor, writing)) if wanted else None)

    def _names(self) -> str:
        names = [d.name for d in self._by_name.values()][:20]
        return f"open: {', '.join(names)}" if names else "none is open"


def make(family: int | str, kind: str = "tcp") -> socket.socket:
    """A new socket: family 4, 6 (IPv6 only) or "dual" (IPv6 that takes IPv4 too)."""
    number = socket.AF_INET if str(family) == "4" else socket.AF_INET6
    sock = socket.socket(number, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    if number == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if family == "dual" else 1)
    return sock


def checked(address: str, port: int) -> Address:
    """A numeric address and a port that fit. Names are resolved before they come here."""
    try:
        ipaddress.ip_address(address)
    except ValueError as error:
        raise errors.AgentError(f"{address!r} is no address") from error
    if not 0 <= int(port) <= 65535:
        raise errors.AgentError(f"{port} is no port")
    return address, int(port)


def family_of(address: str) -> int:
    """4 or 6, by how the address is written."""
    return 6 if ":" in address else 4


def local(sock: socket.socket) -> list[Any] | None:
    """The socket's own address, or None where it has none."""
    return _name(sock.getsockname)


def peer(sock: socket.socket) -> list[Any] | None:
    """The other end's address, or None."""
    return _name(sock.getpeername)


def _name(ask: Callable[[], Any]) -> list[Any] | None:
    try:
        return list(ask()[:2])
    except OSError:
        return None


def connected(sock: socket.socket, address: Address) -> int:
    """How a connect under way went, after poll(2) has said that it did: 0, EALREADY (not yet), or its errno.

    connect(2) is asked again, for SO_ERROR alone does not tell: Linux 6.18 has been seen to report EPOLLERR
    on a socket in SYN_SENT whose SO_ERROR was 0 at that moment and EHOSTUNREACH at the next.
    """
    return sock.connect_ex(address)


def state(sock: socket.socket) -> int:
    """The TCP state's number (first byte of struct tcp_info)."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def events(fd: int, seconds: float = 0) -> dict[str, bool]:
    """What poll(2) says about a descriptor at this moment."""
    poll = select.poll()
    poll.register(fd, select.POLLIN | select.POLLOUT | select.POLLPRI | select.POLLRDHUP)
    seen = dict(poll.poll(seconds)).get(fd, 0)
    bits = {"readable": select.POLLIN, "writable": select.POLLOUT, "urgent": select.POLLPRI}
    bits |= {"peer_closed": select.POLLRDHUP, "hung_up": select.POLLHUP, "error": select.POLLERR}
    return {name: bool(seen & bit) for name, bit in bits.items()}


def reset_on_close(sock: socket.socket) -> None:
    """SO_LINGER of 0 seconds (socket(7)): the last close(2) resets, and leaves no TIME_WAIT."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def duplicate(sock: socket.socket) -> socket.socket:
    """dup(2): another number for the same open file."""
    return socket.socket(fileno=os.dup(sock.fileno()))
