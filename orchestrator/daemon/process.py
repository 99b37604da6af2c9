"""What a process does to itself: its title, its descriptors, its limits."""

from __future__ import annotations

import ctypes
import functools
import os
import resource
from collections.abc import Mapping

from orchestrator import errors
from orchestrator.daemon import sysc


def set_title(name: str, rest: str = "") -> None:
    """Let `ps` show "NAME REST", and comm be NAME (15 bytes): the argv area is written over.

    An agent is forked from the daemon, whose command line is how a daemon is found; it must not be taken
    for one.
    """
    comm = ctypes.create_string_buffer(name.encode()[:15])
    sysc.prctl(sysc.PR_SET_NAME, ctypes.addressof(comm))
    start, end = _argv_area()  # the same in all that is forked from the first that asked
    size = end - start
    text = f"{name} {rest}".strip().encode()[: size - 1]
    ctypes.memmove(start, text + b"\0" * (size - len(text)), size)


@functools.cache
def _argv_area() -> tuple[int, int]:
    """Where the kernel keeps argv: fields arg_start and arg_end of proc_pid_stat(5)."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return int(fields[45]), int(fields[46])


def stdio_to_null() -> None:
    """Descriptors 0–2 become /dev/null: who keeps the caller's output open keeps `$(lab up)` waiting."""
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    if null > 2:
        os.close(null)


def raise_file_limit() -> None:
    """RLIMIT_NOFILE to its hard limit: a daemon holds a handful of descriptors for each host."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def set_sysctls(host: str, wanted: Mapping[str, str]) -> None:
    """What the lab file wants of a host's network namespace, in which this thread is. Raises EngineError."""
    for name, value in wanted.items():
        try:
            set_sysctl(name.replace(".", "/"), value)
        except OSError as error:
            raise errors.EngineError(f"host {host}: sysctl {name}: {_why_not(error, value)}") from error


def _why_not(error: OSError, value: str) -> str:
    """Why a sysctl cannot be set. Of what all namespaces share a namespace has nothing, or nothing to write:
    net/sysctl_net.c, ensure_safe_net_sysctl()."""
    if isinstance(error, FileNotFoundError | PermissionError):
        return "a network namespace of this kernel has none of its own"
    return f"the kernel does not take {value!r}: {error.strerror}"


def set_sysctl(name: str, value: str, missing_ok: bool = False) -> None:
    """Set a sysctl of this process's namespaces. `missing_ok`: older kernels have it not."""
    try:
        fd = os.open(f"/proc/sys/{name}", os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if missing_ok:
            return
        raise
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
