"""Every verb of the agent on real sockets."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import errors
from tests.unit.agent.agents import Agent, until

Pair = Callable[[int], None]


def test_socket_bind_listen_accept_connect_one_by_one(agent: Agent) -> None:
    made = agent.good("socket", **{"as": "l"})
    assert (made["name"], made["result"]) == ("l", None)
    agent.good("bind", fd="l", address="127.0.0.1", port=8080)
    assert agent.good("listen", fd="l", backlog=3)["local"] == ["127.0.0.1", 8080]
    connected = agent.good("connect", address="127.0.0.1", port=8080, **{"as": "c"})
    accepted = agent.good("accept", fd="l", **{"as": "s"})
    assert accepted["peer"] == connected["local"]
    assert connected["peer"] == accepted["local"] == ["127.0.0.1", 8080]
    assert len({made["fd"], connected["fd"], accepted["fd"]}) == 3
    assert accepted["listener"] == made["fd"]


def test_times_are_monotonic_seconds_around_the_call(agent: Agent) -> None:
    before = time.monotonic()
    answer = agent.good("socket")
    after = time.monotonic()
    assert before <= answer["began"] <= answer["began"] + answer["duration"] <= after


def test_refused_is_a_result(agent: Agent) -> None:
    answer = agent.call("connect", address="127.0.0.1", port=9, **{"as": "c"})
    assert answer["errno"] == "ECONNREFUSED"


def test_errno_of_bind_and_of_a_wrong_state(agent: Agent) -> None:
    agent.good("listen", port=7000, address="127.0.0.1")
    answer = agent.call("listen", port=7000, address="127.0.0.1")
    assert answer["errno"] == "EADDRINUSE"
    assert agent.call("bind", address="192.0.2.1", port=1)["errno"] in {"EADDRNOTAVAIL", "EINVAL"}
    agent.good("socket", **{"as": "t"})
    assert agent.call("send", fd="t", text="x")["errno"] == "EPIPE"
    assert agent.call("recv", fd="t", size=1)["errno"] == "ENOTCONN"


def test_accept_waits_while_other_calls_go_on(agent: Agent) -> None:
    agent.good("listen", port=7001, address="127.0.0.1", **{"as": "l"})
    waiting = agent.begin("accept", fd="l", timeout=10, **{"as": "s"})
    agent.good("connect", address="127.0.0.1", port=7001, **{"as": "c"})
    answer, _, _ = agent.end(waiting)
    assert answer["errno"] is None
    assert answer["peer"] == agent.good("list")["result"][1]["local"]


def test_a_timeout_says_so_and_when(agent: Agent) -> None:
    agent.good("listen", port=7002, address="127.0.0.1", **{"as": "l"})
    answer = agent.call("accept", fd="l", timeout=0.2)
    assert (answer["errno"], answer["timed_out"]) == ("EAGAIN", True)
    assert 0.2 <= answer["duration"] < 2


def test_a_timed_out_accept_takes_nothing_later(agent: Agent) -> None:
    agent.good("listen", port=7003, address="127.0.0.1", **{"as": "l"})
    agent.call("accept", fd="l", timeout=0.05)
    agent.good("connect", address="127.0.0.1", port=7003, **{"as": "c"})
    agent.good("accept", fd="l", timeout=5, **{"as": "s"})


def test_waiting_calls_are_served_in_their_order(agent: Agent, pair: Pair) -> None:
    pair(7004)
    first = agent.begin("recv", fd="s", size=2)
    second = agent.begin("recv", fd="s", size=2)
    agent.good("send", fd="c", text="abcd")
    assert [agent.end(first)[2], agent.end(second)[2]] == [b"ab", b"cd"]


def test_send_and_recv_of_text_hex_and_size(agent: Agent, pair: Pair) -> None:
    pair(7005)
    assert agent.good("send", fd="c", text="héllo")["result"] == 6
    assert agent.good("recv", fd="s")["data"] == "héllo".encode()
    agent.good("send", fd="c", hex="160301")
    assert agent.good("recv", fd="s", size=3)["data"] == b"\x16\x03\x01"
    agent.good("send", fd="c", size=10)
    assert len(agent.good("recv", fd="s", size=10)["data"]) == 10


def test_recv_until_leaves_the_rest_in_the_kernel(agent: Agent, pair: Pair) -> None:
    pair(7006)
    agent.good("send", fd="c", text="GET /\r\n\r")
    waiting = agent.begin("recv", fd="s", until="\r\n\r\n")
    agent.good("send", fd="c", text="\nbody")
    assert agent.end(waiting)[2] == b"GET /\r\n\r\n"
    assert agent.good("recv", fd="s")["data"] == b"body"


def test_many_megabytes_are_made_there_and_counted(agent: Agent, pair: Pair) -> None:
    pair(7007)
    size = 64 << 20
    sending = agent.begin("send", fd="c", size=size, timeout=60)
    receiving = agent.begin("recv", fd="s", size=size, timeout=60)
    got, _, data = agent.end(receiving)
    assert agent.end(sending)[0]["result"] == got["result"] == size
    assert len(data) == 256 << 10
    pattern = bytes(range(33, 127))
    assert all(data[i] == pattern[i % 94] for i in range(0, len(data), 997))


def test_send_to_a_peer_that_does_not_read_says_how_far_it_came(agent: Agent, pair: Pair) -> None:
    pair(7008)
    answer = agent.call("send", fd="c", size=512 << 20, timeout=0.5)
    assert answer["timed_out"]
    assert 0 < answer["result"] < 512 << 20


def test_recv_all_ends_with_the_stream(agent: Agent, pair: Pair) -> None:
    pair(7009)
    agent.good("send", fd="c", text="all of it")
    agent.good("shutdown", fd="c", how="write")
    answer = agent.good("recv", fd="s", all=True)
    assert (answer["data"], answer["eof"]) == (b"all of it", True)
    agent.good("send", fd="s", text="the other way")
    assert agent.good("recv", fd="c")["data"] == b"the other way"


def test_reset_is_seen_as_such(agent: Agent, pair: Pair) -> None:
    pair(7010)
    agent.good("reset", fd="c")
    assert agent.call("recv", fd="s")["errno"] == "ECONNRESET"


def test_close_ends_calls_that_wait(agent: Agent, pair: Pair) -> None:
    pair(7011)
    waiting = agent.begin("recv", fd="s", timeout=30)
    closed = agent.good("close", fd="s")
    assert closed["local"] == ["127.0.0.1", 7011]
    assert agent.end(waiting)[0]["errno"] == "EBADF"
    with pytest.raises(errors.AgentError, match="no descriptor 's' is open"):
        agent.call("recv", fd="s")


def test_set_and_get_by_their_c_names(agent: Agent) -> None:
    agent.good("socket", **{"as": "t"})
    agent.good("set", fd="t", option="SO_RCVBUF", value=50_000)
    assert agent.good("get", fd="t", option="SO_RCVBUF")["result"] == 100_000  # the kernel doubles it
    agent.good("set", fd="t", option="TCP_NODELAY", value=1)
    assert agent.good("get", fd="t", option="TCP_NODELAY")["result"] == 1
    agent.good("set", fd="t", option="SO_LINGER", value=[1, 7])
    assert agent.good("get", fd="t", option="SO_LINGER")["result"] == [1, 7]
    assert agent.good("get", fd="t", option="TCP_CONGESTION")["result"] in {"cubic", "reno", "bbr"}
    assert agent.call("set", fd="t", option="TCP_MAXSEG", value=1)["errno"] == "EINVAL"
    with pytest.raises(errors.AgentError, match="no socket option"):
        agent.call("get", fd="t", option="SO_RCVBUFF")


def test_dup_keeps_the_connection_open(agent: Agent, pair: Pair) -> None:
    pair(7012)
    copy = agent.good("dup", fd="c", **{"as": "c2"})
    assert copy["fd"] != agent.good("get", fd="c", option="SO_TYPE")["fd"]
    agent.good("close", fd="c")
    assert agent.call("recv", fd="s", timeout=0.1).get("timed_out")
    agent.good("close", fd="c2")
    assert agent.good("recv", fd="s")["eof"]


def test_fork_holds_until_it_is_killed(agent: Agent, pair: Pair) -> None:
    pair(7013)
    child = agent.good("fork", fd="c", **{"as": "worker"})
    links = {os.readlink(p) for p in Path(f"/proc/{child['result']}/fd").iterdir()}
    assert sum(link.startswith("socket:") for link in links) == 1
    agent.good("close", fd="c")
    assert agent.call("recv", fd="s", timeout=0.1).get("timed_out")
    assert agent.good("list")["children"] == [{"name": "worker", "pid": child["result"]}]
    agent.good("kill", child="worker")
    assert agent.good("recv", fd="s")["eof"]


def test_a_child_that_dies_by_itself_is_reaped(agent: Agent, pair: Pair) -> None:
    pair(7014)
    pid = agent.good("fork", fd="c", **{"as": "worker"})["result"]
    os.kill(pid, signal.SIGTERM)
    until(lambda: agent.good("list")["children"] == [])
    assert not Path(f"/proc/{pid}").exists()


def test_poll_tells_what_is_possible(agent: Agent, pair: Pair) -> None:
    pair(7015)
    assert agent.good("poll", fd="s")["result"]["readable"] is False
    agent.good("send", fd="c", text="x")
    until(lambda: agent.good("poll", fd="s")["result"]["readable"])
    agent.good("close", fd="c")
    until(lambda: agent.good("poll", fd="s")["result"]["peer_closed"])


def test_the_only_descriptor_needs_no_name(agent: Agent) -> None:
    with pytest.raises(errors.AgentError, match="0 descriptors are open"):
        agent.call("close")
    agent.good("socket")
    agent.good("bind", address="127.0.0.1", port=7016)
    agent.good("listen")
    agent.good("socket", **{"as": "other"})
    with pytest.raises(errors.AgentError, match=re.escape("2 descriptors are open")):
        agent.call("close")


def test_ipv6_dual_and_udp(agent: Agent) -> None:
    agent.good("listen", family="dual", address="::", port=7017, **{"as": "l"})
    agent.good("connect", address="127.0.0.1", port=7017, **{"as": "c"})
    assert agent.good("accept", fd="l", **{"as": "s"})["peer"][0] == "::ffff:127.0.0.1"
    agent.good("listen", address="::1", port=7018, **{"as": "six"})
    assert agent.call("connect", address="127.0.0.1", port=7018)["errno"] == "ECONNREFUSED"
    agent.good("socket", kind="udp", **{"as": "u"})
    agent.good("bind", fd="u", address="127.0.0.1", port=7019)
    agent.good("socket", kind="udp", **{"as": "v"})
    agent.good("connect", fd="v", address="127.0.0.1", port=7019)
    agent.good("send", fd="v", text="datagram")
    assert agent.good("recv", fd="u")["data"] == b"datagram"


def test_a_socket_connected_to_itself(agent: Agent) -> None:
    agent.good("socket", **{"as": "self"})
    agent.good("bind", fd="self", address="127.0.0.1", port=7020)
    answer = agent.good("connect", fd="self", address="127.0.0.1", port=7020)
    assert answer["local"] == answer["peer"] == ["127.0.0.1", 7020]


@pytest.mark.parametrize(
    "call",
    [
        {"do": "nonsense"},
        {"do": ["list"]},
        {"do": "connect", "address": "web", "port": 80},
        {"do": "connect", "address": "127.0.0.1", "port": 65536},
        {"do": "connect", "port": 80},
        {"do": "listen", "port": "many"},
        {"do": "send", "fd": "nobody", "text": "x"},
        {"do": "socket", "timeout": "soon"},
        {"do": "fork"},
        {"do": "kill", "child": "nobody"},
    ],
)
def test_what_makes_no_sense_is_an_error_and_no_more(agent: Agent, call: dict[str, object]) -> None:
    with pytest.raises(errors.AgentError):
        agent.tell("call", call=call)
    assert agent.good("list")["result"] == []


def test_a_name_is_given_once(agent: Agent) -> None:
    agent.good("socket", **{"as": "t"})
    for verb in ("socket", "accept", "dup"):
        with pytest.raises(errors.AgentError, match="already"):
            agent.call(verb, fd="t", **{"as": "t"})


def test_a_cancelled_call_leaves_nothing(agent: Agent) -> None:
    agent.good("listen", port=7021, address="127.0.0.1", **{"as": "l"})
    waiting = agent.begin("accept", fd="l", timeout=60, **{"as": "lost"})
    agent.more(waiting, cancel=True)
    agent.good("connect", address="127.0.0.1", port=7021, **{"as": "c"})
    assert agent.good("accept", fd="l", timeout=5, **{"as": "s"})["errno"] is None


def test_a_thousand_calls_wait_at_once(agent: Agent) -> None:
    agent.good("listen", port=7022, address="127.0.0.1", **{"as": "l"})
    waiting = [agent.begin("accept", fd="l", timeout=30) for _ in range(300)]
    for _ in range(300):
        agent.good("connect", address="127.0.0.1", port=7022)
    peers = {tuple(agent.end(w)[0]["peer"]) for w in waiting}
    assert len(peers) == 300
