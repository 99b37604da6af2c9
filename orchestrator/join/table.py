"""`connections.join` for large tables: the plain pairs at once, by NumPy; what is not plain by the same rules
as ever.

Plain is a tuple that stands once in its space, with its mirror image once, in states that go together, where
exactly one end has a listener, and no router has translated it. Taking these away changes nothing for the
others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from orchestrator.garbage import no_collection
from orchestrator.join import ids, roles
from orchestrator.join.columns import Columns, address_text, mixed, of_entries
from orchestrator.join.connections import DOCKER_DNS, Joined, Rows, View
from orchestrator.join.numeric import LISTEN, Array, halves
from orchestrator.join.pairs import compatible, pairs
from orchestrator.join.proc_net_tcp import USER_HZ
from orchestrator.join.snapshot import HostTables
from orchestrator.model.plan import Plan
from orchestrator.model.rows import STATES, TIMERS, Connection, End, Listener, SocketEntry

_COMPATIBLE = np.array(
    [[a in STATES and b in STATES and compatible(STATES[a], STATES[b]) for b in range(16)] for a in range(16)]
)
_STATE_NAMES = np.array([STATES.get(at) for at in range(max(STATES) + 1)], object)
_TIMER_NAMES = np.array([TIMERS[at] for at in range(len(TIMERS))], object)
NOWHERE = -1


def join_large(tables: Sequence[HostTables], plan: Plan, *, everything: bool = False) -> Joined:
    """As `connections.join_plain`, and with the same result."""
    with no_collection():
        whole = Whole(tables)
        wanted = np.ones(len(whole.raw), bool) if everything else ~whole.has_address(DOCKER_DNS)
        listens = whole.raw["state"] == LISTEN
        view = View(tables, plan, whole.entries(np.flatnonzero(wanted & listens)))
        matched = Matched(whole, view, np.flatnonzero(wanted & ~listens))
        rows = Rows(view)
        _build(whole, view, matched, rows)
        rows.add(pairs(whole.entries(matched.left), view.spaces, view.translations, view.known))
        return rows.joined()


class Whole:
    """The rows of all hosts, one after the other, with their addresses numbered."""

    def __init__(self, tables: Sequence[HostTables]) -> None:
        self._parts = [
            one.entries if isinstance(one.entries, Columns) else of_entries(one.host, one.entries)
            for one in tables
        ]
        lengths = [len(part) for part in self._parts]
        self.raw: Array = np.concatenate([part.raw for part in self._parts])
        self.cookie: Array = np.concatenate([part.cookie for part in self._parts])
        self.holders = [held for part in self._parts for held in part.holders]
        self.hosts = [part.host for part in self._parts]
        self.host: Array = np.repeat(np.arange(len(lengths)), lengths)
        self._begins = np.concatenate([[0], np.cumsum(lengths)])
        self._number_addresses()

    def _number_addresses(self) -> None:
        hi = np.concatenate([self.raw["hi"], self.raw["peer_hi"]])
        lo = np.concatenate([self.raw["lo"], self.raw["peer_lo"]])
        places, numbers = _distinct(hi, lo)
        self.texts = list(map(address_text, hi[places].tolist(), lo[places].tolist()))
        self.local, self.peer = numbers[: len(self.raw)], numbers[len(self.raw) :]

    def has_address(self, address: str) -> Array:
        """Rows with this address at either end."""
        hi, lo = halves(address)
        here: Array = (self.raw["hi"] == hi) & (self.raw["lo"] == lo)
        here |= (self.raw["peer_hi"] == hi) & (self.raw["peer_lo"] == lo)
        return here

    def entries(self, places: Array) -> list[SocketEntry]:
        """The entries at these places."""
        found: list[SocketEntry] = []
        for at, part in enumerate(self._parts):
            here = places[(places >= self._begins[at]) & (places < self._begins[at + 1])]
            found += part.entries(here - self._begins[at])
        return found

    def endpoints(self, places: Array) -> tuple[Array, Array]:
        """Local and peer's address and port, each as one number."""
        return self._endpoint(self.local, "port", places), self._endpoint(self.peer, "peer_port", places)

    def _endpoint(self, numbers: Array, port: str, places: Array) -> Array:
        endpoint: Array = (numbers[places].astype(np.int64) << 16) | self.raw[port][places]
        return endpoint


def _distinct(hi: Array, lo: Array) -> tuple[Array, Array]:
    """(a place of each distinct address, the number of each row's address)."""
    if not hi.any():
        _, places, numbers = np.unique(lo, return_index=True, return_inverse=True)
        return places, numbers
    order = np.lexsort((lo, hi))
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(hi[order]) != 0) | (np.diff(lo[order]) != 0)
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(new) - 1
    return order[new], numbers


class Matched:
    """Which rows are plain pairs: `client[i]` with `server[i]`; `left` are the others."""

    def __init__(self, whole: Whole, view: View, places: Array) -> None:
        self._whole, self._view = whole, view
        self.candidates: list[tuple[SocketEntry, ...]] = []  # listeners; `listening` numbers these
        self.listening: Array = np.full(len(whole.raw), NOWHERE, np.int64)
        self._find_listeners(places)
        a, b = self._mirrored(places)
        plain = self._plain(a, b)
        a, b = a[plain], b[plain]
        a_serves = self.listening[a] != NOWHERE
        self.client, self.server = np.where(a_serves, b, a), np.where(a_serves, a, b)
        self.both = (self.client, self.server)
        rest = np.ones(len(whole.raw), bool)
        rest[a] = rest[b] = False
        self.left = places[rest[places]]

    def _mirrored(self, places: Array) -> tuple[Array, Array]:
        """Rows that stand once in their space, and so do their mirror images."""
        local, peer = self._whole.endpoints(places)
        low, high, space = np.minimum(local, peer), np.maximum(local, peer), self._spaces(places)
        order = np.lexsort((high, low, space))
        local, low, high, space = local[order], low[order], high[order], space[order]
        new = np.ones(len(order) + 1, bool)
        new[1:-1] = (np.diff(low) != 0) | (np.diff(high) != 0) | (np.diff(space) != 0)
        begins = np.flatnonzero(new)
        twos = begins[:-1][np.diff(begins) == 2]
        twos = twos[local[twos] != local[twos + 1]]
        return places[order[twos]], places[order[twos + 1]]

    def _spaces(self, places: Array) -> Array:
        """A number for the space of each row."""
        whole = self._whole
        key = whole.host[places].astype(np.int64) * len(whole.texts) + whole.local[places]
        keys, numbers = np.unique(key, return_inverse=True)
        seen: dict[Any, int] = {}
        of_key = []
        for host, address in (divmod(one, len(whole.texts)) for one in keys.tolist()):
            space = self._view.spaces.space(whole.hosts[host], whole.texts[address])
            of_key.append(seen.setdefault(space, len(seen)))
        return np.array(of_key, np.int64)[numbers]

    def _plain(self, a: Array, b: Array) -> Array:
        states = self._whole.raw["state"]
        plain: Array = _COMPATIBLE[states[a], states[b]]
        plain &= (self.listening[a] == NOWHERE) != (self.listening[b] == NOWHERE)
        if self._view.translations:
            plain &= ~(self._translated(a) | self._translated(b))
        return plain

    def _translated(self, places: Array) -> Array:
        """Rows whose tuple has a part in a translation (or looks like it: then they are merely not plain)."""
        raw = self._whole.raw[places]
        mine = mixed(raw["hi"], raw["lo"], raw["port"], raw["peer_hi"], raw["peer_lo"], raw["peer_port"])
        steps = [
            (*halves(local[0]), local[1], *halves(peer[0]), peer[1])
            for _, local, peer in self._view.translations.steps()
        ]
        return np.isin(mine, mixed(*np.array(steps, np.uint64).T))

    def _find_listeners(self, places: Array) -> None:
        """Looked up once for each distinct local address and port that could have one."""
        whole, ports = self._whole, self._ports()
        maybe = places[np.isin((whole.host[places] << 16) | whole.raw["port"][places], ports)]
        if not len(maybe):
            return
        local, _ = whole.endpoints(maybe)
        key = (local * len(whole.hosts) + whole.host[maybe]) * 2 + whole.raw["six"][maybe]
        _, first, numbers = np.unique(key, return_index=True, return_inverse=True)
        found = [self._view.listeners.of(entry) for entry in self._in_order(maybe[first])]
        self.candidates = found
        numbers = numbers.reshape(-1)
        has = np.array([bool(one) for one in found])
        self.listening[maybe] = np.where(has[numbers], numbers, NOWHERE)

    def _in_order(self, places: Array) -> Iterable[SocketEntry]:
        return (self._whole.entries(places[at : at + 1])[0] for at in range(len(places)))

    def _ports(self) -> Array:
        numbers = {name: at for at, name in enumerate(self._whole.hosts)}
        listening = self._view.listeners.ports()
        return np.array([(numbers[host] << 16) | port for host, port in listening], np.int64)


def _build(whole: Whole, view: View, matched: Matched, rows: Rows) -> None:
    """A row for each plain pair."""
    clients, servers = matched.client, matched.server
    cookies = list(zip(whole.cookie[clients].tolist(), whole.cookie[servers].tolist(), strict=True))
    lists = zip(
        map(ids.text, _numbers(whole, view, matched, cookies)),
        _ends(whole, clients, servers),
        _ends(whole, servers, clients),
        _listeners(whole, view, matched),
        cookies,
        strict=True,
    )
    for id_, client, server, listener, both in lists:
        rows.connections.append(
            Connection(
                id=id_,
                status="joined",
                accepted=roles.accepted_by(server.state, server.inode),
                roles_by="listener",
                client=client,
                server=server,
                listener=listener,
            )
        )
        rows.cookies[id_] = both


def _numbers(whole: Whole, view: View, matched: Matched, cookies: Sequence[tuple[int, int]]) -> Iterator[int]:
    """The id of each pair, as Known.number() says it; where there are cookies, no entry has to be made for
    it."""
    known = [view.known.of_host(name) for name in whole.hosts]
    here, there = (map(known.__getitem__, whole.host[one].tolist()) for one in matched.both)
    for at, (mine, theirs, (client, server)) in enumerate(zip(here, there, cookies, strict=True)):
        number = mine.get(client) if client else None
        if number is None and server:
            number = theirs.get(server)
        if number is None:
            if client or server:
                number = ids.from_cookie(client or server)
            else:
                number = view.known.number(*(whole.entries(one[at : at + 1])[0] for one in matched.both))
        yield number


def _listeners(whole: Whole, view: View, matched: Matched) -> Iterator[Listener | None]:
    single = [view.listener(one, None) if len(one) < 2 else None for one in matched.candidates]
    for at, which in enumerate(matched.listening[matched.server].tolist()):
        candidates = matched.candidates[which]
        if len(candidates) < 2:
            yield single[which]
        else:  # SO_REUSEPORT: told by who holds the connection
            yield view.listener(candidates, whole.entries(matched.server[at : at + 1])[0])


def _ends(whole: Whole, places: Array, others: Array) -> Iterator[End]:
    """The rows at `places`, whose other ends are at `others`.

    Most have everything but a few fields in common with others: to copy one of those and change the few
    (0.3 µs) is several times cheaper than to name all fields anew.
    """
    first, kinds = _alike(_shared(whole, places, others))
    models = [_model(*one) for one in _columns_of_ends(whole, places[first], others[first])]
    raw = whole.raw[places]
    columns = (kinds, raw["port"], raw["inode"], raw["peer_port"])
    held = (whole.holders[at] for at in places.tolist())
    for holders, kind, port, inode, peer_port in zip(held, *(one.tolist() for one in columns), strict=True):
        holder = holders[0] if holders else _NOBODY
        yield msgspec.structs.replace(
            models[kind],
            port=port,
            inode=inode,
            pid=holder.pid,
            process=holder.process,
            fd=holder.fd,
            holders=holders,
            peer_port=peer_port,
        )


def _shared(whole: Whole, places: Array, others: Array) -> tuple[Array, ...]:
    """The columns of what `_ends` does not replace."""
    raw = whole.raw[places]
    names = ("state", "rx", "tx", "timer", "when", "retransmits", "uid", "six", "mapped")
    hosts = (whole.host[places], whole.host[others])
    return *hosts, whole.local[places], whole.peer[places], *(raw[name] for name in names)


def _alike(columns: Sequence[Array]) -> tuple[Array, Array]:
    """(a place of each kind of row, the kind of each row): rows of one kind are equal in all columns."""
    _, first, kinds = np.unique(mixed(*columns), return_index=True, return_inverse=True)
    kinds = kinds.reshape(-1)
    if all((one == one[first][kinds]).all() for one in columns):
        return first, kinds
    each = np.arange(len(columns[0]))  # two kinds have one hash: never seen
    return each, each


def _columns_of_ends(whole: Whole, places: Array, others: Array) -> Iterator[tuple[Any, ...]]:
    raw = whole.raw[places]
    hosts, texts = np.array(whole.hosts, object), np.array(whole.texts, object)
    columns = (
        hosts[whole.host[places]],
        texts[whole.local[places]],
        _STATE_NAMES[raw["state"]],
        raw["rx"],
        raw["tx"],
        _TIMER_NAMES[raw["timer"]],
        np.where(raw["timer"] != 0, raw["when"] / USER_HZ, 0.0),
        raw["retransmits"],
        raw["uid"],
        np.where(raw["six"], 6, 4),
        raw["mapped"],
        texts[whole.peer[places]],
        hosts[whole.host[others]],
    )
    return zip(*(one.tolist() for one in columns), strict=True)


def _model(*alike: Any) -> End:
    """An end with what `_ends` does not replace."""
    host, address, state, rx, tx, timer, seconds, retransmits, uid, family, mapped, *peer = alike
    return End(
        host=host,
        address=address,
        port=0,
        state=state,
        rx_queue=rx,
        tx_queue=tx,
        timer=timer,
        timer_seconds=seconds,
        retransmits=retransmits,
        uid=uid,
        inode=0,
        pid=None,
        process=None,
        fd=None,
        holders=(),
        family=family,
        mapped=mapped,
        peer_address=peer[0],
        peer_host=peer[1],
    )


class _Nobody(NamedTuple):
    """Stands for the first holder where there is none."""

    pid: None = None
    process: None = None
    fd: None = None


_NOBODY = _Nobody()
