"""What has happened in a running lab until now: what its daemon has kept, as a recording, with a look at its
tables as they are."""

from __future__ import annotations

import time
from typing import TypeVar

import msgspec

from orchestrator import observe
from orchestrator.errors import ObservationError
from orchestrator.join.connections import join
from orchestrator.lab import Lab
from orchestrator.model.recording import Recording
from orchestrator.scenarios import nginxes
from orchestrator.scenarios.clocks import Clocks
from orchestrator.scenarios.packets import Packets
from orchestrator.scenarios.sightings import Sightings

_NS = 1_000_000_000
T = TypeVar("T", bound=msgspec.Struct)


def taken(lab: Lab) -> Recording:
    """All that is kept. t = 0 is when the first host was watched. Raises ObservationError where nothing is
    (a large lab is watched only while a scenario runs), LabError where the lab cannot be asked."""
    origin = time.monotonic_ns()
    clocks = Clocks(lab.another_channel, origin, several=len(lab.channel.machines) > 1)
    packets = Packets(lab.another_channel, lab.plan, origin, 0, opening=False, clocks=clocks)
    try:
        clocks.start()
        packets.start()
        clocks.shifted(packets.shift)
        sightings = Sightings()
        seen = observe.take(lab.channel, quick=True)
        joined = join(seen.tables, lab.plan)
        sightings.saw(seen.tables, joined, lambda host, at: clocks.ours(host, at) - origin / _NS)
        found = packets.taken(settle=True)
    finally:
        packets.close()
        clocks.close()
    watched = [one for one in found.watches if one.began < one.ended]
    if not watched:
        why = next((one.why for one in found.watches if one.why), "nobody watched")
        raise ObservationError(f"nothing is kept of what has happened: {why}", _hint(lab))
    tables = sightings.taken()
    add = -min(one.began for one in watched)
    length = (time.monotonic_ns() - origin) / _NS + add
    return Recording(
        lab=lab.key.name,
        engine=lab.engine.name,
        began=time.time() - length,
        length=length,
        segments=tuple(_later(one, add, "t") for one in found.segments),
        sightings=tuple(_later(one, add, "began", "ended") for one in tables.sightings),
        looks=tuple(_later(one, add, "began", "ended") for one in tables.looks),
        translations=tables.translations,
        watches=tuple(_later(one, add, "began", "ended") for one in found.watches),
        losses=tuple(_later(one, add, "began", "ended") for one in found.losses),
        clock=found.clock,
        clocks=clocks.recorded(),
        plan=lab.plan,
    )


def with_nginxes(lab: Lab, recording: Recording) -> Recording:
    """With each nginx that runs in the lab now, and the latest of its logs. Raises LabError."""
    with lab.another_channel() as channel:
        found = [nginxes.seen(channel, one, time.time()) for one in nginxes.running(channel)]
        whole = tuple(msgspec.structs.replace(one, logs=nginxes.logs(channel, one, {})) for one in found)
    return msgspec.structs.replace(recording, nginxes=whole)


def _hint(lab: Lab) -> str:
    return "a scenario (`lab run`) records what happens in it" if lab.engine.name != "fake" else ""


def _later(one: T, add: float, *fields: str) -> T:
    """The same with its times counted from another moment; nothing of it was before."""
    return msgspec.structs.replace(one, **{field: max(0.0, getattr(one, field) + add) for field in fields})
