"""`lab cp`: files and folders between this computer and a host.

What a host says about its files is hostile: a name may not lead out of the destination, a link is never
written through, no file is set-user-id or a device. A link is made only where it stays inside the copy. A
file's size is announced, held to, and bounded: a host does not fill this computer's disk.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import posixpath
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from orchestrator.errors import AgentError, PathError, UsageError
from orchestrator.fanout import Request, ask_all, raise_first
from orchestrator.lab import Lab
from orchestrator.wire import CHUNK, Channel, Frame

PERMISSIONS = 0o777  # of what comes from a host: no set-user-id, no sticky bit
LIMIT = 1 << 30  # bytes of one copy from a host, unless more are allowed
MAX_UNSIZED = 16 << 20  # bytes of a file that is announced as empty, as those of /proc are
MOST_TOLD = 20  # of what was left out
UNREADABLE = "unreadable"  # the kind of an entry for a folder that may not be listed
ROOM = 64 << 20  # bytes that stay free on this computer
_NUMBERS = itertools.count()
RESERVED = frozenset('<>:"|?*\\')  # in names on Windows: a drive, a stream, another separator


class Place(NamedTuple):
    """One side of a copy: a path on a host, or (host None) on this computer."""

    host: str | None
    path: str


class Entry(NamedTuple):
    """What a host says of one file; `path` is relative to what was asked for, "" for that itself."""

    path: str
    kind: str
    mode: int
    size: int
    target: str


def place(text: str, hosts: list[str]) -> Place:
    """HOST:PATH, where HOST is one of the lab's; anything else is a path here (also ./a:b)."""
    host, colon, path = text.partition(":")
    if not colon or "/" in host or (sys.platform == "win32" and len(host) == 1 and host not in hosts):
        return Place(None, text)
    if host not in hosts:
        raise UsageError(
            f"{text}: there is no host {host}", f"it has {', '.join(hosts)}; ./{text} is a file here"
        )
    return Place(host, posixpath.join("/", path or "root"))


def copy(lab: Lab, source: Place, target: Place, say: Callable[[str], None], limit: int = LIMIT) -> int:
    """Copy a file, or a folder with all in it; how many files were copied. `limit`: bytes from a host."""
    if source.host is not None and target.host is None:
        return Fetch(lab.channel, source.host, say, limit).copy(source.path, target.path)
    if source.host is None and target.host is not None:
        return send(lab.channel, source.path, target.host, target.path, say)
    raise UsageError("one side of a copy is on this computer, the other is HOST:PATH")


def is_contents(path: str) -> bool:
    """`folder/.` means what is in the folder, as with cp(1)."""
    return path == "." or path.endswith(("/.", os.sep + "."))


# To a host ------------------------------------------------------------------------------------------------


def send(channel: Channel, source: str, host: str, path: str, say: Callable[[str], None]) -> int:
    """A file or folder of this computer to a host. A target that is a folder gets it inside, as with
    cp(1).
    """
    origin = Path(source)
    if not origin.exists():
        raise UsageError(f"{source}: no such file or folder")
    name = origin.resolve().name
    within = path.endswith("/") or (not is_contents(source) and is_folder(channel, host, path))
    goal = posixpath.join(path, name) if within else path
    if not origin.is_dir():
        raise_first(ask_all(channel, [put(host, origin, goal)]))
        return 1
    folders, files = walk(origin, say)
    raise_first(
        ask_all(
            channel, [mkdir(host, origin, goal), *(mkdir(host, f, _below(goal, origin, f)) for f in folders)]
        )
    )
    raise_first(ask_all(channel, [put(host, f, _below(goal, origin, f)) for f in files]))
    return len(files)


def walk(origin: Path, say: Callable[[str], None]) -> tuple[list[Path], list[Path]]:
    """Folders and files below a folder. Links to files are followed, those to folders and what is no file are
    said.
    """
    folders: list[Path] = []
    files: list[Path] = []
    for at, names, others in os.walk(origin):
        for name in sorted(names):
            path = Path(at, name)
            if path.is_symlink():
                say(f"{path}: a link to a folder is not copied")
            else:
                folders.append(path)
        for name in sorted(others):
            path = Path(at, name)
            if path.is_file():
                files.append(path)
            else:
                say(f"{path}: not a regular file, not copied")
    return folders, files


def _below(goal: str, origin: Path, path: Path) -> str:
    return posixpath.join(goal, path.relative_to(origin).as_posix())


def put(host: str, source: Path, target: str) -> Request:
    """The request that copies one file."""

    def pieces() -> Iterator[bytes]:
        try:
            with source.open("rb") as file:
                while piece := file.read(CHUNK):
                    yield piece
        except OSError as error:
            raise UsageError(f"{source}: {error.strerror}") from error

    if not os.access(source, os.R_OK):
        raise UsageError(f"{source}: cannot be read")
    return Request("put", {"host": host, "path": target, "mode": _mode(source, 0o644)}, pieces)


def mkdir(host: str, source: Path, target: str) -> Request:
    """The request that makes one folder."""
    return Request("mkdir", {"host": host, "path": target, "mode": _mode(source, 0o755)})


def _mode(source: Path, otherwise: int) -> int:
    """The permissions of a file here; Windows has none that would tell anything."""
    return otherwise if sys.platform == "win32" else stat.S_IMODE(source.stat().st_mode) & PERMISSIONS


def is_folder(channel: Channel, host: str, path: str) -> bool:
    """Whether a path of a host is a folder."""
    try:
        found = channel.call("list", host=host, path=path, itself=True).get("entries")
    except PathError:  # it is not there
        return False
    return isinstance(found, list) and any(isinstance(e, dict) and e.get("kind") == "dir" for e in found)


# From a host ----------------------------------------------------------------------------------------------


class Fetch:
    """A copy from a host. One that breaks a rule ends the channel, and with it what is under way."""

    def __init__(self, channel: Channel, host: str, say: Callable[[str], None], limit: int = LIMIT) -> None:
        self.channel, self.host, self.say = channel, host, say
        self.limit = self.left = limit
        self.told = 0

    def copy(self, path: str, target: str) -> int:
        """A file or folder to this computer; how many files."""
        try:
            return self._copy(path, target)
        except PathError as error:
            raise PathError(f"{self.host}: {error.message}", error.hint) from error

    def _copy(self, path: str, target: str) -> int:
        goal = Path(target)
        if not is_contents(path) and (goal.is_dir() or target.endswith(("/", os.sep))):
            goal = goal / (safe(PurePosixPath(path).name, 1) if PurePosixPath(path).name else self.host)
        elif goal.is_symlink():
            goal = resolved(goal)  # the user's own, and named by them
        entries = self.entries(path)
        if any(entry.path == "" for entry in entries):
            self.file(path, goal, goal.parent)
            return 1
        return self.folder(path, goal, entries)

    def folder(self, path: str, goal: Path, entries: list[Entry]) -> int:
        """Folders first, then files, and links at last: nothing of this copy is written through one of its
        links.
        """
        parts = {entry: safe(entry.path) for entry in entries}
        make_folder(goal, goal)
        for entry in (e for e in entries if e.kind == "dir"):
            make_folder(goal / parts[entry], goal)
        files = [e for e in entries if e.kind == "file"]
        copied = sum(self.one_of_many(posixpath.join(path, e.path), goal / parts[e], goal) for e in files)
        for entry in (e for e in entries if e.kind == "link"):
            self.link(entry, goal / parts[entry], goal)
        for entry in (e for e in entries if e.kind not in ("dir", "file", "link")):
            why = "cannot be read" if entry.kind == UNREADABLE else "not a regular file"
            self.tell(f"{entry.path}: {why}, not copied")
        if self.told > MOST_TOLD:
            self.say(f"… and {self.told - MOST_TOLD} more")
        missing = len(files) - copied + sum(entry.kind == UNREADABLE for entry in entries)
        if missing:
            raise PathError(f"copied {copied}, but {missing} of what is below {path} cannot be read")
        return copied

    def one_of_many(self, path: str, goal: Path, root: Path) -> bool:
        """A file of a folder; one that cannot be read (any more) is told, and the others are copied."""
        try:
            self.file(path, goal, root)
        except PathError as error:
            self.tell(error.message)
            return False
        return True

    def tell(self, text: str) -> None:
        """What was left out and why; a folder may have thousands of that."""
        self.told += 1
        if self.told <= MOST_TOLD:
            self.say(text)

    def entries(self, path: str) -> list[Entry]:
        """What the host says is there, checked as far as types go."""
        found: list[Entry] = []
        for message, _ in self.channel.parts(self.channel.ask("list", host=self.host, path=path)):
            source = message.get("part") or message.get("ok") or {}
            found += [_entry(one) for one in source.get("entries", [])]
        return found

    def file(self, path: str, goal: Path, root: Path) -> None:
        """One file. What was there under its name is replaced, never written through."""
        unlinked_above(goal, root)
        parts = self.channel.parts(self.channel.ask("get", host=self.host, path=path))
        try:
            most = self.allowed(path, next(parts), goal)
            self.receive(path, goal, parts, most)
        except (AgentError, UsageError) as error:
            if not isinstance(error, PathError):
                self.channel.close()
            raise

    def allowed(self, path: str, first: Frame, goal: Path) -> int:
        """How many bytes of a file may come, by what its host announces of it. Raises UsageError for too
        many.
        """
        announced = (first.message.get("part") or {}).get("size")
        if not isinstance(announced, int) or announced < 0 or first.data:
            raise AgentError(f"{self.host} does not say how large {path} is")
        if announced > self.left:
            text = f"{self.host}:{path} has {announced} bytes: the copy would be larger than {self.limit}"
            raise UsageError(text, "`--limit` allows more")
        if announced > _free(goal.parent) - ROOM:
            raise UsageError(f"{self.host}:{path} has {announced} bytes: there is no room for it here")
        return announced or min(MAX_UNSIZED, self.left)

    def receive(self, path: str, goal: Path, parts: Iterator[Frame], most: int) -> None:
        """Write what comes of a file beside its place, then put it there: one that breaks off leaves what
        was there before.
        """
        if not goal.is_symlink() and goal.exists() and not goal.is_file():
            cure = f"`lab exec {self.host} -- cat {path}` writes it to the standard output"
            raise UsageError(f"{goal} is there and no regular file", cure)
        mode, got = 0o644, 0
        beside = goal.with_name(f".lab-{os.getpid()}-{next(_NUMBERS)}")
        try:
            with _create(beside) as file:
                for message, data in parts:
                    got += len(data)
                    if got > most:
                        raise AgentError(f"{self.host} sends more of {path} than it announced, or may")
                    file.write(data)
                    if isinstance(told := (message.get("ok") or {}).get("mode"), int):
                        mode = told
            if sys.platform != "win32":
                beside.chmod(mode & PERMISSIONS & ~_umask())
            beside.replace(goal)
        except OSError as error:
            raise UsageError(f"{goal}: {error.strerror}") from error
        finally:
            with contextlib.suppress(OSError):
                beside.unlink()
        self.left -= got

    def link(self, entry: Entry, goal: Path, root: Path) -> None:
        """A link that stays inside the copy; another is left out."""
        if leads_out(entry.path, entry.target):
            self.tell(f"{entry.path}: a link out of what is copied, left out")
            return
        unlinked_above(goal, root)
        try:
            if goal.is_symlink():
                goal.unlink()
            goal.symlink_to(entry.target)
        except OSError as error:
            self.tell(f"{entry.path}: {error.strerror}")


def _entry(one: Any) -> Entry:
    if not isinstance(one, dict) or not isinstance(one.get("path"), str):
        raise AgentError("the host lists what is no file")
    mode, size = one.get("mode"), one.get("size")
    return Entry(
        path=one["path"],
        kind=str(one.get("kind")),
        mode=mode if isinstance(mode, int) else 0,
        size=size if isinstance(size, int) else 0,
        target=str(one.get("target") or ""),
    )


def safe(path: str, most: int = 255) -> Path:
    """A host's relative path as one here. Raises AgentError for one that would lead elsewhere."""
    parts = path.split("/")
    bad = [
        p
        for p in parts
        if p in ("", ".", "..") or "\0" in p or (sys.platform == "win32" and not RESERVED.isdisjoint(p))
    ]
    if bad or len(parts) > most:
        raise AgentError(f"the host has a file named {path!r}, which cannot be copied here")
    return Path(*parts)


def leads_out(path: str, target: str) -> bool:
    """Whether a link at `path` may lead out of the copy. A `..` behind a name may stand behind another link,
    and then goes up from where that one leads: it is not taken at its word.
    """
    parts = [part for part in target.split("/") if part not in ("", ".")]
    up = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    astray = posixpath.isabs(target) or "\0" in target or ".." in parts[up:]
    return astray or up > path.count("/")


def unlinked_above(path: Path, root: Path) -> None:
    """No folder between `root` and `path` may be a link. Raises UsageError."""
    for folder in path.parents:
        if folder == root or root not in folder.parents:
            return
        if folder.is_symlink():
            raise UsageError(f"{folder} is a link; nothing from a host is written through one")


def resolved(path: Path) -> Path:
    """Where a link of the user's leads."""
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{path}: its links go round") from error


def make_folder(path: Path, root: Path) -> None:
    """A folder, unless it is there."""
    unlinked_above(path, root)
    try:
        if path != root and path.is_symlink():
            raise UsageError(f"{path} is a link; nothing from a host is written through one")
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def _create(path: Path) -> Any:
    """A new file of that name; never one that is there, nor what a link there leads to."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def _free(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:  # it is not there: making the file says so
        return sys.maxsize


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
