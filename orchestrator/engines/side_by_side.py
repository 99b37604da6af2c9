"""The same on several machines at once, with what came of it on each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar

from orchestrator.engines.spread_line import named
from orchestrator.errors import EngineError, LabError, MachineUnreachable

T = TypeVar("T")


class Result(NamedTuple, Generic[T]):
    """What came of something on one machine."""

    value: T | None = None
    error: BaseException | None = None


def side_by_side(
    names: Iterable[str], do: Callable[[str], T], seconds: float | None = None
) -> dict[str, Result[T]]:
    """Do it for each name, in a thread each; those that take longer are left to themselves."""
    wanted = list(names)
    results: dict[str, Result[T]] = {}

    def run(name: str) -> None:
        try:
            results[name] = Result(do(name))
        except BaseException as error:
            results[name] = Result(error=error)

    if len(wanted) == 1 and seconds is None:
        run(wanted[0])
        return results
    threads = {name: threading.Thread(target=run, args=(name,), daemon=True) for name in wanted}
    for thread in threads.values():
        thread.start()
    until = None if seconds is None else time.monotonic() + seconds
    for thread in threads.values():
        thread.join(None if until is None else max(0.0, until - time.monotonic()))
    late = MachineUnreachable(f"it does not answer within {seconds or 0:.0f} s")
    return {name: results.get(name, Result(error=late)) for name in wanted}


def values(results: Mapping[str, Result[T]]) -> dict[str, T]:
    """Of those that went well."""
    return {name: one.value for name, one in results.items() if one.error is None and one.value is not None}


def failures(results: Mapping[str, Result[T]]) -> dict[str, LabError]:
    """LabErrors, with the machine, those of a group as one; anything else is raised."""
    return {
        name: named(name, _lab_error(one.error)) for name, one in results.items() if one.error is not None
    }


def _lab_error(error: BaseException) -> LabError:
    if isinstance(error, LabError):
        return error
    if isinstance(error, ExceptionGroup):
        each = [_lab_error(one) for one in error.exceptions]
        return EngineError("; ".join(one.message for one in each), each[0].hint)
    raise error
