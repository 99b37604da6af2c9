"""The states of a connection's life: each is one row, with the same id from the first SYN to TIME_WAIT."""

from __future__ import annotations

import pytest

from orchestrator.observe import observe
from tests.support import ss
from tests.support.rig import Rig
from tests.support.rows import listeners, look, of_port, row

pytestmark = pytest.mark.engine("namespaces", "docker")
LAB = """
networks: {office: {}, dc: {}}
routers: {edge: {networks: [office, dc]}}
hosts:
  web: {role: server, networks: [dc]}
  alice: {role: client, networks: [office]}
  many: {role: server, networks: [dc], listen: [80]}
  crowd: {role: client, networks: [office], connect: ["many:80 x1000"]}
"""


def connect(lab: Rig, port: int, accept: bool = True, **options: int) -> None:
    """alice.c <=> web.conn, by web.l."""
    lab.call("web", "listen", port=port, options=options, to="l")
    lab.call("alice", "connect", address=lab.address("web"), port=port, to="c")
    if accept:
        lab.call("web", "accept", fd="l", to="conn")


def test_not_yet_accepted(lab: Rig) -> None:
    connect(lab, 8100, accept=False)
    lab.call("alice", "send", fd="c", text="early")
    one = row(lab, 8100, lambda one: one.server is not None and one.server.rx_queue == 5)
    assert (one.status, one.accepted) == ("joined", False)
    assert one.server
    assert one.listener
    assert (one.server.state, one.server.inode, one.server.fd, one.server.holders) == (
        "ESTABLISHED",
        0,
        None,
        (),
    )
    assert (one.listener.queue, one.listener.fd) == (1, lab.call("web", "list")["result"][0]["fd"])
    ss.agree(lab)
    accepted = lab.call("web", "accept", fd="l", to="conn")
    after = row(lab, 8100, lambda one: one.accepted is True)
    assert after.id == one.id
    assert after.server
    assert after.server.fd == accepted["fd"]
    assert after.listener
    assert after.listener.queue == 0
    ss.agree(lab)


def test_a_full_accept_queue_keeps_a_client_in_syn_sent(lab: Rig) -> None:
    """listen(1) holds two; the third client's handshake gets no answer."""
    lab.call("web", "listen", port=8105, backlog=1, to="l")
    where = {"address": lab.address("web"), "port": 8105}
    for name in ("first", "second"):
        lab.call("alice", "connect", to=name, **where)
    answer = lab.ask("alice", "connect", to="third", timeout=0.2, **where)
    assert answer["errno"] == "EINPROGRESS"
    assert [one.status for one in of_port(look(lab), 8105)] == ["joined", "joined"]
    third = row(lab, answer["local"][1], host="alice")
    assert (third.status, third.server, third.accepted) == ("client-only", None, None)
    assert third.client
    assert (third.client.state, third.client.timer) == ("SYN_SENT", "retransmission")
    assert "queue" in third.reason
    (listening,) = listeners(lab, 8105)
    assert (listening.queue, listening.limit) == (2, 1)


def test_syn_sent_to_a_host_that_drops(lab: Rig) -> None:
    """IP_MINTTL = 255 on the listener: what has passed a router is dropped without a word (tcp_v4_rcv())."""
    lab.call("web", "listen", port=8110, options={"IP_MINTTL": 255}, to="deaf")
    answer = lab.ask("alice", "connect", address=lab.address("web"), port=8110, to="c", timeout=0.2)
    assert (answer["errno"], answer["timed_out"]) == ("EINPROGRESS", True)
    one = row(lab, answer["local"][1], host="alice")
    assert (one.status, one.server, one.accepted) == ("client-only", None, None)
    assert one.client
    assert (one.client.state, one.client.timer) == ("SYN_SENT", "retransmission")
    assert one.client.fd == answer["fd"]
    assert one.roles_by == "listener"
    assert one.reason
    ss.agree(lab, "alice", "web")


def test_half_closed(lab: Rig) -> None:
    connect(lab, 8120)
    lab.call("alice", "shutdown", fd="c", how="write")
    one = row(lab, 8120, lambda one: one.client is not None and one.client.state == "FIN_WAIT2")
    assert one.client
    assert one.server
    assert (one.status, one.server.state) == ("joined", "CLOSE_WAIT")
    assert one.client.inode != 0
    assert one.client.fd is not None
    assert one.client.timer is None
    assert one.server.rx_queue == 1, "a FIN that was not read counts one"
    ss.agree(lab)
    assert lab.received("web", "conn", all=True)[1]["eof"]
    one = row(lab, 8120, lambda one: one.server is not None and one.server.rx_queue == 0)
    lab.call("web", "send", fd="conn", text="the other half is open")
    assert lab.received("alice", "c", until="open")[1]["errno"] is None
    ss.agree(lab)


def test_closed_by_the_client_and_not_by_the_server(lab: Rig) -> None:
    """FIN_WAIT2 without a descriptor (an orphan) against CLOSE_WAIT: a program that forgot to close."""
    connect(lab, 8125)
    before = row(lab, 8125, lambda one: one.accepted is True)
    lab.call("alice", "close", fd="c")
    one = row(lab, 8125, lambda one: one.client is not None and one.client.state == "FIN_WAIT2")
    assert one.client
    assert one.server
    assert (one.client.inode, one.client.fd, one.client.timer) == (0, None, "time-wait")
    assert one.server.state == "CLOSE_WAIT"
    assert one.server.fd is not None
    assert one.id == before.id
    ss.agree(lab)


def test_time_wait_and_its_tuple_used_again(lab: Rig) -> None:
    """The server closes first; its TIME_WAIT takes the next SYN of the same four numbers (RFC 6191)."""
    connect(lab, 8130)
    client = lab.call("alice", "list")["result"][0]["local"]
    first = row(lab, 8130, lambda one: one.accepted is True)
    lab.call("web", "close", fd="conn")
    assert lab.received("alice", "c", all=True)[1]["eof"]
    lab.call("alice", "close", fd="c")
    left = row(lab, 8130, lambda one: one.server is not None and one.server.state == "TIME_WAIT")
    assert (left.status, left.client, left.id) == ("server-only", None, first.id)
    assert left.server
    assert (left.server.inode, left.server.timer, left.server.uid) == (0, "time-wait", 0)
    assert 0 < left.server.timer_seconds <= 60
    ss.agree(lab)
    lab.call("alice", "socket", to="again")
    lab.call("alice", "bind", fd="again", address=client[0], port=client[1])
    lab.call("alice", "connect", fd="again", address=lab.address("web"), port=8130)
    lab.call("web", "accept", fd="l", to="conn")
    second = row(lab, 8130, lambda one: one.accepted is True)
    assert second.client
    assert (second.status, [second.client.address, second.client.port]) == ("joined", client)
    assert second.id != first.id
    ss.agree(lab)


def test_ids_stay_and_differ(lab: Rig) -> None:
    lab.call("web", "listen", port=8135, to="l")
    for name in ("one", "two", "three"):
        lab.call("alice", "connect", address=lab.address("web"), port=8135, to=name)
    first = {one.client.port: one.id for one in of_port(look(lab), 8135) if one.client}
    assert len(set(first.values())) == 3
    with lab.another() as other:
        rows = observe(other, lab.lab.plan).joined
    second = {one.client.port: one.id for one in of_port(rows, 8135) if one.client}
    assert second == first, "another client sees the same ids"


def test_reuseport(lab: Rig) -> None:
    """One LISTEN row for each socket; each connection belongs to the one whose queue it is in."""
    fds = {
        lab.call("web", "listen", port=8140, options={"SO_REUSEPORT": 1}, to=name)["fd"]
        for name in ("l1", "l2")
    }
    for number in range(16):
        lab.call("alice", "connect", address=lab.address("web"), port=8140, to=f"c{number}")
    found = listeners(lab, 8140)
    assert {one.fd for one in found} == fds
    assert len({one.inode for one in found}) == 2
    assert sum(one.queue for one in found) == 16
    rows = of_port(look(lab), 8140)
    assert [(one.status, one.accepted) for one in rows] == [("joined", False)] * 16
    assert len({one.id for one in rows}) == 16
    ss.agree(lab)
    for one in found:
        name = "l1" if one.fd == min(fds) else "l2"
        for number in range(one.queue):
            lab.call("web", "accept", fd=name, to=f"{name}-{number}")
    rows = of_port(look(lab), 8140)
    assert [(one.status, one.accepted) for one in rows] == [("joined", True)] * 16
    ss.agree(lab)


def test_one_socket_held_by_several_processes(lab: Rig) -> None:
    """What a forking server looks like: the child has the same descriptor of the same socket."""
    connect(lab, 8150)
    child = lab.call("web", "fork", fd="conn", to="worker")
    copy = lab.call("web", "dup", fd="conn", to="copy")
    fd = next(one["fd"] for one in lab.call("web", "list")["result"] if one["name"] == "conn")
    one = row(lab, 8150, lambda one: one.server is not None and len(one.server.holders) == 3)
    assert one.server
    agent = one.server.pid
    held = {(holder.pid, holder.fd) for holder in one.server.holders}
    assert held == {(agent, fd), (agent, copy["fd"]), (child["result"], fd)}
    lab.call("web", "close", fd="conn")
    lab.call("web", "close", fd="copy")
    one = row(lab, 8150, lambda one: one.server is not None and len(one.server.holders) == 1)
    assert one.server
    assert (one.server.pid, one.server.state) == (child["result"], "ESTABLISHED")
    ss.agree(lab)


def test_a_thousand_connections_between_two_hosts(lab: Rig) -> None:
    rows = of_port(look(lab), 80)
    assert len(rows) == 1000
    assert {(one.status, one.accepted, one.roles_by) for one in rows} == {("joined", True, "listener")}
    assert len({one.id for one in rows}) == 1000
    assert len({one.client.port for one in rows if one.client}) == 1000
    for end in ("client", "server"):
        fds = {(found.pid, found.fd) for one in rows if (found := getattr(one, end))}
        assert len(fds) == 1000, "each has a descriptor of its own"
    assert {one.id for one in of_port(look(lab), 80)} == {one.id for one in rows}
    ss.agree(lab, "many", "crowd")
