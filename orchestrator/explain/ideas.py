"""What may have ended a connection, before it is held against the evidence."""

from __future__ import annotations

import msgspec

from orchestrator.explain.configuration import Value
from orchestrator.model.explanations import Kind

EARLY = 0.015  # seconds: nginx counts by a clock that it reads once in a round of events
LATE = 0.12  # seconds: a busy computer, and what a FIN takes to be seen
LAZY = 0.3  # seconds: a timer is not moved by less (NGX_TIMER_LAZY_DELAY)
FIN = frozenset({"FIN"})
RST = frozenset({"RST"})
SILENT = frozenset({"silently"})
ANY = frozenset({"FIN", "RST", "silently"})


class Sign(msgspec.Struct, frozen=True, kw_only=True):
    """What nginx would have logged: at least at this level, with these words, and while it did one of these
    (empty: whatever)."""

    level: str
    words: str
    actions: tuple[str, ...] = ()


class Since(msgspec.Struct, frozen=True, kw_only=True):
    """A moment that a time limit counts from. `until`: where it is not known exactly, the latest that it
    may be."""

    t: float
    words: str
    until: float | None = None


class Idea(msgspec.Struct, frozen=True, kw_only=True):
    """One of them. `since` empty: no moment follows from it; what it is then known by is in `because`.
    `manners`: how the connection may end by it. `late`: by how much more than usual it may be late. `weak`:
    it is nothing where another one fits."""

    name: str
    kind: Kind
    value: Value | None = None
    scope: str = ""
    since: tuple[Since, ...] = ()
    late: float = 0.0
    manners: frozenset[str] = FIN
    sign: Sign | None = None
    because: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    proven: bool = False
    weak: bool = False


def timer(
    value: Value,
    scope: str,
    since: tuple[Since, ...],
    manners: frozenset[str] = FIN,
    sign: Sign | None = None,
    **more: object,
) -> Idea:
    """A directive that gives a time."""
    made = Idea(
        name=value.name, kind="timer", value=value, scope=scope, since=since, manners=manners, sign=sign
    )
    return msgspec.structs.replace(made, **more)


def other(words: str, *because: str, proven: bool = True, against: tuple[str, ...] = ()) -> Idea:
    """What is no directive."""
    return Idea(name=words, kind="other", manners=ANY, because=tuple(because), proven=proven, against=against)
