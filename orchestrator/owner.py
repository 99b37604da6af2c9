"""Who owns a lab, and the few things of theirs that lie on this computer: locks, and what was confirmed
once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from orchestrator.errors import DaemonError, UsageError

Doing = Literal["starting", "changing", "removing"]
LOCK_PATIENCE = 120.0  # seconds that a command waits for another one on the same lab


def owner() -> str:
    """The user's name, by the user id that this process really has: LOGNAME and USER can say anything."""
    try:
        import pwd
    except ImportError:  # Windows
        import getpass

        return getpass.getuser()
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid-{os.geteuid()}"


def state_folder() -> Path:
    """The folder for what outlives a command, made where it is missing: XDG_STATE_HOME/lab, or a private one.

    A user without a home that can be written gets a folder below the temporary one; it must be theirs alone.
    """
    for folder in _candidates():
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        if _is_ours(folder):
            return folder
    raise UsageError(
        "there is no folder of yours to keep locks in", "set XDG_STATE_HOME to one that you can write"
    )


def _candidates() -> Iterator[Path]:
    if base := os.environ.get("XDG_STATE_HOME"):
        yield Path(base, "lab")
    if base := os.environ.get("LOCALAPPDATA"):
        yield Path(base, "lab")
    with contextlib.suppress(RuntimeError):
        yield Path.home() / ".local/state/lab"
    yield Path(tempfile.gettempdir(), f"lab-{owner()}")


def _is_ours(folder: Path) -> bool:
    """Ours, writable, and of no one else's making: a link or a folder of others in /tmp is not taken."""
    if sys.platform == "win32":
        return os.access(folder, os.W_OK)
    found = folder.lstat()
    private = not found.st_mode & 0o022
    return folder.is_dir() and found.st_uid == os.geteuid() and private and os.access(folder, os.W_OK)


def performance_of(name: str) -> str:
    """What to lock for as long as a scenario is performed on lab `name`: what it stopped or ended on purpose
    is not mended by an `up` meanwhile."""
    return f"{name}/run"


@contextlib.contextmanager
def locked(name: str, say: Callable[[str], None], doing: Doing = "changing") -> Iterator[None]:
    """Only one command at a time changes lab `name` of this user; says when it has to wait. `doing`: what
    others are told meanwhile, see `at_work`.

    The lock ends with the process; its file is removed at the end, or by the next command
    when this one is killed.
    """
    path = _lock_file(name)
    handle = _acquire(path, name, say)
    try:
        handle.truncate(0)
        handle.write(doing)
        handle.flush()
        yield
    finally:
        if sys.platform != "win32":  # there an open file cannot be removed
            path.unlink(missing_ok=True)
        handle.close()


def at_work(name: str) -> Doing | None:
    """What a command that is alive does to lab `name` of this user; None where there is none."""
    try:
        handle = _lock_file(name).open("r+")
    except OSError:
        return None
    with handle:
        if _try_lock(handle):
            return None
        try:
            said = handle.read(20)
        except OSError:  # Windows: what is locked cannot be read
            said = ""
    return next((one for one in get_args(Doing) if one == said), "changing")


def _lock_file(name: str) -> Path:
    return state_folder() / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock"


def _acquire(path: Path, name: str, say: Callable[[str], None]) -> Any:
    deadline = time.monotonic() + LOCK_PATIENCE
    name = name.partition("/")[0]  # of a performance, its lab
    tries = 0
    while True:
        handle = path.open("a+")
        if _try_lock(handle) and is_still(path, handle):
            return handle
        handle.close()
        if time.monotonic() > deadline:
            raise DaemonError(
                f"another command has been at work on lab {name} for long", "end it, then try again"
            )
        tries += 1
        if tries == 2:  # the first time it may have been one that only looked
            say(f"waiting for another command that is at work on lab {name}")
        time.sleep(0.05)


def _try_lock(handle: Any) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_still(path: Path, handle: Any) -> bool:
    """Whether the locked file is the one of that name: another command may have removed it in between."""
    if sys.platform == "win32":
        return True
    try:
        return os.path.samestat(path.stat(), os.fstat(handle.fileno()))
    except FileNotFoundError:
        return False


def sweep_locks() -> None:
    """Remove the files of locks whose command was killed; one that is held stays."""
    for path in state_folder().glob("*.lock"):
        with contextlib.suppress(OSError), path.open("a+") as handle:
            if _try_lock(handle) and is_still(path, handle) and sys.platform != "win32":
                path.unlink()


def was_confirmed(path: str, digest: str) -> bool:
    """Whether this user has said yes to this file with this content before."""
    try:
        return _line(path, digest) in _confirmed_file().read_text().splitlines()
    except OSError:
        return False


def confirm(path: str, digest: str) -> None:
    """Remember that this user said yes to this file with this content."""
    with _confirmed_file().open("a") as file:
        file.write(_line(path, digest) + "\n")


def _confirmed_file() -> Path:
    return state_folder() / "confirmed"


def _line(path: str, digest: str) -> str:
    return hashlib.sha256(f"{digest}\0{path}".encode()).hexdigest()
