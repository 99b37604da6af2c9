"""An agent in a network namespace of its own, without daemon: spoken to over its channel."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from orchestrator import wire

_SERVE = """
import socket, subprocess, sys
from orchestrator.agent import loop
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
loop.serve(socket.socket(fileno=int(sys.argv[1])), loop.Agent())
"""


class Agent:
    """The daemon's side of one agent, blocking."""

    def __init__(self, channel: socket.socket, process: subprocess.Popen[bytes]) -> None:
        channel.settimeout(60)
        self.channel = channel
        self.process = process
        self._last = 0
        self._early: list[wire.Frame] = []

    def ask(self, op: str, **arguments: Any) -> int:
        """Send a request; its id."""
        self._last += 1
        self.channel.sendall(wire.encode({"id": self._last, "op": op, **arguments}))
        return self._last

    def feed(self, request: int, data: bytes = b"", **message: Any) -> None:
        """Send input of a request."""
        self.channel.sendall(wire.encode({"id": request, "in": message}, data))

    def more(self, request: int, data: bytes = b"", **message: Any) -> None:
        """Send a frame that belongs to a request."""
        self.channel.sendall(wire.encode({"id": request, **message}, data))

    def frame(self, request: int) -> wire.Frame:
        """The next frame of a request; those of others are kept for later."""
        for early in self._early:
            if early.message["id"] == request:
                self._early.remove(early)
                return early
        while True:
            frame = wire.read_frame(self.channel, wire.AGENT_MAX_JSON, wire.AGENT_MAX_BYTES)
            if frame.message["id"] == request:
                return frame
            self._early.append(frame)

    def end(self, request: int, credit: bool = True) -> tuple[wire.Message, list[wire.Frame], bytes]:
        """The answer, the parts before it, and the answer's bytes. Raises what the agent raised."""
        parts: list[wire.Frame] = []
        while True:
            message, data = self.frame(request)
            if "error" in message:
                raise wire.to_error(message["error"])
            if "ok" in message:
                return message["ok"], parts, data
            if "part" in message:
                parts.append(wire.Frame(message["part"], data))
                if credit and data:
                    self.more(request, credit=len(data))

    def tell(self, op: str, **arguments: Any) -> wire.Message:
        """A request that has one answer."""
        return self.end(self.ask(op, **arguments))[0]

    def begin(self, do: str, **call: Any) -> int:
        """Begin a call."""
        return self.ask("call", call={"do": do, **call})

    def call(self, do: str, **call: Any) -> wire.Message:
        """A call and its answer; the answer's bytes as "data"."""
        answer, _, data = self.end(self.begin(do, **call))
        return {**answer, "data": data}

    def good(self, do: str, **call: Any) -> wire.Message:
        """A call that must not fail."""
        answer = self.call(do, **call)
        assert answer["errno"] is None, answer
        return answer


def start_agent(*more: str) -> Agent:
    """A fresh agent process in its own network namespace; the caller ends it. `more`: see unshare(1)."""
    ours, theirs = socket.socketpair()
    flags = ["--net"] if os.getuid() == 0 else ["--net", "--map-root-user"]
    command = ["unshare", *flags, *more, sys.executable, "-c", _SERVE, str(theirs.fileno())]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
    theirs.close()
    return Agent(ours, process)


def end_agent(agent: Agent) -> None:
    """Close its channel and wait for its end, which that must bring."""
    agent.channel.close()
    assert agent.process.wait(10) == 0


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something that takes the kernel a moment."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
