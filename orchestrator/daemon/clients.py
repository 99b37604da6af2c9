"""The daemon's side of a client's channel: requests side by side, parts and input with back-pressure.

A client is trusted (the socket's place is the guard), but may be slow, or gone at any moment.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import select
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from orchestrator import errors, wire

Buffer = bytes | bytearray | memoryview
Handler = Callable[["ClientRequest"], Awaitable["wire.Message | wire.Frame"]]
_MAX_REQUESTS = 1024  # of one client at once
_MAX_QUEUED = 4 << 20  # bytes of input of one request that wait; the client is read no further then
_MAX_BYTES = 64 << 20
_PIECE = 1 << 20
_NUMBERS = itertools.count(1)
_ROOM = 4 << 20
_SO_SNDBUFFORCE = 32  # asm-generic/socket.h


class ClientRequest:
    """One request of a client."""

    def __init__(self, client: Client, frame: wire.Frame) -> None:
        self.client = client
        self.message, self.data = frame
        self._inputs: deque[wire.Frame] = deque()
        self._arrived = asyncio.Event()
        self.queued = 0
        self.afterwards: Callable[[], None] = lambda: None  # called when the answer has gone out

    async def part(self, message: wire.Message, *data: Buffer) -> None:
        """Send a part; returns when the client has taken most of it."""
        await self.client.send({"id": self.message["id"], "part": message}, data)

    def add(self, frame: wire.Frame) -> None:
        """More input has come."""
        self._inputs.append(frame)
        self.queued += len(frame.data)
        self._arrived.set()

    async def inputs(self) -> AsyncIterator[wire.Frame]:
        """Each input, for as long as the request is under way."""
        while True:
            while self._inputs:
                frame = self._inputs.popleft()
                yield frame
                self.queued -= len(frame.data)
                self.client.room.set()
            self._arrived.clear()
            await self._arrived.wait()


def _widen(sock: Any) -> None:
    """Room for a large table on its way: else we and the client take turns for each 200 KB of it."""
    for option in (_SO_SNDBUFFORCE, socket.SO_SNDBUF):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, _ROOM)
            return
        except OSError:  # it takes CAP_NET_ADMIN to go beyond net.core.wmem_max (socket(7))
            continue


class Client:
    """One client: reads its frames until it is gone, then cancels what it had under way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handle: Handler) -> None:
        self.number = next(_NUMBERS)  # never another's, while this daemon lives
        self._reader = reader
        self._writer = writer
        self._handle = handle
        _widen(writer.get_extra_info("socket"))
        self._lock = asyncio.Lock()
        self._requests: dict[int, ClientRequest] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.room = asyncio.Event()

    async def run(self) -> None:
        """Serve it; returns when it is gone."""
        try:
            while True:
                await self._receive(await self._read())
        except (asyncio.IncompleteReadError, OSError):
            pass
        except errors.LabError as error:
            await self._say_why(error)
        finally:
            await self._leave()

    async def send(self, message: wire.Message, data: Sequence[Buffer] = ()) -> None:
        """Send a frame whose bytes are these, one after the other."""
        body = json.dumps(message, separators=(",", ":")).encode()
        header = wire.HEADER.pack(wire.MAGIC, len(body), sum(len(d) for d in data))
        async with self._lock:
            self._writer.write(header + body)
            for buffer in data:
                view = memoryview(buffer).cast("B")
                for start in range(0, len(view), _PIECE):
                    self._writer.write(view[start : start + _PIECE])
                    await self._writer.drain()
            await self._writer.drain()

    async def _read(self) -> wire.Frame:
        header = await self._reader.readexactly(wire.HEADER.size)
        body, data = wire.lengths(header, wire.MAX_JSON, _MAX_BYTES)
        text = await self._reader.readexactly(body)
        return wire.decode(text, await self._reader.readexactly(data) if data else b"")

    async def _receive(self, frame: wire.Frame) -> None:
        number = frame.message.get("id")
        if not isinstance(number, int):
            raise errors.ProtocolError("a frame without an id")
        if "op" in frame.message:
            self._begin(number, frame)
        elif (request := self._requests.get(number)) and isinstance(frame.message.get("in"), dict):
            request.add(wire.Frame(frame.message["in"], frame.data))
            await self._until_room(request)

    def _begin(self, number: int, frame: wire.Frame) -> None:
        if number in self._requests or len(self._requests) >= _MAX_REQUESTS:
            raise errors.ProtocolError("an id twice, or too many requests at once")
        request = self._requests[number] = ClientRequest(self, frame)
        task = asyncio.create_task(self._answer(number, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, number: int, request: ClientRequest) -> None:
        try:
            value = await self._handle(request)
            answer, data = value if isinstance(value, wire.Frame) else (value, b"")
            message: wire.Message = {"id": number, "ok": answer}
        except Exception as error:  # whatever it is, the client is told
            message, data = {"id": number, "error": wire.error_message(error)}, b""
        self._requests.pop(number, None)
        self.room.set()
        try:
            await self.send(message, (data,) if data else ())
        except OSError:
            pass  # it is gone; `run` has seen it, or will
        request.afterwards()

    async def _until_room(self, request: ClientRequest) -> None:
        """Read no further before this request has room; but notice a client that goes meanwhile."""
        while request.queued > _MAX_QUEUED and request in self._requests.values():
            self.room.clear()
            if await _first(self.room, self._writer.get_extra_info("socket")):
                raise ConnectionResetError

    async def _say_why(self, error: errors.LabError) -> None:
        try:
            await self.send({"id": 0, "error": wire.error_message(error)})
        except OSError:
            pass

    async def _leave(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._writer.close()


async def _first(room: asyncio.Event, sock: socket.socket) -> bool:
    """Wait for room, or for the peer's end (True), which is not seen by reading while nobody reads."""
    loop = asyncio.get_running_loop()
    gone: asyncio.Future[Any] = loop.create_future()
    with select.epoll() as watch:
        watch.register(sock.fileno(), select.EPOLLRDHUP)
        loop.add_reader(watch.fileno(), gone.cancel)
        waiting: asyncio.Future[Any] = asyncio.ensure_future(room.wait())
        try:
            await asyncio.wait((waiting, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            loop.remove_reader(watch.fileno())
    return gone.cancelled() and not room.is_set()
