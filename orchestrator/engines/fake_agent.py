"""What the agent of a host of the fake engine holds: descriptors, children, and the sets of `up`.

The same words and answers as orchestrator/agent (sockets, forks, sets), on the model's sockets.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

from orchestrator.engines.fake_files import File, Files
from orchestrator.engines.fake_network import canonical
from orchestrator.engines.fake_tcp import SOMAXCONN, Address, Socket, Stack, Tcp
from orchestrator.errors import AgentError

Ask = dict[str, Any]
Steps = Iterator[None]
FIRST_DESCRIPTOR = 4  # 0–2 and the channel
AGENT = 1  # its pid


class Descriptor(NamedTuple):
    """A name of the agent's for a descriptor; `auto`: made by `up`, never the one meant without a name."""

    name: str
    fd: int
    socket: Socket
    auto: bool = False


class Numbers:
    """The descriptors of a host's agent: the lowest that is free is used first, as by a kernel."""

    def __init__(self) -> None:
        self._free: list[int] = []  # those below _next that were closed
        self._next = FIRST_DESCRIPTOR

    def take(self) -> int:
        """A number for something new."""
        if self._free:
            return heapq.heappop(self._free)
        self._next += 1
        return self._next - 1

    def give(self, fd: int) -> None:
        """This one is closed."""
        heapq.heappush(self._free, fd)


class FakeAgent:
    """What one host's agent holds in one scope (or in none) with the children that it forked there."""

    def __init__(
        self, stack: Stack, tcp: Tcp, next_pid: Callable[[], int], numbers: Numbers, files: Files
    ) -> None:
        self.files = files
        self._before: list[tuple[str, File | None, list[str]]] = []  # of files that it has written
        self.stack, self.tcp, self._next_pid, self._numbers = stack, tcp, next_pid, numbers
        self.released = False  # what was under way when its scope ended is over
        self.by_name: dict[str, Descriptor] = {}
        self.children: dict[str, int] = {}
        self.labelled: dict[Any, list[Any]] = {}  # calls that can be interrupted
        self.listening: dict[tuple[str, int, bool], Descriptor] = {}
        self.accepted: dict[Socket, int] = {}  # by the listeners that accept by themselves → descriptor
        self.held: dict[Address, list[Descriptor]] = {}
        self._automatic: set[Socket] = set()  # listeners that accept by themselves
        self._opened = 0

    def release(self) -> int:
        """Reset and close everything, end the children; how many descriptors were open."""
        self.released = True
        open_ones = list(self.by_name.values())
        for descriptor in open_ones:
            descriptor.socket.options["SO_LINGER"] = 0
            self.drop(descriptor)
        for name, pid in list(self.children.items()):
            for socket in self._held_by(pid):
                socket.options["SO_LINGER"] = 0
            self.kill(name)
        for path, was, folders in reversed(self._before):
            self.files.restore(path, was, folders)
        return len(open_ones)

    def write(self, path: str, data: bytes) -> None:
        """A file, until this is released."""
        if all(path != one for one, *_ in self._before):
            self._before.append((path, *self.files.before(path)))
        was = self._before[-1][1]
        self.files.put(path, data, was.mode if was else 0o644)

    def attend(self, touched: Socket) -> None:
        """What the listeners of `up` do by themselves: accept, drop what comes, close after the client."""
        if touched in self._automatic:
            while child := self.tcp.accept(touched):
                self.accepted[child] = self._descriptor(child)
                self.attend(child)
        elif touched in self.accepted:
            touched.inbox.clear()
            if touched.fin or touched.state == "CLOSE":
                touched.end_read = True
                self._release(touched, AGENT, self.accepted.pop(touched))

    def add(self, name: str | None, socket: Socket, auto: bool = False) -> Descriptor:
        """Give a socket a descriptor and a name."""
        fd = self._descriptor(socket)
        descriptor = self.by_name[name or f"fd{fd}"] = Descriptor(name or f"fd{fd}", fd, socket, auto)
        return descriptor

    def get(self, name: str | None) -> Descriptor:
        """The descriptor of that name, or the only one that a step has made."""
        ours = [d for d in self.by_name.values() if not d.auto]
        if name is None and len(ours) == 1:
            return ours[0]
        if name is None:
            raise AgentError(f"{len(ours)} descriptors are open: say which one is meant")
        if name not in self.by_name:
            raise AgentError(f"no descriptor {name!r} is open", f"open: {', '.join(self.by_name) or 'none'}")
        return self.by_name[name]

    def free(self, name: str | None) -> None:
        """Raise AgentError if this name is taken."""
        if name in self.by_name:
            raise AgentError(
                f"there is a descriptor {name!r} already", "close it first, or choose another name"
            )

    def drop(self, descriptor: Descriptor) -> None:
        """close(2)."""
        del self.by_name[descriptor.name]
        self._release(descriptor.socket, AGENT, descriptor.fd)

    def fork(self, name: str | None, held: list[Descriptor]) -> tuple[str, int]:
        """A child that holds these descriptors under their own numbers."""
        pid = self._next_pid()
        name = name or f"child{pid}"
        if name in self.children:
            raise AgentError(f"there is a child {name!r} already")
        self.children[name] = pid
        for descriptor in held:
            descriptor.socket.holders[pid, descriptor.fd] = None
        return name, pid

    def kill(self, name: str) -> int:
        """End a child; the pid."""
        if name not in self.children:
            raise AgentError(f"no child {name!r} is there")
        pid = self.children.pop(name)
        for socket in self._held_by(pid):
            for holder in [h for h in socket.holders if h[0] == pid]:
                self._release(socket, *holder)
        return pid

    def _held_by(self, pid: int) -> list[Socket]:
        every = [socket for sockets in self.stack.ports.values() for socket in sockets]
        return [socket for socket in every if any(holder[0] == pid for holder in socket.holders)]

    def listen(self, wanted: list[Ask]) -> dict[str, Any]:
        """Listen exactly here."""
        keys = [(canonical(str(w["address"])), int(w["port"]), bool(w.get("dual"))) for w in wanted]
        for key in [k for k in self.listening if k not in keys]:
            self._automatic.discard(self.listening[key].socket)
            self.drop(self.listening.pop(key))
        failed = []
        for key in keys:
            if key not in self.listening and (errno := self._open_listener(*key)):
                failed.append({"address": key[0], "port": key[1], "errno": errno})
        return {"listening": self.describe_listening(), "failed": failed}

    def describe_listening(self) -> list[dict[str, Any]]:
        """Where it listens by itself."""
        return [{"address": a, "port": p, "fd": d.fd} for (a, p, _), d in self.listening.items()]

    def _open_listener(self, address: str, port: int, dual: bool) -> str | None:
        socket = self.tcp.socket(self.stack, 6 if dual or ":" in address else 4, dual)
        socket.options["SO_REUSEADDR"] = 1
        errno = self.tcp.bind(socket, address, port) or self.tcp.listen(socket, SOMAXCONN)
        if not errno:
            self.listening[address, port, dual] = self.add(f"listen:{address}:{port}", socket, auto=True)
            self._automatic.add(socket)
        return errno

    @property
    def connected(self) -> int:
        """How many of the connections of `up` are alive."""
        alive = ("ESTABLISHED", "SYN_SENT", "FIN_WAIT2", "CLOSE_WAIT")
        return sum(d.socket.state in alive for held in self.held.values() for d in held)

    def connect(self, wanted: list[Ask], seconds: float, answer: dict[str, Any]) -> Steps:
        """Hold exactly these connections; fills in `answer`."""
        times: dict[tuple[str, Address], int] = {}
        for one in wanted:
            where = (str(one.get("host", "")), (canonical(str(one["address"])), int(one["port"])))
            times[where] = times.get(where, 0) + int(one.get("times", 1))
        for address, held in self.held.items():
            alive = [d for d in held if d.socket.state != "CLOSE"]
            keep = sum(n for (_, a), n in times.items() if a == address)
            for descriptor in [d for d in held if d not in alive[:keep]]:
                self.drop(descriptor)
            held[:] = alive[:keep]
        failed: dict[tuple[str, Address, str], int] = {}
        deadline = time.monotonic() + seconds
        for (host, address), number in times.items():
            for _ in range(number - len(self.held.get(address, ()))):
                errno = yield from self._connected(host, address, deadline)
                if errno:
                    failed[host, address, errno] = failed.get((host, address, errno), 0) + 1
        answer["connected"] = self.connected
        answer["failed"] = [
            {"host": host, "address": address, "port": port, "errno": errno, "count": count}
            for (host, (address, port), errno), count in failed.items()
        ]

    def _connected(self, host: str, address: Address, deadline: float) -> Generator[None, None, str | None]:
        socket = self.tcp.socket(self.stack, 6 if ":" in address[0] else 4, False)
        errno = self.tcp.connect(socket, *address)
        while socket.state == "SYN_SENT" and time.monotonic() < deadline:
            yield None
        if errno or socket.state != "ESTABLISHED":
            self.tcp.close(socket)
            return errno or socket.error or "ETIMEDOUT"
        self._opened += 1
        name = f"{host}:{address[1]}#{self._opened}"
        self.held.setdefault(address, []).append(self.add(name, socket, auto=True))
        return None

    def _descriptor(self, socket: Socket) -> int:
        fd = self._numbers.take()
        socket.holders[AGENT, fd] = None
        return fd

    def _release(self, socket: Socket, pid: int, fd: int) -> None:
        socket.holders.pop((pid, fd), None)
        if pid == AGENT:
            self._numbers.give(fd)
        if not socket.holders:
            self.tcp.close(socket)
