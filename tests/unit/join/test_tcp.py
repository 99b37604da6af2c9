"""The states that packets show: each peculiarity of RFC 9293 and of Linux, by a script of segments."""

from __future__ import annotations

import pytest

from tests.unit.join.scripts import client, history, server

OPENED = """
    0.000  alice > web  S   0
    0.001  web > alice  SA  0  1
    0.002  alice > web  A   1  1
"""
ANSWERED = f"""{OPENED}
    0.010  alice > web  PA  1:6  1
    0.011  web > alice  A   1  6
"""


def test_open_and_close_by_the_client() -> None:
    text = f"""{ANSWERED}
    0.100  alice > web  FA  6  1
    0.101  web > alice  A   1  7
    0.200  web > alice  FA  1  7
    0.201  alice > web  A   7  2
    """
    assert client(text) == "SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT"
    assert server(text) == "SYN_RECV ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE"
    closing = history(text).closing
    assert (closing.first, closing.by) == ("client", "FIN")
    assert closing.at == pytest.approx(0.1)


def test_both_close_at_once() -> None:
    text = f"""{ANSWERED}
    0.100000  alice > web  FA  6  1  late 1ms
    0.100500  web > alice  FA  1  6  late 1ms
    0.102  alice > web  A  7  2
    0.102  web > alice  A  2  7
    """
    assert client(text) == "SYN_SENT ESTABLISHED FIN_WAIT1 CLOSING TIME_WAIT"
    assert server(text) == "SYN_RECV ESTABLISHED FIN_WAIT1 CLOSING TIME_WAIT"


def test_the_first_ack_was_not_taken() -> None:
    """The accept queue was full when it came: the SYN+ACK comes again."""
    text = f"""{OPENED}
    1.001  web > alice  SA  0  1
    1.002  alice > web  A   1  1
    """
    assert client(text) == "SYN_SENT ESTABLISHED"
    assert server(text, length=1.5) == "SYN_RECV unknown"
    assert server(text, length=10) == "SYN_RECV ESTABLISHED", "else the SYN+ACK had come a third time"


def test_refused() -> None:
    text = """
    0.000  alice > web  S   0
    0.001  web > alice  RA  0  1
    """
    assert client(text) == "SYN_SENT CLOSE"
    assert server(text) == ""
    closing = history(text).closing
    assert (closing.first, closing.by) == ("server", "RST")
