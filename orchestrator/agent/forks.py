"""Children of the agent that only hold descriptors: what a forking server does to a connection (fork(2))."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from orchestrator import errors
from orchestrator.agent import signals, sockets
from orchestrator.agent.poll import Loop

MAX_CHILDREN = 256
_RESET = b"r"  # what a child is told over its pipe
_RESET_SECONDS = (
    1.0  # a child that has not ended by then (it may be stopped) is killed: its sockets get a FIN
)


class Forks:
    """The children by name. They end with it: each waits for the end of a pipe that only the agent holds."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._pids: dict[str, int] = {}
        self._lifelines: dict[str, int] = {}  # our ends of the pipes

    def fork(self, name: str | None, keep: Sequence[int]) -> tuple[str, int]:
        """(name, pid in the host) of a child that holds the descriptors `keep`, under their own numbers."""
        if name is not None and name in self._pids:
            raise errors.AgentError(f"there is a child {name!r} already")
        if len(self._pids) >= MAX_CHILDREN:
            raise errors.AgentError(f"there are {MAX_CHILDREN} children already")
        waits, lifeline = os.pipe()
        ready, tell = os.pipe()
        pid = os.fork()
        if not pid:
            _hold(keep, waits, tell)
        os.close(tell)
        os.close(waits)
        os.read(ready, 1)  # ends when the child holds nothing else
        os.close(ready)
        name = name or f"child{pid}"
        self._pids[name], self._lifelines[name] = pid, lifeline
        self._loop.child(pid, lambda _status: self._gone(name, pid))
        return name, pid

    def _gone(self, name: str, pid: int) -> None:
        if self._pids.get(name) == pid:
            del self._pids[name]
            os.close(self._lifelines.pop(name))

    def known(self, name: str) -> bool:
        """Is there a child of that name?"""
        return name in self._pids

    def kill(self, name: str) -> int:
        """SIGKILL; the pid. Its descriptors are closed when this returns (the child has been waited for)."""
        pid = self._pids.pop(name, None)
        if pid is None:
            raise errors.AgentError(f"no child {name!r} is there")
        os.close(self._lifelines.pop(name))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return pid

    def reset_all(self) -> None:
        """End every child; what it alone still held is reset, not closed as by a program that ends."""
        ends = select.poll()
        pidfds = [os.pidfd_open(pid) for pid in self._pids.values()]
        for fd in pidfds:
            ends.register(fd, select.POLLIN)
        for name, lifeline in self._lifelines.items():
            _tell(lifeline)
            os.kill(self._pids[name], signal.SIGCONT)
        deadline, left = time.monotonic() + _RESET_SECONDS, len(pidfds)
        while left and (found := ends.poll(max(0.0, deadline - time.monotonic()) * 1000)):
            for fd, _ in found:
                ends.unregister(fd)
            left -= len(found)
        for fd in pidfds:
            os.close(fd)
        for name in list(self._pids):
            self.kill(name)

    def describe(self) -> list[dict[str, Any]]:
        """For `list`."""
        return [{"name": name, "pid": pid} for name, pid in self._pids.items()]


def _tell(lifeline: int) -> None:
    try:
        os.write(lifeline, _RESET)
    except BrokenPipeError:  # it has been killed already
        pass


def _hold(keep: Sequence[int], lifeline: int, tell: int) -> NoReturn:
    """The child: close all but `keep`, `tell` last, and wait for the agent's word or its end."""
    try:
        signals.reset()
        start = 0
        for fd in sorted({*keep, lifeline, tell}):
            os.closerange(start, fd)
            start = fd + 1
        os.closerange(start, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        os.close(tell)
        if os.read(lifeline, 1) == _RESET:
            for fd in keep:
                sockets.reset_on_close(socket.socket(fileno=fd))
    finally:
        os._exit(0)
