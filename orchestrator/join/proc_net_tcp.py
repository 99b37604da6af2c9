"""Text of /proc/net/tcp and tcp6 to SocketEntries. Pure; the table's host is only a name here.

Sources: proc(5); net/ipv4/tcp_ipv4.c get_tcp4_sock(), get_timewait4_sock(), get_openreq4();
net/ipv6/tcp_ipv6.c for the same three. A line is

    sl: local:port remote:port st tx:rx tr:when retransmits uid probes inode refcount pointer …

Addresses are printed as native 32-bit words (their bytes are swapped on little-endian computers), ports as
numbers, `when` in clock ticks (of no meaning where no timer runs). What does not look like that is refused
with its line: a wrong row is worse than none.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Literal, NamedTuple

from orchestrator.errors import ObservationError
from orchestrator.model.rows import STATES, TIMERS, SocketEntry

ByteOrder = Literal["little", "big"]
Family = Literal[4, 6]

USER_HZ = 100  # include/asm-generic/param.h: the unit of `when` on every architecture with Python
MAX_WHEN = (1 << 63) - 1  # a positive long
MAX_INODE = (1 << 64) - 1  # an unsigned long
NAMED_LINE = 160  # characters of a refused line that its error shows
MAPPED_PREFIX = bytes(10) + b"\xff\xff"  # RFC 4291, 2.5.5.2

_LINE = re.compile(
    r" *[0-9]+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})"
    r" ([0-9A-F]{2}) ([0-9A-F]{8}):([0-9A-F]{8}) ([0-9A-F]{2}):([0-9A-F]{8,16}) ([0-9A-F]{8})"
    r" +([0-9]{1,10}) +-?[0-9]{1,10} ([0-9]{1,20}) [0-9]+ [!-~][^\n]*"
)
_DIGITS: dict[Family, int] = {4: 8, 6: 32}


class Address(NamedTuple):
    """An address as text; IPv4 where it is v4-mapped."""

    text: str
    mapped: bool


def address_of(packed: bytes) -> Address:
    """The address of 4 or 16 bytes in network order."""
    if len(packed) == 4:
        return Address(inet_ntop(AF_INET, packed), False)
    if packed.startswith(MAPPED_PREFIX):
        return Address(inet_ntop(AF_INET, packed[12:]), True)
    return Address(inet_ntop(AF_INET6, packed), False)


@functools.lru_cache(maxsize=4096)
def decode_address(digits: str, order: ByteOrder = sys.byteorder) -> Address:
    """The address of 8 or 32 hexadecimal digits as the kernel prints them (`%08X` of each word)."""
    packed = bytes.fromhex(digits)
    if order == "little":
        packed = b"".join(packed[at : at + 4][::-1] for at in range(0, len(packed), 4))
    return address_of(packed)


def parse(data: bytes, host: str, family: Family, order: ByteOrder = sys.byteorder) -> list[SocketEntry]:
    """Every row of a table, in its order. `order` is that of the computer that wrote it. Raises
    ObservationError."""
    return [parse_line(line, host, family, order, number) for number, line in lines_of(data, host, family)]


def lines_of(data: bytes, host: str, family: Family) -> Iterator[tuple[int, str]]:
    """(number in the file, line) of each row; an empty file is an empty table. Raises ObservationError."""
    check_whole(data, host, family)
    return enumerate(data.decode("ascii", "replace").split("\n")[1:-1], 2)


def check_whole(data: bytes, host: str, family: Family) -> None:
    """A table is empty, or has a heading and ends with a line's end. Raises ObservationError for another."""
    if data and not data.endswith(b"\n"):
        rest, number = data[data.rfind(b"\n") + 1 :], data.count(b"\n") + 1
        raise refusal(rest.decode("ascii", "replace"), host, family, number, "the table ends within a line")
    if data and not data.lstrip(b" ").startswith(b"sl "):
        first = data[:NAMED_LINE].split(b"\n")[0].decode("ascii", "replace")
        raise refusal(first, host, family, 1, "the table has no heading")


def refusal(line: str, host: str, family: Family, number: int, why: str) -> ObservationError:
    """The error about one line of a table."""
    table = "tcp" if family == 4 else "tcp6"
    return ObservationError(f"{host}: /proc/net/{table}, line {number}: {why}: {line[:NAMED_LINE]!r}")


def parse_line(
    line: str, host: str, family: Family, order: ByteOrder = sys.byteorder, number: int = 0
) -> SocketEntry:
    """One row. Raises ObservationError for what no kernel writes, and for a line that was cut short."""
    match = _LINE.fullmatch(line)
    if match is None or len(match[1]) != _DIGITS[family] or len(match[3]) != _DIGITS[family]:
        raise refusal(line, host, family, number, "not a row")
    local, port, remote, peer_port, st, tx, rx, tr, when, retransmits, uid, inode = match.groups()
    state, timer = STATES.get(int(st, 16)), int(tr, 16)
    if state is None or timer not in TIMERS:
        raise refusal(line, host, family, number, "no such state or timer")
    if int(when, 16) > MAX_WHEN or int(inode) > MAX_INODE:
        raise refusal(line, host, family, number, "a number beyond the kernel's")
    address, peer = decode_address(local, order), decode_address(remote, order)
    return SocketEntry(
        host=host,
        family=family,
        mapped=address.mapped,
        address=address.text,
        port=int(port, 16),
        peer_address=peer.text,
        peer_port=int(peer_port, 16),
        state=state,
        rx_queue=int(rx, 16),
        tx_queue=int(tx, 16),
        timer=TIMERS[timer],
        timer_seconds=int(when, 16) / USER_HZ if timer else 0.0,
        retransmits=int(retransmits, 16),
        uid=int(uid),
        inode=int(inode),
    )
