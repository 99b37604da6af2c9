"""The channel to the daemon of one machine, as a part of one to several: opened when it is first needed, and
read by a thread of its own, so that no machine has to wait for another.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from orchestrator.errors import DaemonError, DaemonGone, LabError
from orchestrator.wire import Channel, Frame, Message

Open = Callable[[], Channel | None]


class Line:
    """To one machine. `took` gets each frame that comes, `lost` the error that ends it: both from the thread.

    What is sent before the channel is open is sent when it is: opening may take seconds (SSH), and many
    machines are opened side by side.
    """

    def __init__(
        self,
        machine: str,
        opener: Open | Channel,
        took: Callable[[Line, Frame], None],
        lost: Callable[[Line, LabError], None],
    ) -> None:
        self.machine = machine
        self.heard = 0.0  # when the last frame came, on time.monotonic()
        self.silent = False  # it has not answered in time, and not since
        self.gone: LabError | None = None
        self._opener, self._took, self._lost = opener, took, lost
        self._channel = opener if isinstance(opener, Channel) else None
        self._waiting: list[tuple[Message, bytes]] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._over = False

    def send(self, message: Message, data: bytes = b"") -> None:
        """Send a frame, or see to it that it is sent. Raises LabError."""
        with self._lock:
            if self.gone is not None:
                raise self.gone
            if self._thread is None:
                name = f"machine {self.machine}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()
            if self._channel is None:
                self._waiting.append((message, data))
            else:
                self._channel.send(message, data)

    def hang_up(self) -> None:
        """The thread ends."""
        self._over = True
        channel = self._channel
        if channel is not None:
            with contextlib.suppress(OSError, LabError):
                channel.hang_up()

    def _run(self) -> None:
        try:
            channel = self._open()
            while True:
                frame = channel.receive()
                self.heard, self.silent = time.monotonic(), False
                self._took(self, frame)
        except LabError as error:
            self._end(error)
        except (OSError, ValueError) as error:  # among them: closed by `hang_up`
            self._end(DaemonGone(f"the line is closed: {error}"))

    def _open(self) -> Channel:
        channel = self._channel
        if channel is None:
            assert not isinstance(self._opener, Channel)
            channel = self._opener()
            if channel is None:
                raise DaemonGone("no daemon of the lab is there", "`lab status` shows what is left")
        with self._lock:
            self._channel = channel
            for message, data in self._waiting:
                channel.send(message, data)
            self._waiting.clear()
        if self._over:
            channel.hang_up()
        return channel

    def _end(self, error: LabError) -> None:
        with self._lock:
            self.gone = named(self.machine, error)
            self._waiting.clear()
        self._lost(self, self.gone)


def named(machine: str, error: LabError) -> LabError:
    """The error, with the machine that it is of."""
    if error.message.startswith((f"{machine}: ", f"machine {machine} ")):
        return error
    kind = type(error) if type(error).__init__ is LabError.__init__ else DaemonError
    return kind(f"{machine}: {error.message}", error.hint)
