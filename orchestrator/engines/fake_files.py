"""Files of a host of the fake engine: a tree in memory, as much of it as put, get, list and mkdir need."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator import wire
from orchestrator.errors import PathError


@dataclass
class File:
    """What was put there."""

    data: bytes
    mode: int


def _fresh() -> dict[str, File | None]:
    return dict.fromkeys(("/", "/etc", "/root", "/tmp", "/var", "/var/log"))


@dataclass
class Files:
    """Absolute paths; None stands for a folder."""

    tree: dict[str, File | None] = field(default_factory=_fresh)

    def put(self, path: str, data: bytes, mode: int) -> None:
        """Write a file whole; the folders above it are made."""
        path = _normal(path)
        if path in self.tree and self.tree[path] is None:
            raise PathError(f"{path}: Is a directory")
        self.mkdir(posixpath.dirname(path))
        self.tree[path] = File(data, mode)

    def get(self, path: str) -> File:
        """The file of that path."""
        path = _normal(path)
        if path not in self.tree:
            raise PathError(f"{path}: No such file or directory")
        found = self.tree[path]
        if found is None:
            raise PathError(f"{path}: Is a directory")
        return found

    def mkdir(self, path: str) -> None:
        """Make a folder and those above it."""
        path = _normal(path)
        if self.tree.get(path) is not None:
            raise PathError(f"{path}: Not a directory")
        if path not in self.tree:
            self.mkdir(posixpath.dirname(path))
            self.tree[path] = None

    def before(self, path: str) -> tuple[File | None, list[str]]:
        """What is there now, and which folders would be made for it."""
        path = _normal(path)
        folders: list[str] = []
        folder = posixpath.dirname(path)
        while folder not in self.tree:
            folders.insert(0, folder)
            folder = posixpath.dirname(folder)
        return self.tree.get(path), folders

    def restore(self, path: str, was: File | None, folders: Sequence[str]) -> None:
        """As `before` has found it; a folder stays where there is something in it."""
        path = _normal(path)
        if was is None:
            self.tree.pop(path, None)
        else:
            self.tree[path] = was
        for folder in reversed(folders):
            if not list(self._below(folder)):
                self.tree.pop(folder, None)

    def itself(self, path: str) -> list[dict[str, Any]]:
        """The file or folder of that path alone."""
        path = _normal(path)
        if path not in self.tree:
            raise PathError(f"{path}: No such file or directory")
        return [_entry("", self.tree[path])]

    def list(self, path: str) -> list[dict[str, Any]]:
        """Everything below a folder; of a file the file itself, under an empty path."""
        path = _normal(path)
        if path not in self.tree:
            raise PathError(f"{path}: No such file or directory")
        return list(self._below(path))

    def _below(self, top: str) -> Iterator[dict[str, Any]]:
        prefix = top if top == "/" else top + "/"
        for path, found in sorted(self.tree.items()):
            if path == top and found is not None:
                yield _entry("", found)
            elif path.startswith(prefix) and path != top:
                yield _entry(path[len(prefix) :], found)


def _entry(path: str, found: File | None) -> dict[str, Any]:
    if found is None:
        return {"path": path, "kind": "dir", "mode": 0o755, "size": 0, "target": None}
    return {"path": path, "kind": "file", "mode": found.mode, "size": len(found.data), "target": None}


def _normal(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise PathError(f"{path!r} is no absolute path")
    return "/" + posixpath.normpath(path).lstrip("/")


def pieces(data: bytes) -> Iterable[bytes]:
    """What goes into one frame each."""
    return (data[at : at + wire.CHUNK] for at in range(0, len(data), wire.CHUNK))


def tail_start(data: bytes, lines: int | None) -> int:
    """Where the last `lines` lines begin; None: at the beginning."""
    if lines is None:
        return 0
    kept = data.splitlines(keepends=True)[-lines:] if lines > 0 else []
    return len(data) - sum(map(len, kept))


def hosts_file(names: Sequence[Sequence[Any]]) -> bytes:
    """/etc/hosts: loopback, then every name of the lab."""
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{address}\t{name}" for name, addresses in names for address in addresses]
    return ("\n".join(lines) + "\n").encode()
