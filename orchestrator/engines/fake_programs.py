"""The programs of the fake engine: as many as show that input, output, exit codes and signals are passed on.

A program is a generator: it yields while it waits, and returns its exit code.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.engines.fake_files import Files
from orchestrator.errors import AgentError

Running = Generator[None, None, int]
Write = Callable[[str, bytes], None]  # stream "out" or "err"
CONT, STOP = 18, 19  # signal(7)
KEPT = 256 << 10  # bytes of output of one program


@dataclass(eq=False)
class Program:
    """One that runs or has ended."""

    pid: int
    argv: list[str]
    env: Mapping[str, str]
    files: Files
    write: Write
    stdin: bytearray = field(default_factory=bytearray)
    eof: bool = False
    exit: int | None = None
    signal: int | None = None
    stopped: bool = False
    paused: bool = False  # with its whole host
    steps: Running | None = None

    @property
    def alive(self) -> bool:
        """Has it not ended yet?"""
        return self.exit is None and self.signal is None

    def run(self) -> None:
        """As far as it goes now."""
        if not self.alive or self.stopped or self.paused:
            return
        self.steps = self.steps or _PROGRAMS[posixpath.basename(self.argv[0])](self)
        try:
            next(self.steps)
        except StopIteration as end:
            self.exit = end.value

    def kill(self, number: int) -> None:
        """None of them catches a signal."""
        if number in (STOP, CONT):
            self.stopped = number == STOP
        elif self.alive and number:
            self.signal = number

    def describe(self, name: str) -> dict[str, Any]:
        """As `hosts` shows it."""
        state = "running" if self.alive else "exited"
        about = {"id": name, "argv": self.argv, "pid": self.pid, "state": state}
        return {**about, "exit": self.exit, "signal": self.signal}


def lacks(argv: object) -> bool:
    """Whether these are the words of a program that there is not."""
    return bool(isinstance(argv, list) and argv and posixpath.basename(str(argv[0])) not in _PROGRAMS)


def check(argv: object) -> list[str]:
    """The words of a program that there is. Raises AgentError for any other."""
    if not (isinstance(argv, list) and argv and all(isinstance(word, str) for word in argv)):
        raise AgentError("no program is named")
    if posixpath.basename(argv[0]) not in _PROGRAMS:
        raise AgentError(f"{argv[0]}: not in the fake engine", f"it has {', '.join(_PROGRAMS)}")
    return argv


def _true(program: Program) -> Running:
    yield from ()
    return 0


def _false(program: Program) -> Running:
    yield from ()
    return 1


def _echo(program: Program) -> Running:
    words = program.argv[1:]
    newline = "" if words[:1] == ["-n"] else "\n"
    program.write("out", (" ".join(words[1:] if not newline else words) + newline).encode())
    yield from ()
    return 0


def _cat(program: Program) -> Running:
    for path in program.argv[1:]:
        try:
            program.write("out", program.files.get(path).data)
        except AgentError as error:
            program.write("err", f"cat: {error.message}\n".encode())
            return 1
    while len(program.argv) == 1:
        if program.stdin:
            piece = bytes(program.stdin)
            program.stdin.clear()
            program.write("out", piece)
        elif program.eof:
            return 0
        else:
            yield
    return 0


def _sleep(program: Program) -> Running:
    until = time.monotonic() + float(program.argv[1])
    while time.monotonic() < until:
        yield
    return 0


def _env(program: Program) -> Running:
    program.write("out", "".join(f"{k}={v}\n" for k, v in program.env.items()).encode())
    yield from ()
    return 0


_PROGRAMS: dict[str, Callable[[Program], Running]] = {
    "true": _true,
    "false": _false,
    "echo": _echo,
    "cat": _cat,
    "sleep": _sleep,
    "env": _env,
}
