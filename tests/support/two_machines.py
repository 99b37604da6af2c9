"""An engine for the contract suite: the fake one on two machines, a lab's hosts spread over both."""

from __future__ import annotations

import zlib

from orchestrator.engines.fake import FakeEngine
from orchestrator.engines.spread import SpreadEngine

MACHINES = ("m1", "m2")


def machine_of(host: str) -> str:
    """So that the hosts that the suite connects with each other are on different ones."""
    return MACHINES[zlib.crc32(f"{host}x".encode()) // 3 % 2]


class TwoFakes(SpreadEngine):
    """Its networks are joined without a fabric."""

    def __init__(self) -> None:
        super().__init__({name: FakeEngine(name) for name in MACHINES}, unplaced=machine_of)
