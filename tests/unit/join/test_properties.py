"""What holds for any set of sockets: joins back to itself, in any order, and never a wrong pair."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ObservationError
from orchestrator.join import columns, numeric
from orchestrator.join.connections import Joined, join
from orchestrator.join.proc_net_tcp import Family, parse
from orchestrator.model.rows import SocketEntry
from tests.unit.join import worlds
from tests.unit.join.entries import UNTIMED, any_entry
from tests.unit.join.worlds import ALICE, ALICE6, BOB, EDGE_IN, LARGE, PLAN, SMALL, WEB, WEB6, held, tables

PLACES = [("alice", ALICE), ("bob", BOB), ("web", WEB), ("edge", EDGE_IN), ("alice", ALICE6), ("web", WEB6)]
TWINS = [("twin", ALICE), ("twin-web", "10.20.1.80")]
LOOPBACK = [(name, address) for name in ("alice", "web") for address in ("127.0.0.1", "::1")]
STATES = ["ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "CLOSE_WAIT", "SYN_RECV", "LAST_ACK", "CLOSING"]


class Link(NamedTuple):
    """A connection that was really made."""

    client: SocketEntry
    server: SocketEntry


@st.composite
def links(draw: st.DrawFn) -> list[Link]:
    """Connections between hosts, and inside them; each tuple once in its space."""
    made: dict[object, Link] = {}
    for number in range(draw(st.integers(0, 12))):
        ends = draw(st.sampled_from([(PLACES, PLACES), (TWINS, TWINS), (LOOPBACK, LOOPBACK)]))
        client = draw(st.sampled_from(ends[0]))
        same = [e for e in ends[1] if (":" in e[1]) == (":" in client[1])]
        if ends[0] is LOOPBACK:
            same = [client]
        server = draw(st.sampled_from(same))
        ports = draw(st.integers(1, 6)), draw(st.integers(1, 6))
        link = _link(draw, number, client, server, ports)
        space = client[0] if ends[0] is LOOPBACK else ends[0] is TWINS
        tuples = frozenset({(client[1], ports[0]), (server[1], ports[1])})
        if len(tuples) == 2:
            made.setdefault((space, tuples), link)
    return list(made.values())


def _link(
    draw: st.DrawFn, number: int, client: tuple[str, str], server: tuple[str, str], ports: tuple[int, int]
) -> Link:
    local, peer = (_shown(end[1], port) for end, port in zip((client, server), ports, strict=True))
    mapped = {} if ":" in server[1] else {"family": draw(st.sampled_from([4, 6]))}
    cookies = draw(st.booleans())

    def end(at: int, where: str, here: str, there: str, **more: int) -> SocketEntry:
        inode = 1 + 2 * number + at
        more |= {"cookie": 100 + inode} if cookies else {}
        holders = held(7 + at, number)
        state = draw(st.sampled_from(STATES))
        return worlds.sock(where, here, there, state, inode=inode, holders=holders, **more)

    return Link(end(0, client[0], local, peer), end(1, server[0], peer, local, **mapped))


def _shown(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def pairs_of(joined: Joined) -> set[frozenset[tuple[str, int]]]:
    """Each row as the hosts and inodes of its ends."""
    return {
        frozenset((end.host, end.inode) for end in (row.client, row.server) if end is not None)
        for row in joined.connections
    }


def wanted(found: Sequence[Link]) -> set[frozenset[tuple[str, int]]]:
    return {frozenset((end.host, end.inode) for end in link) for link in found}


def listeners(draw_ports: Sequence[int]) -> list[SocketEntry]:
    return [
        worlds.listen(host, f"0.0.0.0:{port}", inode=9000 + port, holders=held(8, port))
        for host in ("web", "alice")
        for port in draw_ports
    ]


@UNTIMED
@given(links())
def test_joins_back_to_itself(found: list[Link]) -> None:
    joined = join(tables([end for link in found for end in link]), PLAN)
    assert pairs_of(joined) == wanted(found)
    assert {row.status for row in joined.connections} <= {"joined"}
    assert len({row.id for row in joined.connections}) == len(found)


@UNTIMED
@given(links(), st.randoms(use_true_random=False), st.lists(st.integers(1, 6), unique=True))
def test_order_of_rows_does_not_matter(found: list[Link], chance: random.Random, ports: list[int]) -> None:
    entries = [*listeners(ports), *(end for link in found for end in link)]
    first = join(tables(entries), PLAN)
    chance.shuffle(entries)
    assert join(tables(entries), PLAN) == first


@UNTIMED
@given(links(), st.data())
def test_a_missing_row_gives_one_end_and_never_another_pair(found: list[Link], data: st.DataObject) -> None:
    entries = [end for link in found for end in link]
    gone = data.draw(st.sets(st.sampled_from(range(len(entries)))) if entries else st.just(set()))
    kept = [entry for at, entry in enumerate(entries) if at not in gone]
    joined = join(tables(kept), PLAN)
    whole = wanted(found)
    for pair in pairs_of(joined):
        assert pair in whole or (len(pair) == 1 and any(pair < one for one in whole))
    assert sum(len(pair) for pair in pairs_of(joined)) == len(kept)


@UNTIMED
@given(links(), st.lists(st.integers(1, 6), unique=True), st.data())
def test_numpy_says_the_same(found: list[Link], ports: list[int], data: st.DataObject) -> None:
    """Of whole connections, halves, tuples seen twice, strangers, translated ones, and remembered ids."""
    entries = [*listeners(ports), *(end for link in found for end in link)]
    entries += data.draw(st.lists(any_entry("web"), max_size=3))
    if len(entries) > 1:
        drawn = data.draw(st.lists(st.sampled_from(entries), max_size=3))
        entries += [msgspec.structs.replace(entry, inode=0) for entry in drawn]
        gone = data.draw(st.lists(st.sampled_from(entries), max_size=2))
        entries = [entry for entry in entries if entry not in gone]
    cookies = [(e.host, e.cookie) for e in entries if e.cookie]
    known = {host: {cookie: data.draw(st.integers(1, 9))} for host, cookie in cookies[:2]}
    routers = {"edge": [_translation(link) for link in found[:1]]}
    both = [
        join(tables(entries, known=known, translations=routers, large=large), PLAN)
        for large in (SMALL, LARGE)
    ]
    assert both[0] == both[1]


def _translation(link: Link) -> list[object]:
    client, server = link
    before = [client.address, client.port, server.address, server.port]
    return [*before, *(["10.20.2.1", 5, WEB, 80] if ":" not in client.address else [*before[:3], 81])]


@UNTIMED
@given(st.lists(any_entry("web"), max_size=20))
def test_numpy_reads_the_same(entries: list[SocketEntry]) -> None:
    families: tuple[Family, ...] = (4, 6)
    for family in families:
        data = worlds.table(entries, family)
        plain = parse(data, "web", family, "little")
        rows = numeric.rows(data, "web", family, "little")
        assert [tuple(row) for row in rows.tolist()] == [numeric.of_entry(entry) for entry in plain]


@UNTIMED
@given(st.lists(any_entry("web"), max_size=20))
def test_columns_give_their_entries_back(entries: list[SocketEntry]) -> None:
    found = columns.of_entries("web", entries)
    assert [_in_centiseconds(e) for e in found] == [_in_centiseconds(e) for e in entries]


def _in_centiseconds(entry: SocketEntry) -> SocketEntry:
    return msgspec.structs.replace(entry, timer_seconds=round(entry.timer_seconds * 100))


@UNTIMED
@given(st.binary(max_size=200), st.integers(0, 200), st.integers(0, 20), st.sampled_from([4, 6]))
def test_numpy_refuses_the_same(junk: bytes, at: int, cut: int, family: int) -> None:
    """A good table with something written over it anywhere."""
    link = worlds.sock("web", "10.0.0.1:80", "10.0.0.2:90", inode=7, family=family)
    good = worlds.table([link] * 3, family)
    place = len(good) // 3 + at
    data = good[:place] + junk + good[place + cut :]
    assert _outcome(data, family, numpy=True) == _outcome(data, family, numpy=False)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (" 00:00000000 ", " 00:0000000F "),  # no timer, and yet a time
        (" 00:00000000 ", " 00:FFFFFFFF "),
        (" 00:00000000 ", " 00:00000000000000FF "),
        (" 00:00000000 ", " 01:7FFFFFFFFFFFFFFF "),
        (" 00:00000000 ", " 01:8000000000000000 "),  # beyond a long
        (" 01 00000000:", " 0C 00000000:"),  # TCP_NEW_SYN_RECV
        (" 7 1 ", " 18446744073709551615 1 "),
        (" 7 1 ", " 18446744073709551616 1 "),  # beyond an unsigned long
        (" 7 1 ", " 99999999999999999999 1 "),
        ("    0        0 7", " 9999999999        0 7"),
    ],
)
def test_numpy_reads_odd_numbers_the_same(old: str, new: str, family: int) -> None:
    good = worlds.table([worlds.sock("web", "10.0.0.1:80", "10.0.0.2:90", inode=7, family=family)], family)
    assert old.encode() in good
    data = good.replace(old.encode(), new.encode())
    assert _outcome(data, family, numpy=True) == _outcome(data, family, numpy=False)


def _outcome(data: bytes, family: int, *, numpy: bool) -> object:
    table: Family = 4 if family == 4 else 6
    try:
        if numpy:
            return [tuple(row) for row in numeric.rows(data, "web", table, "little").tolist()]
        return [numeric.of_entry(entry) for entry in parse(data, "web", table, "little")]
    except ObservationError as error:
        return str(error)
