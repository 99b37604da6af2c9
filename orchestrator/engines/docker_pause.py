"""The smallest program that keeps a container alive, for images that have no shell and no `sleep`.

It ignores SIGCHLD, so that the kernel reaps orphans for it (wait(2)), and pauses for ever. It is an ELF
file without libraries, put together here so that no compiler and no file of another architecture is needed.
"""

from __future__ import annotations

import struct

_BASE = 0x400000  # where it is mapped: any page would do
_HEADERS = 64 + 56  # sizes of Elf64_Ehdr and Elf64_Phdr, elf(5)
_MACHINES = {"x86_64": 62, "aarch64": 183}  # e_machine, linux/elf-em.h
_SIGCHLD, _SIG_IGN = 17, 1
# struct kernel_sigaction: handler, flags, restorer, mask
_ACTION = struct.pack("<4Q", _SIG_IGN, 0, 0, 0)


def program(architecture: str) -> bytes:
    """The ELF file for an architecture as `uname -m` names it. Raises KeyError for one that is not known
    here.
    """
    code = {"x86_64": _x86_64, "aarch64": _aarch64}[architecture]() + _ACTION
    size = _HEADERS + len(code)
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)  # 64 bits, little endian, version 1
    header = ident + struct.pack(
        "<HHIQQQIHHHHHH", 2, _MACHINES[architecture], 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)  # PT_LOAD, read and execute
    return header + load + code


def _x86_64() -> bytes:
    """rt_sigaction(SIGCHLD, &action, NULL, 8), then pause() again and again."""
    start = (
        b"\xb8\x0d\x00\x00\x00"  # mov eax, 13
        + b"\xbf"
        + struct.pack("<I", _SIGCHLD)  # mov edi, SIGCHLD
        + b"\x48\x8d\x35\x17\x00\x00\x00"  # lea rsi, [rip + 23]: the action, behind the code
        + b"\x31\xd2"  # xor edx, edx
        + b"\x41\xba\x08\x00\x00\x00"  # mov r10d, 8
        + b"\x0f\x05"  # syscall
    )
    again = b"\xb8\x22\x00\x00\x00" + b"\x0f\x05" + b"\xeb\xf7"  # mov eax, 34; syscall; jmp again
    return start + again + b"\x90" * 4


def _aarch64() -> bytes:
    """The same; there is no pause(), so ppoll() of nothing."""

    def movz(register: int, value: int) -> int:
        return 0xD2800000 | value << 5 | register

    ahead = 4 * 12  # from the adr to the action, behind the code
    adr_x1 = 0x10000000 | (ahead & 3) << 29 | (ahead >> 2) << 5 | 1
    svc = 0xD4000001
    start = [movz(8, 134), movz(0, _SIGCHLD), adr_x1, movz(2, 0), movz(3, 8), svc]
    again = [movz(8, 73), movz(0, 0), movz(1, 0), movz(2, 0), movz(3, 0), movz(4, 0), svc]
    back = 0x14000000 | (-len(again) & 0x3FFFFFF)
    words = [*start, *again, back]
    return struct.pack(f"<{len(words)}I", *words)
