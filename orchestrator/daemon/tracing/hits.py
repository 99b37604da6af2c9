"""How often the kernel came by a tracepoint, counted by perf and not by BPF: perf_event_open(2).

A program that runs says that it has; one that the kernel did not run says nothing. There are kernels that run
none while certain tasks of the computer are interrupted (decision 0017). What is counted here and not there
was lost, and whose it was nobody knows.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator

_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432  # the same on all architectures
_CREATE, _CLOEXEC = 6, 1  # FSCONFIG_CMD_CREATE; FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC
_TRACEPOINT, _ATTRIBUTES = 2, 112  # PERF_TYPE_TRACEPOINT; bytes of struct perf_event_attr, version 5
_PERF_CLOEXEC = 8
_ANY_TASK, _NO_GROUP = -1, -1
_MOST = 64  # processors: there is a descriptor for each

_libc = ctypes.CDLL(None, use_errno=True)


class Hits:
    """Of one tracepoint, `sock/inet_sock_set_state` say, since this was made. Raises OSError, ValueError."""

    def __init__(self, tracepoint: str) -> None:
        processors = list(_online())
        if len(processors) > _MOST:
            raise ValueError(f"{len(processors)} processors")
        number = _id_of(tracepoint)
        self._counters: list[int] = []
        try:
            for processor in processors:
                self._counters.append(_open(number, processor))
        except BaseException:
            for one in self.taken():
                os.close(one)
            raise

    def count(self) -> int:
        """On all processors together."""
        return sum(int.from_bytes(os.read(one, 8), "little") for one in self._counters)

    def taken(self) -> list[int]:
        """The descriptors, for whoever closes them: each takes the kernel some ms, and all can be waited for
        at once."""
        counters, self._counters = self._counters, []
        return counters


def _call(number: int, *arguments: int | bytes | None) -> int:
    passed = (ctypes.c_long(one) if isinstance(one, int) else one for one in arguments)
    result = int(_libc.syscall(ctypes.c_long(number), *passed))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _id_of(tracepoint: str) -> int:
    """The number that this kernel gave it. It stands in tracefs, which is mounted nowhere for it: only this
    process has the mount, and it goes at the end."""
    context = _call(_FSOPEN, b"tracefs", _CLOEXEC)
    try:
        _call(_FSCONFIG, context, _CREATE, None, None, 0)
        mount = _call(_FSMOUNT, context, _CLOEXEC, 0)
    finally:
        os.close(context)
    try:
        file = os.open(f"events/{tracepoint}/id", os.O_RDONLY | os.O_CLOEXEC, dir_fd=mount)
        try:
            return int(os.read(file, 32))
        finally:
            os.close(file)
    finally:
        os.close(mount)


def _open(number: int, processor: int) -> int:
    call = _PERF_EVENT_OPEN.get(os.uname().machine)
    if call is None:
        raise OSError(38, "perf_event_open(2) is not known here")
    attributes = struct.pack("=IIQ", _TRACEPOINT, _ATTRIBUTES, number).ljust(_ATTRIBUTES, b"\0")
    return _call(call, attributes, _ANY_TASK, processor, _NO_GROUP, _PERF_CLOEXEC)


def _online() -> Iterator[int]:
    """The processors, from "0-3,8"."""
    with open("/sys/devices/system/cpu/online", encoding="ascii") as file:
        for part in file.read().strip().split(","):
            first, _, last = part.partition("-")
            yield from range(int(first), int(last or first) + 1)
