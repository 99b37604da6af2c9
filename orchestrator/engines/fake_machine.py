"""A computer of the fake engine, as one of several that a lab is spread over: its clock, and what may happen
to it or to the line to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from orchestrator.errors import MachineUnreachable

State = Literal["on", "cut off", "silent"]


class FakeMachine:
    """`offset` and `drift`: how its monotonic clock differs from this process's, in seconds and per second.

    One that is cut off goes on, but nobody reaches it; one that is silent takes what it is told and says
    nothing, as when its daemon is stopped.
    """

    def __init__(self, name: str = "fake", offset: float = 0.0, drift: float = 0.0) -> None:
        self.name, self.offset, self.drift = name, offset, drift
        self.state: State = "on"
        self.hung_up: list[Callable[[], None]] = []  # what ends the channels to it

    def clock(self, at: float | None = None) -> float:
        """What its monotonic clock shows now, or when ours shows `at`."""
        now = time.monotonic() if at is None else at
        return now + self.offset + now * self.drift if self.offset or self.drift else now

    def reach(self) -> None:
        """Raises MachineUnreachable."""
        if self.state == "cut off":
            raise MachineUnreachable(f"machine {self.name} does not answer")

    def cut_off(self) -> None:
        """The line to it is dead."""
        self.state = "cut off"
        for end in self.hung_up:
            end()

    def silence(self) -> None:
        """Its daemons answer nothing any more."""
        self.state = "silent"

    def heal(self) -> None:
        """As before."""
        self.state = "on"
