"""A recording of a lab while steps are performed on it: what all sources say, made one value.

Calls, looks, log lines and programs are told by those who have them. Packets come on a channel of its own, by
a thread of its own, from the daemon's history. Nothing here may break or hold up a scenario: what does not
work is in the recording as a reason.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from orchestrator.model.plan import Plan
from orchestrator.model.recording import CallMade, Recording, Said
from orchestrator.scenarios.clocks import Clocks
from orchestrator.scenarios.ledger import address
from orchestrator.scenarios.logs import Looks
from orchestrator.scenarios.packets import Open, Packets
from orchestrator.scenarios.sightings import Kept, Sightings
from orchestrator.scenarios.traces import Traces
from orchestrator.wire import Message

if TYPE_CHECKING:
    from orchestrator.join.connections import Joined
    from orchestrator.join.snapshot import HostTables
    from orchestrator.scenarios.calls import UnderWay

RUN_PROGRAM = "run"  # what a host's `run:` is called
MOST_CALLS = 200_000
MOST_SAID = 100_000
_LOOK = 0.25  # seconds between an agent's looks at a followed file, agent/logs.py
_CLOCKS = 0.1  # seconds that two clocks may differ by, once mapped
_TOLD_ERROR = 0.01  # seconds for an answer to come


class Recorder:
    """A context manager. `origin`: when t = 0 is, on time.monotonic(). `about`: hosts that are watched before
    others, where there are too many. `several`: the lab is on more than one machine."""

    def __init__(
        self,
        open_channel: Open,
        plan: Plan,
        origin: float,
        about: Iterable[str] = (),
        *,
        several: bool = False,
    ) -> None:
        self._plan, self._origin = plan, origin
        self._since = time.monotonic()
        begins = round(origin * 1e9), round(self._since * 1e9)
        self._clocks = Clocks(open_channel, begins[0], several=several)
        self._packets = Packets(open_channel, plan, *begins, about=tuple(about), clocks=self._clocks)
        self._traces = Traces(
            open_channel,
            [host.name for host in plan.hosts],
            round(origin * 1e9),
            here=plan.engine == "namespaces",
            clocks=self._clocks,
        )
        self._lock = threading.Lock()
        self._under_way: list[UnderWay] = []
        self._calls = Kept("call", MOST_CALLS)
        self._sightings = Sightings()
        self._said = Kept("log", MOST_SAID)

    def __enter__(self) -> Recorder:
        self._clocks.start()
        with ThreadPoolExecutor(1) as side_by_side:
            tracing = side_by_side.submit(self._traces.start)
            self._packets.start()
            tracing.result()
        self._clocks.shifted(self._packets.shift)
        self._traces.map_clock(self._packets.shift.add)
        return self

    def __exit__(self, *_: object) -> None:
        self._traces.close()
        self._packets.close()
        self._clocks.close()

    def now(self) -> float:
        """Seconds of the recording."""
        return time.monotonic() - self._origin

    # What is told.

    def began(self, calls: UnderWay) -> None:
        """Calls were sent to an agent."""
        with self._lock:
            self._under_way.append(calls)

    def ended(self, calls: UnderWay) -> None:
        """They are answered."""
        made = list(self._made(calls))
        with self._lock:
            if calls in self._under_way:
                self._under_way.remove(calls)
                self._calls.add(made, self.now())

    def saw(self, tables: Iterable[HostTables], joined: Joined) -> None:
        """One look, and the rows that it made."""
        with self._lock:
            self._sightings.saw(tables, joined, self._moment)

    def _moment(self, host: str, seconds: float) -> float:
        """Seconds of the recording, of what a host's machine has told."""
        return self._clocks.ours(host, seconds) - self._origin

    def line(self, host: str, text: str, source: str, looks: Looks = None) -> None:
        """A line of a log has come in: of a program at once, of a file when an agent has looked at it.
        `looks`: when that was and when it had looked before, on its clock. An agent is not trusted."""
        error = _LOOK / 2 + _TOLD_ERROR if source.startswith("/") else _TOLD_ERROR
        t, told = self.now() - error, {"from": source}
        if (between := self._between(host, looks)) is not None:
            t, error = sum(between) / 2, (between[1] - between[0]) / 2
        self._say(Said(t=t, error=error, host=host, source="log", kind="line", text=text, detail=told))

    def _between(self, host: str, looks: Looks) -> tuple[float, float] | None:
        """Two looks, where they can be true."""
        told = [_number(one, math.inf) for one in looks or ()]
        if not told or not all(map(math.isfinite, told)):
            return None
        now = self.now()
        before, found = (self._moment(host, one) for one in told)
        possible = self._since - self._origin - _CLOCKS <= before <= found <= now + _CLOCKS
        return (before, min(found, max(before, now))) if possible else None

    def exited(self, host: str, text: str, at: float, code: int | None) -> None:
        """A program has ended, `at` on time.monotonic()."""
        told = Said(
            t=at - self._origin,
            error=_TOLD_ERROR,
            host=host,
            source="exit",
            kind="exit",
            text=text,
            detail={"code": code},
        )
        self._say(told)

    def programs(self, hosts: Iterable[dict[str, Any]]) -> None:
        """What the daemon's `hosts` says of the programs that hosts were made with: those that have ended
        since this began. An agent is not trusted."""
        for host in hosts:
            for one in host.get("programs", ()):
                ended = _number(one.get("ended"), -math.inf)
                at = self._clocks.ours(host["name"], ended) if math.isfinite(ended) else ended
                if one.get("id") == RUN_PROGRAM and self._since <= at <= time.monotonic():
                    argv = " ".join(map(str, one.get("argv", ())))
                    code = one.get("exit") if one.get("signal") is None else -one["signal"]
                    self.exited(host["name"], argv, at, code)

    def intervened(self, host: str, kind: str, text: str, began: float) -> None:
        """A step has done something to a host: it came about since `began`, on time.monotonic()."""
        now = self.now()
        middle = (began - self._origin + now) / 2
        self._say(Said(t=middle, error=now - middle, host=host, source="impairment", kind=kind, text=text))

    def found_impaired(self, answer: dict[str, Any]) -> None:
        """What was impaired when this began: packets are dropped or held behind the taps from the start."""
        for one in answer.get("impairments", ()):
            about = {"kind": str(one.get("kind")), "text": f"{one.get('text')} (since before)"}
            self._say(Said(t=0.0, host="", source="impairment", **about))  # type: ignore[arg-type]

    def impaired(self, answer: dict[str, Any], asked: float) -> None:
        """What the daemon's `impairments` says has happened meanwhile, and no step of ours has done: others'
        cuts and links, and what has ended by itself. `asked`: when, on time.monotonic()."""
        now = time.monotonic()
        error = (now - asked) / 2
        shift = asked + error - float(answer.get("now", 0.0)) - self._origin  # the daemon's clock is its own
        for event in answer.get("events", ()):
            if event["t"] + shift >= 0 and (event.get("over") or not event.get("scoped")):
                kind, text = str(event["kind"]), str(event["text"])
                said = Said(
                    t=event["t"] + shift, error=error, host="", source="impairment", kind=kind, text=text
                )
                self._say(said)

    def note(self, words: str) -> None:
        """Words of the scenario."""
        self._say(Said(t=self.now(), host="", source="note", kind="note", text=words))

    def _say(self, said: Said) -> None:
        with self._lock:
            self._said.add((said,), self.now())

    # What is given.

    def recording(self, settle: bool = True) -> Recording:
        """All that is certain to have happened until this was called. `settle`: packets that are on their way
        are waited for; without, only those are in it that have come."""
        packets = self._packets.taken(settle)
        traced = self._traces.taken(settle)
        now = self.now()
        with self._lock:
            under_way = [made for one in self._under_way for made in self._made(one)]
            calls = sorted((*self._calls.records, *under_way), key=lambda one: one.t)
            said = sorted(self._said.records, key=lambda one: one.t)
            seen = self._sightings.taken()
            losses = [one.loss(now) for one in (self._calls, self._sightings, self._said) if one.beyond]
        return Recording(
            lab=self._plan.key.name,
            engine=self._plan.engine,
            began=time.time() - now,
            length=now,
            segments=packets.segments,
            calls=tuple(calls),
            sightings=seen.sightings,
            looks=seen.looks,
            translations=seen.translations,
            plan=self._plan,
            said=tuple(said),
            changes=traced.changes,
            watches=(*packets.watches, *traced.watches),
            losses=(*packets.losses, *traced.losses, *losses),
            clock=packets.clock,
            clocks=self._clocks.recorded(),
            readings=packets.readings,
            zone=_zone(self._plan.engine),
        )

    def _made(self, calls: UnderWay) -> Iterable[CallMade]:
        for pending in calls.pending:
            if pending.done and pending.future.exception() is None:
                yield self._call(calls, pending.answer().message, pending.ended)

    def _call(self, calls: UnderWay, answer: Message, ended: float) -> CallMade:
        """An agent is not trusted: a call was between its question and its answer."""
        step = calls.step
        first, last = calls.began - _CLOCKS, ended + _CLOCKS
        began = self._clocks.ours(step.host, _number(answer.get("began"), 0.0))
        duration = _number(answer.get("duration"), -1.0)
        if not (first <= began <= last and 0 <= duration <= last - began):
            began, duration = calls.began, ended - calls.began
        return CallMade(
            t=began - self._origin,
            duration=duration,
            host=step.host,
            verb=step.verb,
            text=step.text,
            line=step.line,
            step=step.name,
            name=_as(answer.get("name"), str),
            fd=_as(answer.get("fd"), int),
            inode=_as(answer.get("inode"), int),
            local=address(answer.get("local")),
            peer=address(answer.get("peer")),
            result=answer.get("result"),
            errno=_as(answer.get("errno"), str),
            timed_out=answer.get("timed_out") is True,
        )


def _zone(engine: str) -> int:
    """What hosts' local time is ahead of UTC: those of namespaces have this computer's /etc/localtime."""
    return time.localtime().tm_gmtoff if engine == "namespaces" else 0


def _number(value: Any, default: float) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else default


def _as(value: Any, kind: type) -> Any:
    return value if isinstance(value, kind) else None
