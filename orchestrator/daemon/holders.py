"""Who holds a socket: /proc/PID/fd of every process is walked once for all hosts together.

A process belongs to the host whose network namespace it is in. `ss -p` asks for each socket instead, in time
that grows with the square.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Mapping

Processes = list[list[object]]  # [[pid in the host, comm], …]


class Held:
    """The holders of one network namespace: processes, and records `<QII` = inode, process's index, fd."""

    def __init__(self) -> None:
        self.processes: Processes = []
        self._records = array("Q")

    def add(self, process: list[object], sockets: list[tuple[int, int]]) -> None:
        """A process and its (inode, descriptor) pairs."""
        index = len(self.processes)
        self.processes.append(process)
        for inode, fd in sockets:
            self._records.append(inode)
            self._records.append(index | fd << 32)

    def records(self) -> bytes:
        """As they travel."""
        if sys.byteorder == "big":
            self._records.byteswap()
        return self._records.tobytes()


def walk(namespaces: Mapping[int, Held]) -> int:
    """Fill in the holders of each network namespace (by inode); how many processes could not be read.

    A process that ends meanwhile is none that could not be read.
    """
    unread = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            unread += not _process(name, namespaces)
    return unread


def _process(pid: str, namespaces: Mapping[int, Held]) -> bool:
    try:
        held = namespaces.get(os.stat(f"/proc/{pid}/ns/net").st_ino)
        if held is None:
            return True
        sockets = _sockets(pid)
        if sockets:
            held.add(_who(pid), sockets)
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError:
        return False
    return True


def _sockets(pid: str) -> list[tuple[int, int]]:
    """(inode, descriptor) of each socket that the process has open."""
    found = []
    folder = os.open(f"/proc/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in os.listdir(folder):
            try:
                link = os.readlink(name, dir_fd=folder)
            except FileNotFoundError:
                continue
            if link.startswith("socket:["):
                found.append((int(link[8:-1]), int(name)))
    finally:
        os.close(folder)
    return found


def _who(pid: str) -> list[object]:
    """[pid in the innermost pid namespace, comm] (proc_pid_status(5))."""
    with open(f"/proc/{pid}/status", "rb") as file:
        fields = dict(line.split(b":\t", 1) for line in file.read().splitlines() if b":\t" in line)
    inner = fields.get(b"NSpid", pid.encode()).split()[-1]
    return [int(inner), fields[b"Name"].decode("utf-8", "replace")]
