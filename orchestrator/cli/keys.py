"""One key of whoever runs scenarios step by step: at a terminal a key, elsewhere a line."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, Literal

Key = Literal["on", "all", "quit"]
LEGEND = "Enter or space: this step; c: all that follow; q: end the run"
_MEANS: dict[str, Key] = {"": "on", " ": "on", "\r": "on", "\n": "on", "c": "all", "q": "quit", "\x04": "all"}


def ask(say: Callable[[], None], stream: Any = None) -> Key:
    """Call `say`, then wait for a key that means something. The end of the input means: all that follow."""
    stream = stream or sys.stdin
    if stream is None or stream.closed:
        say()
        return "all"
    with _keys(stream) as key:
        say()
        while True:
            pressed = key()
            if pressed is None:
                return "all"
            if pressed.lower() in _MEANS:
                return _MEANS[pressed.lower()]


@contextlib.contextmanager
def _keys(stream: Any) -> Iterator[Callable[[], str | None]]:
    """What gives one key after the other, None at the end. Keys pressed before this are not meant for it."""
    if not stream.isatty():
        yield lambda: _line(stream)
    elif sys.platform == "win32":
        yield _pressed
    else:
        import termios
        import tty

        handle = stream.fileno()
        before = termios.tcgetattr(handle)
        tty.setcbreak(handle, termios.TCSAFLUSH)
        try:
            yield lambda: _read(handle)
        finally:
            with contextlib.suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(handle, termios.TCSADRAIN, before)


def _read(handle: int) -> str | None:
    try:
        return os.read(handle, 1).decode("ascii", "replace") or None
    except OSError:  # EIO: the terminal is gone
        return None


def _pressed() -> str:
    """A key on Windows, where Ctrl-C is one like any other."""
    import msvcrt

    key: str = msvcrt.getwch()  # type: ignore[attr-defined,unused-ignore]
    if key == "\x03":
        raise KeyboardInterrupt
    return key


def _line(stream: Any) -> str | None:
    """A line is a key: its first character, or Enter."""
    line = stream.readline()
    return line.strip()[:1] if line else None
