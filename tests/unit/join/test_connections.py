"""Which rows are the two ends of one connection, and what each row says: cases that real kernels produce."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.join.connections import Joined, join
from orchestrator.model.plan import Plan
from orchestrator.model.rows import Connection, SocketEntry
from tests.unit.join.worlds import (
    ALICE,
    ALICE6,
    BOB,
    EDGE_OUT,
    LARGE,
    PLAN,
    SMALL,
    WEB,
    WEB6,
    held,
    link_local,
    listen,
    sock,
    tables,
)

HTTP = listen("web", "0.0.0.0:80", holders=held(5, 3), cookie=1, limit=128)
CLIENT = sock("alice", f"{ALICE}:40000", f"{WEB}:80", inode=11, cookie=21, holders=held(7, 4))
SERVER = sock("web", f"{WEB}:80", f"{ALICE}:40000", inode=12, cookie=22, holders=held(5, 6))


@pytest.fixture(params=[SMALL, LARGE], ids=["plain", "numpy"])
def large(request: pytest.FixtureRequest) -> int:
    """Both paths have to say the same."""
    assert isinstance(request.param, int)
    return request.param


def joined(entries: Sequence[SocketEntry], large: int, *, plan: Plan = PLAN, **more: Any) -> Joined:
    everything = more.pop("everything", False)
    return join(tables(entries, large=large, **more), plan, everything=everything)


def only(entries: Sequence[SocketEntry], large: int, **more: Any) -> Connection:
    rows = joined(entries, large, **more).connections
    assert len(rows) == 1, [(r.status, r.client, r.server) for r in rows]
    return rows[0]


def ends(row: Connection) -> tuple[str | None, str | None]:
    return (
        f"{row.client.host}:{row.client.port}" if row.client else None,
        f"{row.server.host}:{row.server.port}" if row.server else None,
    )


def test_across_a_router(large: int) -> None:
    row = only([SERVER, HTTP, CLIENT], large)
    assert (row.status, row.roles_by, row.accepted) == ("joined", "listener", True)
    assert ends(row) == ("alice:40000", "web:80")
    assert row.client is not None
    assert row.server is not None
    assert (row.client.fd, row.client.pid, row.client.process) == (4, 7, "agent")
    assert row.server.holders == held(5, 6)
    assert row.listener is not None
    assert (row.listener.address, row.listener.fd, row.listener.limit) == ("*", 3, 128)
    assert (row.client.peer_host, row.server.peer_host) == ("web", "alice")
    assert row.id == f"{21:012x}"


def test_the_same_subnet_twice_does_not_mix(large: int) -> None:
    """Two networks that no router joins: equal tuples, and sockets that only look like a pair."""
    here = [
        sock("alice", f"{ALICE}:40000", f"{BOB}:80", inode=1),
        sock("bob", f"{BOB}:80", f"{ALICE}:40000", inode=2),
    ]
    there = sock("twin", f"{ALICE}:40000", f"{BOB}:80", inode=3)
    rows = joined([*here, there, listen("bob", "0.0.0.0:80")], large).connections
    assert [(r.status, *ends(r)) for r in rows] == [
        ("joined", "alice:40000", "bob:80"),
        ("external", "twin:40000", None),
    ]


def test_equal_inodes_in_two_hosts(large: int) -> None:
    one = [sock("alice", f"{ALICE}:1024", f"{WEB}:80", inode=5, holders=held(1, 3))]
    two = [sock("web", f"{WEB}:80", f"{ALICE}:1024", inode=5, holders=held(9, 8, "nginx"))]
    row = only([*one, *two, HTTP], large)
    assert row.client is not None
    assert row.server is not None
    assert (row.client.process, row.server.process) == ("agent", "nginx")


def test_ipv6(large: int) -> None:
    row = only(
        [
            listen("web", "[::]:80"),
            sock("alice", f"[{ALICE6}]:40000", f"[{WEB6}]:80", inode=2),
            sock("web", f"[{WEB6}]:80", f"[{ALICE6}]:40000", inode=3),
        ],
        large,
    )
    assert row.status == "joined"
    assert ends(row) == ("alice:40000", "web:80")
    assert row.client is not None
    assert row.client.family == 6
    assert row.listener is not None
    assert row.listener.address == "*"


def test_link_local(large: int) -> None:
    alice, bob = link_local("alice"), link_local("bob")
    row = only(
        [
            sock("alice", f"[{alice}]:40000", f"[{bob}]:80", inode=2),
            sock("bob", f"[{bob}]:80", f"[{alice}]:40000", inode=3),
        ],
        large,
    )
    assert (row.status, row.roles_by) == ("joined", "port")


def test_v4_mapped(large: int) -> None:
    server = sock("web", f"{WEB}:80", f"{ALICE}:40000", family=6, inode=3)
    row = only([listen("web", "[::]:80"), CLIENT, server], large)
    assert (row.status, row.roles_by) == ("joined", "listener")
    assert row.server is not None
    assert (row.server.mapped, row.server.address) == (True, WEB)


def test_loopback_inside_one_host(large: int) -> None:
    """The same addresses and ports in every host."""
    both = [
        row
        for name in ("web", "alice")
        for row in (
            listen(name, "127.0.0.1:80"),
            sock(name, "127.0.0.1:40000", "127.0.0.1:80", inode=1),
            sock(name, "127.0.0.1:80", "127.0.0.1:40000", inode=2),
        )
    ]
    rows = joined(both, large).connections
    assert [(r.status, *ends(r)) for r in rows] == [
        ("joined", "alice:40000", "alice:80"),
        ("joined", "web:40000", "web:80"),
    ]


def test_loopback_of_two_hosts_is_no_pair(large: int) -> None:
    one = sock("alice", "127.0.0.1:40000", "127.0.0.1:80", inode=1)
    two = sock("web", "127.0.0.1:80", "127.0.0.1:40000", inode=2)
    rows = joined([one, two], large).connections
    assert {r.status for r in rows} == {"client-only", "server-only"}


def test_own_address_inside_one_host(large: int) -> None:
    row = only(
        [
            listen("web", "0.0.0.0:80"),
            sock("web", f"{WEB}:40000", f"{WEB}:80", inode=1),
            sock("web", f"{WEB}:80", f"{WEB}:40000", inode=2),
        ],
        large,
    )
    assert ends(row) == ("web:40000", "web:80")


def test_unplanned_addresses_inside_one_host(large: int) -> None:
    row = only(
        [
            sock("web", f"{WEB}:40000", "192.168.9.9:80", inode=1),
            sock("web", "192.168.9.9:80", f"{WEB}:40000", inode=2),
        ],
        large,
    )
    assert row.status == "joined"


def test_unplanned_addresses_of_two_hosts_are_no_pair(large: int) -> None:
    one = sock("alice", "192.168.9.8:40000", "192.168.9.9:80", inode=1)
    two = sock("web", "192.168.9.9:80", "192.168.9.8:40000", inode=2)
    assert {r.status for r in joined([one, two], large).connections} == {"external"}


def test_connected_to_itself(large: int) -> None:
    row = only([sock("alice", f"{ALICE}:5000", f"{ALICE}:5000", inode=4, holders=held(2, 3))], large)
    assert row.status == "joined"
    assert row.client == row.server
    assert row.roles_by == "unknown"


def test_simultaneous_open(large: int) -> None:
    a, b = ("alice", f"{ALICE}:5000", f"{BOB}:6000"), ("bob", f"{BOB}:6000", f"{ALICE}:5000")
    for state in ("SYN_SENT", "ESTABLISHED"):
        row = only([sock(*a, state=state, inode=1), sock(*b, state=state, inode=2)], large)
        assert (row.status, row.roles_by) == ("joined", "unknown")


def test_not_yet_accepted(large: int) -> None:
    full = listen("web", "0.0.0.0:80", rx_queue=1, limit=0, cookie=1)
    waiting = sock("web", f"{WEB}:80", f"{ALICE}:40000", rx_queue=5)
    row = only([full, CLIENT, waiting], large)
    assert (row.status, row.accepted) == ("joined", False)
    assert row.server is not None
    assert (row.server.rx_queue, row.server.pid, row.server.fd) == (5, None, None)


@pytest.mark.parametrize(
    ("state", "inode", "accepted"),
    [
        ("SYN_RECV", 0, False),
        ("ESTABLISHED", 0, False),
        ("CLOSE_WAIT", 0, False),
        ("CLOSE_WAIT", 9, True),
        ("FIN_WAIT1", 0, None),
        ("LAST_ACK", 0, None),
        ("FIN_WAIT2", 9, True),
    ],
)
def test_accepted(state: str, inode: int, accepted: bool | None, large: int) -> None:
    row = only([HTTP, CLIENT, sock("web", f"{WEB}:80", f"{ALICE}:40000", state, inode=inode)], large)
    assert row.accepted is accepted


def test_syn_unanswered(large: int) -> None:
    client = sock("alice", f"{ALICE}:40000", f"{WEB}:80", "SYN_SENT", inode=1, timer="retransmission")
    row = only([client], large)
    assert (row.status, row.roles_by, row.accepted) == ("client-only", "handshake", None)
    assert "SYN unanswered" in row.reason
    full = listen("web", "0.0.0.0:80", rx_queue=2, limit=1, cookie=1)
    row = only([client, full], large)
    assert row.roles_by == "listener"
    assert "accept queue of web:80 is full (2 wait, limit 1)" in row.reason
    assert row.listener is not None


def test_time_wait_alone(large: int) -> None:
    row = only([HTTP, sock("alice", f"{ALICE}:40000", f"{WEB}:80", "TIME_WAIT", timer="time-wait")], large)
    assert (row.status, row.accepted, row.reason) == ("client-only", None, "web has closed; TIME_WAIT here")
    row = only([HTTP, sock("web", f"{WEB}:80", f"{ALICE}:40000", "TIME_WAIT", timer="time-wait")], large)
    assert (row.status, row.accepted, row.roles_by) == ("server-only", None, "listener")


def test_half_closed(large: int) -> None:
    client = sock("alice", f"{ALICE}:40000", f"{WEB}:80", "FIN_WAIT2", inode=1)
    server = sock("web", f"{WEB}:80", f"{ALICE}:40000", "CLOSE_WAIT", inode=2, rx_queue=1)
    row = only([HTTP, client, server], large)
    assert (row.status, row.accepted) == ("joined", True)


def test_handshake_tells_the_roles(large: int) -> None:
    client = sock("alice", f"{ALICE}:5000", f"{WEB}:6000", "SYN_SENT", inode=1)
    server = sock("web", f"{WEB}:6000", f"{ALICE}:5000", "SYN_RECV")
    row = only([client, server], large)
    assert (row.roles_by, *ends(row)) == ("handshake", "alice:5000", "web:6000")
    row = only([sock("alice", f"{ALICE}:5000", f"{WEB}:6000", inode=1), server], large)
    assert (row.roles_by, *ends(row)) == ("handshake", "alice:5000", "web:6000")


@pytest.mark.parametrize(
    ("one", "other", "by"),
    [(40000, 80, "port"), (40000, 8080, "port"), (5000, 443, "port"), (6000, 5000, "unknown")],
)
def test_ports_tell_the_roles(one: int, other: int, by: str, large: int) -> None:
    a = sock("alice", f"{ALICE}:{one}", f"{WEB}:{other}", inode=1)
    b = sock("web", f"{WEB}:{other}", f"{ALICE}:{one}", inode=2)
    row = only([b, a], large)
    assert (row.roles_by, *ends(row)) == (by, f"alice:{one}", f"web:{other}")


def test_listener_on_another_address_says_nothing(large: int) -> None:
    row = only([listen("web", "127.0.0.1:80"), CLIENT, SERVER], large)
    assert row.roles_by == "port"
    row = only([listen("web", f"{WEB}:80", inode=901, holders=held(5, 9)), HTTP, CLIENT, SERVER], large)
    assert row.roles_by == "listener"
    assert row.listener is not None
    assert (row.listener.address, row.listener.fd) == (WEB, 9)


def test_reuseport(large: int) -> None:
    first = listen("web", "0.0.0.0:80", inode=901, holders=held(5, 3, "nginx"))
    second = listen("web", "0.0.0.0:80", inode=902, holders=held(6, 3, "nginx"))
    whole = joined([first, second, CLIENT, SERVER], large)
    assert [(one.pid, one.inode) for one in whole.listeners] == [(5, 901), (6, 902)]
    assert whole.connections[0].listener == whole.listeners[0]
    waiting = sock("web", f"{WEB}:80", f"{ALICE}:40000")
    assert only([first, second, CLIENT, waiting], large).listener is None


def test_several_holders(large: int) -> None:
    both = (*held(5, 6), *held(8, 6))
    server = sock("web", f"{WEB}:80", f"{ALICE}:40000", inode=12, holders=both[::-1])
    row = only([HTTP, CLIENT, server], large)
    assert row.server is not None
    assert (row.server.pid, row.server.holders) == (5, both)


@pytest.mark.parametrize("turn", [1, -1])
def test_tuple_twice_in_one_read(turn: int, large: int) -> None:
    """SYN_RECV and its child; a row that was passed twice; TIME_WAIT and what took its tuple."""
    request = sock("web", f"{WEB}:80", f"{ALICE}:40000", "SYN_RECV")
    old = sock("web", f"{WEB}:80", f"{ALICE}:40000", "TIME_WAIT", cookie=2)
    for extra in (request, SERVER, old):
        whole = joined([HTTP, CLIENT, *[SERVER, extra][::turn]], large)
        assert len(whole.connections) == 1
        assert whole.connections[0].server is not None
        assert whole.connections[0].server.inode == 12
        assert whole.doubtful == {whole.connections[0].id}


def test_one_socket_seen_before_and_after_its_end(large: int) -> None:
    """With its cookie: the state furthest on is the later one."""
    waits = sock("web", f"{WEB}:80", f"{ALICE}:40000", "LAST_ACK", cookie=22)
    before = sock("web", f"{WEB}:80", f"{ALICE}:40000", "CLOSE_WAIT", inode=12, cookie=22)
    for both in ([waits, before], [before, waits]):
        row = only([HTTP, CLIENT, *both], large)
        assert row.server is not None
        assert row.server.state == "LAST_ACK"


def test_new_incarnation_on_an_old_tuple(large: int) -> None:
    """A client that asks again while the server still waits: never one row."""
    old = sock("web", f"{WEB}:80", f"{ALICE}:40000", "TIME_WAIT", cookie=2, timer="time-wait")
    for state in ("SYN_SENT", "ESTABLISHED"):
        new = sock("alice", f"{ALICE}:40000", f"{WEB}:80", state, inode=31, cookie=3)
        rows = joined([HTTP, old, new], large).connections
        assert sorted(r.status for r in rows) == ["client-only", "server-only"]
        assert len({r.id for r in rows}) == 2


def test_known_incarnation_in_contradicting_states(large: int) -> None:
    """The same, but the daemon remembers that both sockets are of one connection: read at different
    moments."""
    known = {"alice": {3: 77}, "web": {2: 77}}
    old = sock("web", f"{WEB}:80", f"{ALICE}:40000", "TIME_WAIT", cookie=2, timer="time-wait")
    new = sock("alice", f"{ALICE}:40000", f"{WEB}:80", "CLOSE_WAIT", inode=31, cookie=3)
    row = only([HTTP, old, new], large, known=known)
    assert (row.status, row.id) == ("joined", f"{77:012x}")


def test_time_wait_here_and_last_ack_there(large: int) -> None:
    waits = sock("alice", f"{ALICE}:40000", f"{WEB}:80", "TIME_WAIT", timer="time-wait")
    last = sock("web", f"{WEB}:80", f"{ALICE}:40000", "LAST_ACK", timer="retransmission")
    assert only([HTTP, waits, last], large).status == "joined"


def test_outside(large: int) -> None:
    row = only([sock("alice", f"{ALICE}:40000", "203.0.113.9:443", inode=1)], large)
    assert (row.status, row.server, row.reason) == ("external", None, "203.0.113.9 is no host of this lab")
    assert row.client is not None
    assert row.client.peer_host is None
    row = only([HTTP, sock("web", f"{WEB}:80", "203.0.113.9:40000", inode=1)], large)
    assert (row.status, row.client, row.roles_by) == ("external", None, "listener")


def test_a_host_that_was_not_observed(large: int) -> None:
    row = only([CLIENT], large, hosts=["alice"])
    assert (row.status, row.reason) == ("client-only", "web was not observed")


NAT = [ALICE, 40000, WEB, 80, EDGE_OUT, 51000, WEB, 80]
BEHIND = sock("web", f"{WEB}:80", f"{EDGE_OUT}:51000", inode=12, cookie=22, holders=held(5, 6))


def test_masqueraded(large: int) -> None:
    row = only([HTTP, CLIENT, BEHIND], large, translations={"edge": [NAT]})
    assert (row.status, row.roles_by, *ends(row)) == ("joined", "listener", "alice:40000", "web:80")
    assert [(v.host, v.client, v.server) for v in row.via] == [("edge", f"{EDGE_OUT}:51000", f"{WEB}:80")]
    assert row.server is not None
    assert (row.server.peer_address, row.server.peer_host) == (EDGE_OUT, "alice")


def test_without_translations_never_a_wrong_pair(large: int) -> None:
    rows = joined([HTTP, CLIENT, BEHIND], large).connections
    assert sorted(r.status for r in rows) == ["client-only", "server-only"]


def test_over_two_translating_routers(large: int) -> None:
    first = [ALICE, 40000, "10.20.1.200", 8080, ALICE, 40000, WEB, 8080]
    second = [ALICE, 40000, WEB, 8080, EDGE_OUT, 51000, WEB, 80]
    client = sock("alice", f"{ALICE}:40000", "10.20.1.200:8080", inode=1)
    row = only([HTTP, client, BEHIND], large, translations={"bob": [first], "edge": [second]})
    assert row.status == "joined"
    assert [v.host for v in row.via] == ["bob", "edge"]


def test_one_end_behind_a_router(large: int) -> None:
    asking = sock("alice", f"{ALICE}:40000", f"{WEB}:80", "SYN_SENT", inode=1)
    row = only([HTTP, asking], large, translations={"edge": [NAT]})
    assert (row.status, len(row.via)) == ("client-only", 1)
    row = only([HTTP, BEHIND], large, translations={"edge": [NAT]})
    assert (row.status, len(row.via)) == ("server-only", 1)
    assert row.server is not None
    assert row.server.peer_host == "alice"


def test_forwarded_as_it_was_is_no_translation(large: int) -> None:
    same = [ALICE, 40000, WEB, 80, ALICE, 40000, WEB, 80]
    assert only([HTTP, CLIENT, SERVER], large, translations={"edge": [same]}).via == ()


def test_translations_that_go_round(large: int) -> None:
    there = [ALICE, 40000, WEB, 80, BOB, 1, WEB, 81]
    back = [BOB, 1, WEB, 81, ALICE, 40000, WEB, 80]
    row = only([HTTP, CLIENT], large, translations={"edge": [there, back] * 50, "bob": [there, back] * 50})
    assert row.status == "client-only"


def test_dockers_own_name_server_is_hidden(large: int) -> None:
    own = [
        listen("web", "127.0.0.11:33333"),
        sock("web", "127.0.0.1:40000", "127.0.0.11:33333", inode=1),
        sock("web", "127.0.0.11:33333", "127.0.0.1:40000", inode=2),
    ]
    assert joined(own, large) == Joined()
    everything = joined(own, large, everything=True)
    assert (len(everything.connections), len(everything.listeners)) == (1, 1)


def test_sorted_by_client_host_and_port(large: int) -> None:
    entries = [
        row
        for port in (40010, 40002, 40007)
        for name, address in (("bob", BOB), ("alice", ALICE))
        for row in (
            sock(name, f"{address}:{port}", f"{WEB}:80", inode=1),
            sock("web", f"{WEB}:80", f"{address}:{port}", inode=2),
        )
    ]
    lonely = sock("web", f"{WEB}:80", f"{ALICE}:40005", inode=2)
    rows = joined([HTTP, *entries, lonely], large).connections
    order = [(r.client.host, r.client.port) if r.client else ("-", 0) for r in rows]
    assert order[:4] == [("alice", 40002), ("-", 0), ("alice", 40007), ("alice", 40010)]
    assert [host for host, _ in order[4:]] == ["bob"] * 3
