"""What programs in a docker host may not call: what Docker's default seccomp profile keeps from them too.

An agent inherits the daemon's profile. That profile is Docker's own, but with the daemon's capabilities it
allows more (mount, setns, bpf …), so those calls are taken away again here. Source: moby,
profiles/seccomp/default.json.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Mapping
from typing import NamedTuple

from orchestrator.daemon import sysc

_LOAD, _IF_EQUAL, _IF_ANY_BIT, _IF_GREATER_EQUAL, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06  # linux/filter.h
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # linux/seccomp.h
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data; the argument's low half
_X32 = 0x40000000  # __X32_SYSCALL_BIT
_NEW_NAMESPACES = 0x7E020000  # CLONE_NEW*, without NEWTIME, which clone(2) cannot be given
_CLONE3 = 435  # its flags lie in memory that a filter cannot read: it "does not exist", and libc uses clone

# Of the same number everywhere: io_uring_*, open_tree, move_mount, fsopen, fsconfig, fsmount, fspick,
# pidfd_getfd, process_madvise, mount_setattr, quotactl_fd
_EVERYWHERE = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 440, 442, 443)


class _Table(NamedTuple):
    """An architecture: AUDIT_ARCH_*, the number of clone, and of what is denied."""

    arch: int
    clone: int
    denied: Mapping[str, int]


_X86_64 = _Table(
    0xC000003E,
    56,
    {
        "unshare": 272,
        "setns": 308,
        "mount": 165,
        "umount2": 166,
        "pivot_root": 155,
        "bpf": 321,
        "perf_event_open": 298,
        "keyctl": 250,
        "add_key": 248,
        "request_key": 249,
        "open_by_handle_at": 304,
        "name_to_handle_at": 303,
        "process_vm_readv": 310,
        "process_vm_writev": 311,
        "kcmp": 312,
        "init_module": 175,
        "finit_module": 313,
        "delete_module": 176,
        "kexec_load": 246,
        "kexec_file_load": 320,
        "swapon": 167,
        "swapoff": 168,
        "reboot": 169,
        "acct": 163,
        "settimeofday": 164,
        "clock_settime": 227,
        "quotactl": 179,
        "sethostname": 170,
        "setdomainname": 171,
        "syslog": 103,
        "fanotify_init": 300,
        "lookup_dcookie": 212,
        "userfaultfd": 323,
        "iopl": 172,
        "ioperm": 173,
    },
)
_I386 = _Table(
    0x40000003,
    120,
    {
        "unshare": 310,
        "setns": 346,
        "mount": 21,
        "umount": 22,
        "umount2": 52,
        "pivot_root": 217,
        "bpf": 357,
        "perf_event_open": 336,
        "keyctl": 288,
        "add_key": 286,
        "request_key": 287,
        "open_by_handle_at": 342,
        "name_to_handle_at": 341,
        "process_vm_readv": 347,
        "process_vm_writev": 348,
        "kcmp": 349,
        "init_module": 128,
        "finit_module": 350,
        "delete_module": 129,
        "kexec_load": 283,
        "swapon": 87,
        "swapoff": 115,
        "reboot": 88,
        "acct": 51,
        "settimeofday": 79,
        "clock_settime": 264,
        "clock_settime64": 404,
        "quotactl": 131,
        "sethostname": 74,
        "setdomainname": 121,
        "syslog": 103,
        "fanotify_init": 338,
        "lookup_dcookie": 253,
        "userfaultfd": 374,
        "iopl": 110,
        "ioperm": 101,
        "vm86": 166,
        "vm86old": 113,
    },
)
_AARCH64 = _Table(
    0xC00000B7,
    220,
    {
        "unshare": 97,
        "setns": 268,
        "mount": 40,
        "umount2": 39,
        "pivot_root": 41,
        "bpf": 280,
        "perf_event_open": 241,
        "keyctl": 219,
        "add_key": 217,
        "request_key": 218,
        "open_by_handle_at": 265,
        "name_to_handle_at": 264,
        "process_vm_readv": 270,
        "process_vm_writev": 271,
        "kcmp": 272,
        "init_module": 105,
        "finit_module": 273,
        "delete_module": 106,
        "kexec_load": 104,
        "kexec_file_load": 294,
        "swapon": 224,
        "swapoff": 225,
        "reboot": 142,
        "acct": 89,
        "settimeofday": 170,
        "clock_settime": 112,
        "quotactl": 60,
        "sethostname": 161,
        "setdomainname": 162,
        "syslog": 116,
        "fanotify_init": 262,
        "lookup_dcookie": 18,
        "userfaultfd": 282,
    },
)
_TABLES = {"x86_64": (_X86_64, _I386), "aarch64": (_AARCH64,)}


def program(machine: str) -> bytes:
    """The filter's instructions for an architecture. Calls of an architecture that is not its own are
    refused.

    Raises OSError (ENOSYS) for one whose numbers are not known here.
    """
    if machine not in _TABLES:
        raise OSError(errno.ENOSYS, f"calls of {machine} cannot be filtered")
    steps = [_step(_LOAD, _ARCH)]
    for table in _TABLES[machine]:
        part = _part(table)
        steps += [_step(_IF_EQUAL, table.arch, 1, 0), _jump(len(part)), *part]
    return b"".join((*steps, _step(_RETURN, _ERRNO | errno.EPERM)))


def _part(table: _Table) -> list[bytes]:
    """For one architecture; ends with a return whatever the call is."""
    numbers = [*table.denied.values(), *_EVERYWHERE]
    steps = [_step(_LOAD, _NUMBER)]
    if table is _X86_64:
        steps += [_step(_IF_GREATER_EQUAL, _X32, 0, 1), _step(_RETURN, _ERRNO | errno.EPERM)]
    steps += [_step(_IF_EQUAL, _CLONE3, 0, 1), _step(_RETURN, _ERRNO | errno.ENOSYS)]
    for position, number in enumerate(numbers):
        steps.append(_step(_IF_EQUAL, number, len(numbers) - position + 3, 0))
    return [
        *steps,
        _step(_IF_EQUAL, table.clone, 0, 2),
        _step(_LOAD, _FIRST_ARGUMENT),
        _step(_IF_ANY_BIT, _NEW_NAMESPACES, 1, 0),
        _step(_RETURN, _ALLOW),
        _step(_RETURN, _ERRNO | errno.EPERM),
    ]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _jump(steps: int) -> bytes:
    return struct.pack("=HBBI", 0x05, 0, 0, steps)  # BPF_JMP|BPF_JA


def install() -> None:
    """Put the filter on this process and its future children; needs CAP_SYS_ADMIN or no_new_privs."""
    steps = program(platform.machine())
    buffer = ctypes.create_string_buffer(steps, len(steps))
    head = struct.pack("=HxxxxxxQ", len(steps) // 8, ctypes.addressof(buffer))
    sysc.prctl(sysc.PR_SET_SECCOMP, sysc.SECCOMP_MODE_FILTER, head)


def number(call: str, machine: str) -> int:
    """The number of one of the calls that are denied. Raises OSError (ENOSYS) where it is not known here."""
    try:
        return _TABLES[machine][0].denied[call]
    except KeyError:
        raise OSError(errno.ENOSYS, f"{call}: its number on {machine} is not known here") from None
