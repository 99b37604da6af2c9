"""Children of the agent that only hold descriptors: what a forking server does to a connection (fork(2))."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Sequence
from typing import Any, NoReturn

from orchestrator import errors
from orchestrator.agent import signals
from orchestrator.agent.poll import Loop

MAX_CHILDREN = 256


class Forks:
    """The children by name. They end with it: each waits for the end of a pipe that only the agent holds."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._pids: dict[str, int] = {}
        self._lifeline: tuple[int, int] | None = None

    def fork(self, name: str | None, keep: Sequence[int]) -> tuple[str, int]:
        """(name, pid in the host) of a child that holds the descriptors `keep`, under their own numbers."""
        if name is not None and name in self._pids:
            raise errors.AgentError(f"there is a child {name!r} already")
        if len(self._pids) >= MAX_CHILDREN:
            raise errors.AgentError(f"there are {MAX_CHILDREN} children already")
        self._lifeline = self._lifeline or os.pipe()
        ready, tell = os.pipe()
        pid = os.fork()
        if not pid:
            _hold(keep, self._lifeline[0], tell)
        os.close(tell)
        os.read(ready, 1)  # ends when the child holds nothing else
        os.close(ready)
        name = name or f"child{pid}"
        self._pids[name] = pid
        self._loop.child(pid, lambda _status: self._gone(name, pid))
        return name, pid

    def _gone(self, name: str, pid: int) -> None:
        if self._pids.get(name) == pid:
            del self._pids[name]

    def known(self, name: str) -> bool:
        """Is there a child of that name?"""
        return name in self._pids

    def kill(self, name: str) -> int:
        """SIGKILL; the pid. Its descriptors are closed when this returns (the child has been waited for)."""
        pid = self._pids.pop(name, None)
        if pid is None:
            raise errors.AgentError(f"no child {name!r} is there")
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return pid

    def describe(self) -> list[dict[str, Any]]:
        """For `list`."""
        return [{"name": name, "pid": pid} for name, pid in self._pids.items()]


def _hold(keep: Sequence[int], lifeline: int, tell: int) -> NoReturn:
    """The child: close all but `keep`, `tell` last, and wait for the agent's end."""
    try:
        signals.reset()
        start = 0
        for fd in sorted({*keep, lifeline, tell}):
            os.closerange(start, fd)
            start = fd + 1
        os.closerange(start, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        os.close(tell)
        os.read(lifeline, 1)
    finally:
        os._exit(0)
