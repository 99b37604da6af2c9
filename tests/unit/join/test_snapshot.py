"""What a daemon sends is taken as it is meant, or refused: every length, index and address is checked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ObservationError
from orchestrator.join.connections import join, join_plain
from orchestrator.join.snapshot import DIAG, HOLDER, read_part
from orchestrator.model.rows import Holder, SocketEntry, Taken
from tests.unit.join.entries import UNTIMED, any_entry
from tests.unit.join.worlds import ALICE, LARGE, PLAN, SMALL, WEB, held, listen, part, sock

SERVER = sock("web", f"{WEB}:80", f"{ALICE}:40000", inode=12, cookie=22, holders=held(5, 6))
LISTENER = listen("web", "0.0.0.0:80", cookie=1, limit=128, holders=held(5, 3))


@pytest.fixture(params=[SMALL, LARGE], ids=["plain", "numpy"])
def large(request: pytest.FixtureRequest) -> int:
    assert isinstance(request.param, int)
    return request.param


def test_a_whole_part(large: int) -> None:
    message, data = part("web", [LISTENER, SERVER], {22: 77}, [[ALICE, 1, WEB, 2, "10.0.0.1", 3, WEB, 4]])
    found = read_part(message, data, large=large)
    assert list(found.entries) == [LISTENER, SERVER]
    assert (found.host, found.known, found.netns) == ("web", {22: 77}, 4026531840)
    assert found.taken == Taken(began=1.0, ended=2.0)
    assert found.translations[0].new_client == ("10.0.0.1", 3)


@pytest.mark.parametrize("name", ["tcp6", "diag", "holders", "known"])
def test_what_may_be_missing(name: str, large: int) -> None:
    """A kernel without IPv6 or tcp_diag; a snapshot without holders."""
    message, _ = part("web", [SERVER])
    at = 0
    pieces = {}
    for piece, size in message["sizes"].items():
        pieces[piece] = part("web", [SERVER])[1][at : at + size]
        at += size
    del pieces[name]
    message["sizes"] = {piece: len(raw) for piece, raw in pieces.items()}
    (entry,) = read_part(message, b"".join(pieces.values()), large=large).entries
    assert (entry.cookie is None) == (name == "diag")
    assert (entry.holders == ()) == (name == "holders")


def test_holders_in_order_and_once(large: int) -> None:
    """By process and descriptor, however the daemon found them."""
    message, data = part("web", [SERVER])
    records = [(12, 1, 9), (12, 0, 8), (12, 0, 6), (12, 0, 8), (13, 0, 1)]
    replaced = b"".join(HOLDER.pack(*one) for one in records)
    message["processes"] = [[5, "nginx"], [4, "nginx"]]
    (entry,) = _with(message, data, holders=replaced, large=large).entries
    assert entry.holders == (Holder(4, "nginx", 9), Holder(5, "nginx", 6), Holder(5, "nginx", 8))


def _with(message: dict[str, Any], data: bytes, *, large: int = SMALL, **pieces: bytes) -> Any:
    at, whole = 0, []
    for name, size in list(message["sizes"].items()):
        whole.append(pieces.get(name, data[at : at + size]))
        message["sizes"][name] = len(whole[-1])
        at += size
    return read_part(message, b"".join(whole), large=large)


@pytest.mark.parametrize(
    ("row", "record", "same"),
    [
        (("ESTABLISHED", 12), ("ESTABLISHED", 12), True),
        (("ESTABLISHED", 0), ("ESTABLISHED", 12), True),  # accepted between the two readings
        (("FIN_WAIT2", 12), ("FIN_WAIT2", 0), True),  # closed
        (("ESTABLISHED", 12), ("ESTABLISHED", 13), False),  # another socket has the tuple
        (("TIME_WAIT", 0), ("SYN_RECV", 0), False),
        (("TIME_WAIT", 0), ("TIME_WAIT", 0), True),
        (("SYN_SENT", 12), ("TIME_WAIT", 0), False),
    ],
)
def test_whose_cookie(row: tuple[str, int], record: tuple[str, int], same: bool, large: int) -> None:
    def seen(state: str, inode: int) -> SocketEntry:
        return sock("web", f"{WEB}:80", f"{ALICE}:1", state, inode=inode, cookie=5)

    message, data = part("web", [seen(*row)])
    other = part("web", [seen(*record)])
    start = other[0]["sizes"]["tcp"] + other[0]["sizes"]["tcp6"]
    diag = other[1][start : start + DIAG.size]
    (entry,) = _with(message, data, diag=diag, large=large).entries
    assert entry.cookie == (5 if same else None)


def test_a_tuple_with_two_cookies_has_none(large: int) -> None:
    twice = [sock("web", f"{WEB}:80", f"{ALICE}:1", "ESTABLISHED", cookie=at) for at in (5, 6)]
    assert [e.cookie for e in read_part(*part("web", twice), large=large).entries] == [None, None]


def test_listeners_of_one_port_by_inode(large: int) -> None:
    both = [
        listen("web", "0.0.0.0:80", inode=inode, cookie=inode, limit=limit)
        for inode, limit in ((3, 1), (4, 2))
    ]
    assert list(read_part(*part("web", both), large=large).entries) == both


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"sizes": None}, "without sizes"),
    ({"sizes": {"tcp": 1}}, "announced"),
    ({"sizes": {"tcp": -1, "tcp6": 1}}, "announced"),
    ({"sizes": {"tcp": "7"}}, "announced"),
    ({"host": 7}, "without host"),
    ({"processes": [["5", "x"]]}, "no process"),
    ({"processes": [[5, 6]]}, "no process"),
    ({"processes": [[True, "x"]]}, "no process"),
    ({"processes": [[-5, "x"]]}, "no process"),
    ({"processes": []}, "process 0 of 0"),
    ({"processes": "x"}, "no list"),
    ({"translations": [["10.0.0.1", 1]]}, "no translation"),
    ({"translations": [["10.0.0.1", 1, WEB, 2, "10.0.0.x", 3, WEB, 4]]}, "no translation"),
    ({"translations": [["10.0.0.1", 1, WEB, 2, "10.0.0.1", 65536, WEB, 4]]}, "no translation"),
    ({"translations": [[1, 1, WEB, 2, "10.0.0.1", 3, WEB, 4]]}, "no translation"),
    ({"began": "x"}, "began"),
]


@pytest.mark.parametrize(("change", "said"), BROKEN, ids=[said for _, said in BROKEN])
def test_refused(change: dict[str, Any], said: str, large: int) -> None:
    message, data = part("web", [SERVER])
    with pytest.raises(ObservationError, match=said):
        read_part({**message, **change}, data, large=large)


@pytest.mark.parametrize("name", ["diag", "holders", "known"])
def test_cut_records(name: str, large: int) -> None:
    message, data = part("web", [SERVER], {1: 2})
    with pytest.raises(ObservationError, match="whole records"):
        _with(message, data, large=large, **{name: b"short"})


def test_names_of_processes(large: int) -> None:
    """At most so long, and such as can be written as UTF-8."""
    message, data = part("web", [SERVER])
    message["processes"] = [[5, "x\ud800\x1b" + "y" * 200]]
    (entry,) = read_part(message, data, large=large).entries
    assert entry.holders[0].process == "x?\x1b" + "y" * 61


@UNTIMED
@given(st.lists(any_entry("web"), max_size=5), st.binary(max_size=40), st.integers(0, 2000))
def test_noise_is_refused_or_read_alike(entries: list[SocketEntry], noise: bytes, at: int) -> None:
    message, data = part("web", entries)
    message["sizes"]["known"] += 0
    data = data[:at] + noise + data[at + len(noise) :]
    outcomes = []
    for large in (SMALL, LARGE):
        try:
            outcomes.append(str(list(read_part(message, data, large=large).entries)))
        except ObservationError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("family", [4, 6])
def test_line_numbers_grow(family: int) -> None:
    """From row 10,000 on all columns stand one place further right. NumPy is taken without being asked."""
    entries = [
        sock("web", f"{WEB}:{port}", f"{ALICE}:1", family=family, inode=port + 1) for port in range(10_020)
    ]
    found = read_part(*part("web", entries)).entries
    assert not isinstance(found, tuple)
    assert list(found) == entries


def test_a_large_host_and_a_small_one() -> None:
    """Columns of the one and plain entries of the other are joined alike."""
    servers = [sock("web", f"{WEB}:80", f"{ALICE}:{port}", inode=port) for port in range(1, 5600)]
    client = sock("alice", f"{ALICE}:7", f"{WEB}:80", inode=3)
    tables = [read_part(*part("web", [LISTENER, *servers])), read_part(*part("alice", [client]))]
    assert [isinstance(one.entries, tuple) for one in tables] == [False, True]
    joined = join(tables, PLAN)
    assert [row.client.port for row in joined.connections if row.client] == [7]
    assert joined == join_plain(tables, PLAN)
