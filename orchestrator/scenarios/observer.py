"""Looks at the lab for expectations: rows, counters and logs as they are now, with what the steps have made.

One look alone may have caught a connection between two states; each confirms the one before it, so that looks
can follow each other closely (observe.py sleeps between two).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from orchestrator import observe
from orchestrator.errors import LabError
from orchestrator.garbage import no_collection
from orchestrator.join import counters, looks
from orchestrator.join.connections import Joined, join
from orchestrator.model.plan import Plan
from orchestrator.model.steps import Expectation
from orchestrator.scenarios import rows
from orchestrator.scenarios.ledger import Ledger, address
from orchestrator.scenarios.logs import LogFollower
from orchestrator.scenarios.observation import Name, Observation
from orchestrator.scenarios.timing import Look

if TYPE_CHECKING:
    from orchestrator.requests import Requests
    from orchestrator.scenarios.recorder import Recorder
    from orchestrator.wire import Channel

PAUSE = 0.003  # seconds between two looks
LATEST = 1.0  # seconds after which a look says nothing of the next one
ROWS = ("connection", "listener")
HELD = ("pid", "process", "fd", "holders")  # fields that only /proc/PID/fd tells


class Observer:
    """Looks of one performance. `channel` is for looks alone; `requests` are those of the steps."""

    def __init__(
        self,
        channel: Channel,
        requests: Requests,
        plan: Plan,
        ledger: Ledger,
        *,
        logs: LogFollower,
        recorder: Recorder,
    ) -> None:
        self._channel, self._requests, self._plan = channel, requests, plan
        self._ledger, self._logs, self._recorder = ledger, logs, recorder
        self._lock = threading.Lock()
        self._translating = any(host.nat for host in plan.hosts)
        interfaces = [one for host in plan.hosts for one in host.interfaces]
        self._addresses = frozenset(a for one in interfaces for a in (one.address, one.address6) if a)
        self._before: Joined | None = None
        self._before_at = 0.0
        self._base: dict[str, Mapping[str, int]] = {}
        self._shown: dict[str, str] | None = None  # rows by id

    def look(self, expectation: Expectation) -> Look[Observation]:
        """As much of the lab as the expectation is about."""
        with self._lock:
            began = time.monotonic()
            seen = Observation(translating=self._translating)
            if expectation.kind in ROWS:
                seen = self._rows(holders=needs_holders(expectation))
            elif expectation.kind == "counter":
                seen = msgspec.structs.replace(seen, counters=self._differences(expectation))
            elif expectation.kind == "log":
                seen = msgspec.structs.replace(seen, logs=self._logs.logs())
            seen = msgspec.structs.replace(
                seen,
                descriptors=self._ledger.descriptors(),
                steps=self._ledger.steps(),
                received=self._ledger.received(),
            )
            return Look(began, time.monotonic(), seen)

    def changed(self) -> tuple[str, ...]:
        """Rows that look different since this was asked before, for whoever watches the scenario."""
        with self._lock:
            found = self._rows().connections
            if any(row.status == "in-transition" for row in found):  # the look before was before the step
                time.sleep(PAUSE)
                found = self._rows().connections
            now = {row.id: rows.as_text(row) for row in found}
        before, self._shown = self._shown, now
        if before is None:
            return ()
        new = [
            f"{'~' if number in before else '+'} {text}"
            for number, text in now.items()
            if before.get(number) != text
        ]
        return (*new, *(f"- {text}" for number, text in before.items() if number not in now))

    # Rows.

    def _rows(self, holders: bool = True) -> Observation:
        self._learn_addresses()
        joined, seen = self._settled(holders)
        found = Observation(
            connections=joined.connections,
            listeners=joined.listeners,
            not_observed=frozenset(seen.not_observed),
            translating=self._translating,
            addresses=self._addresses,
            descriptors=self._ledger.descriptors(),
        )
        for name, one in found.descriptors.items():
            its = rows.of_descriptor(name[0], one, found)
            if len(its) == 1:
                self._ledger.seen_in(name, its[0].id)
        return found

    def _settled(self, holders: bool) -> tuple[Joined, observe.Seen]:
        """What two looks agree on."""
        joined, seen = self._look(holders)
        if looks.needs_second(joined) and self._too_old():
            self._keep(joined)
            time.sleep(PAUSE)
            joined, seen = self._look(holders)
        before, fresh = self._before, joined
        if looks.needs_second(joined) and before is not None:
            joined = _agreed(before, looks.confirm(before, joined))
        self._keep(fresh)
        return joined, seen

    def _too_old(self) -> bool:
        return self._before is None or time.monotonic() - self._before_at > LATEST

    def _look(self, holders: bool) -> tuple[Joined, observe.Seen]:
        with no_collection():
            seen = observe.take(self._channel, holders=holders, quick=True)
            joined = join(seen.tables, self._plan)
            records = looks.remember(joined)
            self._recorder.saw(seen.tables, joined)
        if records:
            self._channel.call("remember", records)
        return joined, seen

    def _keep(self, joined: Joined) -> None:
        self._before, self._before_at = joined, time.monotonic()

    def _learn_addresses(self) -> None:
        """Of descriptors whose call has not ended (a connect in SYN_SENT) the agent is asked."""
        for host in self._ledger.without_address():
            with contextlib.suppress(LabError):
                answer = self._requests.call("call", host=host, scoped=True, call={"do": "list"})
                for one in answer.get("result") or ():
                    if isinstance(one, dict) and isinstance(one.get("name"), str):
                        name = (host, one["name"])
                        if name in self._ledger.descriptors():
                            self._ledger.learn(
                                name, one.get("fd"), address(one.get("local")), address(one.get("peer"))
                            )

    # Counters.

    def begin_counting(self, hosts: Sequence[str]) -> None:
        """From here on differences are counted."""
        if hosts:
            with self._lock:
                self._base = dict(self._read_counters(hosts))

    def _read_counters(self, hosts: Sequence[str]) -> Iterator[tuple[str, Mapping[str, int]]]:
        request = self._channel.ask("counters", hosts=list(hosts))
        for message, data in self._channel.parts(request):
            if "part" in message:
                read = counters.read_part(message["part"], data)
                yield read.host, read.values

    def _differences(self, expectation: Expectation) -> Mapping[Name, int]:
        host, name = getattr(expectation.subject, "host", ""), getattr(expectation.subject, "name", "")
        base = self._base.get(host)
        now = dict(self._read_counters([host])).get(host)
        if base is None or now is None or name not in now:
            return {}
        return {(host, name): now[name] - base.get(name, 0)}


def needs_holders(expectation: Expectation) -> bool:
    """Whether it is about who holds a socket."""
    return not {check.field.rpartition(".")[2] for check in expectation.checks}.isdisjoint(HELD)


def _agreed(before: Joined, now: Joined) -> Joined:
    """`accepted: false` is what normal reading may show for a moment, too: two looks have to agree on it."""
    waited = {row.id for row in before.connections if row.accepted is False}
    return msgspec.structs.replace(
        now,
        connections=tuple(
            msgspec.structs.replace(row, status="in-transition")
            if row.accepted is False and row.id not in waited
            else row
            for row in now.connections
        ),
    )
