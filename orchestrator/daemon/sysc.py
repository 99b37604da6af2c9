"""System calls that Python 3.11 has no function for (os.unshare and os.setns came with 3.12), by ctypes.

Every function raises OSError with the call in its text. Numbers above 423 are the same on all architectures
(include/uapi/asm-generic/unistd.h); the few older ones stand in `_NUMBERS`.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from collections.abc import Iterable

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
_libc.unshare.argtypes = [ctypes.c_int]
_libc.setns.argtypes = [ctypes.c_int, ctypes.c_int]
_libc.mount.argtypes = [*[ctypes.c_char_p] * 3, ctypes.c_ulong, ctypes.c_char_p]
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
_NUMBERS = {
    "x86_64": {"pivot_root": 155, "keyctl": 250},
    "aarch64": {"pivot_root": 41, "keyctl": 219},
}

# clone(2)
NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
# mount(2)
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 4096, 8192, 16384, 1 << 18
MNT_DETACH = 2
# mount_setattr(2)
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4
AT_FDCWD, AT_RECURSIVE, AT_EMPTY_PATH = -100, 0x8000, 0x1000
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC, MOVE_MOUNT_F_EMPTY_PATH = 1, 0o2000000, 4
# prctl(2)
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 15, 22, 24
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
SECCOMP_MODE_FILTER = 2
# ioctl_ns(2)
NS_GET_USERNS, NS_GET_PARENT, NS_GET_OWNER_UID = 0xB701, 0xB702, 0xB704
_CAPABILITY_VERSION_3 = 0x20080522
_KEYCTL_JOIN_SESSION_KEYRING = 1


def _check(result: int, what: str, *about: object) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what % about}: {os.strerror(number)}")
    return result


def _text(path: str | bytes | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


def _number(name: str) -> int:
    try:
        return _NUMBERS[os.uname().machine][name]
    except KeyError:
        raise OSError(38, f"{name}: its number on {os.uname().machine} is not known here") from None


def _syscall(number: int, *arguments: ctypes.c_long | bytes | None) -> int:
    return int(_libc.syscall(ctypes.c_long(number), *arguments))


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(flags), "unshare(%#x)", flags)


def setns(fd: int, flags: int = 0) -> None:
    """setns(2); `fd` is a namespace or, with several `flags`, a pidfd (Linux 5.8)."""
    _check(_libc.setns(fd, flags), "setns(%#x)", flags)


def mount(
    source: str | None, target: str, kind: str | None = None, flags: int = 0, data: str | None = None
) -> None:
    """mount(2)."""
    result = _libc.mount(_text(source), _text(target), _text(kind), flags, _text(data))
    _check(result, "mount(%s on %s)", kind or source, target)


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    _check(_libc.umount2(_text(target), flags), "umount(%s)", target)


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2); ('.', '.') and then umount('.', MNT_DETACH) leaves nothing of the old root."""
    _check(_syscall(_number("pivot_root"), _text(new), _text(old)), "pivot_root(%s, %s)", new, old)


def mount_setattr(path: str, attributes: int, *, recursive: bool = True) -> None:
    """mount_setattr(2), Linux 5.12: set MOUNT_ATTR_* on a mount and, unless told otherwise, all below it."""
    attr = struct.pack("=QQQQ", attributes, 0, 0, 0)
    flags = AT_RECURSIVE if recursive else 0
    numbers = ctypes.c_long(AT_FDCWD), _text(path), ctypes.c_long(flags), attr, ctypes.c_long(len(attr))
    _check(_syscall(442, *numbers), "mount_setattr(%s)", path)


def open_tree(path: str, *, recursive: bool = True) -> int:
    """open_tree(2): a detached copy of the mounts at `path`, for move_mount."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0)
    return _check(
        _syscall(428, ctypes.c_long(AT_FDCWD), _text(path), ctypes.c_long(flags)), "open_tree(%s)", path
    )


def move_mount(tree: int, target: str) -> None:
    """move_mount(2): attach what open_tree gave."""
    to = ctypes.c_long(AT_FDCWD), _text(target), ctypes.c_long(MOVE_MOUNT_F_EMPTY_PATH)
    _check(_syscall(429, ctypes.c_long(tree), b"", *to), "move_mount(%s)", target)


def close_range(first: int, last: int = 0xFFFFFFFF) -> None:
    """close_range(2), Linux 5.9: close every descriptor from `first` to `last`."""
    _check(_syscall(436, ctypes.c_long(first), ctypes.c_long(last), ctypes.c_long(0)), "close_range")


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """pidfd_getfd(2), Linux 5.6: a duplicate of another process's descriptor."""
    return _check(_syscall(438, ctypes.c_long(pidfd), ctypes.c_long(fd), ctypes.c_long(0)), "pidfd_getfd")


def prctl(option: int, second: int | bytes = 0, third: int | bytes = 0) -> int:
    """prctl(2); bytes are passed by reference."""
    numbers = [_place(value) if isinstance(value, bytes) else value for value in (second, third)]
    return _check(_libc.prctl(option, *numbers, 0, 0), "prctl(%d)", option)


def _place(value: bytes) -> int:
    """Where the bytes of this object lie, for as long as it lives."""
    return ctypes.cast(ctypes.c_char_p(value), ctypes.c_void_p).value or 0


def setsockopt(fd: int, level: int, option: int, value: bytes) -> None:
    """setsockopt(2), for options over which the kernel takes its time: Python's own stops every thread."""
    _check(_libc.setsockopt(fd, level, option, value, len(value)), "setsockopt(%d, %d)", level, option)


def capset(capabilities: Iterable[int]) -> None:
    """capset(2): exactly these are effective and permitted from now on, none is inheritable."""
    bits = sum(1 << c for c in set(capabilities))
    low, high = bits & 0xFFFFFFFF, bits >> 32
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, struct.pack("=6I", low, low, 0, high, high, 0)), "capset")


def last_capability() -> int:
    """The greatest capability that this kernel knows."""
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        return int(file.read())


def drop_bounding(keep: Iterable[int], last: int) -> None:
    """Take every capability from 0 to `last` but `keep` out of the bounding set: no exec regains them."""
    for capability in set(range(last + 1)) - set(keep):
        prctl(PR_CAPBSET_DROP, capability)


def new_session_keyring() -> None:
    """keyctl(2): leave the user's session keyring behind; hosts must not read its keys."""
    nothing = ctypes.c_long(0)
    _check(_syscall(_number("keyctl"), ctypes.c_long(_KEYCTL_JOIN_SESSION_KEYRING), nothing), "keyctl")


def owner_uid(user_namespace: int) -> int:
    """The uid (as this process sees it) that made the user namespace behind this descriptor."""
    return int(struct.unpack("=I", fcntl.ioctl(user_namespace, NS_GET_OWNER_UID, b"\0" * 4))[0])


def parent_namespace(namespace: int) -> int:
    """A descriptor of the parent of a user or pid namespace; EPERM where it is out of reach."""
    return int(fcntl.ioctl(namespace, NS_GET_PARENT))
