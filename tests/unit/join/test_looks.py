"""Two looks, ids that stay, and what is wanted of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from orchestrator.join.connections import Joined, join
from orchestrator.join.looks import confirm, needs_second, remember, select
from orchestrator.join.snapshot import KNOWN
from orchestrator.model.rows import Connection, SocketEntry
from tests.unit.join.worlds import ALICE, BOB, EDGE_OUT, PLAN, WEB, held, listen, sock, tables

HTTP = listen("web", "0.0.0.0:80", cookie=1)
CLIENT = sock("alice", f"{ALICE}:40000", f"{WEB}:80", inode=11, cookie=21)
SERVER = sock("web", f"{WEB}:80", f"{ALICE}:40000", inode=12, cookie=22, holders=held(5, 6))
ASKING = sock("alice", f"{ALICE}:40000", f"{WEB}:80", "SYN_SENT", inode=11, cookie=21)
WAITS = sock("alice", f"{ALICE}:40000", f"{WEB}:80", "TIME_WAIT", cookie=21, timer="time-wait")

Memory = Mapping[str, Mapping[int, int]]


def look(*entries: SocketEntry, known: Memory | None = None) -> Joined:
    return join(tables([HTTP, *entries], known=known), PLAN)


def only(joined: Joined) -> Connection:
    (row,) = joined.connections
    return row


def memory(joined: Joined, hosts: Sequence[str] = ("alice", "web")) -> Memory:
    """What the daemon would say it knows after that look."""
    records = dict(KNOWN.iter_unpack(remember(joined)))
    return {host: {**joined.remembered, **records} for host in hosts}


@pytest.mark.parametrize("alone", [CLIENT, SERVER, ASKING, WAITS])
def test_missing_twice_is_missing(alone: SocketEntry) -> None:
    first, second = look(alone), look(alone)
    assert needs_second(first)
    assert confirm(first, second).connections == second.connections


def test_missing_once_is_in_transition() -> None:
    assert not needs_second(look(CLIENT, SERVER))
    assert only(confirm(look(CLIENT, SERVER), look(CLIENT))).status == "in-transition"
    assert only(confirm(look(CLIENT), look(CLIENT, SERVER))).status == "joined"
    assert only(confirm(look(), look(CLIENT))).status == "in-transition"
    assert confirm(look(CLIENT), look()).connections == ()
    assert only(confirm(look(ASKING), look(CLIENT))).status == "in-transition"


def test_missing_twice_of_another_socket_is_in_transition() -> None:
    other = sock("alice", f"{ALICE}:40000", f"{WEB}:80", inode=31, cookie=41)
    assert only(confirm(look(CLIENT), look(other))).status == "in-transition"
    plain = [
        sock("alice", f"{ALICE}:40000", f"{WEB}:80", inode=inode) for inode in (31, 32)
    ]  # without sock_diag
    assert only(confirm(look(plain[0]), look(plain[1]))).status == "in-transition"
    assert only(confirm(look(plain[0]), look(plain[0]))).status == "client-only"


def test_outside_needs_no_second_look() -> None:
    row = sock("alice", f"{ALICE}:40000", "203.0.113.9:443", inode=1)
    assert not needs_second(look(row))
    assert only(confirm(look(row), look(row))).status == "external"


def test_no_inode_needs_a_second_look() -> None:
    waiting = sock("web", f"{WEB}:80", f"{ALICE}:40000")
    assert needs_second(look(CLIENT, waiting))
    row = only(confirm(look(CLIENT, waiting), look(CLIENT, SERVER)))
    assert (row.status, row.accepted) == ("joined", True)


def test_twice_in_one_table() -> None:
    request = sock("web", f"{WEB}:80", f"{ALICE}:40000", "SYN_RECV")
    first = look(CLIENT, SERVER, request)
    assert needs_second(first)
    assert only(confirm(first, look(CLIENT, SERVER))).status == "joined"
    assert only(confirm(first, first)).status == "in-transition"


def test_read_while_it_closed() -> None:
    """The client's table was read before the end, the server's after: two rows at first, the second look is
    right."""
    last = sock("web", f"{WEB}:80", f"{ALICE}:40000", "TIME_WAIT", cookie=22, timer="time-wait")
    first = look(CLIENT, last)
    assert [r.status for r in first.connections] == ["client-only", "server-only"]
    row = only(confirm(first, look(last)))
    assert (row.status, row.reason) == ("server-only", "alice has closed; TIME_WAIT here")


def test_id_stays_when_only_one_end_is_left() -> None:
    """The client's socket gives it; the server's end keeps it."""
    first = look(CLIENT, SERVER)
    assert only(first).id == f"{21:012x}"
    assert only(look(SERVER, known=memory(first))).id == only(first).id
    assert only(confirm(first, look(SERVER))).id == only(first).id
    assert only(look(WAITS, known=memory(first))).id == only(first).id


def test_id_stays_when_the_client_is_seen_later() -> None:
    first = look(SERVER)
    assert only(first).id == f"{22:012x}"
    assert only(look(CLIENT, SERVER, known=memory(first))).id == only(first).id
    assert only(confirm(first, look(CLIENT, SERVER))).id == only(first).id


def test_id_differs_when_the_tuple_is_used_again() -> None:
    first = look(CLIENT, SERVER)
    again = look(
        sock("alice", f"{ALICE}:40000", f"{WEB}:80", inode=31, cookie=41),
        sock("web", f"{WEB}:80", f"{ALICE}:40000", inode=32, cookie=42),
        known=memory(first),
    )
    assert only(again).id != only(first).id
    assert only(confirm(first, again)).id == only(again).id


def test_only_what_is_new_is_remembered() -> None:
    first = look(CLIENT, SERVER)
    assert dict(KNOWN.iter_unpack(remember(first))) == {21: 21, 22: 21}
    assert remember(look(CLIENT, SERVER, known=memory(first))) == b""
    assert remember(look(sock("alice", f"{ALICE}:40000", f"{WEB}:80", inode=1))) == b""


def test_without_cookies_the_inode_tells() -> None:
    rows = [sock("alice", f"{ALICE}:40000", f"{WEB}:80", inode=inode) for inode in (1, 1, 2)]
    ids = [only(look(row)).id for row in rows]
    assert ids[0] == ids[1] != ids[2]
    assert all(len(one) == 12 for one in ids)


def test_select() -> None:
    behind = [ALICE, 40000, WEB, 80, EDGE_OUT, 51000, WEB, 80]
    through = sock("web", f"{WEB}:80", f"{EDGE_OUT}:51000", inode=13, cookie=23)
    bob = sock("bob", f"{BOB}:40001", f"{WEB}:443", "SYN_SENT", inode=14, cookie=24)
    whole = join(tables([HTTP, CLIENT, through, bob], translations={"edge": [behind]}), PLAN)
    assert len(whole.connections) == 2

    def clients(**wanted: str | int) -> list[str]:
        chosen = select(whole, **wanted)  # type: ignore[arg-type]
        return [row.client.host for row in chosen.connections if row.client]

    assert clients(host="web") == ["alice", "bob"]
    assert clients(host="edge") == ["alice"]
    assert clients(host="bob", state="syn-sent") == ["bob"]
    assert clients(state="ESTABLISHED") == ["alice"]
    assert clients(port=443) == ["bob"]
    assert clients(port=51000) == ["alice"]
    assert clients(port=1) == []
    assert len(select(whole, host="web").listeners) == 1
    assert select(whole, state="ESTABLISHED").listeners == ()
    assert len(select(whole, port=80).listeners) == 1
