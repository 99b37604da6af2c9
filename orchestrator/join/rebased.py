"""A recording with another zero of its times. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from orchestrator.garbage import no_collection
from orchestrator.model.recording import Recording

_AT = ("segments", "calls", "changes", "said")
_LASTING = ("sightings", "looks", "watches", "losses")


def rebased(recording: Recording, zero: float) -> Recording:
    """The same, with `t` = 0 where it was `zero`."""
    with no_collection():
        moved: dict[str, Any] = {name: _at(getattr(recording, name), zero) for name in _AT}
        moved |= {name: _lasting(getattr(recording, name), zero) for name in _LASTING}
    return msgspec.structs.replace(
        recording, began=recording.began + zero, length=recording.length - zero, **moved
    )


def _at(records: Iterable[Any], zero: float) -> tuple[Any, ...]:
    return tuple(msgspec.structs.replace(one, t=one.t - zero) for one in records)


def _lasting(records: Iterable[Any], zero: float) -> tuple[Any, ...]:
    return tuple(
        msgspec.structs.replace(one, began=one.began - zero, ended=one.ended - zero) for one in records
    )


def first(recording: Recording) -> float:
    """When it has something first: from when on a host was watched, or was seen."""
    watched = [one.began for one in recording.watches if one.ended > one.began]
    return min((*watched, *(one.t for one in recording.segments[:1]), recording.length))
