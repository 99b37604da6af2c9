"""The ways a connection can take, and that both of its ends are one row on each of them."""

from __future__ import annotations

import pytest

from tests.support import ss
from tests.support.rig import Rig
from tests.support.rows import look, of_port, row

pytestmark = pytest.mark.engine("namespaces", "docker")
LAB = """
networks: {office: {subnet6: auto}, dc: {subnet6: auto}, lan: {}}
routers:
  edge: {networks: [office, dc]}
  gate: {networks: [lan, dc], nat: dc}
hosts:
  web: {role: server, networks: [dc]}
  alice: {role: client, networks: [office]}
  inside: {role: client, networks: [lan]}
"""


def test_across_a_router(lab: Rig) -> None:
    listening = lab.call("web", "listen", port=8000, to="l")
    client = lab.call("alice", "connect", address=lab.address("web"), port=8000, to="c")
    accepted = lab.call("web", "accept", fd="l", to="conn")
    one = row(lab, 8000, lambda one: one.accepted is True)
    assert (one.status, one.roles_by, one.via) == ("joined", "listener", ())
    assert one.client
    assert one.server
    assert one.listener
    assert (one.client.host, one.client.address, one.client.port) == ("alice", *client["local"])
    assert (one.server.host, one.server.address, one.server.port) == ("web", *client["peer"])
    assert {one.client.state, one.server.state} == {"ESTABLISHED"}
    assert (one.client.fd, one.client.process) == (client["fd"], "agent")
    assert (one.listener.fd, one.server.fd) == (listening["fd"], accepted["fd"])
    assert (one.server.process, one.listener.process) == ("agent", "agent")
    assert one.server.pid == one.listener.pid
    assert one.client.address == lab.address("alice")
    ss.agree(lab)


def test_through_nat(lab: Rig) -> None:
    lab.call("web", "listen", port=8010, to="l")
    client = lab.call("inside", "connect", address=lab.address("web"), port=8010, to="c")
    accepted = lab.call("web", "accept", fd="l", to="conn")
    one = row(lab, 8010, lambda one: one.status == "joined")
    assert one.client
    assert one.server
    assert (one.client.host, one.client.address, one.client.port) == ("inside", *client["local"])
    assert (one.server.host, one.server.port) == ("web", 8010)
    outside = accepted["peer"]
    assert outside[0] == lab.address("gate", network="dc")
    (via,) = one.via
    assert (via.host, via.client) == ("gate", f"{outside[0]}:{outside[1]}")
    assert via.server == f"{lab.address('web')}:8010"
    assert len(of_port(look(lab), 8010)) == 1, "the two halves are no rows of their own"
    ss.agree(lab, "web", "inside", "gate")


def test_two_clients_behind_nat_with_one_port(lab: Rig) -> None:
    """The masquerading router may keep the port of one only; both rows are told apart."""
    lab.call("web", "listen", port=8011, to="l")
    for name, address in (("one", lab.address("inside")), ("two", lab.address("gate", network="lan"))):
        host = "inside" if name == "one" else "gate"
        lab.call(host, "socket", to=name)
        lab.call(host, "bind", fd=name, address=address, port=40111)
        lab.call(host, "connect", fd=name, address=lab.address("web"), port=8011)
    lab.call("web", "accept", fd="l", to="a")
    lab.call("web", "accept", fd="l", to="b")
    rows = of_port(look(lab), 8011)
    assert {(r.client.host if r.client else None, r.status) for r in rows} == {
        ("inside", "joined"),
        ("gate", "joined"),
    }
    assert {r.server.fd for r in rows if r.server} == {
        one["fd"] for one in lab.call("web", "list")["result"] if one["name"] in "ab"
    }


def test_ipv6(lab: Rig) -> None:
    lab.call("web", "listen", address="::", port=8020, to="l")
    client = lab.call("alice", "connect", address=lab.address("web", 6), port=8020, to="c")
    lab.call("web", "accept", fd="l", to="conn")
    one = row(lab, 8020, lambda one: one.accepted is True)
    assert one.status == "joined"
    assert one.client
    assert one.server
    assert (one.client.family, one.server.family) == (6, 6)
    assert (one.client.address, one.server.address) == (lab.address("alice", 6), lab.address("web", 6))
    assert one.client.port == client["local"][1]
    assert not one.server.mapped
    ss.agree(lab, "web", "alice")


def test_ipv4_on_a_dual_stack_socket(lab: Rig) -> None:
    """The server's end is only in tcp6, as v4-mapped; the client's in tcp."""
    lab.call("web", "listen", address="::", port=8030, family="dual", to="l")
    lab.call("alice", "connect", address=lab.address("web"), port=8030, to="c")
    lab.call("web", "accept", fd="l", to="conn")
    one = row(lab, 8030, lambda one: one.accepted is True)
    assert one.status == "joined"
    assert one.client
    assert one.server
    assert (one.client.family, one.client.mapped) == (4, False)
    assert (one.server.family, one.server.mapped) == (6, True)
    assert one.server.address == lab.address("web")
    assert one.listener is not None
    ss.agree(lab, "web", "alice")


def test_on_loopback_inside_one_host(lab: Rig) -> None:
    for family, address, port in ((4, "127.0.0.1", 8040), (6, "::1", 8041)):
        lab.call("alice", "listen", address=address, port=port, to=f"l{family}")
        client = lab.call("alice", "connect", address=address, port=port, to=f"c{family}")
        accepted = lab.call("alice", "accept", fd=f"l{family}", to=f"s{family}")
        one = row(lab, port, lambda one: one.accepted is True)
        assert one.status == "joined"
        assert one.client
        assert one.server
        assert (one.client.host, one.server.host) == ("alice", "alice")
        assert (one.client.fd, one.server.fd) == (client["fd"], accepted["fd"])
        assert (one.client.port, one.server.port) == (client["local"][1], port)
    ss.agree(lab, "alice")


def test_loopback_of_two_hosts_is_two_places(lab: Rig) -> None:
    """The same four numbers on two hosts: two rows, each inside its own host."""
    for host in ("alice", "web"):
        lab.call(host, "listen", address="127.0.0.1", port=8045, to="l")
        lab.call(host, "socket", to="c")
        lab.call(host, "bind", fd="c", address="127.0.0.1", port=20845)
        lab.call(host, "connect", fd="c", address="127.0.0.1", port=8045)
    rows = of_port(look(lab), 8045)
    assert sorted((r.client.host, r.server.host) for r in rows if r.client and r.server) == [
        ("alice", "alice"),
        ("web", "web"),
    ]
    assert len({r.id for r in rows}) == 2


def test_a_socket_connected_to_itself(lab: Rig) -> None:
    address = lab.address("alice")
    lab.call("alice", "socket", to="s")
    lab.call("alice", "bind", fd="s", address=address, port=20500)
    own = lab.call("alice", "connect", fd="s", address=address, port=20500)
    assert own["local"] == own["peer"]
    one = row(lab, 20500)
    assert one.status == "joined"
    assert one.client
    assert one.client == one.server
    assert (one.client.host, one.client.fd, one.client.state) == ("alice", own["fd"], "ESTABLISHED")
    ss.agree(lab, "alice")


def test_simultaneous_open(lab: Rig) -> None:
    """RFC 9293, 3.5, figure 8: each end's SYN meets a socket in SYN_SENT.

    web first drops what comes to the port (a listener with IP_MINTTL = 255, tcp_v4_rcv()), so that alice
    waits in SYN_SENT; then web connects from that very port.
    """
    alice, web = (lab.address("alice"), 20601), (lab.address("web"), 20602)
    options = {"SO_REUSEPORT": 1, "IP_MINTTL": 255}
    lab.call("web", "listen", address=web[0], port=web[1], options=options, to="deaf")
    lab.call("alice", "socket", to="c")
    lab.call("alice", "bind", fd="c", address=alice[0], port=alice[1])
    with lab.under_way("alice", "connect", fd="c", address=web[0], port=web[1], timeout=20) as answer:
        row(lab, alice[1], lambda one: one.client is not None and one.client.state == "SYN_SENT")
        lab.call("web", "socket", to="c")
        lab.call("web", "set", fd="c", option="SO_REUSEADDR", value=1)
        lab.call("web", "set", fd="c", option="SO_REUSEPORT", value=1)
        lab.call("web", "bind", fd="c", address=web[0], port=web[1])
        lab.call("web", "connect", fd="c", address=alice[0], port=alice[1], timeout=20)
        assert answer()["errno"] is None
    lab.call("web", "close", fd="deaf")
    one = row(lab, alice[1], lambda one: one.status == "joined")
    assert one.client
    assert one.server
    ends = {(end.host, end.address, end.port, end.state) for end in (one.client, one.server)}
    assert ends == {("alice", *alice, "ESTABLISHED"), ("web", *web, "ESTABLISHED")}
    assert one.accepted is not False
    ss.agree(lab, "alice", "web")


def test_to_something_outside_the_lab(lab: Rig) -> None:
    """An address of the network that is no host's: nobody can answer, and the row says so."""
    nobody = lab.address("alice").rsplit(".", 1)[0] + ".213"
    assert nobody != lab.address("alice")
    lab.call("alice", "socket", to="c")
    lab.call("alice", "bind", fd="c", address=lab.address("alice"), port=20700)
    with lab.under_way("alice", "connect", fd="c", address=nobody, port=8060, timeout=20) as answer:
        one = row(lab, 20700)
        ss.agree(lab, "alice")
        assert answer()["errno"] in ("EHOSTUNREACH", "EINPROGRESS")
    assert one.status == "external"
    assert one.server is None
    assert one.client
    assert (one.client.state, one.accepted) == ("SYN_SENT", None)
    assert nobody in one.reason
    assert one.listener is None
