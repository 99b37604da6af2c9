"""Whether the observer itself was running: a thread that notes the time, so that a stall of this process (or
of the computer) is not taken for a slow lab."""

from __future__ import annotations

import threading
import time
from array import array

from orchestrator.scenarios import timing

PERIOD = 0.010  # seconds between two beats


class Heartbeat:
    """Beats from `start` to `stop`."""

    def __init__(self) -> None:
        self._beats = array("d")
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def stalled(self, began: float, ended: float) -> float:
        """Seconds for which the observer was not running at a stretch between two moments."""
        return timing.longest_stall(self._since(began - PERIOD), began, ended, PERIOD)

    def _since(self, moment: float) -> list[float]:
        """Beats from the last one before `moment` on."""
        beats = self._beats
        first = len(beats)
        while first and beats[first - 1] > moment:
            first -= 1
        return list(beats[max(0, first - 1) :])

    def _beat(self) -> None:
        while not self._ending.wait(PERIOD):
            self._beats.append(time.monotonic())
