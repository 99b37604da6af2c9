"""Files that calls of one scope have written; what was there before is there again when the scope ends."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import NamedTuple

from orchestrator import errors
from orchestrator.agent import files
from orchestrator.agent.call import Call

MAX_KEPT = 16 << 20  # bytes of a file as it was; a larger one is not written over


class _Before(NamedTuple):
    """A file as it was; None: there was none. `folders`: those that were made for it, the outermost first."""

    content: tuple[bytes, int] | None
    folders: tuple[str, ...]


class Written:
    """What was there before, by path."""

    def __init__(self) -> None:
        self._before: dict[str, _Before] = {}

    def write(self, path: str, data: bytes) -> None:
        """Write a file in place, the folders above it made; its mode stays."""
        if path not in self._before:
            before = _Before(_content(path), tuple(_missing(os.path.dirname(path))))
            self._before[path] = before
        os.makedirs(os.path.dirname(path) or "/", exist_ok=True)
        files.replace(path, data)

    def undo(self) -> None:
        """All as before, the last one first; what cannot be is left."""
        while self._before:
            path, before = self._before.popitem()
            with contextlib.suppress(OSError, errors.PathError):
                if before.content is None:
                    os.unlink(path)
                else:
                    files.replace(path, before.content[0], before.content[1])
            for folder in reversed(before.folders):
                with contextlib.suppress(OSError):  # somebody else has put something there
                    os.rmdir(folder)


def write(call: Call) -> None:
    """A file of the host: what it holds from now on."""
    data = str(call.ask["text"]).encode("utf-8", "surrogateescape")
    call.calls.written.write(files.absolute(call.ask["path"]), data)
    call.result = len(data)


def _content(path: str) -> tuple[bytes, int] | None:
    """Bytes and mode. Raises OSError where there is something that cannot be put there again."""
    try:
        fd = files.regular(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with open(fd, "rb") as file:
        data = file.read(MAX_KEPT + 1)
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
    if len(data) > MAX_KEPT:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return data, mode


def _missing(folder: str) -> list[str]:
    found: list[str] = []
    while folder and not os.path.isdir(folder):
        found.insert(0, folder)
        folder = os.path.dirname(folder)
    return found
