"""A unix socket here that leads elsewhere."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import MachineUnreachable
from orchestrator.machines.forward import Forwarder
from orchestrator.wire import Stream
from tests.support.rig import eventually


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    return tmp_path


class Far:
    """The other side: what has been opened there."""

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []
        self.dead = False

    def open(self) -> Stream:
        if self.dead:
            raise MachineUnreachable("it is gone")
        ours, theirs = socket.socketpair()
        self.ends.append(theirs)
        return ours


@pytest.fixture
def far() -> Far:
    return Far()


@pytest.fixture
def forwarder(base: Path, far: Far) -> Iterator[Forwarder]:
    found = Forwarder(far.open)
    yield found
    found.close()


def dial(forwarder: Forwarder) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(5)
    sock.connect(forwarder.path)
    return sock


def test_both_directions_carry_at_once(forwarder: Forwarder, far: Far) -> None:
    """Either side writes more than any buffer holds before it reads."""
    near = dial(forwarder)
    eventually(lambda: far.ends)
    data = bytes(4 << 20)
    for end in (near, far.ends[0]):
        threading.Thread(target=end.sendall, args=(data,), daemon=True).start()
    for end in (near, far.ends[0]):
        left = len(data)
        while left:
            left -= len(end.recv(left))


def test_a_half_close_leaves_the_other_direction_open(forwarder: Forwarder, far: Far) -> None:
    near = dial(forwarder)
    near.sendall(b"question")
    near.shutdown(socket.SHUT_WR)
    eventually(lambda: far.ends)
    assert far.ends[0].recv(100) == b"question"
    assert far.ends[0].recv(100) == b""
    far.ends[0].sendall(b"answer")
    far.ends[0].close()
    assert near.recv(100) == b"answer"
    assert near.recv(100) == b""


def test_where_nothing_can_be_opened_the_connection_ends(forwarder: Forwarder, far: Far) -> None:
    far.dead = True
    assert dial(forwarder).recv(1) == b""
    far.dead = False
    near = dial(forwarder)
    near.sendall(b"x")
    eventually(lambda: far.ends)
    assert far.ends[0].recv(1) == b"x"


def test_closing_ends_all_and_leaves_nothing(forwarder: Forwarder, far: Far, base: Path) -> None:
    near = dial(forwarder)
    eventually(lambda: far.ends)
    forwarder.close()
    assert near.recv(1) == b""
    assert far.ends[0].recv(1) == b""
    assert list(base.iterdir()) == []
    with pytest.raises(OSError, match="No such file"):
        dial(forwarder)


def test_nobody_else_gets_at_it(forwarder: Forwarder) -> None:
    folder = Path(forwarder.path).parent
    assert [part.stat().st_mode & 0o777 for part in (folder, folder.parent, folder.parents[1])] == [0o700] * 3


def test_a_process_that_ends_leaves_nothing(base: Path) -> None:
    program = "import sys, tempfile; tempfile.gettempdir = lambda: sys.argv[1]; "
    program += "from orchestrator.machines.forward import Forwarder; print(Forwarder(lambda: None).path)"
    done = subprocess.run([sys.executable, "-c", program, base], capture_output=True, text=True)
    assert done.stdout.startswith(str(base)), done.stderr
    assert list(base.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_a_living_ones_is_not(base: Path, far: Far) -> None:
    program = "import os, sys, tempfile; tempfile.gettempdir = lambda: sys.argv[1]; "
    program += "from orchestrator.machines.forward import Forwarder; "
    program += "print(Forwarder(lambda: None).path, flush=True); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", program, base], capture_output=True, text=True)
    left = Path(done.stdout.strip())
    assert left.exists(), done.stderr
    first = Forwarder(far.open)
    assert not left.parent.exists()
    second = Forwarder(far.open)
    dial(first).close()
    for one in (first, second):
        one.close()
    assert list(base.iterdir()) == []
