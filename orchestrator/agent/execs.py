"""`exec`: a program with its input and output streamed, by pipes or a terminal, until it ends.

What it wrote before it ended is sent in full; what its orphans write later is not waited for.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from functools import partial
from typing import Any

from orchestrator import errors
from orchestrator.agent import spawn
from orchestrator.agent.poll import Loop
from orchestrator.agent.programs import ending
from orchestrator.agent.requests import WINDOW, Request

MAX_EXECS = 128
_PIECE = 64 << 10
_GRACE = 2.0  # seconds between SIGHUP and SIGKILL of an exec that nobody watches any more
_EOT = b"\x04"  # what a terminal takes for the end of input (VEOF, termios(3))


class Execs:
    """All execs under way."""

    def __init__(self, loop: Loop, before_exec: spawn.BeforeExec | None) -> None:
        self.loop = loop
        self._before_exec = before_exec
        self.running: set[Exec] = set()

    def start(self, request: Request) -> None:
        """Start one; its request is answered when it ends, or at once where there is no such program."""
        if len(self.running) >= MAX_EXECS:
            raise errors.AgentError(f"{MAX_EXECS} execs are under way already")
        what, tty = spawn.program(request.message), request.message.get("tty")
        what = what._replace(term=str(request.message.get("term") or "xterm") if tty else None)
        one = Exec(self, request)
        try:
            if tty:
                one.start_on_terminal(what, int(tty[0]), int(tty[1]), self._before_exec)
            else:
                one.start_on_pipes(what, self._before_exec)
        except spawn.NotExecuted as error:
            return request.ok({"exit": error.exit, "signal": None, "failed": str(error)})
        self.running.add(one)

    def kill_all(self) -> None:
        """The agent ends: so do they."""
        for one in self.running:
            spawn.kill_group(one.pid, signal.SIGKILL)


class Exec:
    """One exec: a process, where its input goes, and where its output comes from."""

    def __init__(self, execs: Execs, request: Request) -> None:
        self._execs = execs
        self._loop = execs.loop
        self._request = request
        self.pid = 0
        self._status: int | None = None
        self._master = -1
        self._input = -1
        self._outputs: dict[int, str] = {}  # descriptor → "out" or "err"
        self._pending: deque[bytes] = deque()
        self._pending_size = 0
        self._eof = False

    def start_on_pipes(self, what: spawn.Program, before_exec: spawn.BeforeExec | None) -> None:
        """Three pipes: stdout and stderr stay apart."""
        pairs = [os.pipe(), os.pipe(), os.pipe()]
        theirs = (pairs[0][0], pairs[1][1], pairs[2][1])
        ours = (pairs[0][1], pairs[1][0], pairs[2][0])
        try:
            self.pid = spawn.spawn(what, theirs, before_exec)
        except BaseException:
            _close(ours)
            raise
        finally:
            _close(theirs)
        for fd in ours:
            os.set_blocking(fd, False)
        self._input = ours[0]
        self._begin({ours[1]: "out", ours[2]: "err"})

    def start_on_terminal(
        self, what: spawn.Program, rows: int, columns: int, before_exec: spawn.BeforeExec | None
    ) -> None:
        """A terminal of the host; its output and errors are one stream."""
        master, slave = spawn.terminal_pair(rows, columns)
        try:
            self.pid = spawn.spawn(what, (slave, slave, slave), before_exec, terminal=True)
        except BaseException:
            os.close(master)
            raise
        finally:
            os.close(slave)
        self._master = self._input = master
        self._begin({master: "out"})

    def _begin(self, outputs: dict[int, str]) -> None:
        self._outputs = outputs
        self._loop.child(self.pid, self._ended)
        request = self._request
        request.on_input, request.on_credit, request.on_cancel = self._feed, self._watch, self._cancel
        self._watch()

    def _watch(self) -> None:
        """Read output only while the window is open, so that a slow reader slows the program."""
        wanted = self._request.window > 0
        for fd in list(self._outputs):
            self._loop.reading(fd, partial(self._readable, fd) if wanted else None)
        if self._status is not None and wanted:
            self._drain()

    def _readable(self, fd: int) -> None:
        self._read(fd)

    def _read(self, fd: int) -> bool:
        """Pass one piece on; False where there is nothing more now."""
        try:
            data = os.read(fd, min(_PIECE, self._request.window))
        except BlockingIOError:
            return False
        except OSError:  # EIO: no process has the terminal open
            data = b""
        if not data:
            self._close_output(fd)
            return False
        self._request.part({"stream": self._outputs[fd]}, data)
        if self._request.window <= 0:
            self._watch()
            return False
        return True

    def _close_output(self, fd: int) -> None:
        self._loop.reading(fd, None)
        del self._outputs[fd]
        if fd != self._master:
            self._loop.forget(fd)
            os.close(fd)

    def _ended(self, status: int) -> None:
        self._status = status
        if self._request.open:
            self._drain()
        else:
            self._finish()

    def _drain(self) -> None:
        """It has ended: send what it left in its pipes, then answer."""
        for fd in list(self._outputs):
            while fd in self._outputs and self._request.window > 0 and self._read(fd):
                pass
        if self._request.window > 0:
            self._finish()

    def _finish(self) -> None:
        self._execs.running.discard(self)
        for fd in list(self._outputs):
            self._close_output(fd)
        self._close_input()
        if self._master >= 0:
            self._loop.forget(self._master)
            os.close(self._master)
            self._master = -1
        answer = ending(self._status)
        number = answer["signal"]
        self._request.ok({"exit": answer["exit"] if number is None else 128 + number, "signal": number})

    def _feed(self, message: dict[str, Any], data: bytes) -> None:
        """Input, its end, a new window size, or a signal."""
        if message.get("stream") == "in" and data:
            self._add(data)
        if message.get("eof"):
            self._end_input()
        if (size := message.get("size")) and self._master >= 0:
            spawn.resize(self._master, int(size[0]), int(size[1]))
        if (number := message.get("signal")) and self._status is None:
            spawn.kill_group(self.pid, int(number))

    def _add(self, data: bytes) -> None:
        if self._input < 0 or self._eof:
            return self._request.taken(len(data))
        if self._pending_size + len(data) > 2 * WINDOW:
            raise errors.AgentError("more input than was allowed for")
        self._pending.append(data)
        self._pending_size += len(data)
        self._loop.writing(self._input, self._write)

    def _write(self) -> None:
        try:
            while self._pending:
                count = os.write(self._input, self._pending[0])
                self._request.taken(count)
                self._pending_size -= count
                rest = self._pending.popleft()[count:]
                if rest:
                    self._pending.appendleft(rest)
        except BlockingIOError:
            return
        except OSError:  # EPIPE: the program reads no more
            self._drop_input()
            return
        self._loop.writing(self._input, None)
        if self._eof:
            self._close_input()

    def _end_input(self) -> None:
        if self._input < 0 or self._eof:
            return
        if self._master >= 0:
            return self._add(_EOT)
        self._eof = True
        if not self._pending:
            self._close_input()

    def _drop_input(self) -> None:
        """Nobody reads it: it counts as taken."""
        self._request.taken(self._pending_size)
        self._pending.clear()
        self._pending_size = 0
        self._close_input()

    def _close_input(self) -> None:
        fd, self._input = self._input, -1
        if fd < 0:
            return
        if fd == self._master:
            self._loop.writing(fd, None)
        else:
            self._loop.forget(fd)
            os.close(fd)

    def _cancel(self) -> None:
        """Nobody watches any more: a hang-up, as when a terminal is closed, then the end."""
        for fd in list(self._outputs):
            self._loop.reading(fd, None)
        self._drop_input()
        if self._status is not None:
            return self._finish()
        spawn.kill_group(self.pid, signal.SIGHUP)
        spawn.kill_group(self.pid, signal.SIGCONT)
        self._loop.after(_GRACE, self._kill)

    def _kill(self) -> None:
        if self._status is None:
            spawn.kill_group(self.pid, signal.SIGKILL)


def _close(fds: tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)
