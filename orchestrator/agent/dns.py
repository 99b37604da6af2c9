"""Messages of DNS (RFC 1035, section 4), as far as a host that answers for a few names needs them. Pure.

Addresses alone are answered (A, AAAA), with a time to live of 0: what is asked again is to be asked again.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

# RCODEs (RFC 1035, 4.1.1); `empty` is what a name without addresses of that kind gives.
CODES = {"usual": 0, "empty": 0, "malformed": 1, "servfail": 2, "nxdomain": 3, "unable": 4, "refused": 5}
MOST_UDP = 512  # bytes of an answer, unless the question says more (RFC 6891)
MOST_TCP = 65_535
_HEADER = struct.Struct("!HHHHHH")
_RESPONSE, _OPCODE, _TRUNCATED, _DESIRED = 0x8000, 0x7800, 0x0200, 0x0100
_OURS = _RESPONSE | 0x0400 | 0x0080  # with authority; and stub resolvers look for one that recurses
_ADDRESSES = {1: socket.AF_INET, 28: socket.AF_INET6}  # A, AAAA (RFC 3596)
_OPT, _ANY, _IN = 41, 255, 1


class Question(NamedTuple):
    """What somebody asks. `raw`: the question as it came, which an answer repeats; `room`: bytes that an
    answer may have over UDP; `wrong`: of CODES, what is wrong with it."""

    number: int
    desired: int  # the bit that asks for recursion, which an answer repeats
    raw: bytes = b""
    name: str = ""  # in small letters, without the last dot
    kind: int = 0
    room: int = MOST_UDP
    extended: bool = False  # it came with an OPT record, and so does the answer
    wrong: str = ""


def read(data: bytes) -> Question | None:
    """The question of a message; None where it is none (an answer, or less than a header)."""
    if len(data) < _HEADER.size:
        return None
    number, flags, questions, *_ = _HEADER.unpack_from(data)
    if flags & _RESPONSE:
        return None
    asked = Question(number, flags & _DESIRED)
    if flags & _OPCODE:
        return asked._replace(wrong="unable")
    found = _name(data, _HEADER.size) if questions == 1 else None
    if found is None or len(data) < found[1] + 4:
        return asked._replace(wrong="malformed")
    name, end = found
    kind, space = struct.unpack_from("!HH", data, end)
    asked = asked._replace(raw=data[_HEADER.size : end + 4], name=name, kind=kind)
    if space not in (_IN, _ANY):
        return asked._replace(wrong="refused")
    return _extended(asked, data, end + 4)


def _name(data: bytes, at: int) -> tuple[str, int] | None:
    """A name and where it ends. Nothing stands before the first one that it could point to."""
    labels: list[str] = []
    while at < len(data) and (size := data[at]):
        if size > 63 or at + size >= len(data):
            return None
        labels.append(data[at + 1 : at + 1 + size].decode("latin-1").lower())
        at += 1 + size
    return (".".join(labels), at + 1) if at < len(data) and sum(map(len, labels)) < 255 else None


def _extended(asked: Question, data: bytes, at: int) -> Question:
    """With what an OPT record says that follows the question at once, as resolvers write it."""
    if len(data) < at + 11 or data[at] or int.from_bytes(data[at + 1 : at + 3], "big") != _OPT:
        return asked
    room = int.from_bytes(data[at + 3 : at + 5], "big")
    return asked._replace(room=max(MOST_UDP, room), extended=True)


def reply(
    question: Question, code: int, addresses: Sequence[str] = (), room: int = MOST_TCP, *, cut: bool = False
) -> bytes:
    """The answer. `cut`: that there is more is said, and nothing else; so is it where `room` does not do."""
    options = b"\0" + struct.pack("!HHIH", _OPT, 1232, 0, 0) if question.extended else b""
    records = [] if cut else [one for address in addresses if (one := _record(question.kind, address))]
    size = _HEADER.size + len(question.raw) + sum(map(len, records)) + len(options)
    if size > room:
        records, cut = [], True
    flags = _OURS | question.desired | (_TRUNCATED if cut else 0) | code
    counts = (1 if question.raw else 0, len(records), 0, 1 if options else 0)
    return _HEADER.pack(question.number, flags, *counts) + question.raw + b"".join(records) + options


def _record(kind: int, address: str) -> bytes:
    """A resource record of the name that was asked for (a pointer to it, 4.1.4); nothing of another kind."""
    own = 28 if ":" in address else 1
    if kind not in (own, _ANY):
        return b""
    data = socket.inet_pton(_ADDRESSES[own], address)
    return struct.pack("!HHHIH", 0xC000 | _HEADER.size, own, _IN, 0, len(data)) + data
