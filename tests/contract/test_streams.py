"""What calls do with a connection beyond plain bytes: TLS, HTTP, a pace, datagrams, options."""

from __future__ import annotations

import pytest

from orchestrator.engines.base import Engine
from orchestrator.errors import AgentError
from tests.support.rig import Rig

LAB = """
networks: {net: {subnet6: auto}}
hosts:
  a: {role: server, networks: [net]}
  b: {role: client, networks: [net]}
"""
REAL = pytest.mark.engine("namespaces", "docker")


def connected(lab: Rig, port: int, family: int = 4) -> None:
    """b.call <=> a.conn, by a.listener."""
    lab.call("a", "listen", address="::" if family == 6 else "0.0.0.0", port=port, to="listener")
    lab.call("b", "connect", address=lab.address("a", family), port=port, target=f"a:{port}", to="call")
    lab.call("a", "accept", fd="listener", to="conn")


def secured(lab: Rig, **client: object) -> None:
    """TLS on both ends."""
    with lab.under_way("a", "tls", fd="conn", side="server") as answer:
        assert lab.ask("b", "tls", fd="call", **client)["errno"] is None
        assert answer()["errno"] is None


@REAL
@pytest.mark.parametrize("family", [4, 6])
def test_tls_on_the_same_descriptor(lab: Rig, family: int) -> None:
    connected(lab, 7600 + family, family)
    before = {one["name"]: one["fd"] for one in lab.call("b", "list")["result"]}
    secured(lab, server_name="a", verify=True)
    lab.call("b", "send", fd="call", text="secret")
    assert lab.received("a", "conn", size=6)[0] == b"secret"
    lab.call("b", "shutdown", fd="call", how="write")
    data, end = lab.received("a", "conn", all=True)
    assert (data, end["eof"], end["close_notify"]) == (b"", True, True)
    lab.call("a", "send", fd="conn", text="half open")
    assert lab.received("b", "call", until="open")[0] == b"half open"
    assert {one["name"]: one["fd"] for one in lab.call("b", "list")["result"]} == before


@REAL
def test_a_certificate_that_does_not_fit_has_its_name(lab: Rig) -> None:
    connected(lab, 7610)
    with lab.under_way("a", "tls", fd="conn", side="server") as answer:
        failed = lab.ask("b", "tls", fd="call", server_name="bank.example", verify=True)
        assert failed["errno"] == "SSL_CERTIFICATE_VERIFY_FAILED"
        answer()


@REAL
def test_what_goes_over_the_network_is_no_plain_text(lab: Rig) -> None:
    connected(lab, 7611)
    with lab.under_way("b", "tls", fd="call", timeout=0.5) as answer:
        record, _ = lab.received("a", "conn", size=3)
        assert record[:2] == b"\x16\x03"
        assert answer()["timed_out"]


@pytest.mark.engine("fake")
def test_the_fake_engine_says_that_it_has_no_tls_and_no_udp(lab: Rig) -> None:
    connected(lab, 7612)
    with pytest.raises(AgentError, match="TLS is not in the fake engine"):
        lab.ask("b", "tls", fd="call")
    with pytest.raises(AgentError, match="UDP is not in the fake engine"):
        lab.ask("b", "socket", kind="udp")


def test_a_request_and_its_response(lab: Rig) -> None:
    connected(lab, 7620)
    with lab.under_way("b", "http", fd="call", method="GET", path="/x", headers={"Host": "a"}) as answer:
        seen, _ = lab.received("a", "conn", until="\r\n\r\n")
        assert seen == b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
        lab.call("a", "send", fd="conn", text="HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\ngonemore")
        response = answer()
    assert (response["result"], response["errno"], response["body"]) == (404, None, "gone")
    assert response["headers"] == [["Content-Length", "4"]]
    assert 0 < response["first_byte"] <= response["duration"]
    assert lab.received("b", "call")[0] == b"more"


def test_a_malformed_response_is_a_result(lab: Rig) -> None:
    connected(lab, 7621)
    lab.call("a", "send", fd="conn", text="what?\n")
    answer = lab.ask("b", "http", fd="call", method="GET", path="/")
    assert (answer["errno"], answer["result"]) == ("EPROTO", None)
    assert "what?" in answer["problem"]


def test_a_request_at_a_pace_ends_with_the_server(lab: Rig) -> None:
    connected(lab, 7622)
    with lab.under_way("b", "http", fd="call", method="GET", path="/", pace=0.3) as answer:
        lab.received("a", "conn", size=2)
        lab.call("a", "shutdown", fd="conn", how="write")
        ended = answer()
    assert (ended["errno"], ended["eof"], ended["sent"]) == ("EPROTO", True, 2)
    assert 0.3 <= ended["duration"] < 0.6


def test_bytes_at_a_pace_take_their_time(lab: Rig) -> None:
    connected(lab, 7623)
    answer = lab.call("b", "send", fd="call", text="x" * 11, pace=0.03)
    assert answer["result"] == 11
    assert 0.3 <= answer["duration"] <= 0.3 + answer["behind"] + 0.05
    assert lab.received("a", "conn", size=11)[0] == b"x" * 11


def test_a_call_that_must_not_wait_fails_where_it_would(lab: Rig) -> None:
    connected(lab, 7630)
    assert lab.ask("a", "accept", fd="listener", blocking=False)["errno"] == "EAGAIN"
    assert lab.ask("a", "recv", fd="conn", blocking=False)["errno"] == "EAGAIN"
    lab.call("b", "send", fd="call", text="abc")
    part = lab.ask("a", "recv", fd="conn", size=10, blocking=False)
    assert (part["errno"], part["result"]) == (None, 3)
    full = lab.ask("b", "send", fd="call", size=64 << 20, blocking=False)
    assert full["errno"] is None
    assert 0 < full["result"] < 64 << 20
    assert lab.ask("b", "send", fd="call", text="x", blocking=False)["errno"] == "EAGAIN"


@REAL
def test_a_connect_that_does_not_wait_goes_on(lab: Rig) -> None:
    lab.call("a", "listen", port=7631, to="listener")
    answer = lab.ask("b", "connect", address=lab.address("a"), port=7631, blocking=False, to="call")
    assert answer["errno"] in (None, "EINPROGRESS")
    lab.call("a", "accept", fd="listener", to="conn")
    lab.call("b", "send", fd="call", text="there")
    assert lab.received("a", "conn")[0] == b"there"


@REAL
@pytest.mark.parametrize("family", [4, 6])
def test_datagrams_tell_who_sent_them(lab: Rig, family: int) -> None:
    port = 7640 + family
    where = {"address": lab.address("a", family), "port": port}
    lab.call("a", "socket", kind="udp", family=family, to="u")
    lab.call("a", "bind", fd="u", address="::" if family == 6 else "0.0.0.0", port=port)
    lab.call("b", "socket", kind="udp", family=family, to="u")
    assert lab.call("b", "send", fd="u", text="one", **where)["result"] == 3
    data, first = lab.received("a", "u")
    assert (data, first["from"][0], first["eof"]) == (b"one", lab.address("b", family), False)
    lab.call("a", "send", fd="u", text="back", address=first["from"][0], port=first["from"][1])
    assert lab.received("b", "u")[1]["from"] == list(where.values())
    lab.call("b", "connect", fd="u", **where)
    lab.call("b", "send", fd="u", text="three bytes of these")
    assert lab.received("a", "u", size=3)[0] == b"thr", "the rest of a datagram is gone"
    lab.call("b", "send", fd="u", text="")
    assert lab.received("a", "u")[0] == b""
    lab.call("a", "close", fd="u")
    lab.call("b", "send", fd="u", text="to nobody")
    assert lab.ask("b", "recv", fd="u")["errno"] == "ECONNREFUSED"


@REAL
def test_a_dual_socket_takes_both_families(lab: Rig) -> None:
    lab.call("a", "listen", address="::", family="dual", port=7650, to="listener")
    for family in (4, 6):
        lab.call("b", "connect", address=lab.address("a", family), port=7650, to=f"call{family}")
        peer = lab.call("a", "accept", fd="listener", to=f"conn{family}")["peer"][0]
        assert peer == ("::ffff:" if family == 4 else "") + lab.address("b", family)


@REAL
def test_what_the_kernel_knows_of_a_connection(lab: Rig) -> None:
    connected(lab, 7660)
    lab.call("b", "send", fd="call", text="12345")
    lab.received("a", "conn", size=5)
    info = lab.call("b", "get", fd="call", option="TCP_INFO")["result"]
    assert (info["state"], info["bytes_sent"]) == ("ESTABLISHED", 5)
    assert info["retransmits"] == 0
    lab.call("b", "set", fd="call", option="SO_LINGER", value=[1, 0])
    assert lab.call("b", "get", fd="call", option="SO_LINGER")["result"] == [1, 0]
    lab.call("b", "close", fd="call")
    assert lab.ask("a", "recv", fd="conn")["errno"] == "ECONNRESET"


@pytest.mark.engine("fake", "namespaces", "docker")
def test_a_child_holds_a_listener_and_its_connections(engine: Engine, lab: Rig) -> None:
    connected(lab, 7670)
    lab.call("a", "fork", fds=["listener", "conn"], to="worker")
    lab.call("a", "close", fd="listener")
    lab.call("a", "close", fd="conn")
    lab.call("b", "connect", address=lab.address("a"), port=7670, to="another")
    assert lab.ask("b", "recv", fd="call", timeout=0.1)["timed_out"], f"{engine.name}: the child has it"
    lab.call("a", "close", fd="worker")
    assert lab.received("b", "call")[1]["eof"]
    assert lab.ask("b", "recv", fd="another")["errno"] == "ECONNRESET"
