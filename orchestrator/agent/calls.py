"""The calls of an agent: each verb is an honest system call (or the few that a C program needs for it).

Sockets never block; a call that has to wait gives the loop back, so many are under way at once. An OSError is
a result, not an error: it is answered by its name. A call whose time is over says so (`timed_out`), with the
errno that its last attempt gave and the result so far.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
import time
from collections.abc import Callable, Generator
from typing import Any

from orchestrator import errors
from orchestrator.agent import sockets
from orchestrator.agent.forks import Forks
from orchestrator.agent.poll import Loop
from orchestrator.agent.requests import Request, guarded
from orchestrator.agent.sockets import Descriptor, Descriptors

READ, WRITE = False, True
Steps = Generator[bool, None, None]  # yields READ or WRITE: go on when that is possible
_DIRECTIONS = {"recv": READ, "accept": READ, "send": WRITE}
DEFAULT_TIMEOUT = 5.0
MAX_KEPT = 256 << 10  # bytes of a recv that go back to who asked; the rest is counted and dropped
_PIECE = 64 << 10
_ROUNDS = 16  # pieces before others get their turn
_PATTERN = bytes(range(33, 127)) * (_PIECE // 94 + 2)
_HOWS = {"read": socket.SHUT_RD, "write": socket.SHUT_WR, "both": socket.SHUT_RDWR}


class Call:
    """One call under way."""

    def __init__(self, calls: Calls, request: Request) -> None:
        self.calls = calls
        self.request = request
        self.ask: dict[str, Any] = request.message["call"]
        self.descriptor: Descriptor | None = None
        self.result: Any = None
        self.data = bytearray()  # goes back beside the answer
        self.more: dict[str, Any] = {}
        self.blocked = errno.EAGAIN
        self._steps: Steps | None = None
        self._began = time.monotonic()
        self._timer = calls.loop.after(self._seconds(), self._timed_out)
        request.on_cancel = self._cancelled
        self._label = self.ask.get("label")
        if self._label is not None:
            calls.labelled.setdefault(self._label, set()).add(self)

    def start(self, steps: Steps | None) -> None:
        """Run until the first wait, or to the end; behind those who wait for the same already."""
        self._steps = steps
        waits = _DIRECTIONS.get(self.ask["do"])
        if waits is None or not self.descriptor or not self.descriptor.waiting(waits):
            waits = self._advance()
        if waits is not None and self.descriptor:
            self.calls.descriptors.wait(self.descriptor, waits, self._attempt)

    def use(self, descriptor: Descriptor) -> Descriptor:
        """This call is about that descriptor."""
        self.descriptor = descriptor
        return descriptor

    def _seconds(self) -> float:
        seconds = self.ask.get("timeout")
        return DEFAULT_TIMEOUT if seconds is None else float(seconds)

    def _attempt(self) -> bool:
        """What is waited for may be possible now; True: this call waits no more."""
        if not self.request.open:
            return True
        if self.descriptor and self.descriptor.sock.fileno() < 0:
            self._finish(errno.EBADF)
            return True
        return self._advance() is None

    def _advance(self) -> bool | None:
        """The next steps; READ or WRITE where they wait, None at the end (the answer has been sent)."""
        try:
            if self._steps is not None:
                return next(self._steps)
            self._finish(0)
        except StopIteration:
            self._finish(0)
        except OSError as error:
            self._finish(error.errno or errno.EIO)
        except Exception as error:
            self.over()
            self.request.error(error)
        return None

    def interrupt(self) -> None:
        """As a signal does it to a call that waits: it ends with what it has, and EINTR (signal(7))."""
        self._leave()
        self._finish(errno.EINTR)

    def over(self) -> None:
        """Nothing more will come of it."""
        self._timer.cancel()
        same = self.calls.labelled.get(self._label)
        if same is not None:
            same.discard(self)
            if not same:
                del self.calls.labelled[self._label]

    def _timed_out(self) -> None:
        self.more["timed_out"] = True
        self._leave()
        self._finish(self.blocked)

    def _cancelled(self) -> None:
        self.over()
        self._leave()

    def _leave(self) -> None:
        if self.descriptor:
            self.calls.descriptors.unwait(self.descriptor, self._attempt)

    def _finish(self, number: int) -> None:
        self.over()
        name = errno.errorcode.get(number, str(number)) if number else None
        times = {"began": self._began, "duration": time.monotonic() - self._began}
        answer = {"result": self.result, "errno": name, **_about(self.descriptor), **times, **self.more}
        self.request.ok(answer, bytes(self.data))


def _about(descriptor: Descriptor | None) -> dict[str, Any]:
    """What an answer says about its descriptor."""
    if descriptor is None:
        return {"name": None, "fd": None, "local": None, "peer": None}
    sock = descriptor.sock
    if sock.fileno() < 0:
        return {"name": descriptor.name, "fd": None, "local": None, "peer": None}
    ends = {"local": sockets.local(sock), "peer": sockets.peer(sock)}
    return {"name": descriptor.name, "fd": sock.fileno(), **ends}


class Calls:
    """The verbs, and the descriptors that they work on."""

    def __init__(self, loop: Loop, descriptors: Descriptors) -> None:
        self.loop = loop
        self.descriptors = descriptors
        self.forks = Forks(loop)
        self.labelled: dict[Any, set[Call]] = {}  # those under way that can be interrupted

    def handle(self, request: Request) -> None:
        """Begin the call that this request asks for."""
        ask = request.message.get("call")
        verb = ask.get("do") if isinstance(ask, dict) else None
        if verb not in VERBS:
            raise errors.AgentError(f"no call {verb!r} is known", f"there are: {', '.join(VERBS)}")
        call = Call(self, request)
        try:
            steps = VERBS[str(verb)](call)
        except OSError as error:
            return call._finish(error.errno or errno.EIO)
        except Exception:
            call.over()
            raise
        guarded(request, lambda: call.start(steps))


def _new(call: Call, family: int | str, kind: str = "tcp") -> Descriptor:
    """A new socket under the name that the call gives."""
    name = call.ask.get("as")
    if name is not None:
        call.calls.descriptors.free(name)
    return call.use(call.calls.descriptors.add(name, sockets.make(family, kind)))


def _existing(call: Call) -> Descriptor:
    return call.use(call.calls.descriptors.get(call.ask.get("fd")))


def _address(call: Call) -> sockets.Address:
    return sockets.checked(str(call.ask["address"]), call.ask["port"])


def _socket(call: Call) -> None:
    _new(call, call.ask.get("family", 4), call.ask.get("kind", "tcp"))


def _bind(call: Call) -> None:
    _existing(call).sock.bind(_address(call))


def _listen(call: Call) -> None:
    """listen(2); with a port it is socket, SO_REUSEADDR and bind too, as every server does."""
    if "port" not in call.ask:
        return _existing(call).sock.listen(int(call.ask.get("backlog", socket.SOMAXCONN)))
    address = call.ask.get("address") or "0.0.0.0"
    where = sockets.checked(address, call.ask["port"])
    descriptor = _new(call, call.ask.get("family", sockets.family_of(address)))
    try:
        descriptor.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for name, value in dict(call.ask.get("options") or {}).items():
            sockets.set_option(descriptor.sock, name, value)
        descriptor.sock.bind(where)
        descriptor.sock.listen(int(call.ask.get("backlog", socket.SOMAXCONN)))
    except Exception:
        call.calls.descriptors.drop(descriptor)
        raise


def _accept(call: Call) -> Steps:
    name = call.ask.get("as")
    if name is not None:
        call.calls.descriptors.free(name)
    listener = _existing(call)
    return _accept_from(call, listener, name)


def _accept_from(call: Call, listener: Descriptor, name: str | None) -> Steps:
    while True:
        try:
            sock, _ = listener.sock.accept()
            break
        except BlockingIOError:
            yield READ
    call.more["listener"] = listener.sock.fileno()
    call.use(call.calls.descriptors.add(name, sock))


def _connect(call: Call) -> Steps:
    address = _address(call)
    if call.ask.get("fd") is None:
        _new(call, call.ask.get("family", sockets.family_of(address[0])))
    else:
        _existing(call)
    return _connect_to(call, address)


def _connect_to(call: Call, address: sockets.Address) -> Steps:
    assert call.descriptor is not None
    sock = call.descriptor.sock
    number = sock.connect_ex(address)
    if number == errno.EINPROGRESS:
        call.blocked = number
        yield WRITE
        while (number := sockets.connected(sock, address)) == errno.EALREADY:
            yield WRITE
    if number:
        raise OSError(number, os.strerror(number))


def _send(call: Call) -> Steps:
    """send(2) until all is with the kernel; the result is how many bytes are."""
    ask = call.ask
    if "size" in ask:
        return _send_all(call, _existing(call), None, int(ask["size"]))
    data = bytes.fromhex(ask["hex"]) if "hex" in ask else str(ask["text"]).encode()
    return _send_all(call, _existing(call), data, len(data))


def _send_all(call: Call, descriptor: Descriptor, data: bytes | None, size: int) -> Steps:
    """`data`, or `size` bytes of a pattern that never has to travel."""
    call.result = 0
    rounds = 0
    while call.result < size or not size:
        if data is None:
            start = call.result % 94
            piece: bytes | memoryview = memoryview(_PATTERN)[start : start + min(_PIECE, size - call.result)]
        else:
            piece = memoryview(data)[call.result :]
        try:
            call.result += descriptor.sock.send(piece)
            rounds += 1
        except BlockingIOError:
            rounds = _ROUNDS
        if not size:
            return
        if rounds >= _ROUNDS and call.result < size:
            rounds = 0
            yield WRITE


def _recv(call: Call) -> Steps:
    """recv(2): once; until `size` bytes; `until` a text; or `all`, until the end of the stream."""
    descriptor, ask = _existing(call), call.ask
    call.result, call.more["eof"] = 0, False
    if "until" in ask:
        return _recv_until(call, descriptor.sock, str(ask["until"]).encode())
    if ask.get("all"):
        return _recv_many(call, descriptor.sock, None)
    if ask.get("size") is not None:
        return _recv_many(call, descriptor.sock, int(ask["size"]))
    return _recv_once(call, descriptor.sock)


def _take(call: Call, sock: socket.socket, size: int) -> int | None:
    """One recv; how many bytes it gave, None where it would block. The end of the stream is noted."""
    try:
        piece = sock.recv(size)
    except BlockingIOError:
        return None
    call.result += len(piece)
    call.data += piece[: MAX_KEPT - len(call.data)]
    call.more["eof"] = not piece and sock.type == socket.SOCK_STREAM
    return len(piece)


def _recv_once(call: Call, sock: socket.socket) -> Steps:
    while _take(call, sock, _PIECE) is None:
        yield READ


def _recv_many(call: Call, sock: socket.socket, size: int | None) -> Steps:
    """`size` bytes, or all until the end; a few pieces at a time, for others want their turn."""
    rounds = 0
    while size is None or call.result < size:
        got = _take(call, sock, _PIECE if size is None else min(_PIECE, size - call.result))
        if got == 0 or call.result == size:  # nothing more is waited for when the last piece is there
            return
        rounds += 1
        if got is None or rounds >= _ROUNDS:
            rounds = 0
            yield READ


def _recv_until(call: Call, sock: socket.socket, mark: bytes) -> Steps:
    """Not a byte more than up to `mark`: what follows stays in the kernel's queue (MSG_PEEK looks first)."""
    if not mark:
        raise errors.AgentError("an empty text is never waited for")
    while True:
        try:
            seen = sock.recv(_PIECE, socket.MSG_PEEK)
        except BlockingIOError:
            yield READ
            continue
        tail = bytes(call.data[-(len(mark) - 1) :]) if len(mark) > 1 else b""
        at = (tail + seen).find(mark)
        _take(call, sock, at + len(mark) - len(tail) if at >= 0 else max(1, len(seen)))
        if at >= 0 or not seen:
            return
        if call.result >= MAX_KEPT:
            raise errors.AgentError(f"{MAX_KEPT} bytes came and not the text that was waited for")


def _shutdown(call: Call) -> None:
    how = str(call.ask.get("how", "both"))
    if how not in _HOWS:
        raise errors.AgentError(f"shutdown of {how!r}", "it is read, write or both")
    _existing(call).sock.shutdown(_HOWS[how])


def _close(call: Call) -> None:
    """close(2) of this descriptor; another one of the same open file (dup, fork) keeps it alive."""
    name = call.ask.get("fd")
    if name is not None and call.calls.forks.known(name):
        call.calls.forks.kill(name)
        return
    _closed(call, _existing(call))


def _closed(call: Call, descriptor: Descriptor) -> None:
    sock = descriptor.sock
    call.more |= {"fd": sock.fileno(), "local": sockets.local(sock), "peer": sockets.peer(sock)}
    call.calls.descriptors.drop(descriptor)


def _reset(call: Call) -> None:
    """SO_LINGER of 0 seconds, then close: the kernel sends RST (tcp(7)) if this was the last descriptor."""
    descriptor = _existing(call)
    descriptor.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    _closed(call, descriptor)


def _set(call: Call) -> None:
    sockets.set_option(_existing(call).sock, str(call.ask["option"]), call.ask["value"])


def _get(call: Call) -> None:
    call.result = sockets.get_option(_existing(call).sock, str(call.ask["option"]))


def _dup(call: Call) -> None:
    descriptor, name = _existing(call), call.ask.get("as")
    if name is not None:
        call.calls.descriptors.free(name)
    call.use(call.calls.descriptors.add(name, sockets.duplicate(descriptor.sock)))


def _fork(call: Call) -> None:
    """fork(2): the child holds what it inherited and does nothing until `kill` (or `close` of its name)."""
    names = call.ask.get("fds") or [call.ask.get("fd")]
    held = [call.calls.descriptors.get(name) for name in names]
    call.use(held[0])
    name, call.result = call.calls.forks.fork(call.ask.get("as"), [d.sock.fileno() for d in held])
    call.more["name"] = name


def _kill(call: Call) -> None:
    call.result = call.calls.forks.kill(str(call.ask["child"]))


def _interrupt(call: Call) -> None:
    """End the calls of that label which still wait; their answers go out before this one's."""
    waiting = tuple(call.calls.labelled.get(call.ask["of"], ()))
    for one in waiting:
        one.interrupt()
    call.result = len(waiting)


def _poll(call: Call) -> None:
    call.result = sockets.events(_existing(call).sock.fileno())


def _list(call: Call) -> None:
    limit = int(call.ask.get("limit", 2000))
    found = [d.describe() for d in itertools.islice(call.calls.descriptors, limit)]
    call.result = found
    call.more |= {"count": len(call.calls.descriptors), "children": call.calls.forks.describe()}


VERBS: dict[str, Callable[[Call], Steps | None]] = {
    "socket": _socket,
    "bind": _bind,
    "listen": _listen,
    "accept": _accept,
    "connect": _connect,
    "send": _send,
    "recv": _recv,
    "shutdown": _shutdown,
    "close": _close,
    "reset": _reset,
    "set": _set,
    "get": _get,
    "dup": _dup,
    "fork": _fork,
    "kill": _kill,
    "poll": _poll,
    "list": _list,
    "interrupt": _interrupt,
}
