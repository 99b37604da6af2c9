"""Who holds a socket: /proc/PID/fd of every process is walked once for all hosts together.

A process belongs to the host whose network namespace it is in. `ss -p` asks for each socket instead, in time
that grows with the square.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Collection, Sequence
from typing import NamedTuple


class Process(NamedTuple):
    """`outer` is the pid in the daemon's /proc, `pid` that in the host; `room` for so many descriptors."""

    outer: str
    pid: int
    comm: str
    room: int


class Held:
    """The holders of one network namespace: processes, and records `<QII` = inode, process's index, fd."""

    def __init__(self) -> None:
        self.processes: list[list[object]] = []  # [[pid in the host, comm], …]
        self._records = array("Q")

    def walk(self, processes: Sequence[Process]) -> int:
        """Read what these hold; how many could not be read."""
        unread = 0
        for process in processes:
            found = sockets(process.outer)
            if found is None:
                unread += 1
            elif found:
                add(self._records, len(self.processes), found)
                self.processes.append([process.pid, process.comm])
        return unread

    def take(self, processes: Sequence[Process], records: array[int]) -> None:
        """What others have read: records whose indexes mean these processes."""
        self.processes = [[process.pid, process.comm] for process in processes]
        self._records = records

    def records(self) -> bytes:
        """As they travel."""
        if sys.byteorder == "big":
            self._records.byteswap()
        return self._records.tobytes()


def add(records: array[int], index: int, found: Sequence[tuple[int, int]]) -> None:
    """The records of a process, from its (inode, descriptor) pairs."""
    for inode, fd in found:
        records.append(inode)
        records.append(index | fd << 32)


def processes(namespaces: Collection[int]) -> tuple[dict[int, list[Process]], int]:
    """The processes in each of these network namespaces (by inode); how many could not be looked at.

    A process that ends meanwhile is none that could not be looked at.
    """
    found: dict[int, list[Process]] = {inode: [] for inode in namespaces}
    unread = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                inode = os.stat(f"/proc/{name}/ns/net").st_ino
                if inode in found:
                    found[inode].append(_process(name))
            except (FileNotFoundError, ProcessLookupError):
                continue
            except OSError:
                unread += 1
    return found, unread


def sockets(pid: str) -> list[tuple[int, int]] | None:
    """(inode, descriptor) of each socket that the process has open; None where that cannot be read."""
    try:
        folder = os.open(f"/proc/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return []
    except OSError:
        return None
    try:
        return _links(folder)
    except ProcessLookupError:
        return []
    except OSError:
        return None
    finally:
        os.close(folder)


def _links(folder: int) -> list[tuple[int, int]]:
    found = []
    readlink = os.readlink
    for name in os.listdir(folder):
        try:
            link = readlink(name, dir_fd=folder)
        except FileNotFoundError:
            continue
        if link.startswith("socket:["):
            found.append((int(link[8:-1]), int(name)))
    return found


def _process(pid: str) -> Process:
    """pid in the innermost pid namespace, comm, size of the table of descriptors (proc_pid_status(5))."""
    with open(f"/proc/{pid}/status", "rb") as file:
        fields = dict(line.split(b":\t", 1) for line in file.read().splitlines() if b":\t" in line)
    inner = int(fields.get(b"NSpid", pid.encode()).split()[-1])
    return Process(pid, inner, fields[b"Name"].decode("utf-8", "replace"), int(fields.get(b"FDSize", b"0")))
