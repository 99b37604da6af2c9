"""The agent: one thread, one channel, many requests under way.

Everything that is ever needed is imported before `serve` is called: a host may not see the interpreter's
files.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import NoReturn

from orchestrator import errors, wire
from orchestrator.agent import files, spawn
from orchestrator.agent.execs import Execs
from orchestrator.agent.logs import Logs
from orchestrator.agent.nameserver import Nameserver
from orchestrator.agent.poll import Loop
from orchestrator.agent.programs import Programs
from orchestrator.agent.requests import Channel, Request
from orchestrator.agent.scopes import Scopes
from orchestrator.agent.sets import Connections, Listeners
from orchestrator.agent.sockets import Descriptors

UP_TIMEOUT = 30.0  # seconds for all connections of one `connect` request


class Agent:
    """What a host's agent can be asked for; `ops` is the table.

    It can be made beforehand, in the process that the agents of many hosts are forked from.
    """

    def __init__(self, before_exec: Callable[[], None] | None = None) -> None:
        self.loop = Loop()
        descriptors = Descriptors(self.loop)
        self._scopes = Scopes(self.loop, descriptors)
        self._listeners = Listeners(self.loop, descriptors)
        self._connections = Connections(self.loop, descriptors)
        self._nameserver = Nameserver(self.loop)
        self._programs = Programs(self.loop, before_exec)
        self._execs = Execs(self.loop, before_exec)
        self.ops: dict[str, Callable[[Request], object]] = {
            "call": self._scopes.handle,
            "calls": self._scopes.handle,
            "release": self._scopes.release,
            "listen": lambda request: request.ok(self._listeners.set(_wanted(request, "listen"))),
            "connect": self._connect,
            "dns": self._nameserver.serve,
            "answer": self._nameserver.answer,
            "start": self._programs.start,
            "stop": self._programs.stop,
            "signal": self._programs.signal,
            "exec": self._execs.start,
            "put": files.put,
            "get": lambda request: files.Get(self.loop, request),
            "list": lambda request: files.List(self.loop, request),
            "mkdir": files.mkdir,
            "logs": lambda request: Logs(self.loop, request, self._programs.rings()),
            "state": self._state,
        }

    def run(self, sock: socket.socket) -> None:
        """Until the channel closes; then nothing of ours goes on in the host."""
        self._channel = Channel(self.loop, sock, self._dispatch)
        try:
            self.loop.run()
        finally:
            self._programs.kill_all()
            self._execs.kill_all()

    def _dispatch(self, request: Request) -> None:
        op = request.message.get("op")
        work = self.ops.get(op) if isinstance(op, str) else None
        if work is None:
            raise errors.AgentError(f"no request {op!r} is known to agents")
        work(request)

    def _connect(self, request: Request) -> None:
        seconds = float(request.message.get("timeout") or UP_TIMEOUT)
        self._connections.set(_wanted(request, "connect"), seconds, request.ok)

    def _state(self, request: Request) -> None:
        connected, accepted = self._connections.count, self._listeners.accepted
        listening = self._listeners.describe()
        programs = self._programs.describe()
        held = {"listening": listening, "connected": connected, "accepted": accepted}
        request.ok({"programs": programs, **held, "faults": self.loop.faults})


def _wanted(request: Request, key: str) -> list[wire.Message]:
    wanted = request.message.get(key)
    if not isinstance(wanted, list):
        raise errors.AgentError(f"the request lacks {key!r}")
    return wanted


def serve(sock: socket.socket, agent: Agent) -> NoReturn:
    """Be the agent of a host: answer what comes over `sock` (a stream socket) until it closes.

    Called by a forked child that is in the host already and holds no descriptor but `sock` and 0–2
    (/dev/null). As pid 1 it reaps. Ends the process.
    """
    status = 1
    try:
        sock.set_inheritable(False)
        spawn.raise_limit()
        agent.run(sock)
        status = 0
    finally:
        os._exit(status)
