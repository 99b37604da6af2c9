"""The fake engine's TCP: sockets that change state as RFC 9293 and Linux have it, without packets or time.

What takes a round trip in the world takes none here, so SYN_RECV, FIN_WAIT1, LAST_ACK and CLOSING are never
seen. Every call returns the name of an errno, or None where it worked.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from dataclasses import dataclass, field

from orchestrator.engines.fake_network import Network, Node

Address = tuple[str, int]
TIME_WAIT_SECONDS = 60.0  # TCP_TIMEWAIT_LEN, include/net/tcp.h
UNREACHABLE_SECONDS = 3.0  # three ARP requests, a second apart
SYN_SECONDS = 135.0  # tcp_syn_retries = 6, as measured
RECEIVE_WINDOW = 6 << 20  # net.ipv4.tcp_rmem's maximum
SOMAXCONN = 4096
FIRST_PORT, LAST_PORT = 32768, 60999  # net.ipv4.ip_local_port_range
ANY = ("0.0.0.0", "::")


@dataclass(eq=False, slots=True)
class Socket:
    """One socket of one host. `family` says in which table it is; `dual` takes IPv4 in tcp6."""

    stack: Stack
    family: int = 4
    dual: bool = False
    state: str = "CLOSE"
    local: Address | None = None
    peer: Address | None = None
    inode: int = 0
    cookie: int = 0
    holders: dict[tuple[int, int], None] = field(default_factory=dict)  # (pid, descriptor)
    options: dict[str, int] = field(default_factory=dict)
    backlog: int = 0
    queue: deque[Socket] = field(default_factory=deque)  # LISTEN: not yet accepted
    waiting: list[Socket] = field(default_factory=list)  # LISTEN: SYNs that found the queue full
    other: Socket | None = None
    inbox: bytearray = field(default_factory=bytearray)
    unacked: int = 0
    fin: bool = False  # the peer has said that no more comes
    end_read: bool = False
    error: str | None = None
    due: float = 0.0  # SYN_SENT: gives up; TIME_WAIT: ends

    @property
    def rx_queue(self) -> int:
        """As the table has it: a FIN that was not read counts one."""
        if self.state == "LISTEN":
            return len(self.queue)
        return len(self.inbox) + (self.fin and not self.end_read)

    @property
    def ends_by_itself(self) -> bool:
        """Whether a timer runs that the socket does not outlive."""
        return self.state in ("SYN_SENT", "TIME_WAIT") or (self.state == "FIN_WAIT2" and not self.inode)

    @property
    def room(self) -> int:
        """Bytes that the peer may still send."""
        return max(0, RECEIVE_WINDOW - len(self.inbox))


Four = tuple[str, int, str, int]


@dataclass(eq=False)
class Stack:
    """The sockets of one host, by tuple and by port."""

    node: Node
    tuples: dict[Four, Socket] = field(default_factory=dict)
    ports: dict[int, dict[Socket, None]] = field(default_factory=dict)  # bound, listening and connected ones
    listening_on: dict[int, list[Socket]] = field(default_factory=dict)
    next_port: int = FIRST_PORT

    def listeners(self) -> list[Socket]:
        """In the order of their ports, as the kernel's hash is in none."""
        return [s for port in sorted(self.listening_on) for s in self.listening_on[port]]

    def listening(self, address: str, port: int) -> list[Socket]:
        """Those that take a connection to this address; the most exact ones only."""
        six = ":" in address
        ours = self.listening_on.get(port, [])
        exact = [s for s in ours if s.local and s.local[0] == address]
        return exact or [
            s for s in ours if s.local and s.local[0] in ANY and (s.dual or (s.family == 6) == six)
        ]

    def put(self, socket: Socket) -> None:
        """It has a port now, and a tuple where it has a peer."""
        if socket.local:
            self.ports.setdefault(socket.local[1], {})[socket] = None
        if socket.local and socket.peer:
            self.tuples[(*socket.local, *socket.peer)] = socket

    def drop(self, socket: Socket) -> None:
        """It is in no table any more, and its port is free."""
        was, socket.state = socket.state, "CLOSE"
        if not socket.local:
            return
        port = socket.local[1]
        there: dict[Socket, None] = self.ports.get(port, {})
        there.pop(socket, None)
        if not there:
            self.ports.pop(port, None)
        if was == "LISTEN":
            self.listening_on[port].remove(socket)
        if socket.peer and self.tuples.get((*socket.local, *socket.peer)) is socket:
            del self.tuples[(*socket.local, *socket.peer)]

    def free_port(self) -> int | None:
        """The next ephemeral port that nothing has; None where all are taken."""
        for _ in range(LAST_PORT - FIRST_PORT + 1):
            port = self.next_port
            self.next_port = FIRST_PORT if port == LAST_PORT else port + 1
            if port not in self.ports:
                return port
        return None


class Tcp:
    """All sockets of a lab."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.stacks: dict[Node, Stack] = {}
        self._inodes = itertools.count(10_001)
        self._cookies = itertools.count(1)
        self._timers: list[Socket] = []
        self.touched: set[Socket] = set()  # something came in here that an agent may care for

    def socket(self, stack: Stack, family: int, dual: bool) -> Socket:
        """A new one, held by nobody yet."""
        return Socket(stack, family, dual, inode=next(self._inodes), cookie=next(self._cookies))

    def bind(self, socket: Socket, address: str, port: int) -> str | None:
        """bind(2)."""
        stack = socket.stack
        if socket.local:
            return "EINVAL"
        if address not in ANY and not stack.node.owns(address):
            return "EADDRNOTAVAIL"
        if port and any(_conflict(socket, address, other) for other in stack.ports.get(port, ())):
            return "EADDRINUSE"
        chosen = port or stack.free_port()
        if not chosen:
            return "EADDRINUSE"
        socket.local = (address, chosen)
        stack.put(socket)
        return None

    def listen(self, socket: Socket, backlog: int) -> str | None:
        """listen(2); again changes the backlog."""
        if socket.state not in ("CLOSE", "LISTEN") or socket.peer:
            return "EINVAL"
        if not socket.local and (failed := self.bind(socket, "::" if socket.family == 6 else "0.0.0.0", 0)):
            return failed
        if socket.state != "LISTEN" and socket.local:
            socket.state = "LISTEN"
            socket.stack.listening_on.setdefault(socket.local[1], []).append(socket)
        socket.backlog = min(backlog, SOMAXCONN)
        return None

    def connect(self, socket: Socket, address: str, port: int) -> str | None:
        """connect(2), never blocking: None means SYN_SENT or ESTABLISHED."""
        if socket.state != "CLOSE" or socket.peer:
            return "EISCONN" if socket.peer else "EINVAL"
        if socket.family == 6 and not socket.dual and ":" not in address:
            return "ENETUNREACH"
        bound = socket.local[0] if socket.local and socket.local[0] not in ANY else None
        way = self.network.way(socket.stack.node, address, bound)
        if way is None:
            return "ENETUNREACH"
        if failed := self._claim(socket, way.source, (address, port)):
            return failed
        return self._syn(socket)

    def _claim(self, socket: Socket, source: str, peer: Address) -> str | None:
        """A local address and a tuple that nobody has."""
        local_port = socket.local[1] if socket.local else socket.stack.free_port()
        if not local_port or (source, local_port, *peer) in socket.stack.tuples:
            return "EADDRNOTAVAIL"
        socket.local, socket.peer = (source, local_port), peer
        socket.state = "SYN_SENT"
        socket.stack.put(socket)
        return None

    def _syn(self, socket: Socket) -> str | None:
        """What becomes of a SYN: refused, nowhere, in a full queue, or a connection."""
        assert socket.local
        assert socket.peer
        way = self.network.way(socket.stack.node, socket.peer[0], socket.local[0])
        if way is None or way.node is None:
            return self._unanswered(socket, UNREACHABLE_SECONDS)
        if not self.network.way(way.node, way.seen):
            return self._unanswered(socket, SYN_SECONDS)
        seen = (way.seen, socket.local[1])
        target = self.stacks[way.node]
        if target is socket.stack and seen == socket.peer:
            socket.other, socket.state, socket.error = socket, "ESTABLISHED", None
            return None
        old = target.tuples.get((*socket.peer, *seen))
        listeners = target.listening(*socket.peer)
        if old is not None and old.state == "TIME_WAIT" and listeners:
            target.drop(old)
        elif old is not None and old.other is None and listeners:  # RFC 9293, 3.5.1: its peer has crashed
            target.drop(old)
            old.error = "ECONNRESET"
            self.touched.add(old)
        elif old is not None or not listeners:
            return self._refuse(socket)
        listener = listeners[hash(seen) % len(listeners)]
        if len(listener.queue) > listener.backlog:
            listener.waiting.append(socket)
            return self._unanswered(socket, SYN_SECONDS)
        for router, translated in way.via:
            key = (*socket.local, *socket.peer)
            router.translations[key] = [*key, translated, socket.local[1], *socket.peer]
        self._establish(socket, listener, seen)
        return None

    def _establish(self, client: Socket, listener: Socket, seen: Address) -> None:
        child = Socket(listener.stack, listener.family, listener.dual, "ESTABLISHED")
        child.cookie = next(self._cookies)
        child.options = dict(listener.options)
        child.local, child.peer = client.peer, seen
        child.other, client.other = client, child
        client.state, client.error = "ESTABLISHED", None
        listener.stack.put(child)
        listener.queue.append(child)
        self.touched.add(listener)

    def _unanswered(self, socket: Socket, seconds: float) -> str | None:
        if not socket.due:
            socket.error = "EHOSTUNREACH" if seconds == UNREACHABLE_SECONDS else "ETIMEDOUT"
            self._until(socket, seconds)
        return None

    def _refuse(self, socket: Socket) -> str:
        socket.stack.drop(socket)
        socket.peer = None
        return "ECONNREFUSED"

    def accept(self, listener: Socket) -> Socket | None:
        """accept(2), never blocking; a SYN that waited for room gets in."""
        if not listener.queue:
            return None
        child = listener.queue.popleft()
        child.inode = next(self._inodes)
        waiting, listener.waiting = listener.waiting, []
        for client in waiting:
            if client.state == "SYN_SENT":
                self._syn(client)
        return child

    def send(self, socket: Socket, data: memoryview) -> int | str:
        """How many bytes found room in the peer, or an errno."""
        if socket.state not in ("ESTABLISHED", "CLOSE_WAIT"):
            return self._broken(socket, "EPIPE" if socket.peer else "ENOTCONN")
        if socket.other is None:
            socket.unacked += len(data)
            return len(data)
        count = min(len(data), socket.other.room)
        if count:
            socket.other.inbox += data[:count]
            self.touched.add(socket.other)
        return count

    def receive(self, socket: Socket, size: int) -> bytes | str | None:
        """Bytes, b"" at the end, None where nothing is there yet, or an errno."""
        if socket.inbox:
            piece = bytes(socket.inbox[:size])
            del socket.inbox[:size]
            self.touched.add(socket)  # there is room again
            return piece
        if socket.error and socket.state == "CLOSE":
            return self._broken(socket, "ECONNRESET")
        if socket.fin:
            socket.end_read = True
            return b""
        if socket.state in ("ESTABLISHED", "FIN_WAIT2"):
            return None
        return b"" if socket.peer and socket.state != "SYN_SENT" else "ENOTCONN"

    def _broken(self, socket: Socket, otherwise: str) -> str:
        error, socket.error = socket.error, None
        return error or otherwise

    def shutdown(self, socket: Socket) -> str | None:
        """shutdown(2) of the writing half: a FIN that is acknowledged at once."""
        if socket.state not in ("ESTABLISHED", "CLOSE_WAIT"):
            return None if socket.peer and socket.state == "FIN_WAIT2" else "ENOTCONN"
        other = socket.other
        if other is not None:
            self.touched.add(other)
        if socket.state == "CLOSE_WAIT" or other is socket:
            socket.stack.drop(socket)
            if other and other is not socket:
                other.fin = True
                self._time_wait(other)
            elif other:
                self._time_wait(socket)
        elif other is not None:
            socket.state = "FIN_WAIT2"
            other.state, other.fin = "CLOSE_WAIT", True
        return None

    def close(self, socket: Socket) -> None:
        """What the last close(2) does: a FIN, or a reset where data was never read."""
        if socket.state == "LISTEN":
            for child in socket.queue:
                self.reset(child)
            for client in socket.waiting:
                client.error = "ECONNREFUSED"
                client.stack.drop(client)
        if socket.inbox or (socket.options.get("SO_LINGER") == 0 and socket.peer):
            return self.reset(socket)
        if socket.state in ("ESTABLISHED", "CLOSE_WAIT"):
            self.shutdown(socket)
        elif socket.state not in ("FIN_WAIT2", "TIME_WAIT"):
            socket.stack.drop(socket)
        socket.inode = 0
        if socket.state == "FIN_WAIT2":  # an orphan: tcp_fin_timeout is as long as TIME_WAIT
            self._until(socket, TIME_WAIT_SECONDS)
        return None

    def reset(self, socket: Socket) -> None:
        """A RST: both ends are gone at once, and the peer's next call fails."""
        other, socket.other = socket.other, None
        if socket.state != "TIME_WAIT":
            socket.stack.drop(socket)
        if other and other is not socket and other.state not in ("CLOSE", "TIME_WAIT"):
            other.inbox.clear()
            other.error, other.other = "ECONNRESET", None
            other.stack.drop(other)
            self.touched.add(other)

    def _time_wait(self, socket: Socket) -> None:
        socket.state, socket.inode = "TIME_WAIT", 0
        socket.stack.put(socket)
        self._until(socket, TIME_WAIT_SECONDS)

    def _until(self, socket: Socket, seconds: float) -> None:
        socket.due = time.monotonic() + seconds
        self._timers.append(socket)

    def tick(self) -> None:
        """End what is due."""
        now = time.monotonic()
        for socket in [s for s in self._timers if s.due <= now and s.ends_by_itself]:
            socket.stack.drop(socket)
        self._timers = [s for s in self._timers if s.ends_by_itself]

    def forget(self, stack: Stack) -> None:
        """This host is gone; what was connected to it does not know."""
        for socket in [s for sockets in stack.ports.values() for s in sockets]:
            if socket.other and socket.other is not socket:
                socket.other.other = None
            socket.state = "CLOSE"
        del self.stacks[stack.node]


def _conflict(new: Socket, address: str, other: Socket) -> bool:
    """inet_csk_bind_conflict(): whether the two may not share a port."""
    if other.state == "CLOSE" and not other.local:
        return False
    if _both(new, other, "SO_REUSEPORT") or (_both(new, other, "SO_REUSEADDR") and other.state != "LISTEN"):
        return False
    assert other.local
    if address not in ANY and other.local[0] not in ANY and address != other.local[0]:
        return False
    return new.family == other.family or new.dual or other.dual


def _both(new: Socket, other: Socket, option: str) -> bool:
    return bool(new.options.get(option) and other.options.get(option))
