"""Requests of several threads side by side on one channel: one thread reads, and each waits for its own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any

from orchestrator.errors import DaemonError, LabError
from orchestrator.wire import Channel, Frame, Message, to_error

OnPart = Callable[[Message, bytes], None]
_UNDER_WAY = 512  # requests of many calls at once: fewer than a channel takes
_MOST_CALLS = 1000  # of one request, agent/many.py
_MOST_TEXT = 768 << 10  # characters of them, as JSON: less than AGENT_MAX_JSON


class Pending:
    """A request under way. `on_part` is called by the reading thread and must not wait for anything. `ended`:
    when its answer came, on time.monotonic(), once it is `done`."""

    def __init__(self, requests: Requests, on_part: OnPart | None) -> None:
        self._requests = requests
        self.on_part = on_part
        self.number = 0
        self.ended = 0.0
        self.future: Future[Frame] = Future()

    @property
    def done(self) -> bool:
        """Whether the answer is there."""
        return self.future.done()

    def answer(self, timeout: float | None = None) -> Frame:
        """The answer's value and bytes. Raises what the daemon raised, or TimeoutError."""
        return self.future.result(timeout)

    def feed(self, data: bytes = b"", **more: Any) -> None:
        """More input of it."""
        self._requests.feed(self.number, data, more)

    def settle(self, message: Message, data: bytes) -> None:
        """Its answer has come."""
        if "error" in message:
            self.fail(to_error(message["error"]))
        else:
            value = message.get("ok")
            self.ended = time.monotonic()
            self.future.set_result(Frame(value if isinstance(value, dict) else {}, data))

    def fail(self, error: BaseException) -> None:
        """None will come."""
        self.ended = time.monotonic()
        self.future.set_exception(error)


class Requests:
    """The channel's user from now on: nobody else may ask on it. `close` ends what is under way."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._pending: dict[int, Pending] = {}
        self._gone: LabError | None = None
        self._room = threading.Semaphore(_UNDER_WAY)
        self._thread = threading.Thread(target=self._read, name="requests", daemon=True)
        self._thread.start()

    def begin(self, op: str, data: bytes = b"", on_part: OnPart | None = None, **arguments: Any) -> Pending:
        """Send a request and wait for nothing."""
        pending = Pending(self, on_part)
        with self._lock:
            if self._gone is not None:
                raise self._gone
            pending.number = self._channel.ask(op, data, **arguments)
            self._pending[pending.number] = pending
        return pending

    def begin_calls(self, calls: Iterable[Message], **arguments: Any) -> list[Pending]:
        """Send many calls of a host's agent in few requests, and wait for none of them."""
        pending: list[Pending] = []
        for group in _groups(calls):
            self._room.acquire()
            if len(group) == 1:
                whole = self.begin("call", call=group[0], **arguments)
                pending.append(whole)
            else:
                several, whole = self._begin_group(group, arguments)
                pending += several
            whole.future.add_done_callback(lambda _: self._room.release())
        return pending

    def _begin_group(self, group: list[Message], arguments: dict[str, Any]) -> tuple[list[Pending], Pending]:
        several = [Pending(self, None) for _ in group]

        def take(message: Message, data: bytes) -> None:
            at = 0
            for place, answer, size in message["answers"]:
                several[place].settle(answer, data[at : at + size])
                at += size

        def end(whole: Future[Frame]) -> None:
            error = whole.exception() or DaemonError("the daemon ended an answer early")
            for one in several:
                if not one.done:
                    one.fail(error)

        whole = self.begin("calls", on_part=take, calls=group, **arguments)
        whole.future.add_done_callback(end)
        return several, whole

    def call(self, op: str, data: bytes = b"", **arguments: Any) -> Message:
        """A request, and the value of its answer."""
        return self.begin(op, data, **arguments).answer().message

    def feed(self, number: int, data: bytes, more: Message) -> None:
        """More input of a request."""
        with self._lock:
            self._channel.feed(number, data, **more)

    def close(self) -> None:
        """Close the channel; the daemon ends what it was still asked for."""
        self._channel.hang_up()
        self._thread.join(timeout=5)

    def _read(self) -> None:
        try:
            while True:
                message, data = self._channel.receive()
                self._take(message, data)
        except LabError as error:
            self._end(error)
        except (OSError, ValueError):  # closed by `close`
            self._end(DaemonError("the channel to the daemon is closed"))

    def _take(self, message: Message, data: bytes) -> None:
        number = message.get("id")
        with self._lock:
            pending = self._pending.get(number) if isinstance(number, int) else None
            if pending is None:
                return
            if "part" not in message:
                del self._pending[pending.number]
        if "part" in message:
            if pending.on_part is not None:
                pending.on_part(message["part"], data)
        else:
            pending.settle(message, data)

    def _end(self, error: LabError) -> None:
        with self._lock:
            self._gone = error
            left, self._pending = list(self._pending.values()), {}
        for pending in left:
            pending.fail(error)


def _groups(calls: Iterable[Message]) -> Iterator[list[Message]]:
    """As many of them as go into one request."""
    group: list[Message] = []
    room = _MOST_TEXT
    for call in calls:
        size = len(json.dumps(call))
        if group and (size > room or len(group) >= _MOST_CALLS):
            yield group
            group, room = [], _MOST_TEXT
        group.append(call)
        room -= size
    if group:
        yield group
