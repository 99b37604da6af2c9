"""Finding the daemons of the namespaces engine: no state files, only processes. Linux only; import lazily.

A process is found by its command line and trusted only when the kernel says that this user made it: its user
namespace was made by the user, and it is the first process of a pid namespace right below ours, which no
process inside a host can be. A pidfd is taken before the checks, so that what is trusted is what is killed.
"""

from __future__ import annotations

import os
import pwd
import select
import signal
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator import errors
from orchestrator.daemon import sysc
from orchestrator.model.plan import LabKey

SOCKET = "/lab/daemon.sock"  # in the daemon's own mount namespace
_MARK = b"orchestrator.daemon\0namespaces\0"
_GONE_SECONDS = 30.0
_ANSWER_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """A trusted daemon. `pidfd` stays its own, whatever becomes of the pid; close() it."""

    pid: int
    pidfd: int
    key: LabKey

    def close(self) -> None:
        """Close the pidfd."""
        os.close(self.pidfd)


def daemons(owner: str, name: str | None = None) -> Iterator[Daemon]:
    """Every daemon of this owner (of this name, if given). 10 µs for each process of the computer."""
    uid = uid_of(owner)
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        key = parse(_read(f"/proc/{entry}/cmdline"))
        if key is None or key.owner != owner or name not in (None, key.name):
            continue
        daemon = _trusted(int(entry), key, uid)
        if daemon is not None:
            yield daemon


def uid_of(owner: str) -> int:
    """The owner's uid. Only root may look for somebody else's labs (and the kernel would let nobody else)."""
    try:
        return pwd.getpwnam(owner).pw_uid
    except KeyError:
        number = owner.removeprefix("uid-")
        return int(number) if number.isdigit() else os.geteuid()


def parse(cmdline: bytes) -> LabKey | None:
    """The lab that a command line is the daemon of: `… -m orchestrator.daemon namespaces OWNER NAME`."""
    _, mark, rest = cmdline.partition(_MARK)
    words = rest.split(b"\0")
    if not mark or len(words) != 3 or words[2]:
        return None
    try:
        return LabKey(owner=words[0].decode(), name=words[1].decode())
    except UnicodeDecodeError:
        return None


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, 4096)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _trusted(pid: int, key: LabKey, uid: int) -> Daemon | None:
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    if _is_first_below(pid) and _was_made_by(pid, uid) and not _has_ended(pidfd, 0):
        return Daemon(pid=pid, pidfd=pidfd, key=key)
    os.close(pidfd)
    return None


def _is_first_below(pid: int) -> bool:
    """Whether it is pid 1 of a pid namespace that is a child of ours (NSpid of proc_pid_status(5))."""
    for line in _read(f"/proc/{pid}/status").splitlines():
        if line.startswith(b"NSpid:"):
            return line.split()[2:] == [b"1"]
    return False


def _was_made_by(pid: int, uid: int) -> bool:
    try:
        theirs = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False  # the kernel's ptrace check: not this user's
    try:
        own = os.stat("/proc/self/ns/user").st_ino
        return os.fstat(theirs).st_ino != own and sysc.owner_uid(theirs) == uid
    except OSError:
        return False
    finally:
        os.close(theirs)


def connect(daemon: Daemon) -> socket.socket | None:
    """A connection to a daemon, None where it does not listen (yet, or any more)."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(_ANSWER_SECONDS)
        sock.connect(f"/proc/{daemon.pid}/root{SOCKET}")
        sock.settimeout(None)
        peer = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    except OSError:
        sock.close()
        return None
    if peer != daemon.pid or _has_ended(daemon.pidfd, 0):
        sock.close()
        return None
    return sock


def kill(daemon: Daemon) -> None:
    """End a daemon and all that it made; returns when every process of it is gone."""
    try:
        signal.pidfd_send_signal(daemon.pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return
    except OSError as error:
        raise errors.EngineError(f"process {daemon.pid}, the daemon of lab {daemon.key}: {error}") from error
    if not _has_ended(daemon.pidfd, _GONE_SECONDS):
        raise errors.EngineError(
            f"process {daemon.pid}, the daemon of lab {daemon.key}, does not end",
            "a process of the lab may hang in the kernel; see `dmesg`",
        )


def _has_ended(pidfd: int, seconds: float) -> bool:
    """Whether it ends within this time; a pid namespace's first process ends last (pid_namespaces(7))."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
