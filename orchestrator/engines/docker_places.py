"""Where the daemon's socket lies: in a private folder on the Engine's computer, this one or another.

Where the folder cannot be shared with the daemon's container nobody listens there, and the way is an exec of
the Docker API (docker_daemon.open_bridge).
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from orchestrator.engines import docker_daemon as daemon
from orchestrator.engines import docker_objects as objects
from orchestrator.engines.docker_client import Docker
from orchestrator.machines.base import Machine
from orchestrator.model.plan import LabKey
from orchestrator.wire import Channel

_PATH_LIMIT = 107  # sun_path, unix(7)
# A folder that nobody else can have made, or put something into: so it is with those above it, below a /tmp
# whose sticky bit lets nobody rename what is another's.
_PRIVATE = """
private() { [ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ] && [ "$(stat -c %a "$1")" = 700 ]; }
"""
_CHECK = _PRIVATE + 'for part do private "$part" || exit 1; done\n'
_MAKE = (
    _PRIVATE
    + """
umask 077
for part do mkdir "$part" 2>/dev/null; private "$part" || exit 1; done
rm -f "$part/daemon.sock" "$part/daemon.sock.new"
"""
)
_REMOVE = (
    _PRIVATE
    + """
for part do private "$part" || exit 0; done
rm -f "$part/daemon.sock" "$part/daemon.sock.new"
rmdir "$3" "$2" "$1" 2>/dev/null
exit 0
"""
)
_LIST = _PRIVATE + 'private "$1" && private "$2" && ls "$2"\nexit 0\n'


class Place(Protocol):
    """Folders by their paths on the Engine's computer."""

    def folder(self, key: LabKey) -> str | None:
        """The folder of a lab, not made yet; None where there is none to be had."""

    def make(self, docker: Docker, key: LabKey) -> str | None:
        """Make it, where the daemon's container can share it."""

    def open(self, folder: str | None) -> Channel | None:
        """A channel, if someone listens in that folder, and it is this user's alone."""

    def remove(self, folder: str | None) -> None:
        """Remove it with its socket. Only what is this user's."""

    def is_there(self, folder: str | None) -> bool:
        """Whether it was made."""

    def left(self, owner: str) -> Sequence[str]:
        """Names of this user's labs that have one."""


def place_of(machine: Machine) -> Place:
    """Where the sockets of a machine's daemons are. Nothing is asked of Docker."""
    return Here() if machine.is_local else There(machine)


class Here:
    """This computer, where the Engine shares its files."""

    def folder(self, key: LabKey) -> str | None:
        """See Place."""
        folder = daemon.runtime_folder(key)
        return None if folder is None else str(folder)

    def make(self, docker: Docker, key: LabKey) -> str | None:
        """See Place."""
        folder = daemon.shared_folder(docker, key)
        return None if folder is None else str(folder)

    def open(self, folder: str | None) -> Channel | None:
        """See Place."""
        return daemon.open_socket(Path(folder)) if folder else None

    def remove(self, folder: str | None) -> None:
        """See Place."""
        daemon.remove_folder(Path(folder) if folder else None)

    def is_there(self, folder: str | None) -> bool:
        """See Place."""
        return bool(folder) and Path(str(folder)).exists()

    def left(self, owner: str) -> Sequence[str]:
        """See Place."""
        return daemon.left_folders(owner)


class There:
    """Another computer, by its shell: /tmp/lab-UID/docker."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._private: set[str] = set()  # those that were looked at: nobody else can change them any more

    def folder(self, key: LabKey) -> str | None:
        """See Place."""
        folder = posixpath.join(self._base(), objects.prefix(key))
        return folder if len(f"{folder}/{daemon.SOCKET}") < _PATH_LIMIT else None

    def make(self, docker: Docker, key: LabKey) -> str | None:
        """See Place."""
        folder = self.folder(key)
        if folder is None or not self._does(_MAKE, folder):
            return None
        self._private.add(folder)
        return folder

    def open(self, folder: str | None) -> Channel | None:
        """See Place."""
        if not self.is_there(folder):
            return None
        try:
            return daemon.channel(self._machine.open_socket(f"{folder}/{daemon.SOCKET}"))
        except OSError:
            return None

    def remove(self, folder: str | None) -> None:
        """See Place."""
        if folder is not None:
            self._private.discard(folder)
            self._does(_REMOVE, folder)

    def is_there(self, folder: str | None) -> bool:
        """See Place."""
        if folder is not None and folder not in self._private and self._does(_CHECK, folder):
            self._private.add(folder)
        return folder in self._private

    def left(self, owner: str) -> Sequence[str]:
        """See Place."""
        start = objects.prefix(LabKey(owner=owner, name=""))
        base = self._base()
        found = self._machine.run(["sh", "-c", _LIST, "sh", posixpath.dirname(base), base])
        names = found.out.decode(errors="replace").split()
        return sorted(name.removeprefix(start) for name in names if name.startswith(start))

    def _base(self) -> str:
        return f"/tmp/lab-{self._machine.facts().uid}/docker"

    def _does(self, script: str, folder: str) -> bool:
        parts = [posixpath.dirname(posixpath.dirname(folder)), posixpath.dirname(folder), folder]
        return self._machine.run(["sh", "-c", script, "sh", *parts]).code == 0
