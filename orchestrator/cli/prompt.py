"""`lab agent`: lines, each performed as it comes, and what came of it at both ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from orchestrator.cli import conns
from orchestrator.cli.ending import say
from orchestrator.cli.typed import Lines, lines
from orchestrator.errors import DaemonError, LabError
from orchestrator.model.runs import ExpectationRecord, Part, StepRecord
from orchestrator.model.steps import Call, Expectation, Note, Run, Step, Wait
from orchestrator.read import explaining
from orchestrator.read.completing import Known, candidates
from orchestrator.read.people import Residents
from orchestrator.read.session import ReadLine, StepSession
from orchestrator.read.verbs import ALL_VERBS
from orchestrator.report import scenarios as report
from orchestrator.report.harmless import harmless, width
from orchestrator.report.layout import paint
from orchestrator.runs import mend
from orchestrator.scenarios.stepping import StepFailed, Stepping

if TYPE_CHECKING:
    from orchestrator.lab import Lab

PATIENCE = 3  # Ctrl-C so many times during one step gives up on it, and on the session
LOOK = 0.2  # seconds after which a Ctrl-C is noticed at the latest (on Windows)
FRESH = 1.0  # seconds for which listeners that were looked up for a completion are taken for true
FAILED, BAD_INPUT, UNKNOWN = 1, 2, 4  # exits
INPUT = "stdin"  # what diagnostics call a pipe
COMMANDS = ("rows", "listeners", "open", "help ", "quit")


class Echo:
    """Tells what came of steps: of the one just typed (`typed`) it does not repeat the words."""

    def __init__(self) -> None:
        self.style = conns.style_of_stdout()
        self.typed: Step | None = None
        self.worst = 0

    def step_begins(self, step: Step, part: Part) -> None:
        """Whoever has typed it knows."""

    def step_ended(self, step: Step, record: StepRecord) -> None:
        """What came of it, and the rows that changed."""
        self.tell(report.step(record, self.style, said=step is not self.typed))

    def judged(self, step: Expectation, record: ExpectationRecord) -> None:
        """The verdict."""
        if record.verdict != "pass" and self.worst != FAILED:
            self.worst = FAILED if record.verdict == "fail" else UNKNOWN
        self.tell(report.expectation(record, self.style, said=step is not self.typed))

    def noted(self, step: Note) -> None:
        """The words."""
        self.tell(report.note(step.words, self.style))

    def tell(self, text: Iterable[str]) -> None:
        """Lines, at once."""
        for line in text:
            print(line)
        sys.stdout.flush()


class Prompt:
    """One `lab agent`. `host`: of whom a line is a step that names no host."""

    def __init__(self, lab: Lab, host: str | None) -> None:
        self.lab, self.host = lab, host
        hosts = lab.plan.hosts
        self._programs = [one.name for one in hosts if one.run]
        self.reader = StepSession(Residents.of(lab.plan), host)
        self.echo = Echo()
        self.lines: Lines = lines(f"{host or lab.key.name}> ", self._complete)
        self._ports: tuple[float, list[str]] = (0.0, [])
        self._background: dict[tuple[str, str], Step] = {}
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="step")

    def run(self) -> int:
        """Until the end of the lines; the exit code. What was opened is closed, what was ended made anew."""
        stepping = Stepping(self.lab.another_channel, self.lab.plan, self.echo, watch=True)
        try:
            with stepping, self._pool:
                self.stepping = stepping
                code = self._loop()
        finally:
            mend(self.lab, stepping.powered_off, stepping.ended_programs, say)
        return code

    def _loop(self) -> int:
        if self.lines.interactive:
            print("a line is a step, as `listen :80 as door`; `help` says more, Ctrl-D ends")
        while True:
            code = self._tell_ended()
            if code and not self.lines.interactive:
                return code
            try:
                line = self.lines.next()
            except KeyboardInterrupt:
                if not self.lines.interactive:
                    raise
                print()  # what was typed is dropped, as a shell does it
                continue
            if line is None or line.strip() in ("quit", "exit"):
                return 0 if self.lines.interactive else self._tell_ended()
            code = self._line(line)
            if code and not self.lines.interactive:
                return code

    def _tell_ended(self) -> int:
        """Steps that were left running and have ended meanwhile."""
        code = 0
        self.echo.typed = None
        for step, well in self.stepping.ended():
            if isinstance(step, Call | Run) and step.name is not None:
                self._background.pop((step.host, step.name), None)
                self.reader.ended(step.host, step.name)
            if not well:
                self.reader.failed(step)
                code = FAILED
        return code

    def _line(self, line: str) -> int:
        """One line; what would be the exit code of a script that ends with it."""
        try:
            command = self._command(line)
            if command is not None:
                command()
                return 0
            read = self.reader.read(line)
            if read.mistakes:
                self._complain(line, read)
                return BAD_INPUT
            return 0 if read.step is None else self._step(read.step)
        except DaemonError:
            raise
        except LabError as error:
            if not self.lines.interactive:
                raise
            say(f"lab: {error}")
            return error.exit_code

    # Steps.

    def _step(self, step: Step) -> int:
        self.echo.worst = 0
        self.echo.typed = step if self.lines.interactive else None
        if isinstance(step, Call | Run) and step.background and step.name is not None:
            self._background[(step.host, step.name)] = step
        try:
            self._wait_for(self._pool.submit(self.stepping.do, step), step)
        except StepFailed:
            return FAILED
        return self.echo.worst

    def _wait_for(self, done: Future[None], step: Step) -> None:
        interrupted = 0
        while True:
            try:
                done.result(timeout=LOOK)
                return
            except TimeoutError:
                if done.done():
                    raise
            except StepFailed:
                self._failed(step, interrupted > 0)
                raise
            except KeyboardInterrupt:
                interrupted += 1
                self.stepping.interrupt()
                if interrupted >= PATIENCE or not self.lines.interactive:
                    raise
            except BaseException:
                self.stepping.interrupt()
                raise

    def _failed(self, step: Step, interrupted: bool) -> None:
        """Names are as they were, where the step was to change them."""
        joined = step.step if isinstance(step, Wait) else None
        if interrupted and joined is not None:
            self.reader.unread()  # it can be waited for again
        elif joined is not None and (joined.host, joined.name) in self._background:
            self.reader.failed(self._background.pop((joined.host, joined.name)))
        else:
            self.reader.failed(step)
        if interrupted:
            say("interrupted")

    def _complain(self, line: str, read: ReadLine) -> None:
        """Each mistake, with a caret below its column."""
        for one in read.mistakes:
            if self.lines.interactive:
                say(f"  {harmless(line)}")
            else:
                say(f"{INPUT}:{one.line}:{one.column}: {one.text}\n  {harmless(line)}")
            say(f"  {' ' * width(harmless(line[: one.column - 1]))}^")
            if self.lines.interactive:
                say(one.text)

    # Commands.

    def _command(self, line: str) -> Callable[[], None] | None:
        """What a line asks for that is no step."""
        words = line.split()
        if len(words) == 1 and words[0] in ("rows", "listeners"):
            return lambda: self._look(listeners=words[0] == "listeners")
        if words == ["open"]:
            return self._open
        if words[:1] == ["help"]:
            return lambda: self.echo.tell(self._help(words[1:]))
        return None

    def _look(self, *, listeners: bool) -> None:
        seen = self.lab.observe()
        text = conns.text_of(self.lab, seen, listeners=listeners, style=self.echo.style, legend=False)
        self.echo.tell(text.splitlines())

    def _open(self) -> None:
        names = self.reader.names.descriptors
        hosts = dict.fromkeys([*([self.host] if self.host else []), *names])
        found = [line for host in hosts for line in report.descriptors(host, self.stepping.open(host))]
        self.echo.tell(found or ["  nothing is open"])

    def _help(self, words: list[str]) -> Iterator[str]:
        if words and words[0] in ALL_VERBS:
            yield from explaining.verb(words[0])
            return
        bold = [paint(text, "bold", self.echo.style) for text in ("Steps", "Other steps", "Commands")]
        host = f"of {self.host}; of another host" if self.host else "of a host"
        yield f"{bold[0]} {host} as `alice: connect web:80`; `help VERB` says more"
        yield from explaining.verbs()
        yield bold[1]
        yield from explaining.others()
        yield bold[2]
        yield "  rows       both ends of every connection, as `lab conns`"
        yield "  listeners  the listening sockets"
        yield "  open       what was opened here, with the real numbers of descriptors"
        yield "  quit       or Ctrl-D: end; what was opened here is closed. Ctrl-C ends the step that waits"

    # Completion.

    def _complete(self, before: str) -> list[str]:
        hosts = [one.name for one in self.lab.plan.hosts]
        known = Known(self.host, hosts, self.reader.names, COMMANDS, self._listening(), self._programs)
        return candidates(before, known)

    def _listening(self) -> list[str]:
        """Where the hosts listen, as `web:80`."""
        taken, found = self._ports
        if time.monotonic() - taken > FRESH:
            found = sorted({f"{one.host}:{one.port}" for one in self.lab.listeners()})
            self._ports = time.monotonic(), found
        return found
