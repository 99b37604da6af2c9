"""Files of a host: put, get, list, mkdir, as the host's root and in bounded pieces.

The agent sees only the host's own files, so a link cannot lead out of it. Only regular files are read and
written: a FIFO or a device would block or do something else than was meant.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Iterator
from typing import Any

from orchestrator import errors, wire
from orchestrator.agent.poll import Loop
from orchestrator.agent.requests import Request, guarded

MAX_ENTRIES = 100_000
MAX_UNSIZED = 16 << 20  # bytes of a file that says it is empty, as those of /proc do
_PAGE = 500  # entries of a folder in one part …
_PAGE_BYTES = wire.AGENT_MAX_JSON // 2  # … and bytes, whatever its names are
_ESCAPED = 12  # bytes of JSON that one character may take: two escapes
_SAFE = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def put(request: Request) -> None:
    """Write a file in place (a bind-mounted one cannot be replaced), making the folders above it.

    What was longer before is cut off at the end, so that whoever reads meanwhile never finds it empty.
    """
    path, mode = _path(request), request.message.get("mode")
    os.makedirs(os.path.dirname(path) or "/", exist_ok=True)
    fd = regular(path, os.O_WRONLY | os.O_CREAT, 0o644 if mode is None else int(mode))
    if mode is not None:
        os.fchmod(fd, int(mode) & 0o7777)
    _Put(request, fd)


class _Put:
    """A file that is being written."""

    def __init__(self, request: Request, fd: int) -> None:
        self._request = request
        self._fd = fd
        self._size = 0
        request.on_input, request.on_cancel = self._feed, self._close

    def _feed(self, message: wire.Message, data: bytes) -> None:
        try:
            _write_all(self._fd, data)
        except OSError as error:
            self._close()
            return self._request.error(error)
        self._size += len(data)
        if data:
            self._request.taken(len(data))
        if message.get("eof"):
            self._close()
            self._request.ok({"size": self._size})

    def _close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            _cut(fd, self._size)
            os.close(fd)


class Get:
    """A file that is being read, as fast as its window allows. Its size is said first, and no more is sent:
    what is appended meanwhile is not part of it.
    """

    def __init__(self, loop: Loop, request: Request) -> None:
        self._loop = loop
        self._request = request
        self._fd = regular(_path(request), os.O_RDONLY)
        about = os.fstat(self._fd)
        self._size, self._announced = 0, about.st_size
        self._mode = stat.S_IMODE(about.st_mode)
        request.on_cancel, request.on_credit = self._close, self._continue
        self._scheduled = False
        request.part({"size": self._announced})
        self._continue()

    def _continue(self) -> None:
        if not self._scheduled and self._fd >= 0 and self._request.window > 0:
            self._scheduled = True
            self._loop.soon(lambda: guarded(self._request, self._step))

    def _step(self) -> None:
        self._scheduled = False
        if self._fd < 0:
            return
        try:
            data = os.read(self._fd, min(wire.CHUNK, self._request.window, self._left()))
        except OSError as error:
            self._close()
            raise errors.PathError(f"{_path(self._request)}: {error.strerror}") from error
        if not data:
            self._close()
            return self._request.ok({"size": self._size, "mode": self._mode})
        self._size += len(data)
        if not self._announced and self._size > MAX_UNSIZED:
            self._close()
            path = _path(self._request)
            raise errors.PathError(f"{path}: it says it is empty and holds more than {MAX_UNSIZED} bytes")
        self._request.part({}, data)
        self._continue()

    def _left(self) -> int:
        return self._announced - self._size if self._announced else MAX_UNSIZED

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class List:
    """A folder that is being listed, one page a round."""

    def __init__(self, loop: Loop, request: Request) -> None:
        self._loop = loop
        self._request = request
        path = _path(request)
        self._entries = itself(path) if request.message.get("itself") else entries(path)
        self._left: dict[str, Any] | None = None  # for the next page
        self._count = 0
        self._page()

    def _page(self) -> None:
        if not self._request.open:
            return
        page = list(self._next_page())
        self._count += len(page)
        if self._count > MAX_ENTRIES:
            raise errors.PathError(f"{_path(self._request)}: more than {MAX_ENTRIES} files are below it")
        if page:
            self._request.part({"entries": page})
            self._loop.soon(lambda: guarded(self._request, self._page))
        else:
            self._request.ok({"count": self._count})

    def _next_page(self) -> Iterator[dict[str, Any]]:
        """As many as one frame surely holds."""
        first, self._left = self._left, None
        room = _PAGE_BYTES
        for number, entry in enumerate(itertools.chain([first] if first else [], self._entries), 1):
            room -= 200 + _ESCAPED * (len(entry["path"]) + len(entry["target"] or ""))
            if room < 0 and number > 1:
                self._left = entry
                return
            yield entry
            if number == _PAGE:
                return


def itself(path: str) -> Iterator[dict[str, Any]]:
    """The file or folder of that path alone; a link there is followed."""
    yield _entry("", path, os.stat(path))


def entries(root: str) -> Iterator[dict[str, Any]]:
    """What is below a folder, folders first, links not followed; a file is its own only entry ("")."""
    first = os.lstat(root)
    if not stat.S_ISDIR(os.stat(root).st_mode):
        yield _entry("", root, first)
        return
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            names = sorted(_names(os.path.join(root, folder)), reverse=True)
        except PermissionError:
            if not folder:
                raise
            yield {"path": folder, "kind": "unreadable", "mode": 0, "size": 0, "target": None}
            continue
        for name in names:
            path = os.path.join(folder, name)
            try:
                entry = _entry(path, os.path.join(root, path), os.lstat(os.path.join(root, path)))
            except OSError:
                continue  # gone meanwhile
            yield entry
            if entry["kind"] == "dir":
                pending.append(path)


def mkdir(request: Request) -> None:
    """Make a folder and those above it; one that is there is left alone."""
    path, mode = _path(request), request.message.get("mode")
    os.makedirs(path, exist_ok=True)
    if mode is not None:
        os.chmod(path, int(mode) & 0o7777)
    request.ok({})


def _path(request: Request) -> str:
    return absolute(request.message.get("path"))


def absolute(path: object) -> str:
    """The path, if it is one from the root of the host on. Raises PathError."""
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise errors.PathError(f"{path!r} is no absolute path")
    return path


def regular(path: str, flags: int, mode: int = 0o644) -> int:
    """A descriptor of a regular file; anything else is an OSError that says what it is."""
    fd = os.open(path, flags | _SAFE, mode)
    kind = os.fstat(fd).st_mode
    if stat.S_ISREG(kind):
        return fd
    os.close(fd)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise errors.PathError(f"{path}: not a regular file")


def replace(path: str, data: bytes, mode: int | None = None) -> None:
    """What a file holds from now on, written in place; it is made where there is none."""
    fd = regular(path, os.O_WRONLY | os.O_CREAT, 0o644 if mode is None else mode)
    try:
        if mode is not None:
            os.fchmod(fd, mode)
        _write_all(fd, data)
        _cut(fd, len(data))
    finally:
        os.close(fd)


def _cut(fd: int, size: int) -> None:
    try:
        os.ftruncate(fd, size)
    except OSError:
        pass  # a file of /proc has no length


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except NotADirectoryError:
        return []  # replaced meanwhile


def _entry(path: str, full: str, about: os.stat_result) -> dict[str, Any]:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}
    kind = kinds.get(stat.S_IFMT(about.st_mode), "other")
    target = os.readlink(full) if kind == "link" else None
    mode = stat.S_IMODE(about.st_mode)
    safe = path.encode("utf-8", "replace").decode()
    return {"path": safe, "kind": kind, "mode": mode, "size": about.st_size, "target": target}
