"""The agent's calls: honest system calls, on every engine with the same answers."""

from __future__ import annotations

import time

import pytest

from orchestrator.errors import AgentError
from tests.support.rig import Rig, eventually

LAB = """
networks: {net: {subnet6: auto}}
hosts:
  a: {role: server, networks: [net]}
  b: {role: client, networks: [net]}
"""


def connected(lab: Rig, port: int, family: int = 4) -> None:
    """b.call <=> a.conn, by a.listener."""
    lab.call("a", "listen", address="::" if family == 6 else "0.0.0.0", port=port, to="listener")
    lab.call("b", "connect", address=lab.address("a", family), port=port, to="call")
    lab.call("a", "accept", fd="listener", to="conn")


@pytest.mark.parametrize("family", [4, 6])
def test_data_flows_both_ways_and_ends(lab: Rig, family: int) -> None:
    connected(lab, 7100 + family, family)
    assert lab.call("b", "send", fd="call", text="hello")["result"] == 5
    assert lab.received("a", "conn", size=5)[0] == b"hello"
    lab.call("a", "send", fd="conn", hex="00ff")
    assert lab.received("b", "call")[0] == b"\x00\xff"
    lab.call("b", "shutdown", fd="call", how="write")
    data, end = lab.received("a", "conn", all=True)
    assert (data, end["eof"], end["errno"]) == (b"", True, None)
    lab.call("a", "send", fd="conn", text="still here")
    assert lab.received("b", "call", until="here")[0] == b"still here"


def test_the_steps_one_by_one(lab: Rig) -> None:
    lab.call("a", "socket", family=4, to="s")
    bound = lab.call("a", "bind", fd="s", address="0.0.0.0", port=7110)
    assert bound["local"] == ["0.0.0.0", 7110]
    listening = lab.call("a", "listen", fd="s", backlog=3)
    assert listening["fd"] == bound["fd"]
    client = lab.call("b", "connect", address=lab.address("a"), port=7110, to="c")
    assert client["peer"] == [lab.address("a"), 7110]
    assert client["duration"] >= 0
    accepted = lab.call("a", "accept", fd="s", to="conn")
    assert accepted["peer"] == client["local"]
    assert accepted["fd"] != listening["fd"]
    closed = lab.call("a", "close", fd="conn")
    assert closed["fd"] == accepted["fd"]


def test_errors_are_results_by_their_names(lab: Rig) -> None:
    address = lab.address("a")
    assert lab.ask("b", "connect", address=address, port=7199, to="x")["errno"] == "ECONNREFUSED"
    assert lab.ask("b", "bind", fd="x", address="192.0.2.7", port=1)["errno"] in ("EADDRNOTAVAIL", "EINVAL")
    lab.call("a", "listen", port=7120, to="first")
    assert lab.ask("a", "listen", port=7120, to="second")["errno"] == "EADDRINUSE"
    lab.call("b", "socket", to="idle")
    assert lab.ask("b", "send", fd="idle", text="x")["errno"] in ("ENOTCONN", "EPIPE")
    assert lab.ask("b", "shutdown", fd="idle")["errno"] == "ENOTCONN"


def test_what_is_no_call_is_an_error_with_a_hint(lab: Rig) -> None:
    with pytest.raises(AgentError, match="sing"):
        lab.ask("a", "sing")
    with pytest.raises(AgentError, match="nothing-of-that-name"):
        lab.ask("a", "recv", fd="nothing-of-that-name")
    with pytest.raises(AgentError):
        lab.ask("a", "connect", address="not-an-address", port=1)
    with pytest.raises(AgentError):
        lab.ask("a", "connect", address="10.0.0.1", port=70000)
    with pytest.raises(AgentError):
        lab.ask("a", "connect")
    lab.call("a", "socket", to="twice")
    with pytest.raises(AgentError, match="twice"):
        lab.ask("a", "socket", to="twice")


def test_a_call_whose_time_is_over_says_so(lab: Rig) -> None:
    lab.call("a", "listen", port=7130, to="l")
    before = time.monotonic()
    answer = lab.ask("a", "accept", fd="l", timeout=0.2)
    assert answer["timed_out"] is True
    assert answer["errno"] == "EAGAIN"
    assert time.monotonic() - before >= 0.2
    assert answer["duration"] >= 0.2


def test_a_descriptor_without_name_is_called_after_its_number(lab: Rig) -> None:
    made = lab.call("b", "socket")
    assert made["name"] == f"fd{made['fd']}"
    assert lab.call("b", "close")["fd"] == made["fd"], "the only one open needs no name"


def test_a_reset_is_seen_by_the_peer(lab: Rig) -> None:
    connected(lab, 7140)
    lab.call("b", "reset", fd="call")
    assert lab.ask("a", "recv", fd="conn")["errno"] == "ECONNRESET"


def test_duplicates_and_children_keep_a_connection_alive(lab: Rig) -> None:
    connected(lab, 7150)
    copy = lab.call("b", "dup", fd="call", to="copy")
    child = lab.call("b", "fork", fd="call", to="child")
    assert child["result"] > 0
    lab.call("b", "close", fd="call")
    lab.call("b", "send", fd="copy", text="alive")
    assert lab.received("a", "conn", size=5)[0] == b"alive"
    lab.call("b", "close", fd="copy")
    assert lab.ask("a", "recv", fd="conn", timeout=0.1)["timed_out"], "the child still holds it"
    lab.call("b", "close", fd="child")
    assert lab.received("a", "conn")[1]["eof"]
    assert copy["local"]


def test_the_list_names_what_is_open(lab: Rig) -> None:
    connected(lab, 7160)
    found = {one["name"]: one for one in lab.call("a", "list")["result"]}
    assert set(found) == {"listener", "conn"}
    assert found["conn"]["local"] == [lab.address("a"), 7160]
    assert found["listener"]["peer"] is None


def test_poll_tells_what_is_possible_now(lab: Rig) -> None:
    connected(lab, 7170)
    idle = lab.call("a", "poll", fd="conn")["result"]
    assert (idle["readable"], idle["writable"], idle["peer_closed"]) == (False, True, False)
    lab.call("b", "send", fd="call", text="x")
    lab.call("b", "shutdown", fd="call", how="write")
    lab.call("a", "recv", fd="conn", size=1)
    ended = lab.call("a", "poll", fd="conn")["result"]
    assert ended["readable"]
    assert ended["peer_closed"]


def test_options_by_their_c_names(lab: Rig) -> None:
    lab.call("a", "socket", to="s")
    lab.call("a", "set", fd="s", option="SO_KEEPALIVE", value=1)
    assert lab.call("a", "get", fd="s", option="SO_KEEPALIVE")["result"] == 1
    with pytest.raises(AgentError, match="SPEED"):
        lab.ask("a", "set", fd="s", option="SPEED", value=1)


def test_a_large_send_waits_for_the_reader(lab: Rig) -> None:
    connected(lab, 7180)
    size = 24 << 20
    sending = lab.channel.ask(
        "call", host="b", call={"do": "send", "fd": "call", "size": size, "timeout": 60}
    )
    with lab.another() as other:
        got = other.call("call", host="a", call={"do": "recv", "fd": "conn", "size": size, "timeout": 60})
    assert (got["result"], got["errno"]) == (size, None)
    *_, end = lab.channel.parts(sending)
    assert end.message["ok"]["result"] == size


def test_a_call_that_waits_can_be_interrupted_as_by_a_signal(lab: Rig) -> None:
    """Only those of the label; an accept has taken nothing, so the next one gets what comes."""
    lab.call("a", "listen", port=7300, to="listener")
    with (
        lab.under_way("a", "accept", fd="listener", to="one", label=1) as one,
        lab.under_way("a", "accept", fd="listener", to="two", label=2) as two,
    ):
        eventually(lambda: lab.call("a", "interrupt", of=1)["result"] == 1)  # none, until it is under way
        answer = one()
        assert (answer["errno"], answer["name"], answer.get("timed_out")) == ("EINTR", "listener", None)
        lab.call("b", "connect", address=lab.address("a"), port=7300, to="call")
        assert two()["name"] == "two"
    assert lab.call("a", "interrupt", of=2)["result"] == 0, "it has ended"


def test_an_interrupted_recv_has_what_it_had(lab: Rig) -> None:
    connected(lab, 7310)
    with lab.under_way("b", "recv", fd="call", size=10, label="mine") as receiving:
        eventually(lambda: lab.call("b", "interrupt", of="mine")["result"] == 1)
        assert receiving()["errno"] == "EINTR"
    lab.call("a", "send", fd="conn", text="four")
    assert lab.received("b", "call", size=4)[0] == b"four"
