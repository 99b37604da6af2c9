"""The way to a daemon through an exec: of a container that ends meanwhile, and of one that hangs."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import docker.errors
import pytest

from orchestrator import errors, wire
from orchestrator.engines import docker_daemon as daemon


class Stub:
    """As much of a Docker Engine as an exec in one container needs."""

    def __init__(self) -> None:
        self.api: Any = self
        self.running = [True]  # at each look; the last one stays
        self.refusal: Exception | None = None
        self.ours, self.theirs = socket.socketpair()

    def exec_create(self, *_: object, **__: object) -> dict[str, str]:
        return {"Id": "exec"}

    def exec_start(self, *_: object, **__: object) -> socket.socket:
        if self.refusal:
            raise self.refusal
        return self.ours

    def exec_inspect(self, _: str) -> dict[str, Any]:
        return {"ExitCode": None}

    def inspect_container(self, _: str) -> dict[str, Any]:
        look = self.running.pop(0) if len(self.running) > 1 else self.running[0]
        return {"State": {"Running": look}}

    def answers(self, message: wire.Message) -> None:
        """Say this to the first request."""

        def serve() -> None:
            number = wire.read_frame(self.theirs).message["id"]
            frame = wire.encode({"id": number, **message})
            self.theirs.sendall(struct.pack(">BxxxI", 1, len(frame)) + frame)

        threading.Thread(target=serve, daemon=True).start()


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    monkeypatch.setattr(daemon, "_SEEN_SECONDS", 0.2)
    made = Stub()
    yield made
    made.ours.close()
    made.theirs.close()


def opened(stub: Stub) -> wire.Channel | None:
    return daemon.open_bridge(stub, "container", 0.2)  # type: ignore[arg-type]


def test_a_daemon_that_answers_is_reached_and_then_may_take_its_time(stub: Stub) -> None:
    stub.answers({"ok": {"state": "running"}})
    channel = opened(stub)
    assert channel is not None
    assert stub.ours.gettimeout() is None


def test_a_daemon_that_does_not_answer_is_not_said_to_be_absent(stub: Stub) -> None:
    with pytest.raises(errors.DaemonError, match="does not answer within"):
        opened(stub)


def test_one_whose_container_ends_meanwhile_is_absent(stub: Stub) -> None:
    stub.running = [True, True, False]
    assert opened(stub) is None


def test_an_exec_that_ends_at_once_is_a_daemon_that_does_not_listen(stub: Stub) -> None:
    stub.theirs.shutdown(socket.SHUT_RDWR)
    assert opened(stub) is None


def test_an_exec_refused_by_a_container_that_is_ending(stub: Stub) -> None:
    """Docker's words for it are many; what counts is that the container does not run any more."""
    stub.refusal = docker.errors.APIError("cannot exec in a stopped state: unknown")
    stub.running = [True, False]
    assert opened(stub) is None
    stub.running = [True]
    with pytest.raises(errors.EngineError, match="stopped state"):
        opened(stub)


def test_another_version_is_told(stub: Stub) -> None:
    stub.answers({"error": {"kind": "DaemonError", "message": "the daemon speaks version 7"}})
    with pytest.raises(errors.DaemonError, match="version 7"):
        opened(stub)


def test_a_stopped_daemon_stops_nobody() -> None:
    ours, theirs = socket.socketpair()
    with theirs, wire.StreamChannel(ours) as channel, pytest.raises(errors.DaemonError, match="within 0 s"):
        channel.hello(0.1)
