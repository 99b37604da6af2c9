"""bpf(2): maps, programs and what attaches them, by ctypes. Every function raises OSError.

All that is made lives as long as a descriptor of it (a ring's memory as long as it is mapped): nothing is
pinned anywhere.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

_NUMBERS = {"x86_64": 321, "aarch64": 280}  # of the system call
_MAP_CREATE, _LOOK_UP, _UPDATE, _DELETE, _LOAD, _INFO, _ATTACH = 0, 1, 2, 3, 5, 15, 17
HASH, ARRAY, LRU_HASH, RING = 1, 2, 9, 27  # enum bpf_map_type
_TRACING, _RAW_TRACEPOINT = 26, 23  # BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP
_ATTRIBUTES = 144  # bytes of union bpf_attr: as many as we fill in and some zeros, which any kernel takes
_LICENSE = b"GPL"  # some functions of the kernel are only for programs that say so
_LOG = 1 << 16
_TRIES = (
    5  # of loading: the verifier gives up with EAGAIN when a signal comes in between (libbpf does so, too)
)
_INFO_SIZE, _MISSES = 232, 208  # struct bpf_prog_info, recursion_misses

_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: bytes, what: str) -> int:
    number = _NUMBERS.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, f"bpf(2) on {os.uname().machine} is not known here")
    buffer = ctypes.create_string_buffer(attributes, _ATTRIBUTES)
    arguments = ctypes.c_long(command), buffer, ctypes.c_long(_ATTRIBUTES)
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        found = ctypes.get_errno()
        raise OSError(found, f"{what}: {os.strerror(found)}")
    return result


def _name(text: str) -> bytes:
    return text.encode()[:15]


def make_map(kind: int, name: str, key: int, value: int, entries: int) -> int:
    """A map's descriptor. `entries` of a ring: its bytes, a power of two."""
    attributes = struct.pack("=5III16s", kind, key, value, entries, 0, 0, 0, _name(name))
    return _bpf(_MAP_CREATE, attributes, f"map {name}")


def get(fd: int, key: int) -> int:
    """The number of 8 bytes at a key of 8 bytes."""
    value = ctypes.c_uint64()
    _about(_LOOK_UP, fd, key, value)
    return value.value


def numbers(fd: int, count: int) -> list[int]:
    """The one value of an array, which is so many numbers of 8 bytes."""
    value, place = (ctypes.c_uint64 * count)(), ctypes.c_uint32(0)
    attributes = struct.pack("=I4xQQQ", fd, ctypes.addressof(place), ctypes.addressof(value), 0)
    _bpf(_LOOK_UP, attributes, "an array's element")
    return list(value)


def put(fd: int, key: int, value: int) -> None:
    """Set it."""
    _about(_UPDATE, fd, key, ctypes.c_uint64(value))


def delete(fd: int, key: int) -> None:
    """Take a key out."""
    _about(_DELETE, fd, key, None)


def _about(command: int, fd: int, key: int, value: ctypes.c_uint64 | None) -> None:
    place = ctypes.c_uint64(key)
    there = 0 if value is None else ctypes.addressof(value)
    attributes = struct.pack("=I4xQQQ", fd, ctypes.addressof(place), there, 0)
    _bpf(command, attributes, "a map's element")


def load(name: str, code: bytes, typedef: int) -> int:
    """The descriptor of a program for the tracepoint of which BTF has this typedef. The verifier's last words
    are in the error."""
    for left in reversed(range(_TRIES)):
        try:
            return _load(name, code, typedef, None)
        except OSError as error:
            if error.errno == errno.EAGAIN and left:
                continue
            if error.errno not in (errno.EACCES, errno.EINVAL):
                raise
            return _load(name, code, typedef, ctypes.create_string_buffer(_LOG))
    raise AssertionError


def _load(name: str, code: bytes, typedef: int, log: ctypes.Array[ctypes.c_char] | None) -> int:
    instructions, license_ = (
        ctypes.create_string_buffer(code, len(code)),
        ctypes.create_string_buffer(_LICENSE),
    )
    attributes = struct.pack(
        "=IIQQIIQII16sIII32xI",
        _TRACING,
        len(code) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(license_),
        1 if log else 0,
        _LOG if log else 0,
        ctypes.addressof(log) if log else 0,
        0,
        0,
        _name(name),
        0,
        _RAW_TRACEPOINT,
        0,
        typedef,
    )
    try:
        return _bpf(_LOAD, attributes, f"program {name}")
    except OSError as error:
        lines = log.value.decode(errors="replace").strip().splitlines()[-4:-1] if log else []
        raise OSError(error.errno, "; ".join([str(error.strerror), *lines])) from None


def attach(program: int) -> int:
    """A descriptor with which it runs at its tracepoint, until it is closed."""
    return _bpf(_ATTACH, struct.pack("=QI", 0, program), "attaching a program")


def misses(program: int) -> int:
    """How often it did not run since it was running on that processor (Linux 5.12)."""
    info = ctypes.create_string_buffer(_INFO_SIZE)
    _bpf(_INFO, struct.pack("=IIQ", program, _INFO_SIZE, ctypes.addressof(info)), "a program's figures")
    return int(struct.unpack_from("=Q", info, _MISSES)[0])
