"""The agent's end of its channel: frames, requests under way, and windows that bound both directions.

To the frames of `wire.py` the channel between daemon and agent adds three:

    {"id": 7, "credit": n}     to the agent: n bytes of the parts of request 7 were passed on
    {"id": 7, "cancel": true}  to the agent: nobody waits for 7 any more
    {"id": 7, "taken": n}      to the daemon: n bytes of input of request 7 were consumed

A stream never has more than WINDOW bytes under way, so that one slow reader neither fills memory nor holds up
the other requests of the host.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from orchestrator import errors, wire
from orchestrator.agent.poll import Loop

WINDOW = 1 << 20  # bytes under way in one direction of one stream
MAX_REQUESTS = 4096  # under way at once
_RECEIVE = 256 << 10
_OF_PATHS = frozenset(  # what errno(3) says of a path that was named, and of nothing else
    getattr(errno, name)
    for name in ("ENOENT", "ENOTDIR", "EISDIR", "EEXIST", "EACCES", "EPERM", "EROFS", "ELOOP", "ENAMETOOLONG")
)


class Request:
    """One request under way. What can be cancelled, takes input or waits for credit sets the hooks."""

    __slots__ = ("_channel", "id", "message", "on_cancel", "on_credit", "on_input", "open", "window")

    def __init__(self, channel: Channel, number: int, message: wire.Message) -> None:
        self._channel = channel
        self.id = number
        self.message = message
        self.open = True
        self.window = WINDOW  # bytes that may still be sent as parts
        self.on_input: Callable[[wire.Message, bytes], None] | None = None
        self.on_credit: Callable[[], None] | None = None
        self.on_cancel: Callable[[], None] | None = None

    def part(self, message: wire.Message, data: bytes = b"") -> None:
        """Send a part; its bytes are taken from the window (which the caller has looked at)."""
        if self.open:
            self.window -= len(data)
            self._channel.send({"id": self.id, "part": message}, data)

    def taken(self, count: int) -> None:
        """`count` bytes of input have found their place."""
        if self.open:
            self._channel.send({"id": self.id, "taken": count})

    def ok(self, value: wire.Message, data: bytes = b"") -> None:
        """The answer; nothing follows it."""
        self._end({"id": self.id, "ok": value}, data)

    def error(self, error: BaseException) -> None:
        """The answer is an error."""
        self._end({"id": self.id, "error": wire.error_message(as_agent_error(error))}, b"")

    def flush(self) -> None:
        """Send answers that wait for others (agent/many.py); here none does."""

    def receive(self, message: wire.Message, data: bytes) -> None:
        """Credit, input, or the end of interest, as they came over the channel."""
        if "cancel" in message:
            self._cancel()
        elif "credit" in message:
            self.window += int(message["credit"])
            if self.on_credit:
                guarded(self, self.on_credit)
        elif "in" in message and (hook := self.on_input):
            guarded(self, lambda: hook(message["in"], data))

    def _cancel(self) -> None:
        self.open = False
        self._channel.ended(self.id)
        if self.on_cancel:
            self.on_cancel()

    def _end(self, message: wire.Message, data: bytes) -> None:
        if self.open:
            self.open = False
            self._channel.ended(self.id)
            self._channel.send(message, data)


def as_agent_error(error: BaseException) -> errors.LabError:
    """Any exception as one that travels; of an OSError the text and the path, as `ls` would say it."""
    if isinstance(error, errors.LabError):
        return error
    if isinstance(error, OSError) and error.strerror:
        if error.filename and error.errno in _OF_PATHS:
            return errors.PathError(f"{error.filename}: {error.strerror}")
        return errors.AgentError(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    if isinstance(error, KeyError):
        return errors.AgentError(f"the request lacks {error}")
    return errors.AgentError(f"{type(error).__name__}: {error}")


class Channel:
    """Frames of one stream socket, without ever blocking."""

    def __init__(self, loop: Loop, sock: socket.socket, dispatch: Callable[[Request], None]) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._sock = sock
        self._dispatch = dispatch
        self._decoder = wire.Decoder(wire.AGENT_MAX_JSON, wire.AGENT_MAX_BYTES)
        self._out = bytearray()
        self._requests: dict[int, Request] = {}
        loop.reading(sock.fileno(), self._receive)

    def send(self, message: wire.Message, data: bytes = b"") -> None:
        """Send a frame now, or as soon as there is room."""
        frame = wire.encode(message, data)
        if self._out:
            self._out += frame
            return
        sent = self._try(frame)
        if sent < len(frame):
            self._out += memoryview(frame)[sent:]
            self._loop.writing(self._sock.fileno(), self._flush)

    def ended(self, number: int) -> None:
        """This request takes nothing any more."""
        self._requests.pop(number, None)

    def _try(self, frame: bytes | bytearray) -> int:
        try:
            return self._sock.send(frame)
        except BlockingIOError:
            return 0
        except OSError:
            self._loop.stop()
            return len(frame)

    def _flush(self) -> None:
        del self._out[: self._try(self._out)]
        if not self._out:
            self._loop.writing(self._sock.fileno(), None)

    def _receive(self) -> None:
        try:
            data = self._sock.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            for frame in self._decoder.feed(data):
                self._handle(frame)
        except errors.ProtocolError:
            data = b""
        if not data:
            self._loop.stop()

    def _handle(self, frame: wire.Frame) -> None:
        message, data = frame
        number = message.get("id")
        if not isinstance(number, int):
            raise errors.ProtocolError("a frame without an id")
        if "op" in message:
            self._begin(number, message)
        elif request := self._requests.get(number):
            request.receive(message, data)

    def _begin(self, number: int, message: wire.Message) -> None:
        request = Request(self, number, message)
        self._requests[number] = request
        if len(self._requests) > MAX_REQUESTS:
            return request.error(errors.AgentError(f"more than {MAX_REQUESTS} requests under way"))
        guarded(request, lambda: self._dispatch(request))


def guarded(request: Request, work: Callable[[], None]) -> None:
    """Do it; whatever it raises is the request's answer: one bad request never ends the agent."""
    try:
        work()
    except Exception as error:
        request.error(error)
