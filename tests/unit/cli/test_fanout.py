"""Requests side by side on one channel."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from orchestrator import fanout
from orchestrator.errors import AgentError, DaemonError
from orchestrator.fanout import Request, ask_all, raise_first
from orchestrator.wire import Channel, Frame, StreamChannel, encode, read_frame

Server = Callable[[socket.socket], None]


@pytest.fixture
def serve() -> Iterator[Callable[[Server], Channel]]:
    """A channel to a daemon that is a function."""
    threads: list[threading.Thread] = []
    channels: list[Channel] = []

    def begin(server: Server) -> Channel:
        here, there = socket.socketpair()

        def run() -> None:
            with there:
                server(there)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        channels.append(StreamChannel(here))
        return channels[-1]

    yield begin
    for channel in channels:
        channel.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def requests(count: int) -> list[Request]:
    return [Request("listen", {"host": f"h{number}"}) for number in range(count)]


def receive(sock: socket.socket, count: int) -> list[Frame]:
    return [read_frame(sock) for _ in range(count)]


def test_answers_come_in_any_order_and_are_given_in_that_of_the_requests(
    serve: Callable[[Server], Channel],
) -> None:
    def server(sock: socket.socket) -> None:
        for message, _ in reversed(receive(sock, 5)):
            sock.sendall(encode({"id": message["id"], "part": {"noise": 1}}))
            sock.sendall(encode({"id": message["id"], "ok": {"host": message["host"]}}))

    answers = ask_all(serve(server), requests(5))
    assert [answer.value["host"] for answer in answers] == ["h0", "h1", "h2", "h3", "h4"]


def test_no_more_than_a_window_is_under_way(serve: Callable[[Server], Channel]) -> None:
    seen: list[bool] = []

    def server(sock: socket.socket) -> None:
        first = receive(sock, fanout.WINDOW)
        sock.settimeout(0.2)
        try:
            sock.recv(1, socket.MSG_PEEK)
            seen.append(True)
        except TimeoutError:
            seen.append(False)
        sock.settimeout(None)
        for message, _ in first:
            sock.sendall(encode({"id": message["id"], "ok": {}}))
        for message, _ in receive(sock, 10):
            sock.sendall(encode({"id": message["id"], "ok": {}}))

    assert len(ask_all(serve(server), requests(fanout.WINDOW + 10))) == fanout.WINDOW + 10
    assert seen == [False]


def test_input_goes_with_its_request(serve: Callable[[Server], Channel]) -> None:
    def server(sock: socket.socket) -> None:
        request, first, second, end = receive(sock, 4)
        assert (first.data, second.data, end.message["in"]) == (b"a", b"b", {"eof": True})
        sock.sendall(encode({"id": request.message["id"], "ok": {"size": 2}}))

    request = Request("put", {"host": "h"}, lambda: iter((b"a", b"b")))
    assert ask_all(serve(server), [request])[0].value == {"size": 2}


def test_the_first_error_names_its_host_and_counts_the_others(serve: Callable[[Server], Channel]) -> None:
    def server(sock: socket.socket) -> None:
        for message, _ in receive(sock, 3):
            error = {"kind": "AgentError", "message": "no", "hint": "try"}
            sock.sendall(encode({"id": message["id"], "error": error}))

    answers = ask_all(serve(server), requests(3))
    with pytest.raises(AgentError, match=r"h0: no \(and 2 more\)"):
        raise_first(answers)


def test_a_daemon_that_goes_is_an_error_and_no_hang(serve: Callable[[Server], Channel]) -> None:
    def server(sock: socket.socket) -> None:
        receive(sock, 1)

    with pytest.raises(DaemonError):
        ask_all(serve(server), requests(3))
