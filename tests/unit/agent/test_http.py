"""`http` on real sockets: what is sent, when, and what is made of the response."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.unit.agent.agents import Agent

Pair = Callable[[int], None]
OK = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: a test\r\n\r\nhello"


def test_a_request_and_its_response(agent: Agent, pair: Pair) -> None:
    pair(7500)
    asking = agent.begin("http", fd="c", method="GET", path="/index.html", headers={"Accept": "*/*"})
    seen = agent.good("recv", fd="s", until="\r\n\r\n")["data"]
    assert seen == b"GET /index.html HTTP/1.1\r\nHost: 127.0.0.1:7500\r\nAccept: */*\r\n\r\n"
    agent.good("send", fd="s", text=OK + "what follows")
    answer, _, data = agent.end(asking)
    assert (answer["result"], answer["errno"], answer["reason"]) == (200, None, "OK")
    assert answer["headers"] == [["Content-Length", "5"], ["Server", "a test"]]
    assert (answer["body"], answer["body_size"], answer["complete"]) == ("hello", 5, True)
    assert data == OK.encode()
    assert answer["sent"] == answer["request"] == len(seen)
    assert 0 < answer["first_byte"] <= answer["duration"]
    assert agent.good("recv", fd="c")["data"] == b"what follows", "not a byte too many was read"


def test_a_body_has_its_length_and_the_host_the_name_of_the_connect(agent: Agent) -> None:
    agent.good("listen", port=80, address="127.0.0.1", **{"as": "l"})
    agent.good("connect", address="127.0.0.1", port=80, target="web:80", **{"as": "c"})
    agent.good("accept", fd="l", **{"as": "s"})
    asking = agent.begin("http", fd="c", method="POST", path="/", body="a=é")
    seen = agent.good("recv", fd="s", until="é")["data"].decode()
    assert seen == "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 4\r\n\r\na=é"
    agent.good("send", fd="s", text="HTTP/1.1 204 No Content\r\n\r\n")
    assert agent.end(asking)[0]["result"] == 204


def test_through_tls(agent: Agent, pair: Pair) -> None:
    pair(7501)
    serving = agent.begin("tls", fd="s", side="server")
    agent.good("tls", fd="c")
    agent.end(serving)
    asking = agent.begin("http", fd="c", method="GET", path="/")
    agent.good("recv", fd="s", until="\r\n\r\n")
    agent.good("send", fd="s", text=OK)
    assert agent.end(asking)[0]["body"] == "hello"


def test_one_byte_each_so_often(agent: Agent, pair: Pair) -> None:
    pair(7502)
    pace, size = 0.02, len("GET / HTTP/1.1\r\nHost: 127.0.0.1:7502\r\n\r\n")
    asking = agent.begin("http", fd="c", method="GET", path="/", pace=pace)
    times = []
    while True:
        piece = agent.good("recv", fd="s")
        times.append(piece["began"] + piece["duration"])
        assert len(piece["data"]) == 1, "each byte is a segment of its own"
        if len(times) == size:
            break
    agent.good("send", fd="s", text=OK)
    answer, _, _ = agent.end(asking)
    assert answer["sent"] == answer["request"] == size
    late = [at - answer["began"] - number * pace for number, at in enumerate(times)]
    assert min(late) > -0.001, "none before its time"
    assert max(late) < answer["behind"] + 0.02, "and what was late is said"


def test_the_pace_does_not_drift(agent: Agent, pair: Pair) -> None:
    pair(7503)
    answer = agent.good("send", fd="c", text="x" * 101, pace=0.005)
    assert answer["result"] == 101
    assert 0.5 <= answer["duration"] <= 0.5 + answer["behind"] + 0.01
    assert agent.good("get", fd="c", option="TCP_NODELAY")["result"] == 0, "as it was before"


def test_other_senders_wait_for_the_one_with_a_pace(agent: Agent, pair: Pair) -> None:
    pair(7504)
    slow = agent.begin("send", fd="c", text="slow", pace=0.02)
    fast = agent.begin("send", fd="c", text="fast")
    agent.end(fast)
    agent.end(slow)
    assert agent.good("recv", fd="s", size=8)["data"] == b"slowfast"


def test_time_that_is_over_at_a_pace(agent: Agent, pair: Pair) -> None:
    pair(7505)
    answer = agent.call("send", fd="c", text="never whole", pace=0.1, timeout=0.25)
    assert (answer["timed_out"], answer["result"]) == (True, 3)
    agent.good("send", fd="c", text="!")
    assert agent.good("recv", fd="s", until="!")["data"] == b"nev!"


def test_a_server_that_answers_before_the_request_is_whole(agent: Agent, pair: Pair) -> None:
    pair(7506)
    asking = agent.begin("http", fd="c", method="GET", path="/", pace=1.0)
    agent.good("recv", fd="s")
    before = time.monotonic()
    agent.good("send", fd="s", text="HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    answer, _, _ = agent.end(asking)
    assert (answer["result"], answer["sent"]) == (408, 1)
    assert time.monotonic() - before < 0.9, "it did not wait for the next byte's time"


def test_a_server_that_closes_without_a_word(agent: Agent, pair: Pair) -> None:
    pair(7507)
    asking = agent.begin("http", fd="c", method="GET", path="/", pace=1.0)
    agent.good("recv", fd="s")
    agent.good("close", fd="s")
    answer, _, _ = agent.end(asking)
    assert (answer["result"], answer["errno"], answer["eof"]) == (None, "EPROTO", True)
    assert "before a response began" in answer["problem"]


def test_a_server_that_resets(agent: Agent, pair: Pair) -> None:
    pair(7508)
    asking = agent.begin("http", fd="c", method="GET", path="/")
    agent.good("recv", fd="s", until="\r\n\r\n")
    agent.good("reset", fd="s")
    assert agent.end(asking)[0]["errno"] == "ECONNRESET"


def test_a_response_that_never_ends(agent: Agent, pair: Pair) -> None:
    pair(7509)
    asking = agent.begin("http", fd="c", method="GET", path="/", timeout=0.3)
    agent.good("recv", fd="s", until="\r\n\r\n")
    agent.good("send", fd="s", text="HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    answer, _, _ = agent.end(asking)
    assert (answer["timed_out"], answer["result"], answer["body"]) == (True, 200, "half")
    assert not answer["complete"]


@pytest.mark.parametrize("text", ["SSH-2.0-OpenSSH\r\n", "\x00\x01\x02\n", "HTTP/1.1 2000 What\r\n\r\n"])
def test_what_is_no_response(agent: Agent, pair: Pair, text: str) -> None:
    pair(7510)
    asking = agent.begin("http", fd="c", method="GET", path="/")
    agent.good("send", fd="s", text=text)
    answer, _, data = agent.end(asking)
    assert (answer["errno"], answer["result"]) == ("EPROTO", None)
    assert "no status line" in answer["problem"]
    assert data == text.encode()[: text.index("\n") + 1]


def test_a_large_body_is_counted_and_its_beginning_shown(agent: Agent, pair: Pair) -> None:
    pair(7511)
    size = 3 << 20
    asking = agent.begin("http", fd="c", method="GET", path="/", timeout=30)
    agent.good("send", fd="s", text=f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")
    agent.good("send", fd="s", size=size, timeout=30)
    answer, _, data = agent.end(asking)
    assert (answer["body_size"], len(answer["body"]), len(data)) == (size, 32 << 10, 256 << 10)
    assert answer["received"] > size
