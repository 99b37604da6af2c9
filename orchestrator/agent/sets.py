"""What the agent holds open for `up`: exactly the listeners and connections that the plan names.

What is there already and alive stays, so asking twice changes nothing. A server listens before its clients
are told to connect, so nothing is ever tried twice: an error is answered as it is.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.agent import sockets
from orchestrator.agent.poll import Loop, Timer
from orchestrator.agent.sockets import Descriptor, Descriptors

Key = tuple[str, int, bool]  # address, port, dual
BACKLOG = 4096  # as much as the kernel allows (net.core.somaxconn caps it)
MAX_UNDER_WAY = 1024  # connects at once: fewer than a server's accept queue takes
MAX_FAILED = 1000  # kinds of failure in one answer
_ACCEPTS = 64  # at once, before others get their turn
_DISCARD = 64 << 10
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_ALIVE = {1, 2, 4, 5, 8}  # ESTABLISHED SYN_SENT FIN_WAIT1 FIN_WAIT2 CLOSE_WAIT (include/net/tcp_states.h)


class Listeners:
    """Sockets that accept by themselves, read and drop what comes, and close when the client does."""

    def __init__(self, loop: Loop, descriptors: Descriptors) -> None:
        self._loop = loop
        self._descriptors = descriptors
        self._listening: dict[Key, Descriptor] = {}
        self._accepted: dict[int, socket.socket] = {}
        self._paused: list[socket.socket] = []  # no descriptor was free for what they have queued
        descriptors.on_close = self._resume

    def set(self, wanted: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Listen exactly here; `{"listening": [...], "failed": [...]}`."""
        keys = [(str(w["address"]), int(w["port"]), bool(w.get("dual"))) for w in wanted]
        for key in [k for k in self._listening if k not in keys]:
            self._descriptors.drop(self._listening.pop(key))
        failed = [f for key in keys if key not in self._listening and (f := self._open(key))]
        return {"listening": self.describe(), "failed": failed}

    def describe(self) -> list[dict[str, Any]]:
        """Where it listens, and under which descriptor."""
        return [{"address": a, "port": p, "fd": d.sock.fileno()} for (a, p, _), d in self._listening.items()]

    @property
    def accepted(self) -> int:
        """How many connections are open that came in here."""
        return len(self._accepted)

    def _open(self, key: Key) -> dict[str, Any] | None:
        address, port, dual = key
        try:
            sockets.checked(address, port)
            sock = sockets.make("dual" if dual else sockets.family_of(address))
        except OSError as error:
            return _failure(address, port, error)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, port))
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            return _failure(address, port, error)
        self._listening[key] = self._descriptors.add(f"listen:{address}:{port}", sock, auto=True)
        self._watch(sock)
        return None

    def _watch(self, sock: socket.socket) -> None:
        self._loop.reading(sock.fileno(), lambda: self._accept(sock))

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTS):
            try:
                sock, _peer = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._pause(listener)
                return
            self._keep(sock)

    def _pause(self, listener: socket.socket) -> None:
        """No descriptor is free: leave the clients in the queue, which a student can see, until one is."""
        self._loop.forget(listener.fileno())
        self._paused.append(listener)

    def _resume(self) -> None:
        for listener in self._paused:
            if listener.fileno() >= 0:
                self._watch(listener)
        self._paused.clear()

    def _keep(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._accepted[sock.fileno()] = sock
        self._loop.reading(sock.fileno(), lambda: self._discard(sock))

    def _discard(self, sock: socket.socket) -> None:
        try:
            ended = not sock.recv(_DISCARD)
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended:
            self._loop.forget(sock.fileno())
            del self._accepted[sock.fileno()]
            sock.close()
            self._resume()


class _Opening:
    """One `connect` request: what is still to be opened, what is under way, and what failed."""

    def __init__(
        self, todo: deque[tuple[str, str, int]], deadline: float, done: Callable[[dict[str, Any]], None]
    ) -> None:
        self.todo = todo
        self.deadline = deadline
        self.done = done
        self.under_way: dict[socket.socket, tuple[str, str, int]] = {}
        self.failed: Counter[tuple[str, str, int, str]] = Counter()
        self.timer: Timer | None = None


class Connections:
    """Connections that are opened and held; the agent never closes one because its peer did."""

    def __init__(self, loop: Loop, descriptors: Descriptors) -> None:
        self._loop = loop
        self._descriptors = descriptors
        self._held: dict[tuple[str, int], list[Descriptor]] = {}
        self._names: Counter[str] = Counter()
        self._waiting: deque[Callable[[], None]] = deque()
        self._now: _Opening | None = None

    @property
    def count(self) -> int:
        """How many are alive."""
        return sum(_alive(d.sock) for held in self._held.values() for d in held)

    def set(
        self, wanted: Sequence[dict[str, Any]], seconds: float, done: Callable[[dict[str, Any]], None]
    ) -> None:
        """Hold exactly these; `done` gets `{"connected": n, "failed": [...]}`. One after the other."""
        if self._now:
            self._waiting.append(lambda: self.set(wanted, seconds, done))
            return
        self._now = _Opening(self._missing(wanted), time.monotonic() + seconds, done)
        self._now.timer = self._loop.after(seconds, self._give_up)
        self._go_on()

    def _missing(self, wanted: Sequence[dict[str, Any]]) -> deque[tuple[str, str, int]]:
        """Close what is dead or not wanted; what is to be opened."""
        times: Counter[tuple[str, int]] = Counter()
        hosts: dict[tuple[str, int], str] = {}
        for one in wanted:
            key = sockets.checked(str(one["address"]), one["port"])
            times[key] += max(0, int(one.get("times", 1)))
            hosts[key] = str(one.get("host", one["address"]))
        for key, held in self._held.items():
            self._prune(held, times[key])
        todo: deque[tuple[str, str, int]] = deque()
        for key, number in times.items():
            todo.extend([(hosts[key], *key)] * (number - len(self._held.get(key, ()))))
        return todo

    def _prune(self, held: list[Descriptor], most: int) -> None:
        """Close the dead, and those that are too many."""
        kept = [d for d in held if _alive(d.sock)][:most]
        ids = {id(d) for d in kept}
        for descriptor in held:
            if id(descriptor) not in ids:
                self._descriptors.drop(descriptor)
        held[:] = kept

    def _go_on(self) -> None:
        """Start as many as may be under way; answer when none is left."""
        now = self._now
        if now is None:
            return
        while now.todo and len(now.under_way) < MAX_UNDER_WAY:
            self._start(now, now.todo.popleft())
        if not now.todo and not now.under_way:
            self._finish(now)

    def _start(self, now: _Opening, target: tuple[str, str, int]) -> None:
        _, address, port = target
        try:
            sock = sockets.make(sockets.family_of(address))
        except OSError as error:
            return _count(now, target, error.errno)
        sock.setblocking(False)
        number = sock.connect_ex((address, port))
        if number == errno.EINPROGRESS:
            now.under_way[sock] = target
            self._loop.writing(sock.fileno(), lambda: self._connected(now, sock))
        else:
            self._settled(now, sock, target, number)

    def _connected(self, now: _Opening, sock: socket.socket) -> None:
        target = now.under_way[sock]
        number = sockets.connected(sock, target[1:])
        if number == errno.EALREADY:
            return
        del now.under_way[sock]
        self._loop.forget(sock.fileno())
        self._settled(now, sock, target, number)
        self._go_on()

    def _settled(self, now: _Opening, sock: socket.socket, target: tuple[str, str, int], number: int) -> None:
        if number:
            sock.close()
            return _count(now, target, number)
        host, address, port = target
        self._names[f"{host}:{port}"] += 1
        name = f"{host}:{port}#{self._names[f'{host}:{port}']}"
        self._held.setdefault((address, port), []).append(self._descriptors.add(name, sock, auto=True))

    def _give_up(self) -> None:
        """The time is over: what is under way is closed and counted as such."""
        now = self._now
        if now is None:
            return
        for sock, target in now.under_way.items():
            self._loop.forget(sock.fileno())
            sock.close()
            _count(now, target, errno.ETIMEDOUT)
        for target in now.todo:
            _count(now, target, errno.ETIMEDOUT)
        self._finish(now)

    def _finish(self, now: _Opening) -> None:
        if now.timer:
            now.timer.cancel()
        self._now = None
        failed = [
            {"host": host, "address": address, "port": port, "errno": name, "count": count}
            for (host, address, port, name), count in now.failed.most_common(MAX_FAILED)
        ]
        now.done({"connected": self.count, "failed": failed})
        if self._waiting:
            self._waiting.popleft()()


def _alive(sock: socket.socket) -> bool:
    try:
        return sockets.state(sock) in _ALIVE
    except OSError:
        return False


def _count(now: _Opening, target: tuple[str, str, int], number: int | None) -> None:
    now.failed[(*target, errno.errorcode.get(number or 0, str(number)))] += 1


def _failure(address: str, port: int, error: OSError) -> dict[str, Any]:
    name = errno.errorcode.get(error.errno or 0, os.strerror(error.errno or 0))
    return {"address": address, "port": port, "errno": name}
