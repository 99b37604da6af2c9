"""Engines on two machines that are none: for the contract suite the fake one, a lab's hosts spread over both;
and two daemons of namespaces on this computer, with real tables, packets and clocks.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import msgspec

from orchestrator.engines.base import Found, Probe, Progress
from orchestrator.engines.fake import FakeEngine
from orchestrator.engines.namespaces import NamespacesEngine
from orchestrator.engines.spread import SpreadEngine
from orchestrator.model.plan import Change, LabKey, Plan
from orchestrator.wire import Channel

MACHINES = ("m1", "m2")


def machine_of(host: str) -> str:
    """So that the hosts that the suite connects with each other are on different ones."""
    return MACHINES[zlib.crc32(f"{host}x".encode()) // 3 % 2]


class TwoFakes(SpreadEngine):
    """Its networks are joined without a fabric."""

    def __init__(self) -> None:
        super().__init__({name: FakeEngine(name) for name in MACHINES}, unplaced=machine_of)


class AsIfThere:
    """The namespaces engine on this computer as if it was on a machine: a lab's part there is a lab by
    itself, under a name of its own."""

    name = "namespaces"

    def __init__(self, machine: str) -> None:
        self._engine, self._end = NamespacesEngine(), f"-{machine}"

    def here(self, key: LabKey) -> LabKey:
        """What the part is called."""
        return LabKey(owner=key.owner, name=key.name + self._end)

    def probe(self, thorough: bool = False) -> Probe:
        """See base.Engine."""
        return self._engine.probe(thorough)

    def find(self, owner: str) -> list[Found]:
        """See base.Engine."""
        found = [one for one in self._engine.find(owner) if one.key.name.endswith(self._end)]
        names = [one.key.name.removesuffix(self._end) for one in found]
        return [
            msgspec.structs.replace(one, key=LabKey(owner=owner, name=name))
            for one, name in zip(found, names, strict=True)
        ]

    def open(self, key: LabKey) -> Channel | None:
        """See base.Engine."""
        return self._engine.open(self.here(key))

    def apply(self, plan: Plan, changes: Sequence[Change], progress: Progress) -> Channel:
        """See base.Engine."""
        return self._engine.apply(msgspec.structs.replace(plan, key=self.here(plan.key)), changes, progress)

    def remove(self, key: LabKey, progress: Progress) -> None:
        """See base.Engine."""
        self._engine.remove(self.here(key), progress)


class TwoDaemons(SpreadEngine):
    """Hosts whose names end with 1 on m1, others on m2. Nothing joins the networks."""

    def __init__(self) -> None:
        super().__init__(
            {name: AsIfThere(name) for name in MACHINES},
            unplaced=lambda host: "m1" if host.endswith("1") else "m2",
        )
