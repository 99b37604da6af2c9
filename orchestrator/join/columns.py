"""A large host's rows as arrays, which are entries only where they are looked at. NumPy is imported here."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import overload

import numpy as np

from orchestrator.errors import ObservationError
from orchestrator.garbage import no_collection
from orchestrator.join import numeric
from orchestrator.join.numeric import LISTEN, TIME_WAIT, V4_PREFIX, Array
from orchestrator.join.proc_net_tcp import USER_HZ, ByteOrder, address_of
from orchestrator.join.snapshot import DIAG, HOLDER, Diag, Pieces, Process, Sockets, holder_order
from orchestrator.model.rows import STATES, TIMERS, Holder, SocketEntry

_DIAG = np.dtype(
    [
        ("family", "u1"),
        ("state", "u1"),
        ("port", "<u2"),
        ("peer_port", "<u2"),
        ("address", ">u4", (4,)),
        ("peer_address", ">u4", (4,)),
        ("rqueue", "<u4"),
        ("wqueue", "<u4"),
        ("inode", "<u4"),
        ("cookie", "<u8"),
    ]
)
_HOLDER = np.dtype([("inode", "<u8"), ("process", "<u4"), ("fd", "<u4")])
assert (_DIAG.itemsize, _HOLDER.itemsize) == (DIAG.size, HOLDER.size)
_FIBONACCI = np.uint64(0x9E3779B97F4A7C15)  # 2^64 by the golden ratio: spreads what differs in few bits
NO_LIMIT = -1
Holders = tuple[Holder, ...]


class Columns(Sequence[SocketEntry]):
    """Rows of one host. `raw` has the columns of `numeric.rows`; cookie 0 and limit -1 mean: not known."""

    def __init__(
        self, host: str, raw: Array, holders: Sequence[Holders], cookie: Array, limit: Array
    ) -> None:
        self.host, self.raw, self.holders, self.cookie, self.limit = host, raw, holders, cookie, limit

    def __len__(self) -> int:
        return len(self.raw)

    @overload
    def __getitem__(self, at: int) -> SocketEntry: ...
    @overload
    def __getitem__(self, at: slice) -> list[SocketEntry]: ...
    def __getitem__(self, at: int | slice) -> SocketEntry | list[SocketEntry]:
        if isinstance(at, slice):
            return self.entries(range(*at.indices(len(self))))
        if not -len(self) <= at < len(self):
            raise IndexError(at)
        return self.entries([at])[0]

    def __iter__(self) -> Iterator[SocketEntry]:
        return iter(self.entries(range(len(self))))

    def entries(self, places: Sequence[int] | Array) -> list[SocketEntry]:
        """The entries at these places."""
        chosen = np.asarray(places, dtype=np.int64)
        found = zip(
            self.raw[chosen].tolist(),
            [self.holders[at] for at in chosen.tolist()],
            self.cookie[chosen].tolist(),
            self.limit[chosen].tolist(),
            strict=True,
        )
        return [_entry(self.host, *one) for one in found]


def _entry(host: str, row: tuple[int, ...], holders: Holders, cookie: int, limit: int) -> SocketEntry:
    hi, lo, peer_hi, peer_lo, inode, when, rx, tx, retransmits, *more = row
    uid, port, peer_port, state, timer, six, mapped = more
    return SocketEntry(
        host=host,
        family=6 if six else 4,
        mapped=bool(mapped),
        address=address_text(hi, lo),
        port=port,
        peer_address=address_text(peer_hi, peer_lo),
        peer_port=peer_port,
        state=STATES[state],
        rx_queue=rx,
        tx_queue=tx,
        timer=TIMERS[timer],
        timer_seconds=when / USER_HZ if timer else 0.0,
        retransmits=retransmits,
        uid=uid,
        inode=inode,
        cookie=cookie or None,
        limit=None if limit == NO_LIMIT else limit,
        holders=holders,
    )


@lru_cache(maxsize=1 << 14)
def address_text(hi: int, lo: int) -> str:
    """The address of two halves."""
    return address_of(hi.to_bytes(8) + lo.to_bytes(8)).text


@no_collection()
def read(
    host: str,
    pieces: Pieces,
    processes: Sequence[Process],
    order: ByteOrder = sys.byteorder,
    *,
    machine: int = 0,
) -> Columns:
    """A host's tables, with who holds what and sock_diag's cookies and limits. `machine`: set in its cookies.
    Raises ObservationError."""
    tables = [numeric.rows(pieces.tcp, host, 4, order), numeric.rows(pieces.tcp6, host, 6, order)]
    raw = np.concatenate(tables)
    holders = _of_rows(raw["inode"], _holders(host, pieces.holders, processes))
    found = Columns(host, raw, holders, np.zeros(len(raw), np.uint64), np.full(len(raw), NO_LIMIT, np.int64))
    if pieces.diag:
        _identify(found, np.frombuffer(pieces.diag, _DIAG))
    if machine:
        found.cookie[found.cookie != 0] |= np.uint64(machine)
    return found


def of_entries(host: str, entries: Sequence[SocketEntry]) -> Columns:
    """Plain entries as columns, to be joined with those of a large host."""
    raw = np.array([numeric.of_entry(entry) for entry in entries], dtype=numeric.ROW)
    cookie = np.array([entry.cookie or 0 for entry in entries], np.uint64)
    limit = np.array([NO_LIMIT if entry.limit is None else entry.limit for entry in entries], np.int64)
    return Columns(host, raw, [entry.holders for entry in entries], cookie, limit)


def _holders(host: str, data: bytes, processes: Sequence[Process]) -> Mapping[int, Holders]:
    records = np.frombuffer(data, _HOLDER)
    if len(records) and int(records["process"].max()) >= len(processes):
        worst = int(records["process"].max())
        raise ObservationError(f"{host}: a descriptor of process {worst} of {len(processes)}")
    records = records[np.argsort(records["inode"], kind="stable")]
    pids, names = [one.pid for one in processes], [one.name for one in processes]
    held = [
        Holder(pids[at], names[at], fd)
        for at, fd in zip(records["process"].tolist(), records["fd"].tolist(), strict=True)
    ]
    return _grouped(records["inode"], held)


def _grouped(inodes: Array, held: Sequence[Holder]) -> dict[int, Holders]:
    """Each inode's holders, from records in the order of inodes; each once, by pid and descriptor."""
    unique, begins, counts = np.unique(inodes, return_index=True, return_counts=True)
    found: dict[int, Holders] = {
        inode: (held[at],) for inode, at in zip(unique.tolist(), begins.tolist(), strict=True)
    }
    for at in np.flatnonzero(counts > 1).tolist():
        several = set(held[begins[at] : begins[at] + counts[at]])
        found[int(unique[at])] = tuple(sorted(several, key=holder_order))
    return found


def _of_rows(inodes: Array, held: Mapping[int, Holders]) -> list[Holders]:
    empty: Holders = ()
    return [held.get(inode, empty) if inode else empty for inode in inodes.tolist()]


def _identify(found: Columns, records: Array) -> None:
    """Cookies and limits. Tuples that are there once are matched here, the others by `Sockets`."""
    listens = found.raw["state"] == LISTEN
    _one_by_one(found, np.flatnonzero(listens), records[records["state"] == LISTEN])
    records = records[records["state"] != LISTEN]
    if not len(records):
        return
    hashes = mixed(*_diag_key(records))
    by_hash = np.argsort(hashes)
    hashes = hashes[by_hash]
    wanted = mixed(*_row_key(found.raw))
    hashes = np.append(hashes, hashes[-1:] + np.uint64(1))  # so that the last one has a next one, too
    first = np.minimum(np.searchsorted(hashes, wanted), len(records) - 1)
    there = (hashes[first] == wanted) & ~listens
    again = hashes[first + 1] == wanted
    once = np.flatnonzero(there & ~again)
    mates = by_hash[first[once]]
    same = _same(found.raw[once], records[mates])
    found.cookie[once[same]] = records["cookie"][mates[same]]
    several = np.flatnonzero(there & again)
    if len(several):
        _one_by_one(found, several, records[np.isin(mixed(*_diag_key(records)), wanted[several])])


def _one_by_one(found: Columns, places: Array, records: Array) -> None:
    sockets = Sockets(map(Diag._make, DIAG.iter_unpack(records.tobytes())))
    for at, entry in zip(places.tolist(), found.entries(places), strict=True):
        diag = sockets.of(entry)
        if diag is not None:
            found.cookie[at] = diag.cookie
            found.limit[at] = diag.wqueue if diag.state == LISTEN else NO_LIMIT


def _same(rows: Array, records: Array) -> Array:
    """Whether row and record are of one socket: the very tuple, and see snapshot.may_be_same()."""
    same: Array = (rows["state"] == TIME_WAIT) == (records["state"] == TIME_WAIT)
    for a, b in zip(_row_key(rows), _diag_key(records), strict=True):
        same &= a == b
    here, there = rows["inode"], records["inode"]
    same &= (here == 0) | (there == 0) | (here == there)
    return same


def _row_key(rows: Array) -> tuple[Array, ...]:
    return tuple(rows[name] for name in ("hi", "lo", "peer_hi", "peer_lo", "port", "peer_port"))


def _diag_key(records: Array) -> tuple[Array, ...]:
    four = records["family"] == 2
    local, peer = _halves(records["address"], four), _halves(records["peer_address"], four)
    return *local, *peer, records["port"], records["peer_port"]


def _halves(words: Array, four: Array) -> tuple[Array, Array]:
    wide, half = words.astype(np.uint64), np.uint64(32)
    hi, lo = (wide[:, 0] << half) | wide[:, 1], (wide[:, 2] << half) | wide[:, 3]
    return np.where(four, np.uint64(0), hi), np.where(four, wide[:, 0] | np.uint64(V4_PREFIX), lo)


def mixed(*key: Array) -> Array:
    """A number for each key; equal keys have equal ones, and few others do."""
    total: Array = np.zeros(len(key[0]), np.uint64)
    for one in key:
        total = (total ^ one.astype(np.uint64)) * _FIBONACCI
        total ^= total >> np.uint64(29)
    return total
