"""`lab exec` and `lab shell` at a real terminal: a pseudo-terminal of this computer, with a human's keys."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.engines.base import Engine
from tests.support.cli import Commands
from tests.support.terminal import Terminal

pytestmark = pytest.mark.engine("namespaces", "docker")


@pytest.fixture(scope="module")
def running(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    commands = Commands(tmp_path_factory.mktemp("terminal"), engine.name)
    commands.write(
        "name: {name}\nnetworks: {n: {subnet: {net}.9.0/24}}\nhosts: {h: {role: client, networks: [n]}}\n"
    )
    commands.up()
    yield commands
    commands.good("down")


@pytest.fixture
def shell(running: Commands) -> Iterator[Terminal]:
    terminal = Terminal(running, "shell", "h")
    terminal.expect(r"[#$] ")
    yield terminal
    terminal.close()


def test_a_shell_has_a_terminal_of_the_right_size_and_follows_it(shell: Terminal) -> None:
    shell.type("stty size; echo $TERM\n")
    shell.expect(r"30 100\s+xterm-256color")
    shell.resize(40, 120)
    os.kill(shell.process.pid, signal.SIGWINCH)  # the kernel tells the foreground group, which we are not in
    shell.type("sleep 0.2; stty size\n")
    shell.expect("40 120")
    shell.type("exit 3\n")
    assert shell.ended() == 3


def test_keys_go_to_the_program(shell: Terminal) -> None:
    """Ctrl-C ends the program in the host and not the shell; Ctrl-D ends the shell."""
    shell.type("echo ready; cat\n")
    shell.expect("[\r\n]ready\r\n")  # from here on the terminal is not readline's
    shell.type("hello\n")
    shell.expect("hello\r\nhello\r\n")
    shell.type("\x03")
    shell.expect(r"\^C")
    shell.expect(
        r"[#$] "
    )  # what is typed before its prompt the shell may throw away with what it interrupted
    shell.type("echo still here $?\n")
    shell.expect("still here 130")
    shell.type("\x04")
    assert shell.ended() in (0, 130)


def test_exec_at_a_terminal_gives_one(running: Commands) -> None:
    for arguments, said in ((("-T",), "no"), ((), "yes")):
        terminal = Terminal(
            running, "exec", *arguments, "h", "--", "sh", "-c", "test -t 0 && echo yes || echo no"
        )
        terminal.expect(f"{said}\r\n")
        assert terminal.ended() == 0
        terminal.close()


def test_a_terminal_can_be_given_where_there_is_none(running: Commands) -> None:
    """As of a script: the program has one, and its input is passed on as if typed."""
    code, out, err = running.bytes(
        "exec", "-t", "h", "--", "sh", "-c", "test -t 0 && read x && echo got $x", stdin=b"it\n"
    )
    assert (code, err) == (0, b"")
    assert out.endswith(b"got it\r\n")


def test_a_killed_terminal_client_ends_its_program(running: Commands, tmp_path: Path) -> None:
    terminal = Terminal(running, "exec", "h", "--", "sh", "-c", "echo started; exec sleep 4242")
    terminal.expect("started")
    terminal.process.kill()
    terminal.process.wait()
    deadline = time.monotonic() + 30
    look = (
        "exec",
        "h",
        "--",
        "sh",
        "-c",
        "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 424[2]' || true",
    )
    while running.good(*look).out != "0\n":
        assert time.monotonic() < deadline
    terminal.close()
