"""A host's part of a snapshot (docs/architecture.md) to a value: its entries with cookie, limit and holders
attached.

What a daemon sends was read in hosts that may be hostile: every length, index and address is checked, and
what does not fit is an ObservationError, never a wrong row.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, NamedTuple

import msgspec

from orchestrator.errors import ObservationError
from orchestrator.join.proc_net_tcp import MAPPED_PREFIX, address_of, parse
from orchestrator.model.rows import Holder, SocketEntry, Taken, Translation

DIAG = struct.Struct("<BBHH16s16sIIIQ")
HOLDER = struct.Struct("<QII")
KNOWN = struct.Struct("<QQ")
PIECES = ("tcp", "tcp6", "diag", "holders", "known")
LARGE = 750_000  # bytes of tables, about 5,000 rows: from here on NumPy's import (0.14 s) is worth it
NAME_LENGTH = 64  # characters of a process name; the kernel's own have at most 15 (TASK_COMM_LEN)
TIME_WAIT, LISTEN = 6, 10  # include/net/tcp_states.h


class HostTables(msgspec.Struct, frozen=True, kw_only=True):
    """What one host's tables said. `known`: cookie to id, as the daemon remembers it; `off`: there are no
    tables, for its power was cut."""

    host: str
    entries: Sequence[SocketEntry] = ()
    translations: tuple[Translation, ...] = ()
    known: Mapping[int, int] = {}
    netns: int = 0
    off: bool = False
    taken: Taken = Taken(began=0.0, ended=0.0)


class Pieces(NamedTuple):
    """The bytes of a part, cut as `sizes` says."""

    tcp: bytes
    tcp6: bytes
    diag: bytes
    holders: bytes
    known: bytes


class Process(NamedTuple):
    """pid as seen inside the host, and its name."""

    pid: int
    name: str


class Diag(NamedTuple):
    """One socket as sock_diag(7) tells it; of a listener `wqueue` is the accept queue's limit."""

    family: int
    state: int
    port: int
    peer_port: int
    address: bytes
    peer_address: bytes
    rqueue: int
    wqueue: int
    inode: int
    cookie: int


def read_part(part: Mapping[str, Any], data: bytes, *, large: int = LARGE) -> HostTables:
    """The tables of one part. `large`: from so many bytes of tables on the NumPy path is taken."""
    host = _text(part, "host")
    pieces = _cut(host, part.get("sizes"), data)
    processes = [_process(host, item) for item in _list(host, part, "processes")]
    machine = _whole(part.get("cookies", 0))  # what is set in its cookies where the lab has several kernels
    return HostTables(
        host=host,
        entries=_entries(host, pieces, processes, large, machine),
        translations=tuple(_translation(host, item) for item in _list(host, part, "translations")),
        known=_known(pieces.known, machine),
        netns=_whole(part.get("netns", 0)),
        off=part.get("off") is True,
        taken=Taken(began=_number(host, part, "began"), ended=_number(host, part, "ended")),
    )


def _known(records: bytes, machine: int) -> dict[int, int]:
    known = dict(KNOWN.iter_unpack(records))
    return {cookie | machine: number for cookie, number in known.items()} if machine else known


def _entries(
    host: str, pieces: Pieces, processes: Sequence[Process], large: int, machine: int
) -> Sequence[SocketEntry]:
    if len(pieces.tcp) + len(pieces.tcp6) >= large:
        from orchestrator.join.columns import read

        return read(host, pieces, processes, machine=machine)
    found = plain_entries(host, pieces, processes)
    if not machine:
        return found
    return [msgspec.structs.replace(e, cookie=e.cookie | machine) if e.cookie else e for e in found]


def plain_entries(host: str, pieces: Pieces, processes: Sequence[Process]) -> tuple[SocketEntry, ...]:
    """The rows of both tables, with cookie, limit and holders, without NumPy."""
    entries = [*parse(pieces.tcp, host, 4), *parse(pieces.tcp6, host, 6)]
    held = _holders(host, pieces.holders, processes)
    sockets = Sockets(map(Diag._make, DIAG.iter_unpack(pieces.diag)))
    return tuple(_complete(entry, sockets.of(entry), held) for entry in entries)


def _complete(entry: SocketEntry, diag: Diag | None, held: Mapping[int, tuple[Holder, ...]]) -> SocketEntry:
    holders = held.get(entry.inode, ()) if entry.inode else ()
    if diag is None and not holders:
        return entry
    cookie = (diag.cookie or None) if diag else None
    limit = diag.wqueue if diag and diag.state == LISTEN else None
    return msgspec.structs.replace(entry, holders=holders, cookie=cookie, limit=limit)


class Sockets:
    """sock_diag's records, to be found by a row: listeners by inode, the others by their addresses."""

    def __init__(self, records: Iterable[Diag]) -> None:
        self._listening: dict[int, Diag] = {}
        self._by_tuple: dict[tuple[str, int, str, int], list[Diag]] = {}
        for record in records:
            if record.state == LISTEN:
                self._listening[record.inode] = record
            else:
                self._by_tuple.setdefault(_tuple(record), []).append(record)

    def of(self, entry: SocketEntry) -> Diag | None:
        """The record of the very socket that the row is about; None where two could be meant."""
        if entry.state == "LISTEN":
            return self._listening.get(entry.inode)
        key = (entry.address, entry.port, entry.peer_address, entry.peer_port)
        found = [
            record
            for record in self._by_tuple.get(key, ())
            if may_be_same(entry.state == "TIME_WAIT", entry.inode, record.state == TIME_WAIT, record.inode)
        ]
        return found[0] if len({record.cookie for record in found}) == 1 else None


def may_be_same(waits: bool, inode: int, other_waits: bool, other_inode: int) -> bool:
    """Whether two sightings of one tuple can be one socket: a TIME_WAIT and a live socket are two
    incarnations, and an inode does not change once there is one (it comes with accept and goes with
    close)."""
    return waits == other_waits and (not inode or not other_inode or inode == other_inode)


def _tuple(record: Diag) -> tuple[str, int, str, int]:
    family = record.family
    return (
        _address(family, record.address),
        record.port,
        _address(family, record.peer_address),
        record.peer_port,
    )


@lru_cache(maxsize=4096)
def _address(family: int, packed: bytes) -> str:
    return address_of(packed[:4] if family == 2 else packed).text


def normal_address(text: str) -> str:
    """An address in the spelling that rows have (RFC 5952, v4-mapped as IPv4). Raises ValueError."""
    try:
        return address_of(packed_address(text)).text
    except OSError as error:
        raise ValueError(f"{text!r} is no address") from error


@lru_cache(maxsize=4096)
def packed_address(text: str) -> bytes:
    """16 bytes in network order; IPv4 as v4-mapped. Raises OSError."""
    return inet_pton(AF_INET6, text) if ":" in text else MAPPED_PREFIX + inet_pton(AF_INET, text)


def _holders(host: str, data: bytes, processes: Sequence[Process]) -> dict[int, tuple[Holder, ...]]:
    held: dict[int, list[Holder]] = {}
    for inode, index, descriptor in HOLDER.iter_unpack(data):
        if index >= len(processes):
            raise ObservationError(f"{host}: a descriptor of process {index} of {len(processes)}")
        held.setdefault(inode, []).append(Holder(processes[index].pid, processes[index].name, descriptor))
    return {inode: tuple(sorted(set(found), key=holder_order)) for inode, found in held.items()}


def holder_order(holder: Holder) -> tuple[int, int, str]:
    """By process, then descriptor."""
    return holder.pid, holder.fd, holder.process


def _cut(host: str, sizes: object, data: bytes) -> Pieces:
    if not isinstance(sizes, Mapping):
        raise ObservationError(f"{host}: a snapshot without sizes")
    lengths = [_whole(sizes.get(name, 0)) for name in PIECES]
    if min(lengths) < 0 or sum(lengths) != len(data):
        raise ObservationError(f"{host}: {len(data)} bytes of tables where {sum(lengths)} were announced")
    for name, length, record in zip(PIECES[2:], lengths[2:], (DIAG, HOLDER, KNOWN), strict=True):
        if length % record.size:
            raise ObservationError(f"{host}: {name}: {length} bytes are no whole records of {record.size}")
    return Pieces(*_slices(lengths, data))


def _slices(lengths: Iterable[int], data: bytes) -> Iterator[bytes]:
    at = 0
    for length in lengths:
        yield data[at : at + length]
        at += length


def _process(host: str, item: object) -> Process:
    if isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[1], str):
        pid = _whole(item[0])
        if pid >= 0:
            return Process(pid, clean(item[1]))
    raise ObservationError(f"{host}: {item!r:.80} is no process")


def clean(name: str) -> str:
    """A process name that can be encoded as UTF-8, and no longer than any real one."""
    return name[:NAME_LENGTH].encode("utf-8", "replace").decode("utf-8")


def _translation(host: str, item: object) -> Translation:
    if isinstance(item, list | tuple) and len(item) == 8:
        try:
            ends = [(normal_address(item[at]), _port(item[at + 1])) for at in (0, 2, 4, 6)]
            return Translation(
                host=host, client=ends[0], server=ends[1], new_client=ends[2], new_server=ends[3]
            )
        except (ValueError, TypeError):
            pass
    raise ObservationError(f"{host}: {item!r:.120} is no translation")


def _port(value: object) -> int:
    port = _whole(value)
    if not 0 <= port <= 0xFFFF:
        raise ValueError("no port")
    return port


def _whole(value: object) -> int:
    """A number of JSON that must be whole; -1 for anything else, which every caller refuses."""
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


def _number(host: str, part: Mapping[str, Any], name: str) -> float:
    value = part.get(name, 0.0)
    if not isinstance(value, int | float):
        raise ObservationError(f"{host}: {name} is no number")
    return float(value)


def _text(part: Mapping[str, Any], name: str) -> str:
    value = part.get(name)
    if not isinstance(value, str):
        raise ObservationError(f"a part of a snapshot without {name}")
    return value


def _list(host: str, part: Mapping[str, Any], name: str) -> Sequence[object]:
    value = part.get(name, [])
    if not isinstance(value, list | tuple):
        raise ObservationError(f"{host}: {name} is no list")
    return value
