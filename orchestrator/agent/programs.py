"""Programs that run in a host for as long as they like, with the last of what they wrote."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from orchestrator import errors
from orchestrator.agent import spawn
from orchestrator.agent.poll import Loop, Timer
from orchestrator.agent.requests import Request

KEPT = 256 << 10  # bytes of output of one program
MAX_PROGRAMS = 256
STOP_SECONDS = 5.0  # between SIGTERM and SIGKILL
_PIECE = 64 << 10
_SHOWN = 3000  # characters of a command line; of a longer one only the beginning is shown


class Ring:
    """The last KEPT bytes of a stream; positions count from its beginning."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self.end = 0
        self.followers: list[Callable[[], None]] = []

    @property
    def start(self) -> int:
        """The position of the oldest byte that is kept."""
        return self.end - len(self._kept)

    def add(self, data: bytes) -> None:
        """Append; the oldest go."""
        self._kept += data
        self.end += len(data)
        del self._kept[: max(0, len(self._kept) - KEPT)]
        for follower in list(self.followers):
            follower()

    def read(self, position: int, size: int) -> bytes:
        """At most `size` bytes from a position that is still kept."""
        offset = position - self.start
        return bytes(self._kept[offset : offset + size])

    def lines_back(self, lines: int) -> int:
        """The position from which on there are the last `lines` lines."""
        at = len(self._kept) - (1 if self._kept.endswith(b"\n") else 0)
        for _ in range(lines):
            at = self._kept.rfind(b"\n", 0, at)
            if at < 0:
                return self.start
        return self.start + at + 1 if lines else self.end


class Running:
    """One program: running, or ended with its status."""

    def __init__(self, what: spawn.Program, pid: int, output: int) -> None:
        self.what = what
        self.pid = pid
        self.output = output  # our end of its output's pipe; -1 when that has ended
        self.ring = Ring()
        self.status: int | None = None
        self.ended: float | None = None  # seconds of the monotonic clock
        self.on_end: list[Callable[[], None]] = []

    @property
    def alive(self) -> bool:
        """Has it not ended yet?"""
        return self.status is None

    def describe(self, name: str) -> dict[str, Any]:
        """As `hosts` shows it."""
        state = "running" if self.alive else "exited"
        return {
            "id": name,
            "argv": _shown(self.what.argv),
            "pid": self.pid,
            "state": state,
            "ended": self.ended,
            **ending(self.status),
        }


def _shown(argv: list[str]) -> list[str]:
    """An argument vector, cut where it is absurdly long: many of them go into one frame."""
    if sum(map(len, argv)) + len(argv) <= _SHOWN:
        return list(argv)
    return [a[:100] for a in argv[:10]]


def ending(status: int | None) -> dict[str, int | None]:
    """`exit` and `signal` of a wait status (wait(2)); both None while it runs."""
    if status is None:
        return {"exit": None, "signal": None}
    if os.WIFSIGNALED(status):
        return {"exit": None, "signal": os.WTERMSIG(status)}
    return {"exit": os.waitstatus_to_exitcode(status), "signal": None}


class Programs:
    """The programs of a host by their ids; the file's `run` is "run"."""

    def __init__(self, loop: Loop, before_exec: spawn.BeforeExec | None) -> None:
        self._loop = loop
        self._before_exec = before_exec
        self._by_id: dict[str, Running] = {}

    def start(self, request: Request) -> None:
        """Start one. The same one that runs is left alone; another of its id has to be stopped first."""
        name, what = str(request.message.get("program") or "run"), spawn.program(request.message)
        there = self._by_id.get(name)
        if there and there.alive:
            if there.what == what:
                return request.ok({"pid": there.pid, "already": True})
            raise errors.AgentError(f"{name!r} runs another program already", "stop it first")
        if there is None and len(self._by_id) >= MAX_PROGRAMS:
            raise errors.AgentError(f"there are {MAX_PROGRAMS} programs already")
        request.ok({"pid": self._start(name, what).pid, "already": False})

    def stop(self, request: Request) -> None:
        """SIGTERM to its process group, SIGKILL when that is not enough; answers when it has ended."""
        running = self._by_id.get(str(request.message.get("program") or "run"))
        if running is None or not running.alive:
            return request.ok({"was": "absent" if running is None else "exited"})
        spawn.kill_group(running.pid, signal.SIGTERM)
        spawn.kill_group(running.pid, signal.SIGCONT)  # one that is stopped could not end
        seconds = float(request.message.get("timeout") or STOP_SECONDS)
        timer = self._loop.after(seconds, lambda: spawn.kill_group(running.pid, signal.SIGKILL))
        running.on_end.append(lambda: _stopped(request, running, timer))

    def signal(self, request: Request) -> None:
        """Any signal to its process group, SIGSTOP and SIGCONT too; it is sent when this is answered."""
        name, number = str(request.message.get("program") or "run"), int(request.message["signal"])
        running = self._by_id.get(name)
        if running is None or not running.alive:
            raise errors.AgentError(f"no program {name!r} runs", "`start` starts one")
        if number not in signal.valid_signals():
            raise errors.AgentError(f"{number} is no signal")
        try:
            os.killpg(running.pid, number)
        except ProcessLookupError as error:  # it has ended, and has not been waited for yet
            raise errors.AgentError(f"program {name!r} has just ended") from error
        request.ok({"pid": running.pid})

    def rings(self) -> dict[str, Ring]:
        """What each has written."""
        return {name: running.ring for name, running in self._by_id.items()}

    def describe(self) -> list[dict[str, Any]]:
        """All, also those that have ended."""
        return [running.describe(name) for name, running in self._by_id.items()]

    def kill_all(self) -> None:
        """The agent ends: so do they."""
        for running in self._by_id.values():
            if running.alive:
                spawn.kill_group(running.pid, signal.SIGKILL)

    def _start(self, name: str, what: spawn.Program) -> Running:
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        read, write = os.pipe()
        try:
            pid = spawn.spawn(what, (null, write, write), self._before_exec)
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(null)
            os.close(write)
        os.set_blocking(read, False)
        running = Running(what, pid, read)
        self._replace(name, running)
        self._loop.reading(read, lambda: self._read(running))
        self._loop.child(pid, lambda status: self._ended(running, status))
        return running

    def _replace(self, name: str, running: Running) -> None:
        """What the former program of this id wrote stays readable, before what the new one writes."""
        former = self._by_id.get(name)
        if former:
            running.ring = former.ring
            self._close(former)
        self._by_id[name] = running

    def _read(self, running: Running) -> None:
        try:
            data = os.read(running.output, _PIECE)
        except BlockingIOError:
            return
        if data:
            running.ring.add(data)
        else:
            self._close(running)

    def _close(self, running: Running) -> None:
        if running.output >= 0:
            self._loop.forget(running.output)
            os.close(running.output)
            running.output = -1

    def _ended(self, running: Running, status: int) -> None:
        running.status, running.ended = status, time.monotonic()
        for callback in running.on_end:
            callback()
        running.on_end.clear()


def _stopped(request: Request, running: Running, timer: Timer) -> None:
    timer.cancel()
    request.ok({"was": "running", **ending(running.status)})
