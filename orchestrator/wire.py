"""What client, daemon and agent say to each other: framed, bounded, versioned. Standard library only.

A frame is a header, a JSON object and bytes that need no escaping (a table, a piece of a file, output):

    magic "LAB1" (4) | length of JSON (4, big-endian) | length of the bytes (4) | JSON | bytes

Both directions multiplex by `id`:

    {"id": 7, "op": "snapshot", …}     request
    {"id": 7, "part": {…}}             a part of the answer, any number
    {"id": 7, "in": {…}}               more input of a request (exec's stdin, window size, signal)
    {"id": 7, "ok": {…}}               the answer's end
    {"id": 7, "error": {"kind", "message", "hint"}}      … or this; kind is a class name of errors.py

What comes from a host is hostile: whoever reads gives its bounds, and a frame beyond them ends the channel.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from orchestrator import errors

VERSION = 1
MAGIC = b"LAB1"
HEADER = struct.Struct("!4sII")
MAX_JSON = 64 << 20  # a plan of 10,000 hosts is about 10 MiB
MAX_BYTES = 512 << 20  # a table of 3 million sockets
AGENT_MAX_JSON = 1 << 20
AGENT_MAX_BYTES = 1 << 20
_LEFT = "`lab status` shows what is left; `lab down` removes it"
HELLO_SECONDS = 30.0  # that a busy daemon may take for its first answer
_WAIT_ALL = getattr(socket, "MSG_WAITALL", 0)
CHUNK = 256 << 10  # how much of a file or stream goes into one frame

Message = dict[str, Any]


class Frame(NamedTuple):
    """One message and its bytes."""

    message: Message
    data: bytes = b""


class Stream(Protocol):
    """What a channel runs on: a socket, or the bridge of an exec."""

    def sendall(self, data: bytes, /) -> None: ...
    def recv(self, size: int, /) -> bytes: ...
    def settimeout(self, seconds: float | None, /) -> None: ...
    def close(self) -> None: ...


def packed(value: Any) -> Message:
    """What many are told the same, so that it is encoded once: `unpacked` on the other side."""
    import base64
    import zlib

    return {"packed": base64.b64encode(zlib.compress(json.dumps(value).encode(), 1)).decode()}


def unpacked(value: Any) -> Any:
    """What was packed; anything else as it is."""
    if not isinstance(value, dict) or "packed" not in value:
        return value
    import base64
    import zlib

    return json.loads(zlib.decompress(base64.b64decode(value["packed"])))


def encode(message: Message, data: bytes = b"") -> bytes:
    """One frame as bytes."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return b"".join((HEADER.pack(MAGIC, len(body), len(data)), body, data))


def lengths(header: bytes, max_json: int = MAX_JSON, max_bytes: int = MAX_BYTES) -> tuple[int, int]:
    """(JSON, bytes) lengths from the 12 bytes of a header. Raises ProtocolError."""
    magic, body, data = HEADER.unpack(header)
    if magic != MAGIC:
        raise errors.ProtocolError("not a frame of lab, or of another version")
    if body > max_json or data > max_bytes:
        raise errors.ProtocolError(f"a frame of {body} + {data} bytes is beyond its bounds")
    return body, data


def decode(body: bytes, data: bytes = b"") -> Frame:
    """The frame of these bytes. Raises ProtocolError for anything but a JSON object."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise errors.ProtocolError("a frame whose JSON cannot be read") from error
    if not isinstance(message, dict):
        raise errors.ProtocolError("a frame that is no JSON object")
    return Frame(message, data)


class Decoder:
    """Bytes in, frames out: for readers that must not block."""

    def __init__(self, max_json: int = MAX_JSON, max_bytes: int = MAX_BYTES) -> None:
        self._buffer = bytearray()
        self._bounds = (max_json, max_bytes)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield each frame that is whole now. Raises ProtocolError."""
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            body, rest = lengths(bytes(self._buffer[: HEADER.size]), *self._bounds)
            end = HEADER.size + body + rest
            if len(self._buffer) < end:
                return
            whole = bytes(self._buffer[HEADER.size : end])
            del self._buffer[:end]
            yield decode(whole[:body], whole[body:])


def read_exactly(stream: Stream, size: int) -> bytes:
    """`size` bytes, or DaemonGone at an early end."""
    if isinstance(stream, socket.socket):
        return _all_of(stream, size)
    buffer = bytearray(size)
    view = memoryview(buffer)
    into: Callable[[memoryview], int] | None = getattr(stream, "recv_into", None)
    got = 0
    while got < size:
        try:
            count = into(view[got:]) if into is not None else _receive(stream, view[got:])
        except ConnectionError:  # it went away with something of ours unread
            count = 0
        if not count:
            raise errors.DaemonGone("the daemon of the lab is gone", _LEFT)
        got += count
    return bytes(buffer)


def _all_of(sock: socket.socket, size: int) -> bytes:
    """The kernel puts a table of many MiB together itself: no copy is made here, and we are woken once."""
    pieces, got = [], 0
    while got < size:
        try:
            piece = sock.recv(size - got, _WAIT_ALL)
        except ConnectionError:  # it went away with something of ours unread
            piece = b""
        if not piece:
            raise errors.DaemonGone("the daemon of the lab is gone", _LEFT)
        pieces.append(piece)
        got += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _receive(stream: Stream, into: memoryview) -> int:
    """One recv of a stream that has no recv_into."""
    piece = stream.recv(min(len(into), 1 << 20))
    into[: len(piece)] = piece
    return len(piece)


def read_frame(stream: Stream, max_json: int = MAX_JSON, max_bytes: int = MAX_BYTES) -> Frame:
    """The next frame, blocking. Raises DaemonGone at the end of the stream, ProtocolError for a bad one."""
    body, data = lengths(read_exactly(stream, HEADER.size), max_json, max_bytes)
    text = read_exactly(stream, body)
    return decode(text, read_exactly(stream, data) if data else b"")


def error_message(error: BaseException) -> Message:
    """How an error travels: its class's name, message and hint; foreign ones only as text."""
    if isinstance(error, errors.LabError):
        return {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
    return {"kind": "DaemonError", "message": f"{type(error).__name__}: {error}", "hint": ""}


def to_error(message: Message) -> errors.LabError:
    """The error that `error_message` described. What the other side sends chooses only among our classes."""
    kind = getattr(errors, str(message.get("kind")), None)
    text, hint = str(message.get("message", "")), str(message.get("hint", ""))
    if kind is errors.TopologyError or not (isinstance(kind, type) and issubclass(kind, errors.LabError)):
        return errors.DaemonError(text, hint)
    return kind(text, hint)


class Channel:
    """The client's side of a connection to a lab: blocking, one request at a time.

    What it is made of is five functions: `send`, `receive`, `settimeout`, `close` and `hang_up`. One to a
    single daemon runs on a stream (StreamChannel); one to the daemons of several machines is made of several
    of these (engines/spread_channel.py). All else is the same for both.

    `parts()` serves answers of many frames and requests that take input; both are built on one connection, so
    a second request while one is under way is a mistake of the caller, unless they `receive` for themselves.
    """

    _last = 0

    @property
    def machines(self) -> tuple[str, ...]:
        """Whose daemons answer, where it is to several."""
        return ()

    def send(self, message: Message, data: bytes = b"") -> None:
        """Send a frame. Raises DaemonGone."""
        raise NotImplementedError

    def receive(self) -> Frame:
        """The next frame, whichever request's. Raises DaemonGone at the end, ProtocolError for a bad one."""
        raise NotImplementedError

    def settimeout(self, seconds: float | None) -> None:
        """How long `receive` may wait until it raises TimeoutError; None: for as long as it takes."""
        raise NotImplementedError

    def close(self) -> None:
        """Leave the daemon."""
        raise NotImplementedError

    def hang_up(self) -> None:
        """Close it under the hands of a thread that waits in `receive`, which ends with an error."""
        raise NotImplementedError

    def hello(self, seconds: float = HELLO_SECONDS) -> Message:
        """Who the daemon is. Raises DaemonError for one of another version, and for one that does not say
        so in time: a stopped daemon must not stop us.
        """
        self.settimeout(seconds)
        try:
            said = self.call("hello", version=VERSION)
        except TimeoutError as error:
            raise errors.DaemonSilent(
                f"the daemon of the lab does not answer within {seconds:.0f} s", _LEFT
            ) from error
        self.settimeout(None)
        return said

    def ask(self, op: str, data: bytes = b"", **arguments: Any) -> int:
        """Send a request; its id."""
        self._last += 1
        self.send({"id": self._last, "op": op, **arguments}, data)
        return self._last

    def feed(self, request: int, data: bytes = b"", **more: Any) -> None:
        """Send more input of a request."""
        self.send({"id": request, "in": more}, data)

    def parts(self, request: int) -> Iterator[Frame]:
        """Each part of the answer, then its end (a frame with "ok"). Raises what the daemon raised."""
        while True:
            message, data = self.receive()
            if message.get("id") != request:
                continue
            if "error" in message:
                raise to_error(message["error"])
            if "ok" in message:
                yield Frame(message, data)
                return
            yield Frame(message, data)

    def call(self, op: str, data: bytes = b"", **arguments: Any) -> Message:
        """Send a request and return the value of its answer; parts are passed over."""
        return self.answer(op, data, **arguments).message

    def answer(self, op: str, data: bytes = b"", **arguments: Any) -> Frame:
        """As `call`, with the bytes of the answer."""
        for message, more in self.parts(self.ask(op, data, **arguments)):
            if "ok" in message:
                value = message["ok"]
                return Frame(value if isinstance(value, dict) else {}, more)
        raise errors.DaemonError("the daemon ended an answer early")

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class StreamChannel(Channel):
    """To one daemon, on one stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def send(self, message: Message, data: bytes = b"") -> None:
        """Send a frame. Raises DaemonGone."""
        try:
            self.stream.sendall(encode(message, data))
        except OSError as error:
            raise errors.DaemonGone("the daemon of the lab is gone", _LEFT) from error

    def receive(self) -> Frame:
        """The next frame."""
        return read_frame(self.stream)

    def settimeout(self, seconds: float | None) -> None:
        """Of the stream."""
        self.stream.settimeout(seconds)

    def close(self) -> None:
        """Close the stream."""
        self.stream.close()

    def hang_up(self) -> None:
        """close(2) alone does not wake a thread that reads."""
        stop = getattr(self.stream, "shutdown", None)
        if stop is not None:
            with contextlib.suppress(OSError):
                stop(socket.SHUT_RDWR)
        self.close()
