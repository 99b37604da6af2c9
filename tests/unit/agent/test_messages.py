"""HTTP messages, without a socket: what is read, and what is no message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent.messages import MAX_HEAD, MalformedError, Response, request, response


def read(data: bytes, method: str = "GET") -> tuple[Response, bytes]:
    """The response in these bytes, and those that were not read."""
    found = Response()
    reading = response(found, method)
    wanted = next(reading)
    try:
        while True:
            if isinstance(wanted, bytes):
                at = data.find(wanted)
                size = min(MAX_HEAD, at + len(wanted) if at >= 0 else len(data))
            else:
                size = len(data) if wanted is None else min(wanted, len(data), 3)
            piece, data = data[:size], data[size:]
            wanted = reading.send(piece)
    except StopIteration:
        return found, data


@pytest.mark.parametrize(
    ("data", "status", "body", "left"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhixx", 200, b"hi", b"xx"),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", 200, b"hi", b""),
        (b"HTTP/1.0 200\r\n\r\nto the end", 200, b"to the end", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\nnext", 304, b"", b"next"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b"", b""),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x01a", 101, b"", b"\x81\x01a"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nB\r\n0123456789a\r\n0\r\n"
            b"Trailer: yes\r\n\r\nleft",
            200,
            b"abc0123456789a",
            b"left",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nz", 200, b"z", b""),
    ],
)
def test_where_a_response_ends(data: bytes, status: int, body: bytes, left: bytes) -> None:
    found, rest = read(data)
    assert (found.status, bytes(found.body), rest) == (status, body, left)
    assert found.complete
    assert found.body_size == len(body)


def test_a_response_to_head_has_no_body() -> None:
    found, rest = read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP", "HEAD")
    assert (found.body_size, rest) == (0, b"HTTP")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "before a response began"),
        (b"220 mail ready\r\n", "no status line"),
        (b"HTTP/1.1 200 OK", "no status line"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n", "inside the header"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "no header line"),
        (b"HTTP/1.1 200 OK\r\nspace : b\r\n\r\n", "no header line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "no Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "no Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour", "5 bytes before"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "no size of a chunk"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab", "where a chunk ends"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", "between two chunks"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * MAX_HEAD + b"\r\n\r\n", "no header line|inside|more than"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: 0123456789\r\n" * 3000 + b"\r\n", "a header of more than"),
    ],
)
def test_what_is_no_response_says_why(data: bytes, problem: str) -> None:
    with pytest.raises(MalformedError, match=problem):
        read(data)


@given(st.binary(max_size=300), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]))
def test_nothing_that_comes_is_a_mistake_of_ours(data: bytes, start: bytes) -> None:
    try:
        read(start + data)
    except MalformedError:
        pass


def test_requests() -> None:
    assert request({"method": "GET", "path": "/"}, "web") == b"GET / HTTP/1.1\r\nHost: web\r\n\r\n"
    own = {"method": "PUT", "path": "*", "headers": {"host": "x", "Transfer-Encoding": "chunked"}}
    assert request(own, "web") == b"PUT * HTTP/1.1\r\nhost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert request({"method": "POST", "path": "/"}, "web").endswith(b"Content-Length: 0\r\n\r\n")
