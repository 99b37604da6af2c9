"""One call under way: its steps, what it waits for, its time, and its answer."""

from __future__ import annotations

import errno
import os
import ssl
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.agent import sockets
from orchestrator.agent.requests import Request
from orchestrator.agent.sockets import Descriptor

if TYPE_CHECKING:
    from orchestrator.agent.calls import Calls
    from orchestrator.agent.poll import Timer

READ, WRITE = False, True


class Pause(NamedTuple):
    """Go on at a moment (monotonic seconds), in one's place among those who read or write here; `ready`: or
    before that, when it is possible to read (write).
    """

    until: float
    writing: bool
    ready: bool = False


Wait = bool | Pause  # READ or WRITE: go on when that is possible
Steps = Generator[Wait, None, None]
READ_LATER = Pause(0, READ, ready=True)  # others get their turn first
WRITE_LATER = Pause(0, WRITE, ready=True)
DEFAULT_TIMEOUT = 5.0
MAX_KEPT = 256 << 10  # bytes of a recv that go back to who asked; the rest is counted and dropped
_DIRECTIONS = {"recv": READ, "accept": READ, "send": WRITE, "tls": READ, "http": WRITE}


class Call:
    """One call under way."""

    def __init__(self, calls: Calls, request: Request) -> None:
        self.calls = calls
        self.request = request
        self.ask: dict[str, Any] = request.message["call"]
        self.descriptor: Descriptor | None = None
        self.result: Any = None
        self.data = bytearray()  # goes back beside the answer
        self.more: dict[str, Any] = {}
        self.blocked = errno.EAGAIN
        self.began = time.monotonic()
        self._steps: Steps | None = None
        self._place: Descriptor | None = None  # where it stands in line
        self._clock: Timer | None = None  # of a Pause
        self._timer = calls.loop.after(self._seconds(), self._timed_out)
        self._label = self.ask.get("label")
        if self._label is not None:
            calls.labelled.setdefault(self._label, set()).add(self)
        request.on_cancel = self._end

    def start(self, steps: Steps | None) -> None:
        """Run until the first wait, or to the end; behind those who wait for the same already."""
        self._steps = steps
        direction = _DIRECTIONS.get(self.ask["do"])
        if direction is None or not self._must_wait(direction):
            self._go_on()
        else:
            self._line_up(direction)

    def use(self, descriptor: Descriptor) -> Descriptor:
        """This call is about that descriptor."""
        self.descriptor = descriptor
        return descriptor

    def existing(self) -> Descriptor:
        """The descriptor that it names."""
        return self.use(self.calls.descriptors.get(self.ask.get("fd")))

    def address(self) -> sockets.Address:
        """Where to, or where."""
        return sockets.checked(str(self.ask["address"]), self.ask["port"])

    def _must_wait(self, direction: bool) -> bool:
        return self.blocks and self.descriptor is not None and self.descriptor.waiting(direction)

    @property
    def blocks(self) -> bool:
        """False: it ends where it would have to wait."""
        return self.ask.get("blocking") is not False

    def _seconds(self) -> float:
        seconds = self.ask.get("timeout")
        return DEFAULT_TIMEOUT if seconds is None else float(seconds)

    def _attempt(self) -> None:
        """What is waited for may be possible now, or the moment has come."""
        if self._place and self._place.sock.fileno() < 0:
            self._finish(errno.EBADF)
        else:
            self._go_on()

    def _go_on(self) -> None:
        """The next steps: until they wait, or to the end."""
        wait = self._advance()
        if wait is not None:
            self._line_up(wait)

    def _line_up(self, wait: Wait) -> None:
        if self._clock:
            self._clock.cancel()
            self._clock = None
        assert self.descriptor is not None
        self._place = self.descriptor
        pause = wait if isinstance(wait, Pause) else None
        if pause is not None:
            self._clock = self.calls.loop.after(pause.until - time.monotonic(), self._attempt)
        writing, ready = (pause.writing, pause.ready) if pause else (wait is WRITE, True)
        self.calls.descriptors.wait(self._place, writing, self._attempt, ready)

    def _advance(self) -> Wait | None:
        """What the steps wait for now; None at the end (the answer has been sent)."""
        try:
            if self._steps is None:
                self._finish(0)
                return None
            wait = next(self._steps)
            if self.blocks or isinstance(wait, Pause):
                return wait
            self._finish(0 if self.result else self.blocked)
        except StopIteration:
            self._finish(0)
        except Exception as error:
            self.failed(error)
        return None

    def failed(self, error: Exception) -> None:
        """End with an error: one of the system or of TLS is a result, and any other an error."""
        if isinstance(error, ssl.SSLError):  # which is an OSError, with numbers of its own
            self._finish(_tls_name(error))
        elif isinstance(error, OSError):
            self._finish(error.errno or errno.EIO)
        else:
            self._end()
            self.request.error(error)

    def interrupt(self) -> None:
        """As a signal does it to a call that waits: it ends with what it has, and EINTR (signal(7))."""
        self._finish(errno.EINTR)

    def _timed_out(self) -> None:
        self.more["timed_out"] = True
        self._finish(self.blocked)

    def _end(self) -> None:
        """Nothing more will come of it."""
        self._timer.cancel()
        same = self.calls.labelled.get(self._label, set())
        same.discard(self)
        if not same:
            self.calls.labelled.pop(self._label, None)
        if self._clock:
            self._clock.cancel()
        if self._place:
            place, self._place = self._place, None
            self.calls.descriptors.unwait(place, self._attempt)
        if self._steps:
            self._steps.close()

    def _finish(self, reason: int | str) -> None:
        self._end()
        if isinstance(reason, int):
            name = errno.errorcode.get(reason, str(reason)) if reason else None
        else:
            name = reason
        times = {"began": self.began, "duration": time.monotonic() - self.began}
        answer = {"result": self.result, "errno": name, **_about(self.descriptor), **times, **self.more}
        self.request.ok(answer, bytes(self.data))


def _tls_name(error: ssl.SSLError) -> str:
    """`SSL_` and OpenSSL's own name of the reason, as in <openssl/sslerr.h> without SSL_R_. An end of the
    stream inside of a handshake has several there, here one.
    """
    if isinstance(error, ssl.SSLEOFError) or error.reason in (None, "UNEXPECTED_EOF_WHILE_READING"):
        return "SSL_EOF" if isinstance(error, ssl.SSLEOFError) or error.reason else "SSL_ERROR"
    return f"SSL_{error.reason}"


def _about(descriptor: Descriptor | None) -> dict[str, Any]:
    """What an answer says about its descriptor."""
    if descriptor is None:
        return {"name": None, "fd": None, "local": None, "peer": None}
    sock = descriptor.sock
    if sock.fileno() < 0:
        return {"name": descriptor.name, "fd": None, "local": None, "peer": None}
    ends = {"local": sockets.local(sock), "peer": sockets.peer(sock)}
    return {"name": descriptor.name, "fd": sock.fileno(), "inode": os.fstat(sock.fileno()).st_ino, **ends}
