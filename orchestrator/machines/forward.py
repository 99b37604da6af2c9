"""A unix socket on this computer that leads to one of another: what docker-py takes for a Docker Engine.

It lies in a folder that is this user's alone. Each connection to it is a channel of the one SSH line, carried
by two threads, one for each direction: one thread for both would wait for ever where either side writes
before it reads.
"""

from __future__ import annotations

import atexit
import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.errors import LabError, MachineError
from orchestrator.machines import folders
from orchestrator.wire import Stream

_PIECE = 1 << 17
_PATH_LIMIT = 107  # sun_path, unix(7)
_YOUNG = 60.0  # seconds in which one that is being made has its socket
_NAME = "s"


class Forwarder:
    """Listens until `close`. `opened` makes a stream for each connection; where it raises, that is closed."""

    def __init__(self, opened: Callable[[], Stream]) -> None:
        self._opened = opened
        self._streams: set[Stream | socket.socket] = set()
        self._lock = threading.Lock()
        self._folder = _folder()
        self._sock = socket.socket(socket.AF_UNIX)
        # under another name until it listens: what refuses a connection under its own was left behind
        self._sock.bind(str(self._folder / f"{_NAME}.new"))
        self._sock.listen(64)
        (self._folder / f"{_NAME}.new").rename(self._folder / _NAME)
        atexit.register(self.close)  # a command ends without looking back
        threading.Thread(target=self._accept, name="forward", daemon=True).start()

    @property
    def path(self) -> str:
        """Where it listens."""
        return str(self._folder / _NAME)

    def close(self) -> None:
        """Stop, with every connection; nothing stays on the disk."""
        atexit.unregister(self.close)
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        with self._lock:
            streams, self._streams = self._streams, set()
        for stream in streams:
            _end(stream)
        _remove(self._folder)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._sock.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._carry, args=(sock,), name="forward", daemon=True).start()

    def _carry(self, sock: socket.socket) -> None:
        try:
            stream = self._opened()
        except (LabError, OSError):
            sock.close()
            return
        with self._lock:
            self._streams |= {sock, stream}
        back = threading.Thread(target=_copy, args=(stream, sock), name="forward", daemon=True)
        back.start()
        _copy(sock, stream)
        back.join()
        with self._lock:
            self._streams -= {sock, stream}
        for one in (sock, stream):
            with contextlib.suppress(OSError):
                one.close()


def _copy(source: Stream | socket.socket, target: Stream | socket.socket) -> None:
    """Until the end, which is passed on; where either side fails, both directions end."""
    try:
        while piece := source.recv(_PIECE):
            target.sendall(piece)
        getattr(target, "shutdown")(socket.SHUT_WR)  # noqa: B009 - a stream has it where it is a connection
    except (OSError, LabError):
        for one in (source, target):
            _end(one)


def _end(stream: Stream | socket.socket) -> None:
    """Wake who waits for it."""
    with contextlib.suppress(OSError, LabError):
        getattr(stream, "shutdown")(socket.SHUT_RDWR)  # noqa: B009


def _folder() -> Path:
    """A new one; those of processes that were killed are removed."""
    if not hasattr(socket, "AF_UNIX"):
        raise MachineError("machines over SSH need unix sockets, which this system lacks", "use lab in WSL 2")
    for base in folders.bases("lines"):
        folder = base / secrets.token_hex(6)
        if len(str(folder / f"{_NAME}.new")) < _PATH_LIMIT and folders.make_private(folder):
            for other in base.iterdir():
                if other != folder:
                    _remove_stale(other)
            return folder
    raise MachineError("there is no private folder for a socket", "set XDG_RUNTIME_DIR to one, or TMPDIR")


def _remove_stale(folder: Path) -> None:
    """One whose process is gone: nobody listens on its socket, or it never came to have one."""
    try:
        if (folder / _NAME).exists():
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(folder / _NAME))
        elif time.time() - folder.lstat().st_mtime > _YOUNG:
            _remove(folder)
    except ConnectionRefusedError:
        _remove(folder)
    except OSError:  # removed by another
        pass


def _remove(folder: Path) -> None:
    for name in (_NAME, f"{_NAME}.new"):
        (folder / name).unlink(missing_ok=True)
    folders.remove_empty(folder)
