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
from collections.abc import Callable

from orchestrator import errors
from orchestrator.agent import http, options, sockets, streams, tls
from orchestrator.agent.call import READ, WRITE, Call, Steps
from orchestrator.agent.forks import Forks
from orchestrator.agent.poll import Loop
from orchestrator.agent.requests import Request, guarded
from orchestrator.agent.sockets import Descriptor, Descriptors
from orchestrator.agent.written import Written, write


class Calls:
    """The verbs, and the descriptors that they work on."""

    def __init__(self, loop: Loop, descriptors: Descriptors) -> None:
        self.loop = loop
        self.descriptors = descriptors
        self.forks = Forks(loop)
        self.written = Written()
        self.labelled: dict[object, set[Call]] = {}  # those under way that can be interrupted

    def handle(self, request: Request) -> None:
        """Begin the call that this request asks for."""
        ask = request.message.get("call")
        verb = ask.get("do") if isinstance(ask, dict) else None
        if verb not in VERBS:
            raise errors.AgentError(f"no call {verb!r} is known", f"there are: {', '.join(VERBS)}")
        call = Call(self, request)
        try:
            steps = VERBS[str(verb)](call)
        except Exception as error:
            return call.failed(error)
        guarded(request, lambda: call.start(steps))


def _new(call: Call, family: int | str, kind: str = "tcp") -> Descriptor:
    """A new socket under the name that the call gives."""
    name = call.ask.get("as")
    if name is not None:
        call.calls.descriptors.free(name)
    return call.use(call.calls.descriptors.add(name, sockets.make(family, kind)))


def _socket(call: Call) -> None:
    _new(call, call.ask.get("family", 4), call.ask.get("kind", "tcp"))


def _bind(call: Call) -> None:
    call.existing().sock.bind(call.address())


def _listen(call: Call) -> None:
    """listen(2); with a port it is socket, SO_REUSEADDR and bind too, as every server does."""
    if "port" not in call.ask:
        return call.existing().sock.listen(int(call.ask.get("backlog", socket.SOMAXCONN)))
    address = call.ask.get("address") or "0.0.0.0"
    where = sockets.checked(address, call.ask["port"])
    descriptor = _new(call, call.ask.get("family", sockets.family_of(address)))
    try:
        descriptor.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for name, value in dict(call.ask.get("options") or {}).items():
            options.set_option(descriptor.sock, name, value)
        descriptor.sock.bind(where)
        descriptor.sock.listen(int(call.ask.get("backlog", socket.SOMAXCONN)))
    except Exception:
        call.calls.descriptors.drop(descriptor)
        raise


def _accept(call: Call) -> Steps:
    name = call.ask.get("as")
    if name is not None:
        call.calls.descriptors.free(name)
    listener = call.existing()
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
    address = call.address()
    if call.ask.get("fd") is None:
        _new(call, call.ask.get("family", sockets.family_of(address[0])))
    else:
        call.existing()
    assert call.descriptor is not None
    call.descriptor.host = str(call.ask.get("target", ""))
    return _connect_to(call, address)


def _connect_to(call: Call, address: sockets.Address) -> Steps:
    assert call.descriptor is not None
    sock = call.descriptor.sock
    number = sock.connect_ex(address)
    if number == errno.EINPROGRESS or (number == errno.EALREADY and call.blocks):
        call.blocked = errno.EINPROGRESS
        yield WRITE
        while (number := sockets.connected(sock, address)) == errno.EALREADY:
            yield WRITE
    if number:
        raise OSError(number, os.strerror(number))


def _close(call: Call) -> None:
    """close(2) of this descriptor; another one of the same open file (dup, fork) keeps it alive."""
    name = call.ask.get("fd")
    if name is not None and call.calls.forks.known(name):
        call.calls.forks.kill(name)
        return
    _closed(call, call.existing())


def _closed(call: Call, descriptor: Descriptor) -> None:
    sock = descriptor.sock
    call.more |= {"fd": sock.fileno(), "local": sockets.local(sock), "peer": sockets.peer(sock)}
    call.calls.descriptors.drop(descriptor)


def _reset(call: Call) -> None:
    """SO_LINGER of 0 seconds, then close: the kernel sends RST (tcp(7)) if this was the last descriptor."""
    descriptor = call.existing()
    sockets.reset_on_close(descriptor.sock)
    _closed(call, descriptor)


def _set(call: Call) -> None:
    options.set_option(call.existing().sock, str(call.ask["option"]), call.ask["value"])


def _get(call: Call) -> None:
    call.result = options.get_option(call.existing().sock, str(call.ask["option"]))


def _dup(call: Call) -> None:
    descriptor, name = call.existing(), call.ask.get("as")
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
    for one in waiting:
        one.request.flush()
    call.result = len(waiting)


def _poll(call: Call) -> None:
    """poll(2) at once; what TLS has decrypted already can be read too."""
    descriptor = call.existing()
    call.result = sockets.events(descriptor.sock.fileno())
    call.result["readable"] |= descriptor.buffered


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
    "send": streams.send,
    "recv": streams.recv,
    "shutdown": streams.shutdown,
    "close": _close,
    "reset": _reset,
    "set": _set,
    "get": _get,
    "dup": _dup,
    "fork": _fork,
    "tls": tls.handshake,
    "http": http.http,
    "write": write,
    "kill": _kill,
    "poll": _poll,
    "list": _list,
    "interrupt": _interrupt,
}
