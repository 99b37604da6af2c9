"""Many requests of many threads on one channel: each gets its own answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator import wire
from orchestrator.errors import AgentError, DaemonError
from orchestrator.requests import Requests
from orchestrator.wire import Frame, StreamChannel, encode, read_frame


class Daemon:
    """The other end of a channel, told by the test what to answer."""

    def __init__(self) -> None:
        self.sock, other = socket.socketpair()
        self.requests = Requests(StreamChannel(other))

    def take(self) -> Frame:
        return read_frame(self.sock)

    def say(self, number: int, data: bytes = b"", **message: object) -> None:
        self.sock.sendall(encode({"id": number, **message}, data))


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    one = Daemon()
    yield one
    one.requests.close()
    one.sock.close()


def test_answers_come_in_any_order(daemon: Daemon) -> None:
    first, second = daemon.requests.begin("call", host="a"), daemon.requests.begin("call", host="b")
    for number, host in [(daemon.take().message["id"], "a"), (daemon.take().message["id"], "b")][::-1]:
        daemon.say(number, host.encode(), ok={"host": host})
    assert first.answer(5) == Frame({"host": "a"}, b"a")
    assert second.answer(5) == Frame({"host": "b"}, b"b")


def test_parts_come_as_they_come(daemon: Daemon) -> None:
    parts: list[tuple[wire.Message, bytes]] = []
    one = daemon.requests.begin("exec", on_part=lambda message, data: parts.append((message, data)))
    number = daemon.take().message["id"]
    one.feed(b"in", stream="in")
    assert daemon.take() == Frame({"id": number, "in": {"stream": "in"}}, b"in")
    daemon.say(number, b"x", part={"stream": "out"})
    daemon.say(number, ok={"exit": 0})
    assert one.answer(5).message == {"exit": 0}
    assert parts == [({"stream": "out"}, b"x")]


def test_an_error_is_raised_where_it_is_waited_for(daemon: Daemon) -> None:
    one = daemon.requests.begin("call")
    daemon.say(daemon.take().message["id"], error={"kind": "AgentError", "message": "no", "hint": ""})
    with pytest.raises(AgentError, match="no"):
        one.answer(5)


def test_a_daemon_that_goes_ends_all(daemon: Daemon) -> None:
    waiting = [daemon.requests.begin("call") for _ in range(3)]
    daemon.sock.close()
    for one in waiting:
        with pytest.raises(DaemonError):
            one.answer(5)
    with pytest.raises(DaemonError):
        daemon.requests.begin("call")


def test_closing_ends_what_waits(daemon: Daemon) -> None:
    one = daemon.requests.begin("call")
    threading.Timer(0.05, daemon.requests.close).start()
    with pytest.raises(DaemonError):
        one.answer(5)


def test_from_many_threads(daemon: Daemon) -> None:
    def echo() -> None:
        for _ in range(400):
            message, data = daemon.take()
            daemon.say(message["id"], data, ok={"n": message["n"]})

    thread = threading.Thread(target=echo)
    thread.start()

    def ask(number: int) -> bool:
        frame = daemon.requests.begin("call", str(number).encode(), n=number).answer(30)
        return frame == Frame({"n": number}, str(number).encode())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(400)))
    thread.join()
