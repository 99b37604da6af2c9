"""A seccomp filter for hosts with a single id: giving a file or a process to another user "succeeds".

With one id mapped, chown and setuid to anybody else end in EINVAL, and stock nginx or tcpdump would not
start. Under this filter those calls return 0 and do nothing, as Charliecloud's `--force=seccomp`.
"""

from __future__ import annotations

import ctypes
import os
import struct

from orchestrator.daemon import sysc

_ALLOW, _ERRNO_ZERO = 0x7FFF0000, 0x00050000  # linux/seccomp.h
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # linux/filter.h: BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
_NR, _ARCH = 0, 4  # offsets in struct seccomp_data
# AUDIT_ARCH_* and the numbers of chown, fchown, lchown, fchownat, setuid, setgid, setreuid, setregid,
# setgroups, setresuid, setresgid, setfsuid, setfsgid (aarch64 has no chown and lchown)
_CALLS: dict[str, tuple[int, tuple[int, ...]]] = {
    "x86_64": (0xC000003E, (92, 93, 94, 260, 105, 106, 113, 114, 116, 117, 119, 122, 123)),
    "aarch64": (0xC00000B7, (55, 54, 146, 144, 145, 143, 159, 147, 149, 151, 152)),
}


def program(machine: str) -> bytes:
    """The filter's instructions for an architecture, empty where its numbers are not known here."""
    if machine not in _CALLS:
        return b""
    arch, numbers = _CALLS[machine]
    steps = [
        _step(_LOAD, _ARCH),
        _step(_JUMP_IF_EQUAL, arch, 1, 0),
        _step(_RETURN, _ALLOW),
        _step(_LOAD, _NR),
    ]
    for position, number in enumerate(numbers):
        steps.append(_step(_JUMP_IF_EQUAL, number, len(numbers) - position, 0))  # to the last instruction
    return b"".join((*steps, _step(_RETURN, _ALLOW), _step(_RETURN, _ERRNO_ZERO)))


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def fake_ids() -> None:
    """Install the filter in this process and its future children; needs CAP_SYS_ADMIN."""
    steps = program(os.uname().machine)
    if not steps:
        return
    buffer = ctypes.create_string_buffer(steps, len(steps))
    head = struct.pack("=HxxxxxxQ", len(steps) // 8, ctypes.addressof(buffer))
    sysc.prctl(sysc.PR_SET_SECCOMP, sysc.SECCOMP_MODE_FILTER, head)
