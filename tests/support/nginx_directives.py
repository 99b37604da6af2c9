"""The directives of an installed nginx, out of its binary and modules: arrays of ngx_command_t.

An entry (ngx_conf_file.h) is 56 bytes: length and address of its name, its type, its setter, three more
words. Of the type one bit at least says in which block it may stand (NGX_DIRECT_CONF, 0x00010000, is the
lowest); variables (ngx_http_variable_t, ngx_http_log_var_t) look alike, but have a function, a small number
or 0 there. Addresses are relocations (ELF, x86-64 and AArch64), so names and setters are exact: nothing is
taken for a directive by its looks. Only for little-endian ELF of 64 bits.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TIME_SETTERS = ("ngx_conf_set_msec_slot", "ngx_conf_set_sec_slot")
_RELATIVE = (8, 1027)  # R_X86_64_RELATIVE, R_AARCH64_RELATIVE
_SYMBOL = (1, 6, 257, 1025)  # R_X86_64_64, R_X86_64_GLOB_DAT, R_AARCH64_ABS64, R_AARCH64_GLOB_DAT
_RELA, _NOBITS, _DYNSYM = 4, 8, 11  # sh_type
_LEAST_TYPE = 0x00010000
_NAME = re.compile(rb"[a-z][a-z0-9_]{1,62}")


class Directive(NamedTuple):
    """A name, and the function that reads its value; "" where it has no symbol."""

    name: str
    setter: str


class _Section(NamedTuple):
    type: int
    address: int
    offset: int
    size: int
    link: int


def directives(path: Path) -> set[Directive]:
    """All of a file."""
    return set(_Elf(path.read_bytes()).directives())


class _Elf:
    def __init__(self, data: bytes) -> None:
        assert data[:6] == b"\x7fELF\x02\x01", "no little-endian ELF of 64 bits"
        self.data = data
        (at,) = struct.unpack_from("<Q", data, 40)
        size, count = struct.unpack_from("<HH", data, 58)
        self.sections = [
            _Section(kind, address, offset, length, link)
            for _, kind, _, address, offset, length, link in (
                struct.unpack_from("<IIQQQQI", data, at + number * size) for number in range(count)
            )
        ]
        self.symbols: list[str] = []
        self.functions: dict[int, str] = {}  # by address
        for section in self.sections:
            if section.type == _DYNSYM:
                self._read_symbols(section)
        self.addresses: dict[int, int] = {}  # place → address that it is relocated to
        self.named: dict[int, str] = {}  # place → symbol
        for section in self.sections:
            if section.type == _RELA:
                self._read_relocations(section)

    def _read_symbols(self, section: _Section) -> None:
        names = self.sections[section.link].offset
        for at in range(section.offset, section.offset + section.size, 24):
            name, _, _, _, value, _ = struct.unpack_from("<IBBHQQ", self.data, at)
            self.symbols.append(self._text(names + name))
            if value:
                self.functions[value] = self.symbols[-1]

    def _read_relocations(self, section: _Section) -> None:
        for at in range(section.offset, section.offset + section.size, 24):
            place, info, addend = struct.unpack_from("<QQq", self.data, at)
            kind, symbol = info & 0xFFFFFFFF, info >> 32
            if kind in _RELATIVE:
                self.addresses[place] = addend
            elif kind in _SYMBOL:
                self.named[place] = self.symbols[symbol]

    def _text(self, offset: int) -> str:
        return self.data[offset : self.data.index(b"\0", offset)].decode("latin-1")

    def _offset(self, address: int) -> int | None:
        for one in self.sections:
            if (
                one.address and one.address <= address < one.address + one.size and one.type != 8
            ):  # SHT_NOBITS
                return one.offset + address - one.address
        return None

    def directives(self) -> Iterator[Directive]:
        """Where a name's address stands behind its length, and a setter two words on."""
        for place, address in self.addresses.items():
            setter = self.named.get(place + 16) or self.functions.get(self.addresses.get(place + 16, 0), "")
            if (not setter and place + 16 not in self.addresses) or place + 8 in self.addresses:
                continue
            here, there = self._offset(place - 8), self._offset(address)
            if here is None or there is None:
                continue
            length, _, kind = struct.unpack_from("<QQQ", self.data, here)
            if kind < _LEAST_TYPE:
                continue
            name = self.data[there : there + length] if length < 64 else b""
            if _NAME.fullmatch(name) and self.data[there + length : there + length + 1] == b"\0":
                yield Directive(name.decode(), setter)
