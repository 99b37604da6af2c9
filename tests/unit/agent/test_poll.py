"""The agent's loop: an event belongs to the file that it happened to, not to whoever has its number now."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from orchestrator.agent.poll import Loop


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """The loop is an agent's, alone in its process: what it does to signals is undone."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGCHLD)}
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_an_event_of_a_closed_descriptor_is_not_given_to_the_next_of_its_number() -> None:
    loop, called = Loop(), list[str]()
    pairs = [socket.socketpair() for _ in range(2)]
    idle = socket.socketpair()

    def replace(own: int, other: int) -> None:
        """Whichever is called first puts the idle socket under the other one's number."""
        called.append("first")
        loop.forget(own)
        loop.forget(other)
        os.dup2(idle[0].fileno(), other)
        loop.reading(other, lambda: called.append("stale"))
        loop.after(0.05, loop.stop)

    a, b = pairs[0][0].fileno(), pairs[1][0].fileno()
    loop.reading(a, lambda: replace(a, b))
    loop.reading(b, lambda: replace(b, a))
    for _, peer in pairs:
        peer.send(b"x")
    loop.run()
    for one in (*pairs[0], *pairs[1], *idle):
        one.close()
    assert called == ["first"]
