"""Where the lines of `lab agent` come from: a person at a terminal (completion, history), or a pipe."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from orchestrator.errors import LabError
from orchestrator.owner import state_folder
from orchestrator.read.completing import DELIMITERS

KEPT = 1000  # lines of history
MOST_LINE = 64 << 10  # bytes of a line from a pipe; a longer one is cut
Complete = Callable[[str], list[str]]  # the line up to the cursor → what may stand for its last word


class Lines(Protocol):
    """Gives one line after the other, None at the end."""

    interactive: bool

    def next(self) -> str | None: ...


class Piped:
    """Lines of a file or a pipe."""

    interactive = False

    def __init__(self, stream: Any) -> None:
        self._stream = None if stream is None else getattr(stream, "buffer", stream)

    def next(self) -> str | None:
        """The next line, whatever its end is; what is no UTF-8 is replaced."""
        line = b"" if self._stream is None else self._stream.readline(MOST_LINE)
        return line.decode("utf-8", "replace").rstrip("\r\n") if line else None


class Edited:
    """Lines that are typed at a terminal. Without readline (Windows) it is the terminal's own editing."""

    interactive = True

    def __init__(self, prompt: str, complete: Complete) -> None:
        self.prompt, self._complete = prompt, complete
        self._found: list[str] = []
        self._history = History()
        self._readline = _readline()
        if self._readline is not None:
            self._prepare(self._readline)

    def next(self) -> str | None:
        """The next line. Raises KeyboardInterrupt for Ctrl-C."""
        try:
            line = input(self.prompt)
        except EOFError:
            print()
            return None
        self._history.add(line)
        return line

    def _prepare(self, readline: Any) -> None:
        readline.set_completer_delims(DELIMITERS)
        readline.set_completer(self._candidate)
        mac = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if mac else "tab: complete")
        if not mac:
            readline.parse_and_bind(
                "set enable-bracketed-paste off"
            )  # several lines pasted are several steps
        readline.clear_history()
        readline.set_history_length(KEPT)
        for line in self._history.lines:
            readline.add_history(line)

    def _candidate(self, _word: str, state: int) -> str | None:
        """For readline, which asks for one after the other; an exception would be lost in it."""
        if state == 0:
            self._found = []
            with contextlib.suppress(LabError, OSError):
                before = self._readline.get_line_buffer()[: self._readline.get_endidx()]
                self._found = self._complete(before)
        return self._found[state] if state < len(self._found) else None


def _readline() -> Any:
    try:
        import readline
    except ImportError:
        return None
    return readline


class History:
    """What was typed in this and earlier sessions: a file of the user's alone, to which several sessions may
    add side by side. Without a folder to keep it in there is none."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.lines: list[str] = []
        with contextlib.suppress(OSError, LabError):
            self._path = path or state_folder() / "agent-history"
            self.lines = self._path.read_text("utf-8", "replace").splitlines()
            if len(self.lines) > KEPT:
                self.lines = self.lines[-KEPT:]
                self._rewrite(self._path)

    def add(self, line: str) -> None:
        """One more line, unless it is empty or the one before it again."""
        if not line.strip() or line == (self.lines[-1] if self.lines else "") or self._path is None:
            return
        self.lines.append(line)
        with contextlib.suppress(OSError):
            self._write(self._path, os.O_APPEND, f"{line}\n")

    def _rewrite(self, path: Path) -> None:
        new = path.with_name(f"{path.name}.{os.getpid()}")
        self._write(new, os.O_TRUNC, "".join(f"{line}\n" for line in self.lines))
        new.replace(path)

    def _write(self, path: Path, how: int, text: str) -> None:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))


def lines(prompt: str, complete: Complete) -> Lines:
    """A person's where both our input and our output are a terminal."""
    if sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
        return Edited(prompt, complete)
    return Piped(sys.stdin)
