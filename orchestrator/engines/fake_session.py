"""Channels of the fake engine: the daemon's side of wire.py, without a socket between.

A session has no thread. Whoever sends or receives carries all operations of the lab on as far as they go,
under one lock; what has to wait is looked at again whenever something happened, and at least every LOOK
seconds while somebody waits for an answer.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator
from typing import Any, Protocol

from orchestrator import wire
from orchestrator.errors import DaemonError, LabError, ProtocolError

LOOK = 0.02  # seconds between two looks at what waits for a time to pass
Answer = wire.Message | wire.Frame
Steps = Generator[None, None, Answer]


class Daemon(Protocol):
    """What a session needs of its lab."""

    changed: threading.Condition

    def handle(self, asked: Asked) -> Steps: ...
    def settle(self) -> None: ...
    def stir(self) -> None: ...
    def left(self, session: Session) -> None: ...


class Asked:
    """One request under way."""

    def __init__(self, session: Session, frame: wire.Frame) -> None:
        self.session = session
        self.message, self.data = frame
        self.inputs: deque[wire.Frame] = deque()

    def __getitem__(self, name: str) -> Any:
        if name not in self.message:
            raise DaemonError(f"the request {self.message.get('op')!r} lacks {name!r}")
        return self.message[name]

    def get(self, name: str, otherwise: Any = None) -> Any:
        """An argument, or what it is without it."""
        value = self.message.get(name)
        return otherwise if value is None else value

    def part(self, message: wire.Message, data: bytes = b"") -> None:
        """A part of the answer."""
        self.session.send({"id": self.message["id"], "part": message}, data)


class Session:
    """One channel: the stream that its client holds."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._decoder = wire.Decoder()
        self._out = bytearray()
        self.open = True
        self.under_way: dict[int, tuple[Asked, Steps]] = {}

    def sendall(self, data: bytes, /) -> None:
        """Requests and their input; they begin at once."""
        with self._daemon.changed:
            if not self.open:
                raise BrokenPipeError("the channel is closed")
            try:
                for frame in self._decoder.feed(data):
                    self._take(frame)
            except ProtocolError:
                self.open = False
            self._daemon.settle()

    def recv(self, size: int, /) -> bytes:
        """The next bytes of answers; b"" at the end of the daemon."""
        with self._daemon.changed:
            while not self._out and self.open:
                self._daemon.settle()
                if not self._out and self.open:
                    self._daemon.changed.wait(LOOK if self.under_way else None)
            piece = bytes(self._out[:size])
            del self._out[:size]
            return piece

    def settimeout(self, seconds: float | None, /) -> None:
        """This daemon is in our own process: it answers."""

    def close(self) -> None:
        """The client leaves; what it had under way ends."""
        with self._daemon.changed:
            self.open = False
            self.under_way.clear()
            self._daemon.left(self)

    def send(self, message: wire.Message, data: bytes = b"") -> None:
        """A frame to the client."""
        self._out += wire.encode(message, data)
        self._daemon.stir()

    def _take(self, frame: wire.Frame) -> None:
        number = frame.message.get("id")
        if not isinstance(number, int):
            raise ProtocolError("a frame without an id")
        if "in" in frame.message and number in self.under_way:
            self.under_way[number][0].inputs.append(frame)
        elif "op" in frame.message:
            asked = Asked(self, frame)
            self.under_way[number] = asked, self._daemon.handle(asked)

    def advance(self) -> None:
        """Carry on all that is under way."""
        for number, (_, steps) in list(self.under_way.items()):
            try:
                next(steps)
            except StopIteration as end:
                self._end(number, end.value)
            except (LabError, ValueError, TypeError, KeyError) as error:
                self.under_way.pop(number, None)
                self.send({"id": number, "error": wire.error_message(error)})

    def _end(self, number: int, answer: Answer) -> None:
        if self.under_way.pop(number, None) is None:
            return
        message, data = answer if isinstance(answer, wire.Frame) else (answer, b"")
        self.send({"id": number, "ok": message}, data)


def ended(steps: Steps) -> wire.Frame | None:
    """Carry on one of many; what it answers at its end."""
    try:
        next(steps)
    except StopIteration as end:
        return wire.Frame({"ok": end.value.message}, end.value.data)
    except (LabError, ValueError, TypeError, KeyError) as error:
        return wire.Frame({"error": wire.error_message(error)})
    return None
