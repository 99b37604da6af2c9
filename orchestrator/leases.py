"""Who uses which lab of a passing purpose: files in the state folder, each locked by the process that has it.

The kernel lets go of the locks of a process that dies, however it dies, so nobody has to count: a lab none
of whose leases is held by a living process is removed by whoever notices next. Beside a lab's leases
(`NAME.PID-….lease`) lie what it is (`NAME.lab`), a guard (`NAME.guard`) for its beginning and end, and a lock
(`NAME.use`) for labs that one test at a time may use.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from orchestrator.errors import UsageError
from orchestrator.owner import is_still, state_folder

LAB, LEASE, GUARD, USE = ".lab", ".lease", ".guard", ".use"
PAUSE = 0.05  # seconds between two tries, where the system cannot wait for a lock


class Lock:
    """A file that one process has locked. Its name may go while it is held: then others begin anew."""

    def __init__(self, path: Path, handle: IO[str]) -> None:
        self.path, self._handle = path, handle

    @classmethod
    def take(cls, path: Path, *, wait: bool = True) -> Lock | None:
        """The lock, or None where another has it and nobody is to wait."""
        while True:
            handle = path.open("a+")
            try:
                if not _lock(handle, wait):
                    handle.close()
                    return None
            except BaseException:
                handle.close()
                raise
            if is_still(path, handle):
                return cls(path, handle)
            handle.close()

    def release(self, *, remove: bool = True) -> None:
        """Let go. `remove`: the file goes, too."""
        if sys.platform == "win32":  # there an open file cannot be removed
            self._handle.close()
        if remove:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
        self._handle.close()


@contextlib.contextmanager
def holding(path: Path) -> Iterator[None]:
    """Wait for the lock, and have it for the length of a block."""
    lock = Lock.take(path)
    assert lock is not None
    try:
        yield
    finally:
        lock.release()


def _lock(handle: IO[str], wait: bool) -> bool:
    if sys.platform == "win32":
        import msvcrt

        while True:
            handle.seek(0)
            with contextlib.suppress(OSError):
                msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
                return True
            if not wait:
                return False
            time.sleep(PAUSE)
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def folder() -> Path:
    """Where these files are, made where it is missing. Raises UsageError."""
    found = state_folder() / "leases"
    try:
        found.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{found} cannot be made: {error.strerror}") from error
    return found


class Lease:
    """This process's use of one lab."""

    def __init__(self, name: str, lock: Lock) -> None:
        self.name, self._lock = name, lock

    @classmethod
    def take(cls, name: str, engine: str) -> Lease:
        """From now on the lab is in use; it need not be there yet."""
        base = folder()
        with holding(base / f"{name}{GUARD}"):
            lock = Lock.take(base / f"{name}.{os.getpid()}-{secrets.token_hex(3)}{LEASE}")
            assert lock is not None
            (base / f"{name}{LAB}").write_text(json.dumps({"engine": engine}), encoding="utf-8")
        return cls(name, lock)

    @contextlib.contextmanager
    def ending(self) -> Iterator[bool]:
        """The end of it. Whether it was the last one: then the lab is to be removed inside the block, where
        nobody can begin to use it."""
        base = self._lock.path.parent
        with holding(base / f"{self.name}{GUARD}"):
            self._lock.release()
            last = not _in_use(base, self.name)
            yield last
            if last:
                forget(base, self.name)


def forget(base: Path, name: str) -> None:
    """The lab is gone: so are its files, but the guard, which whoever holds it removes."""
    for suffix in (LAB, USE):
        with contextlib.suppress(OSError):
            (base / f"{name}{suffix}").unlink(missing_ok=True)


def _in_use(base: Path, name: str) -> bool:
    """Whether a living process has a lease; those of the dead go."""
    found = False
    for path in base.glob(f"{name}.*{LEASE}"):
        lock = Lock.take(path, wait=False)
        if lock is None:
            found = True
        else:
            lock.release()
    return found


@contextlib.contextmanager
def abandoned(base: Path, path: Path) -> Iterator[str | None]:
    """The engine of a lab (by its `NAME.lab`) that nobody uses any more, "" where the file does not tell.

    None of one that is in use, or is beginning or ending right now. When the block ends well its files go.
    """
    name = path.name.removesuffix(LAB)
    guard = Lock.take(base / f"{name}{GUARD}", wait=False)
    if guard is None:
        yield None
        return
    try:
        if not path.exists() or _in_use(base, name):
            yield None
            return
        yield _engine(path)
        forget(base, name)
    finally:
        guard.release()


def _engine(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["engine"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
