"""What every daemon says first, and what it refuses."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from orchestrator import wire
from orchestrator.errors import DaemonError, LabError
from tests.support.rig import Rig, stream_of

LAB = """
networks: {net: {}}
hosts: {one: {role: client, networks: [net]}}
"""


def assert_ended(channel: wire.Channel) -> None:
    """The daemon may say why, and nothing else, before it closes."""
    frames = iter(channel.receive, None)
    with channel, pytest.raises(DaemonError, match="gone"):
        assert all("error" in frame.message for frame in frames)


def test_hello_names_the_lab(lab: Rig) -> None:
    said = lab.channel.call("hello", version=wire.VERSION)
    assert said["version"] == wire.VERSION
    assert said["engine"] == lab.lab.engine.name
    assert (said["owner"], said["name"]) == (lab.lab.key.owner, lab.lab.key.name)
    assert said["state"] == "running"
    assert said["pid"] > 0


def test_another_version_is_refused(lab: Rig) -> None:
    with pytest.raises(DaemonError, match="version"):
        lab.channel.call("hello", version=wire.VERSION + 1)


def test_an_unknown_request_is_an_error_and_the_channel_lives_on(lab: Rig) -> None:
    with pytest.raises(LabError, match="frobnicate"):
        lab.channel.call("frobnicate")
    assert lab.channel.call("hello", version=wire.VERSION)["state"] == "running"


@pytest.mark.parametrize(
    "op", ["call", "listen", "connect", "exec", "put", "get", "list", "mkdir", "logs", "start"]
)
def test_an_unknown_host_is_named(lab: Rig, op: str) -> None:
    arguments: dict[str, Any] = {
        "call": {"do": "list"},
        "argv": ["true"],
        "path": "/x",
        "listen": [],
        "connect": [],
    }
    with pytest.raises(LabError, match="nobody"):
        lab.channel.call(op, host="nobody", **arguments)


def test_a_host_that_is_no_name_is_an_error(lab: Rig) -> None:
    with pytest.raises(LabError):
        lab.channel.call("call", host={"a": ["mapping"]}, call={"do": "list"})


def test_a_request_without_its_arguments_is_an_error(lab: Rig) -> None:
    with pytest.raises(LabError):
        lab.channel.call("put", host="one")
    assert lab.ask("one", "list")["errno"] is None


def test_bytes_that_are_no_frame_end_that_channel_only(lab: Rig) -> None:
    other = lab.another()
    stream_of(other).sendall(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")
    assert_ended(other)
    assert lab.channel.call("hello", version=wire.VERSION)["state"] == "running"


def test_a_frame_beyond_its_bounds_ends_that_channel_only(lab: Rig) -> None:
    other = lab.another()
    stream_of(other).sendall(wire.HEADER.pack(wire.MAGIC, 0xFFFFFFF0, 0xFFFFFFF0))
    assert_ended(other)
    assert lab.channel.call("hello", version=wire.VERSION)["state"] == "running"


def test_half_a_frame_and_an_early_end_disturb_nobody(lab: Rig) -> None:
    other = lab.another()
    stream_of(other).sendall(wire.encode({"id": 1, "op": "hello", "version": wire.VERSION})[:-3])
    other.close()
    assert lab.channel.call("hello", version=wire.VERSION)["state"] == "running"


def test_two_channels_are_answered_side_by_side(lab: Rig) -> None:
    with lab.another() as other:
        lab.call("one", "listen", port=7001, to="l")
        waiting = lab.channel.ask("call", host="one", call={"do": "accept", "fd": "l", "timeout": 20})
        client = other.call("call", host="one", call={"do": "connect", "address": "127.0.0.1", "port": 7001})
        assert client["errno"] is None
        *_, end = lab.channel.parts(waiting)
        assert end.message["ok"]["peer"] == client["local"]


def test_several_requests_of_one_channel_are_under_way_at_once(lab: Rig) -> None:
    lab.call("one", "listen", port=7002, to="l")
    waiting = lab.channel.ask("call", host="one", call={"do": "accept", "fd": "l", "timeout": 20})
    connecting = lab.channel.ask(
        "call", host="one", call={"do": "connect", "address": "127.0.0.1", "port": 7002}
    )
    seen: dict[int, wire.Message] = {}
    while len(seen) < 2:
        message, _ = lab.channel.receive()
        seen[message["id"]] = message["ok"]
    assert seen[waiting]["peer"] == seen[connecting]["local"]


def test_a_real_daemon_listens_on_no_network(lab: Rig) -> None:
    """Neither in a host's tables nor on the channel's own socket."""
    parts, _ = lab.snapshot()
    listening = [d for part in parts.values() for d in part.diag if d[1] == 10]
    assert not listening, "nobody was told to listen"
    stream = stream_of(lab.channel)
    if isinstance(stream, socket.socket):
        assert stream.family == socket.AF_UNIX
