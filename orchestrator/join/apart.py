"""How far the clocks of two hosts may be apart: not at all on one machine, whose moments are in the order in
which they are told; on two as far as either may be off. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from orchestrator.model.events import Event
from orchestrator.model.recording import MachineClock

UNMEASURED = 1e9  # seconds: of a machine whose clock was never asked for, as good as nothing is known


class Apart:
    """Of one recording; without clocks the lab is on one machine."""

    def __init__(self, clocks: Iterable[MachineClock] = ()) -> None:
        self._of = {host: clock for clock in clocks for host in clock.hosts}

    def __bool__(self) -> bool:
        return bool(self._of)

    def between(self, one: str | None, other: str | None) -> float:
        """Seconds that a moment of the one may be earlier or later than it seems beside one of the other."""
        if not self._of or one is None or other is None:
            return 0.0
        a, b = self._of.get(one), self._of.get(other)
        if a is b and a is not None:
            return 0.0
        return self.error(one) + self.error(other)

    def error(self, host: str | None) -> float:
        """Seconds that a moment of a host may be off on the recording's clock."""
        if not self._of or host is None:
            return 0.0
        clock = self._of.get(host)
        return UNMEASURED if clock is None else clock.error

    def stamped(self, event: Event) -> Event:
        """With its machine, and how far it may be off on the recording's clock."""
        clock = self._of.get(event.host)
        if clock is None:
            return event
        return msgspec.structs.replace(event, machine=clock.machine, error_s=event.error_s + clock.error)
