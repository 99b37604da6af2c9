"""A lab under test: brought up from the text of a file, asked in few words, and always removed."""

from __future__ import annotations

import itertools
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import pytest

from orchestrator import bringup
from orchestrator.lab import Lab
from orchestrator.model.topology import Topology
from orchestrator.read import read_text
from orchestrator.wire import Channel, Message, Stream, StreamChannel

PATIENCE = 10.0  # seconds until something that was caused must be there; never slept through
DIAG = struct.Struct("<BBHH16s16sIIIQ")
HOLDER = struct.Struct("<QII")
DOCKER_DNS = bytes((127, 0, 0, 11))  # Docker's own name server in each of its containers
_NUMBERS = itertools.count(1)
Thing = TypeVar("Thing")


class Ended(NamedTuple):
    """A program's end and what it wrote."""

    code: int
    out: bytes
    err: bytes


class Part(NamedTuple):
    """A host's part of a snapshot."""

    about: Message
    tcp: bytes
    tcp6: bytes
    diag: list[tuple[Any, ...]]
    holders: list[tuple[int, int, int]]  # inode, index into processes, descriptor
    known: bytes


def unique_name() -> str:
    """A lab name that no other test run of this computer has."""
    return f"t{os.getpid()}-{next(_NUMBERS)}"


def topology(text: str, name: str | None = None) -> Topology:
    """The topology of a file that says all but its name."""
    return read_text(f"name: {name or unique_name()}\n{text}".encode(), "lab.yaml", os.getcwd())


def eventually(look: Callable[[], Thing], seconds: float = PATIENCE) -> Thing:
    """What `look` gives as soon as it is true. Fails with what it gave last."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s; last seen: {seen!r}"
        time.sleep(0.02)
    return seen


def stream_of(channel: Channel) -> Stream:
    """For bytes that are no frames."""
    if not isinstance(channel, StreamChannel):
        pytest.skip("a channel to several machines has no stream of its own")
    return channel.stream


class Rig:
    """A running lab and the short words that tests use for it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    @property
    def channel(self) -> Channel:
        """The lab's first channel."""
        return self.lab.channel

    def another(self) -> Channel:
        """A second one."""
        return self.lab.another_channel()

    def address(self, host: str, family: int = 4, network: str | None = None) -> str:
        """The host's address, on one network or its first."""
        for link in self.lab.host(host).interfaces:
            found = link.address if family == 4 else link.address6
            if found and network in (None, link.network):
                return found
        raise AssertionError(f"{host} has no IPv{family} address on {network}")

    def ask(self, host: str, do: str, **arguments: Any) -> Message:
        """One call of the host's agent, whatever comes of it. `to` stands for `as`, which is no name here."""
        return self.channel.call("call", host=host, call=_call(do, arguments))

    def call(self, host: str, do: str, **arguments: Any) -> Message:
        """One that must succeed."""
        answer = self.ask(host, do, **arguments)
        assert answer["errno"] is None, f"{host}: {do} {arguments}: {answer}"
        return answer

    @contextmanager
    def under_way(self, host: str, do: str, **arguments: Any) -> Iterator[Callable[[], Message]]:
        """A call that waits, on a channel of its own; what is given collects its answer."""
        with self.another() as other:
            request = other.ask("call", host=host, call=_call(do, arguments))
            yield lambda: [*other.parts(request)][-1].message["ok"]

    def received(self, host: str, fd: str, **arguments: Any) -> tuple[bytes, Message]:
        """The bytes of a recv, and its answer."""
        frame = self.channel.answer("call", host=host, call={"do": "recv", "fd": fd, **arguments})
        return frame.data, frame.message

    def run(self, host: str, *argv: str, stdin: bytes = b"", **arguments: Any) -> Ended:
        """A program in the host, to its end, with this input."""
        request = self.channel.ask(
            "exec", host=host, argv=list(argv), **{"env": {}, "tty": None, **arguments}
        )
        for at in range(0, len(stdin), 65536):
            self.channel.feed(request, stdin[at : at + 65536], stream="in")
        self.channel.feed(request, eof=True)
        return self.ended(request)

    def ended(self, request: int) -> Ended:
        """Collect an exec that has all of its input."""
        out = {"out": b"", "err": b""}
        for message, data in self.channel.parts(request):
            if "ok" in message:
                return Ended(message["ok"]["exit"], out["out"], out["err"])
            out[message["part"]["stream"]] += data
        raise AssertionError("no end")

    def put(self, host: str, path: str, data: bytes, mode: int = 0o644) -> Message:
        """Copy bytes into a file of the host."""
        request = self.channel.ask("put", host=host, path=path, mode=mode)
        for at in range(0, len(data), 65536):
            self.channel.feed(request, data[at : at + 65536])
        self.channel.feed(request, eof=True)
        return self._end(request)[0]

    def get(self, host: str, path: str) -> tuple[bytes, Message]:
        """A file of the host, and what is said of it."""
        end, data = self._end(self.channel.ask("get", host=host, path=path))
        return data, end

    def entries(self, host: str, path: str) -> dict[str, Message]:
        """A folder of the host, by path."""
        return {entry["path"]: entry for entry in self.channel.call("list", host=host, path=path)["entries"]}

    def logs(self, host: str, **arguments: Any) -> dict[str, bytes]:
        """What there is to read now, by source."""
        found: dict[str, bytes] = {}
        for message, data in self.channel.parts(self.channel.ask("logs", host=host, **arguments)):
            if "part" in message:
                source = message["part"]["source"]
                found[source] = found.get(source, b"") + data
        return found

    def snapshot(
        self, hosts: list[str] | None = None, holders: bool = True, quick: bool = False
    ) -> tuple[dict[str, Part], Message]:
        """Every host's part, and the end of the answer."""
        found: dict[str, Part] = {}
        request = self.channel.ask("snapshot", hosts=hosts, holders=holders, quick=quick)
        for message, data in self.channel.parts(request):
            if "ok" in message:
                return found, message["ok"]
            found[message["part"]["host"]] = _part(message["part"], data)
        raise AssertionError("no end")

    def clear(self) -> None:
        """Close what the test left open, with a reset: no TIME_WAIT is left for the next one."""
        for host in [h.name for h in self.lab.plan.hosts]:
            found = self.ask(host, "list")
            for child in found.get("children", []):
                self.ask(host, "close", fd=child["name"])
            for one in found["result"]:
                if not one["auto"]:
                    self.ask(host, "reset", fd=one["name"])

    def _end(self, request: int) -> tuple[Message, bytes]:
        data = b""
        for message, more in self.channel.parts(request):
            data += more
            if "ok" in message:
                return message["ok"], data
        raise AssertionError("no end")


def _call(do: str, arguments: dict[str, Any]) -> Message:
    return {"do": do, **{"as" if name == "to" else name: value for name, value in arguments.items()}}


def _part(about: Message, data: bytes) -> Part:
    pieces, at = [], 0
    for kind in ("tcp", "tcp6", "diag", "holders", "known"):
        pieces.append(data[at : at + about["sizes"][kind]])
        at += about["sizes"][kind]
    assert at == len(data), "the sizes say where all the bytes belong"
    tcp, tcp6, diag, holders, known = pieces
    records = [one for one in DIAG.iter_unpack(diag) if not one[4].startswith(DOCKER_DNS)]
    return Part(about, tcp, tcp6, records, list(HOLDER.iter_unpack(holders)), known)


@contextmanager
def running(engine: str, text: str) -> Iterator[Rig]:
    """A lab for the length of a block; nothing of it is left afterwards."""
    outcome = bringup.up(topology(text), engine)
    assert not outcome.failed, outcome.failed
    lab = outcome.lab
    try:
        yield Rig(lab)
    finally:
        lab.down()
        left = [found for found in lab.engine.find(lab.key.owner) if found.key == lab.key]
        assert not left, f"left behind: {left}"
