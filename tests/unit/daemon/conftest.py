"""A daemon of bare hosts for each test, and channels to it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import wire

_SCRIPT = Path(__file__).with_name("tiny_daemon.py")


class Daemon:
    """A running daemon. `channel` is the first one, its lease."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "sock")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen()
        ours, theirs = socket.socketpair()
        command = [sys.executable, str(_SCRIPT), str(theirs.fileno()), str(listener.fileno())]
        fds = [theirs.fileno(), listener.fileno()]
        self.process = subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL)
        theirs.close()
        listener.close()
        self.channel = self._open(ours)
        self.channels = [self.channel]

    def connect(self) -> wire.StreamChannel:
        """Another client."""
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.path)
        self.channels.append(self._open(sock))
        return self.channels[-1]

    @staticmethod
    def _open(sock: socket.socket) -> wire.StreamChannel:
        sock.settimeout(60)
        return wire.StreamChannel(sock)

    def make(self, *names: str, **more: Any) -> None:
        """Make hosts."""
        self.channel.call("make", networks=[], hosts=[{"name": name, **more} for name in names])

    def pid(self, host: str) -> int:
        """A host's first process, as the computer sees it."""
        hosts = self.channel.call("hosts")["hosts"]
        return int(next(h["pid"] for h in hosts if h["name"] == host))

    def call(self, host: str, do: str, **call: Any) -> wire.Message:
        """A call of a host's agent that must not fail."""
        answer = self.channel.call("call", host=host, call={"do": do, **call})
        assert answer["errno"] is None, answer
        return answer

    def end(self) -> None:
        """Let go of the lease; everything ends with it."""
        for channel in self.channels:
            channel.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Daemon]]:
    """Start a daemon; it is ended after the test, if it has not ended by then."""
    if os.getuid() != 0:
        pytest.skip("bare network namespaces need root; the namespaces engine's own tests need none")
    started: list[Daemon] = []

    def make() -> Daemon:
        folder = tmp_path / f"daemon{len(started)}"
        folder.mkdir()
        started.append(Daemon(folder))
        return started[-1]

    yield make
    for daemon in started:
        if daemon.process.poll() is None:
            daemon.process.terminate()
        daemon.end()


@pytest.fixture
def daemon(start: Callable[[], Daemon]) -> Daemon:
    """One daemon."""
    return start()
