"""A command at a pseudo-terminal of this computer, with a human's keys."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

from tests.support.cli import LAUNCHER, Commands


class Terminal:
    """A command at a terminal of 30 rows."""

    def __init__(self, commands: Commands, *arguments: str, columns: int = 100) -> None:
        self.master, slave = pty.openpty()
        self.resize(30, columns)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen(
            [str(LAUNCHER), *arguments],
            cwd=commands.folder,
            env={**commands.env(), "TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=self._begin,  # noqa: PLW1509
        )
        self.seen = ""

    def _begin(self) -> None:
        """As a terminal's shell starts a command: also where whoever runs the tests ignores hangups."""
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, pattern: str, seconds: float = 20) -> str:
        """Read until it is there; what was read is used up to its end."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, (pattern, self.seen)
            self.seen += os.read(self.master, 4096).decode(errors="replace")
        self.seen = self.seen[found.end() :]
        return found[0]

    def no_more(self, pattern: str, seconds: float = 0.3) -> None:
        """It does not come."""
        deadline = time.monotonic() + seconds
        while select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            self.seen += os.read(self.master, 4096).decode(errors="replace")
        assert not re.search(pattern, self.seen), self.seen

    def ended(self) -> int:
        """Its exit code; the terminal is as it was before."""
        code = self.process.wait(timeout=60)
        assert termios.tcgetattr(self.slave) == self.before
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)
