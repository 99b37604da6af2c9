"""Instructions of BPF, with labels (Documentation/bpf/standardization/instruction-set.rst), pure.

Ten registers hold 64 bits; R10 is the end of the program's own 512 bytes of stack. A call of the kernel takes
R1 to R5, answers in R0 and leaves only R6 to R9 as they were.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, STACK = range(11)
_INSTRUCTION = struct.Struct("=BBhi")  # struct bpf_insn: code, registers, offset, immediate
# linux/bpf_common.h, linux/bpf.h: size of a load or store
_SIZES = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
_LOAD, _STORE_NUMBER, _STORE, _ADD_ATOMIC = 0x61, 0x62, 0x63, 0xC3  # of 4 bytes
_ADD_NUMBER, _ADD, _SHIFT_RIGHT, _MOVE_NUMBER, _MOVE, _BIG_ENDIAN = 0x07, 0x0F, 0x77, 0xB7, 0xBF, 0xDC
_JUMP, _CALL, _EXIT = 0x05, 0x85, 0x95
_JUMP_IF = {"==": 0x15, "!=": 0x55}  # against a number
_WIDE, _OF_MAP, _IN_MAP = 0x18, 1, 2  # a number of 64 bits; BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE


class _Instruction(NamedTuple):
    """Jumps name a label, the others have an offset."""

    code: int
    registers: int
    offset: int = 0
    value: int = 0
    goal: str = ""


class Assembler:
    """A program as it grows. Jumps go forward, to labels that are set later."""

    def __init__(self) -> None:
        self._code: list[_Instruction] = []
        self._labels: dict[str, int] = {}

    def load(self, to: int, size: int, base: int, offset: int) -> None:
        """`to` = the number of this size at `base` + `offset`."""
        self._add(_LOAD | _SIZES[size], to, base, offset)

    def store(self, size: int, base: int, offset: int, register: int) -> None:
        """The lowest bytes of a register, to `base` + `offset`."""
        self._add(_STORE | _SIZES[size], base, register, offset)

    def store_number(self, size: int, base: int, offset: int, value: int) -> None:
        """A number, to `base` + `offset`."""
        self._add(_STORE_NUMBER | _SIZES[size], base, offset=offset, value=value)

    def add_atomic(self, base: int, offset: int, register: int) -> None:
        """The 8 bytes at `base` + `offset` grow by what the register holds, whoever else does the same."""
        self._add(_ADD_ATOMIC | _SIZES[8], base, register, offset)

    def move(self, to: int, register: int) -> None:
        """`to` = `register`."""
        self._add(_MOVE, to, register)

    def number(self, to: int, value: int) -> None:
        """`to` = a number of 32 bits, with its sign."""
        self._add(_MOVE_NUMBER, to, value=value)

    def map(self, to: int, fd: int) -> None:
        """`to` = the map behind this descriptor of the process that loads the program."""
        self._pair(to, _OF_MAP, fd)

    def value(self, to: int, fd: int, offset: int) -> None:
        """`to` = this place of the one value of an array."""
        self._pair(to, _IN_MAP, fd | offset << 32)

    def add(self, to: int, value: int) -> None:
        """`to` += a number."""
        self._add(_ADD_NUMBER, to, value=value)

    def add_register(self, to: int, register: int) -> None:
        """`to` += `register`."""
        self._add(_ADD, to, register)

    def shift_right(self, to: int, bits: int) -> None:
        """`to` >>= bits, with zeros."""
        self._add(_SHIFT_RIGHT, to, value=bits)

    def from_network(self, to: int) -> None:
        """Two bytes of the network's order become a number."""
        self._add(_BIG_ENDIAN, to, value=16)

    def jump(self, goal: str) -> None:
        """On at this label."""
        self._add(_JUMP, goal=goal)

    def when(self, register: int, test: str, value: int, goal: str) -> None:
        """On at this label where the register is == or != this number."""
        self._add(_JUMP_IF[test], register, value=value, goal=goal)

    def label(self, name: str) -> None:
        """Jumps to this name come here."""
        self._labels[name] = len(self._code)

    def call(self, function: int) -> None:
        """A function of the kernel, by its number in linux/bpf.h."""
        self._add(_CALL, value=function)

    def exit(self) -> None:
        """The end."""
        self._add(_EXIT)

    def assembled(self) -> bytes:
        """Struct bpf_insn after struct bpf_insn."""
        return b"".join(self._packed(one, at) for at, one in enumerate(self._code))

    def _packed(self, one: _Instruction, at: int) -> bytes:
        offset = self._labels[one.goal] - at - 1 if one.goal else one.offset
        return _INSTRUCTION.pack(one.code, one.registers, offset, one.value)

    def _pair(self, to: int, kind: int, value: int) -> None:
        low, high = struct.unpack("=ii", struct.pack("=Q", value))
        self._add(_WIDE, to, kind, value=low)
        self._add(0, value=high)

    def _add(self, code: int, to: int = 0, register: int = 0, offset: int = 0, **more: Any) -> None:
        self._code.append(_Instruction(code, to | register << 4, offset, **more))
