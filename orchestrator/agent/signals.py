"""Default signal dispositions for a child. Ignored signals stay so over fork and exec (signal(7))."""

from __future__ import annotations

import ctypes
import functools
import os
import signal

_libc = ctypes.CDLL(None, use_errno=True)
_RT_SIGACTION = {"x86_64": 13, "aarch64": 134}.get(os.uname().machine)  # asm/unistd.h
_DEFAULT = (ctypes.c_ulong * 4)()  # struct sigaction of the kernel, all zero: SIG_DFL, no flags, no mask
_SET_SIZE = 8  # bytes of the kernel's sigset_t
_RESERVED = (32, 33)  # the C library's own: its sigaction(3) refuses them, and so Python's signal() does


@functools.cache  # which those inherit whom this process forks
def catch() -> None:
    """Have the end of a child wake who waits on the wakeup descriptor (signal.set_wakeup_fd), and no terminal
    interrupt us. What forks many agents does this once for all of them.
    """
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def reset() -> None:
    """Every signal to its default, none blocked: Python ignores SIGPIPE and SIGXFSZ, and whoever started us
    may ignore any, also those that the C library keeps for itself (nptl(7))."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    if _RT_SIGACTION is not None:
        for reserved in _RESERVED:
            _libc.syscall(_RT_SIGACTION, reserved, ctypes.byref(_DEFAULT), None, _SET_SIZE)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
