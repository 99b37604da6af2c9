"""Text of large tables to arrays: what `proc_net_tcp` does for a line, for all lines at once. NumPy is
imported here.

A line's columns stand at fixed places after the colon of its number, up to the uid, which may be wider than
its five places. Lines that look otherwise in any way are left to `proc_net_tcp.parse_line`, which refuses or
reads them.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from orchestrator.join.proc_net_tcp import USER_HZ, ByteOrder, Family, check_whole, parse_line
from orchestrator.join.snapshot import packed_address
from orchestrator.model.rows import STATES, TIMERS, SocketEntry

Array = NDArray[Any]

ROWS_AT_ONCE = 1 << 14  # so that what is worked on stays in the cache
HEAD = 12  # bytes in which a line's number and its colon stand
TAIL = 40  # bytes for uid, probes, inode and reference count
V4_PREFIX = 0xFFFF << 32  # of the low half: IPv4 addresses are kept as v4-mapped (RFC 4291, 2.5.5.2)
NUMBERS = {name: number for number, name in reversed(STATES.items())}
TIMER_NUMBERS = {name: number for number, name in TIMERS.items()}
LISTEN, TIME_WAIT = NUMBERS["LISTEN"], NUMBERS["TIME_WAIT"]

_HEX = np.full(256, 255, np.uint8)
_HEX[np.frombuffer(b"0123456789ABCDEF", np.uint8)] = np.arange(16, dtype=np.uint8)
_KNOWN_STATE = np.isin(np.arange(256), list(STATES))
_ONE_NUMBER = np.zeros(256, np.uint8)  # of each state: TCP_NEW_SYN_RECV becomes SYN_RECV's
_ONE_NUMBER[list(STATES)] = [NUMBERS[state] for state in STATES.values()]
ROW = np.dtype(
    [
        ("hi", "u8"),  # local address, high and low half
        ("lo", "u8"),
        ("peer_hi", "u8"),
        ("peer_lo", "u8"),
        ("inode", "u8"),
        ("when", "u8"),
        ("rx", "u4"),
        ("tx", "u4"),
        ("retransmits", "u4"),
        ("uid", "u8"),
        ("port", "u2"),
        ("peer_port", "u2"),
        ("state", "u1"),
        ("timer", "u1"),
        ("six", "?"),  # of the table tcp6
        ("mapped", "?"),
    ]
)


class Layout(NamedTuple):
    """Where columns begin, counted from the local address; `digits` of an address."""

    digits: int

    @property
    def after(self) -> int:
        """The state's place."""
        return 2 * (self.digits + 6)

    @property
    def fixed(self) -> int:
        """Up to the space after the retransmits."""
        return self.after + 42

    def separators(self) -> list[tuple[int, str]]:
        """(place, character) between the numbers."""
        d, at = self.digits, self.after
        ends = [(d, ":"), (d + 5, " "), (2 * d + 6, ":"), (2 * d + 11, " ")]
        return [*ends, (at + 2, " "), (at + 11, ":"), (at + 20, " "), (at + 23, ":"), (at + 32, " ")]


def rows(data: bytes, host: str, family: Family, order: ByteOrder = sys.byteorder) -> Array:
    """The rows of a table as a structured array. Raises ObservationError."""
    check_whole(data, host, family)
    text = np.frombuffer(data + bytes(HEAD + 150 + TAIL), np.uint8)
    ends = np.flatnonzero(text[: len(data)] == 10)
    if not len(ends):
        return np.zeros(0, ROW)
    starts, found = ends[:-1] + 1, np.zeros(len(ends) - 1, ROW)
    for at in range(0, len(starts), ROWS_AT_ONCE):
        piece = slice(at, at + ROWS_AT_ONCE)
        good = _read(text, starts[piece], family, order, found[piece])
        for bad in np.flatnonzero(~good) + at:
            line = data[starts[bad] : ends[bad + 1]].decode("ascii", "replace")
            found[bad] = of_entry(parse_line(line, host, family, order, int(bad) + 2))
    return found


def _read(text: Array, starts: Array, family: Family, order: ByteOrder, out: Array) -> Array:
    """Fill `out`; which of the rows could be read."""
    layout = Layout(8 if family == 4 else 32)
    colon, good = _colons(sliding_window_view(text, HEAD)[starts])
    body = sliding_window_view(text, layout.fixed + TAIL)[starts + colon + 2]
    good &= _fixed(body, layout, order, out)
    good &= _tail(body[:, layout.fixed - 1 :], out)
    out["six"] = family == 6
    out["mapped"] = out["six"] & (out["hi"] == 0) & (out["lo"] >> np.uint64(32) == 0xFFFF)
    return good


def _colons(head: Array) -> tuple[Array, Array]:
    """Where the number of each line ends, and whether that is a number after spaces, and a space follows."""
    is_colon, is_digit = head == ord(":"), (head >= 48) & (head <= 57)
    place = np.argmax(is_colon, axis=1)
    before = np.arange(HEAD) < place[:, None]
    good = is_colon.any(axis=1) & (place < HEAD - 1) & (place > 0)
    good &= (~before | is_digit | (head == 32)).all(axis=1)
    good &= ~(before[:, 1:] & is_digit[:, :-1] & (head[:, 1:] == 32)).any(axis=1)
    index = np.arange(len(head))
    good &= is_digit[index, place - 1] & (head[index, np.minimum(place + 1, HEAD - 1)] == 32)
    return place, good


def _fixed(body: Array, layout: Layout, order: ByteOrder, out: Array) -> Array:
    """The hexadecimal columns."""
    values = _HEX[body[:, : layout.fixed - 1]]
    good = np.ones(len(body), bool)
    is_hex = np.ones(layout.fixed - 1, bool)
    for place, character in layout.separators():
        good &= body[:, place] == ord(character)
        is_hex[place] = False
    good &= (values[:, is_hex] < 16).all(axis=1)
    d, at = layout.digits, layout.after
    out["hi"], out["lo"] = _address(values[:, :d], order)
    out["peer_hi"], out["peer_lo"] = _address(values[:, d + 6 : 2 * d + 6], order)
    out["port"] = _number(values[:, d + 1 : d + 5])
    out["peer_port"] = _number(values[:, 2 * d + 7 : 2 * d + 11])
    out["state"] = _number(values[:, at : at + 2])
    out["tx"], out["rx"] = _number(values[:, at + 3 : at + 11]), _number(values[:, at + 12 : at + 20])
    out["timer"], out["when"] = _number(values[:, at + 21 : at + 23]), _number(values[:, at + 24 : at + 32])
    out["when"][out["timer"] == 0] = 0  # of no meaning, see parse_line
    out["retransmits"] = _number(values[:, at + 33 : at + 41])
    good &= _KNOWN_STATE[out["state"]] & (out["timer"] < len(TIMERS))
    out["state"] = _ONE_NUMBER[out["state"]]
    return good


def _number(nibbles: Array) -> Array:
    """Two, four or eight hexadecimal digits as numbers."""
    raw = np.ascontiguousarray((nibbles[:, 0::2] << 4) | (nibbles[:, 1::2] & 15))
    return raw.view(f">u{raw.shape[1]}")[:, 0]


def _address(nibbles: Array, order: ByteOrder) -> tuple[Array, Array]:
    """High and low half of addresses printed as native words."""
    raw = np.ascontiguousarray((nibbles[:, 0::2] << 4) | (nibbles[:, 1::2] & 15))
    words = raw.view("<u4" if order == "little" else ">u4").astype(np.uint64)
    if words.shape[1] == 1:
        return np.zeros(len(words), np.uint64), words[:, 0] | np.uint64(V4_PREFIX)
    half = np.uint64(32)
    return (words[:, 0] << half) | words[:, 1], (words[:, 2] << half) | words[:, 3]


def _tail(tail: Array, out: Array) -> Array:
    """uid and inode, as the words 1 and 3 after a space; word 5 has to begin (see proc_net_tcp._LINE)."""
    filled = tail != 32
    begins = filled.copy()
    begins[:, 1:] &= ~filled[:, :-1]
    word = np.cumsum(begins, axis=1, dtype=np.uint8)
    is_digit = (tail >= 48) & (tail <= 57)
    numbers = (word >= 1) & (word <= 4) & filled
    good: Array = ~filled[:, 0] & (~numbers | is_digit).all(axis=1)
    good &= (begins & (word == 5) & (tail > 32) & (tail < 127)).any(axis=1)
    gaps = ~filled & (word >= 2) & (word <= 4)
    good &= gaps.sum(axis=1) == 3  # exactly one space after each of the words 2 to 4
    good &= _decimal(tail, filled & (word == 1), 10, out["uid"])
    good &= _decimal(tail, filled & (word == 3), 19, out["inode"])
    good &= (filled & (word == 2)).sum(axis=1) <= 10
    return good


def _decimal(tail: Array, mask: Array, most: int, out: Array) -> Array:
    """The number under the mask, for all rows of one place and length at once: there are few of those.

    Which rows have one of at most so many places.
    """
    place, length = np.argmax(mask, axis=1), mask.sum(axis=1)
    good: Array = (length > 0) & (length <= most)
    shape = place * TAIL + length
    for one in np.unique(shape[good]):
        which = np.flatnonzero(shape == one)
        start, count = divmod(int(one), TAIL)
        digits = tail[which, start : start + count].astype(np.uint64) - np.uint64(48)
        out[which] = digits @ (np.uint64(10) ** np.arange(count - 1, -1, -1, dtype=np.uint64))
    return good


def of_entry(entry: SocketEntry) -> tuple[int, ...]:
    """A plain entry as a row of the array."""
    six = entry.family == 6
    hi, lo = halves(entry.address)
    peer_hi, peer_lo = halves(entry.peer_address)
    when = round(entry.timer_seconds * USER_HZ)
    numbers = (entry.inode, when, entry.rx_queue, entry.tx_queue, entry.retransmits)
    more = (entry.uid, entry.port, entry.peer_port, NUMBERS[entry.state], TIMER_NUMBERS[entry.timer])
    return (hi, lo, peer_hi, peer_lo, *numbers, *more, six, entry.mapped)


def halves(address: str) -> tuple[int, int]:
    """An address as two numbers; IPv4 as v4-mapped."""
    raw = packed_address(address)
    return int.from_bytes(raw[:8]), int.from_bytes(raw[8:])
