"""BTF: where the members of the running kernel's structures lie (Documentation/bpf/btf.rst), pure.

/sys/kernel/btf/vmlinux has 100,000 types and more in 5 MB, one after the other and each as long as its kind
says: so all are passed over once, and only those are noted that somebody asks for by name.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Mapping
from typing import NamedTuple

_MAGIC = 0xEB9F
_HEADER = struct.Struct("=HBBIIIII")  # struct btf_header
_TYPE = struct.Struct("=III")  # struct btf_type: name, info, size or type
_MEMBER = struct.Struct("=III")  # struct btf_member: name, type, offset
_VALUE = struct.Struct("=Ii")  # struct btf_enum: name, value
_POINTER, _STRUCT, _UNION, _ENUM, _TYPEDEF, _FUNCTION_FORM = 2, 4, 5, 6, 8, 13
_SAME_AS = (_TYPEDEF, 9, 10, 11, 18)  # typedef, volatile, const, restrict, type_tag: what they are of
_INT, _ARRAY = 1, 3
# What follows a type of each kind, in bytes: so much once, and so much for each of its `vlen`.
_ONCE = {_INT: 4, _ARRAY: 12, 14: 4, 17: 4}
_EACH = {_STRUCT: 12, _UNION: 12, _ENUM: 8, _FUNCTION_FORM: 8, 15: 12, 19: 12}
_KINDS = 20  # BTF_KIND_ENUM64 is 19


class Missing(LookupError):
    """This kernel has no such type or member."""


class Member(NamedTuple):
    """Where a member lies, in bytes from the structure's beginning, and how long it is (0: not known)."""

    offset: int
    size: int


class Btf:
    """The types of a kernel, as far as they have these names. Raises ValueError, struct.error for no BTF."""

    def __init__(self, data: bytes, names: Iterable[str]) -> None:
        magic, _, _, length, types, types_size, strings, strings_size = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise ValueError(f"no BTF of a {sys.byteorder}-endian machine")
        self._types = data[length + types : length + types + types_size]
        self._strings = data[length + strings : length + strings + strings_size]
        self._starts: list[int] = [0]  # of each type, by its id; 0 is void
        self._found: dict[tuple[str, int], int] = {}
        self._scan({offset: name for name in names if (offset := self._offset(name)) is not None})

    def typedef(self, name: str) -> int:
        """The id of a typedef. Raises Missing."""
        return self._named(name, _TYPEDEF)

    def arguments(self, name: str) -> int:
        """How many arguments the function has that a typedef of a pointer to it names."""
        kind, count, _, _, _ = self._resolved(self._pointed(self._named(name, _TYPEDEF)))
        if kind != _FUNCTION_FORM:
            raise Missing(f"{name} is no function")
        return count

    def member(self, struct_name: str, path: str) -> Member:
        """A member, by names with dots between; what lies in a nameless struct or union counts as the
        outer one's. Raises Missing.
        """
        number, offset = self._named(struct_name, _STRUCT), 0
        for name in path.split("."):
            found = self._search(number, name)
            if found is None:
                raise Missing(f"struct {struct_name} has no {path}")
            at, number = found
            offset += at
        return Member(offset, self._size(number))

    def values(self, name: str) -> dict[int, str]:
        """The names of an enum's values. Raises Missing."""
        _, count, _, _, at = self._read(self._named(name, _ENUM))
        pairs = (_VALUE.unpack_from(self._types, at + place * _VALUE.size) for place in range(count))
        return {value: self._name(said) for said, value in pairs}

    def _offset(self, name: str) -> int | None:
        """Where a name stands among the strings."""
        found = self._strings.find(b"\0" + name.encode() + b"\0")
        return None if found < 0 else found + 1

    def _scan(self, wanted: Mapping[int, str]) -> None:
        once = [_ONCE.get(kind, 0) + _TYPE.size for kind in range(_KINDS)]
        each = [_EACH.get(kind, 0) for kind in range(_KINDS)]
        starts, unpack, types, end = self._starts, _TYPE.unpack_from, self._types, len(self._types)
        at = 0
        while at < end:
            name, info, _ = unpack(types, at)
            kind = info >> 24 & 31
            if kind >= _KINDS:
                raise ValueError(f"BTF of a kind that is not known here: {kind}")
            if name in wanted:
                self._found.setdefault((wanted[name], kind), len(starts))
            starts.append(at)
            at += once[kind] + each[kind] * (info & 0xFFFF)

    def _named(self, name: str, kind: int) -> int:
        try:
            return self._found[name, kind]
        except KeyError:
            raise Missing(f"this kernel has no type {name}") from None

    def _read(self, number: int) -> tuple[int, int, int, bool, int]:
        """Kind, vlen, size or type, kind_flag, and where what follows begins."""
        start = self._starts[number]
        _, info, rest = _TYPE.unpack_from(self._types, start)
        return info >> 24 & 31, info & 0xFFFF, rest, bool(info >> 31), start + _TYPE.size

    def _resolved(self, number: int) -> tuple[int, int, int, bool, int]:
        """Without typedefs and const; void for what leads nowhere."""
        for _ in range(32):
            if not number:
                break
            read = self._read(number)
            if read[0] not in _SAME_AS:
                return read
            number = read[2]
        return 0, 0, 0, False, 0

    def _pointed(self, number: int) -> int:
        kind, _, target, _, _ = self._resolved(number)
        return target if kind == _POINTER else 0

    def _search(self, number: int, name: str) -> tuple[int, int] | None:
        """(offset in bytes, type) of a member, also of nameless ones."""
        kind, count, _, flagged, at = self._resolved(number)
        if kind not in (_STRUCT, _UNION):
            return None
        for place in range(count):
            named, inner, offset = _MEMBER.unpack_from(self._types, at + place * _MEMBER.size)
            if flagged and offset >> 24:
                continue  # a bit field
            start = (offset & 0xFFFFFF if flagged else offset) // 8
            if not named and (found := self._search(inner, name)):
                return start + found[0], found[1]
            if named and self._name(named) == name:
                return start, inner
        return None

    def _name(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(b"\0", offset)].decode(errors="replace")

    def _size(self, number: int) -> int:
        kind, _, rest, _, at = self._resolved(number)
        if kind == _POINTER:
            return struct.calcsize("P")
        if kind == _ARRAY:
            element, _, count = struct.unpack_from("=III", self._types, at)
            return self._size(element) * int(count)
        return rest if kind in (_INT, _STRUCT, _UNION, _ENUM, 19) else 0
