"""Scopes: what a client's calls open belongs to its channel, and ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from orchestrator.engines.base import Engine
from orchestrator.errors import AgentError
from orchestrator.wire import Channel, Message
from tests.support.rig import Rig, eventually
from tests.support.rows import look, of_port

LAB = """
networks: {net: {subnet6: auto}}
hosts:
  a: {role: server, networks: [net]}
  b: {role: client, networks: [net]}
"""


class Client:
    """A channel of its own, whose calls are scoped."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def call(self, host: str, do: str, **arguments: Any) -> Message:
        """A call that must succeed."""
        words = {"as" if name == "to" else name: value for name, value in arguments.items()}
        answer = self.channel.call("call", host=host, scoped=True, call={"do": do, **words})
        assert answer["errno"] is None, answer
        return answer

    def connected(self, lab: Rig, port: int, family: int = 4) -> None:
        """b's "call" <=> a's "conn", by a's "listener"; all of this scope."""
        self.call("a", "listen", address="::" if family == 6 else "0.0.0.0", port=port, to="listener")
        self.call("b", "connect", address=lab.address("a", family), port=port, to="call")
        self.call("a", "accept", fd="listener", to="conn")

    def release(self) -> int:
        """How many descriptors were closed."""
        return int(self.channel.call("release")["closed"])


@contextmanager
def client(lab: Rig) -> Iterator[Client]:
    """A client of the lab for a block."""
    with lab.another() as channel:
        yield Client(channel)


def nothing_left(lab: Rig, port: int) -> bool:
    """No row of this port in any state, TIME_WAIT neither, and nobody listens."""
    seen = look(lab)
    return not of_port(seen, port) and all(one.port != port for one in seen.listeners)


def test_names_of_different_scopes_never_meet(lab: Rig) -> None:
    with client(lab) as one, client(lab) as other:
        one.call("a", "listen", port=7310, to="same")
        other.call("a", "listen", port=7311, to="same")
        lab.call("a", "listen", port=7312, to="same")
        listed = [
            {(found["name"], found["local"][1]) for found in who.call("a", "list")["result"]}
            for who in (one, other, lab)
        ]
        assert listed == [{("same", 7310)}, {("same", 7311)}, {("same", 7312)}]
        numbers = {who.call("a", "list")["result"][0]["fd"] for who in (one, other, lab)}
        assert len(numbers) == 3, "one process: every descriptor has a number of its own"
        with pytest.raises(AgentError, match="already"):
            one.call("a", "socket", to="same")


@pytest.mark.parametrize("family", [4, 6])
def test_release_leaves_nothing_and_counts_what_it_closed(lab: Rig, family: int) -> None:
    port = 7320 + family
    with client(lab) as one:
        one.connected(lab, port, family)
        one.call("b", "dup", fd="call", to="copy")
        assert of_port(look(lab), port)
        assert one.release() == 4
        assert nothing_left(lab, port)
        assert one.release() == 0
        one.connected(lab, port, family)  # the names and the port are free
        assert one.release() == 3


def test_release_leaves_what_is_not_of_the_scope(lab: Rig) -> None:
    with client(lab) as one:
        lab.call("a", "listen", port=7330, to="kept")
        one.call("b", "connect", address=lab.address("a"), port=7330, to="call")
        lab.call("a", "accept", fd="kept", to="conn")
        assert one.release() == 1
        assert lab.ask("a", "recv", fd="conn")["errno"] == "ECONNRESET"
        assert {found["name"] for found in lab.call("a", "list")["result"]} == {"kept", "conn"}


def test_release_ends_children_and_resets_what_only_they_hold(lab: Rig) -> None:
    with client(lab) as one:
        one.connected(lab, 7340)
        one.call("b", "fork", fd="call", to="child")
        one.call("b", "close", fd="call")
        assert one.call("b", "list")["children"][0]["name"] == "child"
        one.release()
        assert nothing_left(lab, 7340)
        assert one.call("b", "list")["children"] == []


def test_release_ends_calls_that_wait(lab: Rig) -> None:
    with client(lab) as one:
        one.call("a", "listen", port=7350, to="listener")
        waits = {"do": "accept", "fd": "listener", "timeout": 60}
        first = one.channel.ask("call", host="a", scoped=True, call=waits)
        released = one.channel.ask("release")
        ends: dict[int, Message] = {}
        while len(ends) < 2:
            message = one.channel.receive().message
            ends[message["id"]] = message
        assert ends[released]["ok"] == {"closed": 1}
        assert "released" in ends[first]["error"]["message"]


def test_a_channel_that_is_closed_releases_what_it_had(lab: Rig) -> None:
    with client(lab) as one:
        one.connected(lab, 7360)
        one.call("b", "fork", fd="call", to="child")
        assert of_port(look(lab), 7360)
    eventually(lambda: nothing_left(lab, 7360))


_KILLED = """
import os, sys
from orchestrator.engines import registry
from orchestrator.model.plan import LabKey
name, owner, engine, address = sys.argv[1:]
channel = registry.engine(engine).open(LabKey(owner=owner, name=name))
def call(host, **call):
    answer = channel.call("call", host=host, scoped=True, call=call)
    assert answer["errno"] is None, answer
call("a", do="listen", port=7370, **{"as": "listener"})
for number in range(50):
    call("b", do="connect", address=address, port=7370, **{"as": f"c{number}"})
channel.ask("call", host="a", scoped=True, call={"do": "recv", "fd": "listener", "timeout": 60})
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.engine("namespaces", "docker")
def test_a_client_that_is_killed_leaves_nothing(lab: Rig, engine: Engine) -> None:
    key = lab.lab.key
    command = [sys.executable, "-c", _KILLED, key.name, key.owner, engine.name, lab.address("a")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            assert process.stdout.readline() == b"ready\n"
            assert len(of_port(look(lab), 7370)) == 50
        finally:
            os.kill(process.pid, signal.SIGKILL)
    eventually(lambda: nothing_left(lab, 7370))
