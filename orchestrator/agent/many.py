"""Many calls in one request: a step of a thousand connects costs two frames, not two thousand.

Each is a call like any other, with its own time, errno and answer. Answers go back as they come, those of one
round of the loop in one part: `{"answers": [[place, {"ok": …} | {"error": …}, bytes], …]}` and the bytes, one
after the other.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orchestrator import errors, wire
from orchestrator.agent.requests import Request, as_agent_error, guarded

if TYPE_CHECKING:
    from orchestrator.agent.calls import Calls

MOST = 1000  # calls of one request
_PART = 512 << 10  # characters of answers in one part; and as many bytes


class Many:
    """The calls of one request, under way."""

    def __init__(self, calls: Calls, request: Request) -> None:
        asks = request.message.get("calls")
        if not isinstance(asks, list) or not 0 < len(asks) <= MOST:
            raise errors.AgentError(f"`calls` is a list of at most {MOST}")
        self._loop = calls.loop
        self._request = request
        self._ready: deque[tuple[Any, int, bytes]] = deque()  # an answer, its characters, its bytes
        self._sending = False
        self._left = len(asks)
        self._all = [_One(self, place, ask) for place, ask in enumerate(asks)]
        request.on_cancel = self._cancel
        request.on_credit = self.send
        for one in self._all:
            guarded(one, lambda one=one: calls.handle(one))  # type: ignore[misc]

    def answered(self, place: int, answer: wire.Message, data: bytes) -> None:
        """One of them has ended."""
        entry = [place, answer, len(data)]
        self._ready.append((entry, len(json.dumps(entry)), data))
        self._left -= 1
        if not self._sending:
            self._sending = True
            self._loop.soon(self.send)

    def send(self) -> None:
        """What is ready, as far as who asked takes it; then the end."""
        self._sending = False
        while self._ready:
            entries, data = self._next_part()
            if not entries:
                return  # until there is credit
            self._request.part({"answers": entries}, data)
        if not self._left:
            self._request.ok({})

    def _next_part(self) -> tuple[list[Any], bytes]:
        entries: list[Any] = []
        pieces: list[bytes] = []
        room, window = _PART, min(_PART, self._request.window)
        while self._ready:
            entry, size, data = self._ready[0]
            if len(data) > window or (entries and size > room):
                break
            self._ready.popleft()
            entries.append(entry)
            pieces.append(data)
            room, window = room - size, window - len(data)
        return entries, b"".join(pieces)

    def _cancel(self) -> None:
        for one in self._all:
            if one.open:
                one.open = False
                if one.on_cancel:
                    one.on_cancel()


class _One(Request):
    """One of many: what a call takes for its request."""

    __slots__ = ("_many", "_place")

    def __init__(self, many: Many, place: int, ask: Any) -> None:
        self._many = many
        self._place = place
        self.message = {"call": ask}
        self.open = True
        self.on_cancel: Callable[[], None] | None = None

    def ok(self, value: wire.Message, data: bytes = b"") -> None:
        """Its answer."""
        self._answer({"ok": value}, data)

    def error(self, error: BaseException) -> None:
        """Its answer is an error."""
        self._answer({"error": wire.error_message(as_agent_error(error))}, b"")

    def flush(self) -> None:
        """Send what is ready, before the round is over."""
        self._many.send()

    def _answer(self, answer: wire.Message, data: bytes) -> None:
        if self.open:
            self.open = False
            self._many.answered(self._place, answer, data)
