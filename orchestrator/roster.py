"""Labs on several machines: which machines, kept in the user's state folder, for a lab is found again by
asking all of them, and no machine knows that there are others once its own part is gone.

It is written before the first thing is made, and removed when nothing is left anywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from orchestrator.engines import registry
from orchestrator.model.plan import LabKey, PlannedMachine
from orchestrator.owner import owner, state_folder

if TYPE_CHECKING:
    from orchestrator.engines.base import Engine


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One lab. `ending`: its removal was begun, and something was left on these machines."""

    name: str
    engine: str
    machines: tuple[PlannedMachine, ...]
    ending: bool = False


def of(name: str) -> Record | None:
    """The lab of that name; None where it is on this computer alone, or not at all."""
    return _read(_file(name))


def known() -> Iterator[Record]:
    """All of this user, by name."""
    found = [record for path in _folder().glob("*.json") if (record := _read(path)) is not None]
    yield from sorted(found, key=lambda one: one.name)


def _read(path: Path) -> Record | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None


def note(record: Record) -> None:
    """Keep it, instead of what was kept before; one without machines is forgotten."""
    path = _file(record.name)
    if not record.machines:
        path.unlink(missing_ok=True)
        return
    with contextlib.suppress(FileExistsError):
        path.parent.mkdir(mode=0o700)
    new = path.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(record))
    new.replace(path)


def engine_of(record: Record) -> Engine:
    """What is asked of the lab. Raises EngineUnavailable."""
    return engine_over(record.name, record.engine, record.machines, record)


def engine_over(
    name: str, engine: str, machines: Sequence[PlannedMachine], record: Record | None = None
) -> Engine:
    """The engine of that name on these machines, for the lab of that name."""
    from orchestrator.engines.fabric import join
    from orchestrator.engines.spread import SpreadEngine

    by_name = {machine.name: machine for machine in machines}

    def noted(key: LabKey, left: Sequence[str], ending: bool) -> None:
        if key == LabKey(owner=owner(), name=name):
            kept = tuple(by_name[machine] for machine in left)
            note(Record(name=name, engine=engine, machines=kept, ending=ending))

    return SpreadEngine(
        {machine.name: registry.on(engine, machine) for machine in machines},
        join if engine == "docker" else None,
        noted=noted,
        expected=by_name if record is not None else (),
        ending=record is not None and record.ending,
    )


def engine(name: str, otherwise: str) -> Engine:
    """What a lab that was found is asked by: on its machines, or the engine of that name here."""
    record = of(name)
    return registry.engine(otherwise) if record is None or record.engine != otherwise else engine_of(record)


def _folder() -> Path:
    """Made when something is kept: most users have no machines."""
    return state_folder() / "machines"


def _file(name: str) -> Path:
    return _folder() / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"
