"""The calls of an agent of the fake engine: the verbs and answers of orchestrator/agent/calls.py.

A call is a generator: it yields while it has to wait, and goes on whenever something in the lab has changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from orchestrator.engines import fake_http
from orchestrator.engines.fake_agent import Ask, Descriptor, FakeAgent, Steps
from orchestrator.engines.fake_network import canonical
from orchestrator.engines.fake_tcp import SOMAXCONN, Address, Socket
from orchestrator.errors import AgentError

DEFAULT_TIMEOUT = 5.0
MAX_KEPT = 256 << 10
_PATTERN = bytes(range(33, 127))


def begin(agent: FakeAgent, call: Call) -> Steps:
    """Carry out one call; its answer is in `call` when this ends."""
    verb = _VERBS.get(str(call.ask.get("do")))
    if verb is None:
        raise AgentError(f"no call {call.ask.get('do')!r} is known", f"there are: {', '.join(_VERBS)}")
    return _labelled(agent, call, verb(agent, call))


def _labelled(agent: FakeAgent, call: Call, steps: Steps) -> Steps:
    same = agent.labelled.setdefault(call.ask.get("label"), [])
    same.append(call)
    try:
        yield from steps
    finally:
        same.remove(call)


class Call:
    """One call under way: what it was asked, and what it will answer."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.descriptor: Descriptor | None = None
        self.result: Any = None
        self.data = bytearray()
        self.more: dict[str, Any] = {}
        self.errno: str | None = None
        self.blocked = "EAGAIN"
        self.interrupted = False
        self.began = time.monotonic()
        seconds = ask.get("timeout")
        self.deadline = self.began + (DEFAULT_TIMEOUT if seconds is None else float(seconds))

    @property
    def late(self) -> bool:
        """Its time is over, it is not to wait, or it is interrupted; noted for the answer."""
        if self.interrupted:
            self.errno = "EINTR"
            return True
        if self.ask.get("blocking") is False:
            self.errno = None if self.result else self.blocked
            return True
        if time.monotonic() < self.deadline:
            return False
        self.errno, self.more["timed_out"] = self.blocked, True
        return True

    def answer(self) -> dict[str, Any]:
        """As agent/calls.py answers."""
        about: dict[str, Any] = {"name": None, "fd": None, "local": None, "peer": None}
        if self.descriptor:
            name, fd, socket, _ = self.descriptor
            about = {"name": name, "fd": fd, "inode": socket.inode}
            about["local"], about["peer"] = _ends(socket)
        times = {"began": self.began, "duration": time.monotonic() - self.began}
        return {"result": self.result, "errno": self.errno, **about, **times, **self.more}


def _ends(socket: Socket) -> tuple[list[Any] | None, list[Any] | None]:
    connected = socket.peer and socket.state not in ("CLOSE", "SYN_SENT")
    return list(socket.local or ("0.0.0.0", 0)), list(socket.peer) if connected and socket.peer else None


def _where(ask: Ask) -> Address:
    try:
        address = canonical(str(ask["address"]))
    except ValueError as error:
        raise AgentError(f"{ask['address']!r} is no address") from error
    except KeyError as error:
        raise AgentError(f"the request lacks {error}") from error
    port = int(ask["port"])
    if not 0 <= port <= 65535:
        raise AgentError(f"{port} is no port")
    return address, port


def _new(agent: FakeAgent, call: Call, family: Any) -> Socket:
    agent.free(call.ask.get("as"))
    if call.ask.get("kind", "tcp") != "tcp":
        raise AgentError("UDP is not in the fake engine")
    socket = agent.tcp.socket(agent.stack, 4 if str(family) == "4" else 6, family == "dual")
    call.descriptor = agent.add(call.ask.get("as"), socket)
    return socket


def _existing(agent: FakeAgent, call: Call) -> Socket:
    call.descriptor = agent.get(call.ask.get("fd"))
    return call.descriptor.socket


def _socket(agent: FakeAgent, call: Call) -> Steps:
    _new(agent, call, call.ask.get("family", 4))
    return iter(())


def _bind(agent: FakeAgent, call: Call) -> Steps:
    call.errno = agent.tcp.bind(_existing(agent, call), *_where(call.ask))
    return iter(())


def _listen(agent: FakeAgent, call: Call) -> Steps:
    backlog = int(call.ask.get("backlog", SOMAXCONN))
    if "port" not in call.ask:
        call.errno = agent.tcp.listen(_existing(agent, call), backlog)
        return iter(())
    address, port = _where({"address": "0.0.0.0", **{k: v for k, v in call.ask.items() if v is not None}})
    socket = _new(agent, call, call.ask.get("family", 6 if ":" in address else 4))
    socket.options |= {"SO_REUSEADDR": 1, **(call.ask.get("options") or {})}
    call.errno = agent.tcp.bind(socket, address, port) or agent.tcp.listen(socket, backlog)
    if call.errno and call.descriptor:
        agent.drop(call.descriptor)
        call.descriptor = None
    return iter(())


def _accept(agent: FakeAgent, call: Call) -> Steps:
    agent.free(call.ask.get("as"))
    listener = _existing(agent, call)
    if listener.state != "LISTEN":
        call.errno = "EINVAL"
        return
    while (child := agent.tcp.accept(listener)) is None:
        if call.late:
            return
        yield
    assert call.descriptor
    call.more["listener"] = call.descriptor.fd
    call.descriptor = agent.add(call.ask.get("as"), child)


def _connect(agent: FakeAgent, call: Call) -> Steps:
    where = _where(call.ask)
    if call.ask.get("fd") is None:
        socket = _new(agent, call, call.ask.get("family", 6 if ":" in where[0] else 4))
    else:
        socket = _existing(agent, call)
    call.blocked = "EINPROGRESS"
    call.errno = agent.tcp.connect(socket, *where)
    while socket.state == "SYN_SENT":
        if call.late:
            return
        yield
    call.errno, socket.error = call.errno or socket.error, None


def _send(agent: FakeAgent, call: Call) -> Steps:
    socket, ask = _existing(agent, call), call.ask
    if "port" in ask:
        raise AgentError("UDP is not in the fake engine")
    if "size" in ask:
        data = (_PATTERN * (int(ask["size"]) // len(_PATTERN) + 1))[: int(ask["size"])]
    else:
        data = bytes.fromhex(ask["hex"]) if "hex" in ask else str(ask["text"]).encode()
    yield from send_all(agent, call, socket, data)


def send_all(agent: FakeAgent, call: Call, socket: Socket, data: bytes) -> Steps:
    """All of it, at the call's pace; the result is how much found room."""
    call.result = 0
    began, pace = time.monotonic(), float(call.ask.get("pace") or 0)
    while True:
        due = int((time.monotonic() - began) / pace) + 1 if pace else len(data)
        sent = agent.tcp.send(socket, memoryview(data)[call.result : due])
        if isinstance(sent, str):
            call.errno = sent
            return
        call.result += sent
        if pace:
            call.more["behind"] = max(0.0, time.monotonic() - began - (call.result - 1) * pace)
        if call.result >= len(data) or call.late:
            return
        yield


def _recv(agent: FakeAgent, call: Call) -> Steps:
    socket = _existing(agent, call)
    call.result, call.more["eof"] = 0, False
    while True:
        got = agent.tcp.receive(socket, _wanted(call, socket))
        if isinstance(got, str):
            call.errno = got
            return
        if got is not None:
            call.result += len(got)
            call.data += got[: MAX_KEPT - len(call.data)]
            call.more["eof"] = not got
            if not got or _enough(call):
                return
        elif call.late:
            return
        else:
            yield


def _wanted(call: Call, socket: Socket) -> int:
    """Bytes of the next recv: of `until` not one more than up to the text."""
    if "until" in call.ask:
        mark = str(call.ask["until"]).encode()
        if not mark:
            raise AgentError("an empty text is never waited for")
        at = bytes(call.data + socket.inbox).find(mark)
        return at + len(mark) - len(call.data) if at >= 0 else 64 << 10
    size = call.ask.get("size")
    return 64 << 10 if size is None or call.ask.get("all") else int(size) - int(call.result)


def _enough(call: Call) -> bool:
    if "until" in call.ask:
        return call.data.endswith(str(call.ask["until"]).encode())
    if call.ask.get("all"):
        return False
    return call.ask.get("size") is None or call.result >= int(call.ask["size"])


def _tls(agent: FakeAgent, call: Call) -> Steps:
    raise AgentError("TLS is not in the fake engine", "the namespaces and docker engines have it")


def _http(agent: FakeAgent, call: Call) -> Steps:
    socket = _existing(agent, call)
    return fake_http.exchange(
        agent, call, socket, send_all(agent, call, socket, fake_http.request(call, socket))
    )


def _shutdown(agent: FakeAgent, call: Call) -> Steps:
    how = str(call.ask.get("how", "both"))
    if how not in ("read", "write", "both"):
        raise AgentError(f"shutdown of {how!r}", "it is read, write or both")
    socket = _existing(agent, call)
    if how != "read":
        call.errno = agent.tcp.shutdown(socket)
    return iter(())


def _close(agent: FakeAgent, call: Call) -> Steps:
    name = call.ask.get("fd")
    if name in agent.children:
        agent.kill(str(name))
        return iter(())
    _existing(agent, call)
    _closed(agent, call)
    return iter(())


def _closed(agent: FakeAgent, call: Call) -> None:
    assert call.descriptor
    local, peer = _ends(call.descriptor.socket)
    call.more |= {"fd": call.descriptor.fd, "local": local, "peer": peer}
    agent.drop(call.descriptor)


def _reset(agent: FakeAgent, call: Call) -> Steps:
    _existing(agent, call).options["SO_LINGER"] = 0
    _closed(agent, call)
    return iter(())


def _set(agent: FakeAgent, call: Call) -> Steps:
    option = str(call.ask["option"])
    if not option.startswith(("SO_", "TCP_", "IP_", "IPV6_")):
        raise AgentError(f"no socket option {option!r} is known", "options have their C names, as SO_RCVBUF")
    _existing(agent, call).options[option] = call.ask["value"]
    return iter(())


def _get(agent: FakeAgent, call: Call) -> Steps:
    call.result = _existing(agent, call).options.get(str(call.ask["option"]), 0)
    return iter(())


def _dup(agent: FakeAgent, call: Call) -> Steps:
    socket = _existing(agent, call)
    agent.free(call.ask.get("as"))
    call.descriptor = agent.add(call.ask.get("as"), socket)
    return iter(())


def _fork(agent: FakeAgent, call: Call) -> Steps:
    held = [agent.get(name) for name in call.ask.get("fds") or [call.ask.get("fd")]]
    call.descriptor = held[0]
    call.more["name"], call.result = agent.fork(call.ask.get("as"), held)
    return iter(())


def _kill(agent: FakeAgent, call: Call) -> Steps:
    call.result = agent.kill(str(call.ask["child"]))
    return iter(())


def _poll(agent: FakeAgent, call: Call) -> Steps:
    socket = _existing(agent, call)
    dead = bool(socket.error) and socket.state == "CLOSE"
    room = socket.other.room if socket.other else 1
    call.result = {
        "readable": bool(socket.rx_queue or socket.fin or dead),
        "writable": dead or (socket.state in ("ESTABLISHED", "CLOSE_WAIT") and room > 0),
        "urgent": False,
        "peer_closed": socket.fin or dead,
        "hung_up": dead,
        "error": dead,
    }
    return iter(())


def _list(agent: FakeAgent, call: Call) -> Steps:
    found = []
    for name, fd, socket, auto in agent.by_name.values():
        local, peer = _ends(socket)
        found.append(
            {
                "name": name,
                "fd": fd,
                "family": socket.family,
                "kind": "tcp",
                "auto": auto,
                "local": local,
                "peer": peer,
            }
        )
    call.result = found[: int(call.ask.get("limit", 2000))]
    children = [{"name": name, "pid": pid} for name, pid in agent.children.items()]
    call.more |= {"count": len(found), "children": children}
    return iter(())


def _write(agent: FakeAgent, call: Call) -> Steps:
    path, data = str(call.ask["path"]), str(call.ask["text"]).encode()
    agent.write(path, data)
    call.result = len(data)
    return iter(())


def _interrupt(agent: FakeAgent, call: Call) -> Steps:
    waiting = list(agent.labelled.get(call.ask["of"], ()))
    for one in waiting:
        one.interrupted = True
    call.result = len(waiting)
    yield  # theirs are answered first


_VERBS: dict[str, Callable[[FakeAgent, Call], Steps]] = {
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
    "tls": _tls,
    "http": _http,
    "write": _write,
    "poll": _poll,
    "list": _list,
    "interrupt": _interrupt,
}
