"""Private folders for sockets on this computer: nobody else may reach them, or put others in their place."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path


def bases(kind: str) -> list[Path]:
    """Where folders of a kind may be, the best first; not made yet."""
    found = [Path(tempfile.gettempdir(), f"lab-{os.geteuid()}", kind)]
    if given := os.environ.get("XDG_RUNTIME_DIR"):
        folder = Path(given)
        if folder.is_absolute() and is_private(folder):
            found.insert(0, folder / "lab" / kind)
    return found


def is_private(folder: Path) -> bool:
    """A real folder of this user's that no one else can write to."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def make_private(folder: Path) -> bool:
    """Make the folder and the two above it, mode 0700; False where one of them is someone else's or cannot
    be.
    """
    for part in (folder.parent.parent, folder.parent, folder):
        try:
            part.mkdir(mode=0o700, exist_ok=True)
        except OSError:
            return False
        if not is_private(part):
            return False
    return True


def remove_empty(folder: Path) -> None:
    """Remove the folder and the two above it, as far as they are empty."""
    for part in (folder, folder.parent, folder.parent.parent):
        try:
            part.rmdir()
        except OSError:
            return
