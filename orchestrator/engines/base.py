"""What an engine is: it makes hosts and networks on one machine, finds them again, and removes them.

Everything else (files, listeners, connections, programs, tables, exec, cp, logs) is asked of the lab's daemon
over its channel, in the same words for every engine: see docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from typing import Literal, Protocol

import msgspec

from orchestrator.model.plan import Change, LabKey, Plan
from orchestrator.wire import Channel

Progress = Callable[[str], None]  # a line about what is being done now


State = Literal["running", "silent", "incomplete", "starting", "changing", "removing"]


def counted(things: Sized, word: str) -> str:
    """ "1 host", "2 hosts"."""
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was tried, whether it worked, and the cure where it did not."""

    what: str
    ok: bool
    detail: str = ""
    cure: str = ""


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an engine works here, found out by doing it. `reason` is one line."""

    engine: str
    works: bool
    reason: str
    cure: str = ""
    checks: tuple[Check, ...] = ()


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A lab of this user, as found on the machine. `running`: its daemon answers and its `up` is complete.

    `silent`: a daemon is there and does not answer in time, so nobody knows. The others are `incomplete`;
    where a command is at work on one, lab.all_found says what it does instead.
    """

    key: LabKey
    engine: str
    state: State
    what: str = ""  # "12 hosts, 2 networks"


class Engine(Protocol):
    """Five functions. Every one may raise EngineError."""

    name: str

    def probe(self, thorough: bool = False) -> Probe:
        """Does it work here? Cheap by default; thorough tries each step that a lab needs (`lab doctor`)."""

    def find(self, owner: str) -> Sequence[Found]:
        """All labs of this user on this engine, incomplete ones too, from the machine itself."""

    def open(self, key: LabKey) -> Channel | None:
        """A channel to the daemon of a running lab; None where there is none, or no daemon answers."""

    def apply(self, plan: Plan, changes: Sequence[Change], progress: Progress) -> Channel:
        """Carry out the make-* and remove-* changes; return a channel to the lab's daemon.

        On the namespaces engine the daemon ends itself, and all with it, when that first channel closes
        before `commit` was asked; on docker what was made is labelled and found by `find` as incomplete.
        """

    def remove(self, key: LabKey, progress: Progress) -> None:
        """Remove the lab, whatever is left of it. Goes on past failures and raises them all at the end."""
