"""What was found on machines before anything is made on them: values, and whether a lab can be there."""

from __future__ import annotations

from typing import Literal

import msgspec

from orchestrator.model.machines import Capacity

State = Literal["ok", "wrong", "unknown", "note"]  # note: a lab can be, but somebody should know


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at, and the cure where it is not as it should be."""

    what: str
    state: State
    detail: str = ""
    cure: str = ""


class MachineReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found of one machine. `ready`: nothing of it keeps a lab away."""

    name: str
    url: str
    findings: tuple[Finding, ...]
    engine: str = ""  # the version of its Docker Engine
    swarm: str = ""  # the id of the swarm that it is in
    capacity: Capacity = Capacity()
    disk_free: int | None = None  # bytes where the Engine keeps images and containers
    clock: float | None = None  # seconds that it is ahead of this computer
    clock_error: float | None = None

    @property
    def ready(self) -> bool:
        """Whether a lab can be there. What could not be looked at does not keep it away."""
        return all(one.state != "wrong" for one in self.findings)
