"""A program in a host, at the user's terminal or between pipes: what `lab exec` and `lab shell` do.

The main thread passes output on; a second one passes input, window sizes and signals, since neither side may
wait for the other. Bytes go through as they are. Only a terminal is made raw, and it is always put back.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, NamedTuple

from orchestrator.errors import AgentError, LabError
from orchestrator.wire import CHUNK, Channel

FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")  # those whose numbers are the same everywhere
PATIENCE = 3  # Ctrl-C so many times gives up on a program that does not heed it
MOST_SAID = 4000  # characters of what a host says of its failure
SIGNALED = 128  # a program that signal n ended has exit code 128 + n, as a shell says it


class Ending(NamedTuple):
    """How a program ended: its exit code, and why it never began (127: not found, 126: not a program)."""

    code: int
    failed: str = ""


def run(
    channel: Channel, host: str, argv: Sequence[str], *, env: dict[str, str] | None = None, tty: bool
) -> Ending:
    """Run `argv` in the host with our standard streams, to its end. The channel is used up by it."""
    size = list(window_size()) if tty else None
    term = os.environ.get("TERM", "xterm") if tty else ""
    request = channel.ask("exec", host=host, argv=list(argv), env=env or {}, tty=size, term=term)
    with raw_terminal(tty), Feeder(channel, request, tty=tty):
        return _pass_output(channel, request)


def _pass_output(channel: Channel, request: int) -> Ending:
    for message, data in channel.parts(request):
        if "ok" in message:
            return ending(message["ok"])
        stream = message.get("part", {}).get("stream")
        _write(2 if stream == "err" else 1, data)
    raise AgentError("the program's end was not told")


def ending(value: Any) -> Ending:
    """What a daemon says of a program's end, with an exit code of ours."""
    code = value.get("exit") if isinstance(value, dict) else None
    if not isinstance(code, int):
        raise AgentError("the program's exit code was not told")
    return Ending(SIGNALED - code if code < 0 else code, str(value.get("failed") or "")[:MOST_SAID])


def _write(descriptor: int, data: bytes) -> None:
    """All of it, past Python's buffers. A closed pipe raises BrokenPipeError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def window_size() -> tuple[int, int]:
    """(rows, columns) of the terminal itself, tty_ioctl(4); LINES and COLUMNS may be those of another."""
    for stream in (sys.stdout, sys.stdin):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # no terminal, closed, none
            columns, rows = os.get_terminal_size(stream.fileno())
            if rows and columns:
                return rows, columns
    columns, rows = shutil.get_terminal_size()
    return rows, columns


def is_terminal() -> bool:
    """Whether a program may be given a terminal: both our input and our output are one."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()


@contextlib.contextmanager
def raw_terminal(wanted: bool) -> Iterator[None]:
    """Every key goes to the program (tty(4), raw mode) until the end of the block. What is no terminal here
    is left as it is: the program may be given one all the same.
    """
    if not wanted or sys.platform == "win32" or not _is_open(0) or not os.isatty(0):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(0)
    try:
        tty.setraw(0)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


class Feeder:
    """Passes standard input, window sizes and signals on to the program, from a thread of its own."""

    def __init__(self, channel: Channel, request: int, *, tty: bool) -> None:
        self._channel, self._request, self._tty = channel, request, tty
        self._wake, self._woken = os.pipe()  # (read end, write end): how a signal handler reaches the thread
        os.set_blocking(self._woken, False)
        self._before: dict[int, Any] = {}
        self._interrupts = 0

    def __enter__(self) -> Feeder:
        names = ("SIGWINCH",) if self._tty else FORWARDED
        for name in names:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._on_signal)
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        with contextlib.suppress(OSError):
            os.write(self._woken, b"\0")  # ends the thread
        os.close(self._woken)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._interrupts += number == signal.SIGINT
        if self._interrupts >= PATIENCE:
            raise KeyboardInterrupt
        with contextlib.suppress(OSError):
            os.write(self._woken, bytes([number]))

    def _run(self) -> None:
        try:
            _pump(self)
        except (OSError, LabError):
            pass  # the program or its daemon has gone: the other thread says so
        finally:
            os.close(self._wake)

    def send(self, data: bytes = b"", **more: Any) -> None:
        """One piece of input, or what is said instead of it."""
        self._channel.feed(self._request, data, **more)

    def told(self) -> bool:
        """Pass on what signals came; False at the end of the block."""
        for number in os.read(self._wake, 64):
            if number == 0:
                return False
            if number == getattr(signal, "SIGWINCH", None):
                self.send(size=list(window_size()))
            else:
                self.send(signal=number)
        return True

    @property
    def wake(self) -> int:
        """The descriptor to wait for."""
        return self._wake


def _pump(feeder: Feeder) -> None:
    if sys.platform == "win32":
        _pump_blocking(feeder)
        return
    watched = [feeder.wake]
    if _is_open(0):
        watched.append(0)
    else:
        feeder.send(stream="in", eof=True)
    while True:
        ready, _, _ = select.select(watched, [], [])
        if feeder.wake in ready and not feeder.told():
            return
        if 0 in ready and not _pass_input(feeder):
            watched.remove(0)


def _pass_input(feeder: Feeder) -> bool:
    """One piece; False at its end."""
    try:
        data = os.read(0, CHUNK)
    except OSError:  # EIO: a terminal that hung up
        data = b""
    if data:
        feeder.send(data, stream="in")
    else:
        feeder.send(eof=True)
    return bool(data)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _pump_blocking(feeder: Feeder) -> None:
    """Windows: select() takes no files there."""
    while _pass_input(feeder):
        pass
