"""Named descriptors, addresses and socket options: what the calls of an agent work on."""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from orchestrator import errors
from orchestrator.agent.poll import Loop

Address = tuple[str, int]
_LEVELS = {
    "SO_": socket.SOL_SOCKET,
    "TCP_": socket.IPPROTO_TCP,
    "IP_": socket.IPPROTO_IP,
    "IPV6_": socket.IPPROTO_IPV6,
}
# asm-generic/socket.h, linux/tcp.h: what this Python has no name for
_NUMBERS = {
    "SO_RCVBUFFORCE": 33,
    "SO_SNDBUFFORCE": 32,
    "SO_MAX_PACING_RATE": 47,
    "SO_ZEROCOPY": 60,
    "IP_MINTTL": 21,
}
_TEXT = {"TCP_CONGESTION", "SO_BINDTODEVICE"}
_LINGER = struct.Struct("ii")
TCP_ESTABLISHED = 1  # include/net/tcp_states.h


class Descriptor:
    """A socket with a name, and who waits for it: calls are served in the order in which they were made."""

    __slots__ = ("auto", "name", "readers", "sock", "writers")

    def __init__(self, name: str, sock: socket.socket, auto: bool = False) -> None:
        sock.setblocking(False)
        self.name = name
        self.sock = sock
        self.auto = auto  # made by `up`, not by a step: never the one that is meant when no name is given
        self.readers: deque[Callable[[], bool]] = deque()
        self.writers: deque[Callable[[], bool]] = deque()

    def waiting(self, writing: bool) -> bool:
        """Does a call wait here already?"""
        return bool(self.writers if writing else self.readers)

    def describe(self) -> dict[str, Any]:
        """For `list`: what a program could find out about its own descriptor."""
        family = {socket.AF_INET: 4, socket.AF_INET6: 6}.get(self.sock.family)
        kind = "tcp" if self.sock.type == socket.SOCK_STREAM else "udp"
        ends = {"local": local(self.sock), "peer": peer(self.sock)}
        return {
            "name": self.name,
            "fd": self.sock.fileno(),
            "family": family,
            "kind": kind,
            "auto": self.auto,
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
        for attempt in (*descriptor.readers, *descriptor.writers):
            attempt()
        self.on_close()

    def wait(self, descriptor: Descriptor, writing: bool, attempt: Callable[[], bool]) -> None:
        """Call `attempt` whenever it may succeed, until it says True; after those who wait already."""
        queue = descriptor.writers if writing else descriptor.readers
        queue.append(attempt)
        if len(queue) == 1:
            watch = self._loop.writing if writing else self._loop.reading
            watch(descriptor.sock.fileno(), lambda: self._ready(descriptor, writing))

    def unwait(self, descriptor: Descriptor, attempt: Callable[[], bool]) -> None:
        """This one waits no more (its time is over)."""
        for writing, queue in ((False, descriptor.readers), (True, descriptor.writers)):
            if attempt in queue:
                queue.remove(attempt)
                self._quiet(descriptor, writing)

    def _ready(self, descriptor: Descriptor, writing: bool) -> None:
        queue = descriptor.writers if writing else descriptor.readers
        if queue and queue[0]():
            queue.popleft()
            self._quiet(descriptor, writing)

    def _quiet(self, descriptor: Descriptor, writing: bool) -> None:
        """Stop watching a descriptor that nobody waits for."""
        if not (descriptor.writers if writing else descriptor.readers) and descriptor.sock.fileno() >= 0:
            (self._loop.writing if writing else self._loop.reading)(descriptor.sock.fileno(), None)

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


def option(name: str) -> tuple[int, int]:
    """(level, number) of a socket option by its C name."""
    level = next((number for prefix, number in _LEVELS.items() if name.startswith(prefix)), None)
    number = _NUMBERS.get(name, getattr(socket, name, None))
    if level is None or not isinstance(number, int):
        raise errors.AgentError(
            f"no socket option {name!r} is known", "options have their C names, as SO_RCVBUF"
        )
    return level, number


def set_option(sock: socket.socket, name: str, value: Any) -> None:
    """setsockopt(2): a number; text for a few; SO_LINGER as [on, seconds]."""
    level, number = option(name)
    if name == "SO_LINGER" and isinstance(value, list):
        sock.setsockopt(level, number, _LINGER.pack(int(value[0]), int(value[1])))
    elif name in _TEXT:
        sock.setsockopt(level, number, str(value).encode())
    else:
        sock.setsockopt(level, number, int(value))


def get_option(sock: socket.socket, name: str) -> Any:
    """getsockopt(2), as `set_option` takes it; TCP_INFO as the hexadecimal digits of the struct."""
    level, number = option(name)
    if name == "SO_LINGER":
        return list(_LINGER.unpack(sock.getsockopt(level, number, _LINGER.size)))
    if name in _TEXT:
        return sock.getsockopt(level, number, 64).split(b"\0")[0].decode("ascii", "replace")
    if name == "TCP_INFO":
        return sock.getsockopt(level, number, 512).hex()
    return sock.getsockopt(level, number)


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
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.pack(1, 0))


def duplicate(sock: socket.socket) -> socket.socket:
    """dup(2): another number for the same open file."""
    return socket.socket(fileno=os.dup(sock.fileno()))
