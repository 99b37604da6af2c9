"""Programs of `run` steps: an exec in a host, with what it wrote and how it ended."""

from __future__ import annotations

import threading
import time

from orchestrator.errors import AgentError, AgentGone, LabError
from orchestrator.model.steps import Run
from orchestrator.requests import Pending, Requests
from orchestrator.wire import Message

MAX_OUTPUT = 256 << 10  # bytes that are kept of what a program wrote; the first ones
LOOK = 0.2  # seconds between two looks at whether the run is being ended
ENDING = 2.0  # seconds for a program that was killed to be gone
# signal(7), "Signal numbering for standard signals", x86 and ARM: a host is Linux, whatever the client is.
SIGNALS = {
    "HUP": 1,
    "INT": 2,
    "QUIT": 3,
    "ABRT": 6,
    "KILL": 9,
    "USR1": 10,
    "USR2": 12,
    "PIPE": 13,
    "ALRM": 14,
    "TERM": 15,
    "CONT": 18,
    "STOP": 19,
    "TSTP": 20,
    "WINCH": 28,
}


def numbered(name: str) -> int:
    """A signal's number in a host."""
    return SIGNALS[name]


class Program:
    """One program, from its beginning on; several with `x3`."""

    def __init__(self, requests: Requests, step: Run) -> None:
        self.step = step
        self.began = time.monotonic()
        self.timed_out = False
        self._refused = ""
        self._kept = bytearray()
        self._lock = threading.Lock()
        self._pending = [
            requests.begin("exec", on_part=self._take, host=step.host, argv=list(step.argv), env={}, tty=None)
            for _ in range(step.times)
        ]
        for one in self._pending:
            one.feed(eof=True)

    @property
    def done(self) -> bool:
        """Whether all have ended."""
        return all(one.done for one in self._pending)

    @property
    def ended(self) -> float:
        """When the last of them ended; now, while one has not."""
        return max(one.ended for one in self._pending) if self.done else time.monotonic()

    @property
    def output(self) -> str:
        """What it wrote, to either stream, as it came."""
        with self._lock:
            return self._kept.decode("utf-8", "replace")

    def wait(self, stop: threading.Event) -> None:
        """Until it has ended, its time is over (then it is killed), or the run is ended."""
        deadline = self.began + self.step.timeout
        while not self.done and not stop.is_set():
            left = deadline - time.monotonic()
            if left <= 0:
                self.timed_out = True
                self.end()
                return
            for one in self._pending:
                if not one.done:
                    try:
                        one.answer(timeout=min(LOOK, left))
                    except (TimeoutError, LabError):
                        pass
                    break

    def signal(self, number: int) -> None:
        """To the program and its process group."""
        for one in self._pending:
            if not one.done:
                one.feed(signal=number)

    def end(self) -> None:
        """Kill it, and wait for its end."""
        self.signal(SIGNALS["CONT"])
        self.signal(SIGNALS["KILL"])
        deadline = time.monotonic() + ENDING
        for one in self._pending:
            try:
                one.answer(timeout=max(0.0, deadline - time.monotonic()))
            except (TimeoutError, LabError):
                pass

    @property
    def code(self) -> int | None:
        """The first exit code that is not as it must be, else the first; None of one that has not ended, or
        could not be started."""
        codes = [self._code(one) for one in self._pending]
        return next((code for code in codes if code != self.step.exits), codes[0])

    def _code(self, one: Pending) -> int | None:
        if not one.done:
            return None
        try:
            answer = one.answer().message
        except AgentGone:
            raise
        except AgentError as error:
            self._refused = error.message
            return None
        code, self._refused = answer.get("exit"), str(answer.get("failed") or self._refused)
        return code if isinstance(code, int) else None

    @property
    def well(self) -> bool:
        """Whether it ended as it had to."""
        return not self.timed_out and self.code == self.step.exits

    @property
    def why(self) -> str:
        """What went wrong."""
        if self.timed_out:
            return f"it had not ended after {self.step.timeout:g} s, and was killed"
        if self._refused:
            return self._refused
        return "" if self.well else f"it ended with {self.code}, and must with {self.step.exits}"

    def _take(self, message: Message, data: bytes) -> None:
        if message.get("stream") in ("out", "err"):
            with self._lock:
                self._kept += data[: MAX_OUTPUT - len(self._kept)]
