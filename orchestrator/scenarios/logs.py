"""What hosts' programs and log files say while a scenario runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from orchestrator.model.plan import Plan
from orchestrator.requests import Pending, Requests
from orchestrator.scenarios.observation import Log
from orchestrator.wire import Message

MAX_LINES = 20_000  # of one host; what comes then is dropped, and known to be
BEGINS = 2.0  # seconds within which the agents open what is followed
MAX_LINE = 16 << 10  # bytes; a longer line is cut
Looks = tuple[Any, Any] | None  # at a file: when nothing more was in it, and when this was; as the agent says
Tell = Callable[[str, str, Looks], None]


class _Lines:
    """The lines of one host, from all of its sources."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self.lines: list[str] = []
        self.complete = True
        self.begun = threading.Event()
        self._rest: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def add(self, message: Message, data: bytes) -> None:
        """A piece of one source; a line is one when its end has come."""
        if message.get("begun"):
            self.begun.set()
            return
        source = str(message.get("source"))
        looks = (message["since"], message.get("at")) if "since" in message else None
        with self._lock:
            *whole, rest = (self._rest.get(source, b"") + data).split(b"\n")
            self._rest[source] = rest[:MAX_LINE]
            room = MAX_LINES - len(self.lines)
            self.complete = self.complete and len(whole) <= room and len(rest) <= MAX_LINE
            new = [line[:MAX_LINE].decode("utf-8", "replace") for line in whole[:room]]
            self.lines += new
        for line in new:
            self._tell(line, source, looks)

    def over(self, _: object) -> None:
        """Nothing more comes: nobody need wait for it."""
        self.begun.set()

    def log(self) -> Log:
        """As it is now; a last line without its end counts."""
        with self._lock:
            rest = [rest.decode("utf-8", "replace") for rest in self._rest.values() if rest]
            return Log(lines=(*self.lines, *rest), complete=self.complete)


class LogFollower:
    """Follows the logs of some hosts from now on: it is made when each agent has said that the files are
    open, since the next step may be another host's, whose agent does not wait for this one. Where one says
    nothing in time lines may be missed, so what its log says is not known. `tell(host, line, source, looks)`
    is called for each line as it comes, by the thread that reads."""

    def __init__(
        self,
        requests: Requests,
        plan: Plan,
        hosts: Iterable[str],
        tell: Callable[[str, str, str, Looks], None] = lambda *_: None,
    ) -> None:
        self._lines: dict[str, _Lines] = {}
        self._pending: dict[str, Pending] = {}
        for name in sorted(set(hosts)):
            host = plan.host(name)
            if host is None:
                continue
            lines = self._lines[name] = _Lines(partial(tell, name))
            self._pending[name] = requests.begin(
                "logs", on_part=lines.add, host=name, paths=list(host.logs), follow=True, tail=0, begun=True
            )
            self._pending[name].future.add_done_callback(lines.over)
        deadline = time.monotonic() + BEGINS
        self._late = {
            name
            for name, lines in self._lines.items()
            if not lines.begun.wait(max(0.0, deadline - time.monotonic()))
        }

    def logs(self) -> Mapping[str, Log]:
        """By host; of a host whose log could not be followed to now nothing is known."""
        known = {name for name, pending in self._pending.items() if not pending.done} - self._late
        return {name: lines.log() for name, lines in self._lines.items() if name in known}
