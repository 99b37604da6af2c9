"""Scopes: what one client's calls open belongs together, and ends together.

Each scope has descriptors and children of its own, so names of different scopes never meet. A call that names
no scope works on what the agent itself holds, as `up` left it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from orchestrator import errors
from orchestrator.agent import sockets
from orchestrator.agent.calls import Calls
from orchestrator.agent.many import Many
from orchestrator.agent.poll import Loop
from orchestrator.agent.requests import Request
from orchestrator.agent.sockets import Descriptors

_FEW = 64  # requests that are remembered without asking which of them have been answered


def begin(calls: Calls, request: Request) -> None:
    """Begin the call that this request asks for, or all of them."""
    if request.message.get("op") == "calls":
        Many(calls, request)
    else:
        calls.handle(request)


class Scope:
    """The calls of one client. `on_close`: a descriptor's number has become free."""

    def __init__(self, loop: Loop, on_close: Callable[[], None]) -> None:
        self._descriptors = Descriptors(loop)
        self._descriptors.on_close = on_close
        self._calls = Calls(loop, self._descriptors)
        self._under_way: list[Request] = []
        self._many = _FEW

    def handle(self, request: Request) -> None:
        """Begin a call, or many."""
        begin(self._calls, request)
        if not request.open:
            return
        self._under_way.append(request)
        if len(self._under_way) > self._many:
            self._under_way = [one for one in self._under_way if one.open]
            self._many = max(_FEW, 2 * len(self._under_way))

    def end(self) -> int:
        """Cancel what is under way, reset and close everything, end the children, give back the files that
        were written; how many descriptors were open.

        Descriptors go first: a child's end needs some, and there may be none left.
        """
        for request in [one for one in self._under_way if one.open]:
            if request.on_cancel:
                request.on_cancel()
            request.error(errors.AgentError("what this call belongs to was released"))
        self._under_way.clear()
        open_ones = list(self._descriptors)
        for descriptor in open_ones:
            with contextlib.suppress(OSError):
                sockets.reset_on_close(descriptor.sock)
            self._descriptors.drop(descriptor)
        self._calls.forks.reset_all()
        self._calls.written.undo()
        return len(open_ones)


class Scopes:
    """All scopes by their numbers, which the daemon gives; and the calls of no scope."""

    def __init__(self, loop: Loop, descriptors: Descriptors) -> None:
        self._loop = loop
        self._shared = descriptors
        self._calls = Calls(loop, descriptors)
        self._by_number: dict[int, Scope] = {}

    def handle(self, request: Request) -> None:
        """Begin a call in the scope that it names."""
        number = request.message.get("scope")
        if number is None:
            return begin(self._calls, request)
        if number not in self._by_number:
            self._by_number[number] = Scope(self._loop, self._shared.on_close)
        self._by_number[number].handle(request)

    def release(self, request: Request) -> None:
        """End a scope; one that is not there has nothing open."""
        scope = self._by_number.pop(request.message["scope"], None)
        request.ok({"closed": scope.end() if scope else 0})
