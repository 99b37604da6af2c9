"""Why a connection ended as it did: what decided it, by which evidence, and what would tell more. Times are
seconds of the recording."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

THE_END = "the end of the connection"
Kind = Literal["timer", "limit", "other"]
Certainty = Literal["named", "several", "unknown", "open"]


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Something that may have decided it. `name`: a directive, or of what is none (`kind` other) words.
    `value` and `where` of a directive: as it is in force, and its file and line. `since`: the moment that it
    counts from, `counts`: which that is; `due`: when it would have come about. `against`: why it was not it;
    of what may have been it, nothing stands there. `proven`: something says so that nothing else explains."""

    name: str
    kind: Kind
    value: str = ""
    where: str = ""
    scope: str = ""
    counts: str = ""
    since: float | None = None
    due: float | None = None
    because: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    proven: bool = False


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One moment that mattered. `certainty`: named (one directive, or one other cause), several (the smallest
    set that the evidence allows), unknown, open (nothing has ended it)."""

    what: str
    at: float | None
    error: float = 0.0
    how: str = ""
    certainty: Certainty
    causes: tuple[Cause, ...] = ()
    excluded: tuple[Cause, ...] = ()
    decides: tuple[str, ...] = ()
    why: str = ""  # it is unknown

    @property
    def directives(self) -> tuple[str, ...]:
        """Those that may have done it."""
        return tuple(dict.fromkeys(one.name for one in self.causes if one.kind != "other"))


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Of one connection. `nginx`: the host whose configuration it is read by; `role`: what the connection is
    to that nginx. `decisions`: what its responses waited for, how it ended, how long nginx read on then."""

    connection: str
    pair: str
    client: str
    server: str
    nginx: str = ""
    role: str = ""
    decisions: tuple[Decision, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def end(self) -> Decision | None:
        """How it ended."""
        found = [one for one in self.decisions if one.what == THE_END]
        return found[-1] if found else None

    @property
    def directives(self) -> tuple[str, ...]:
        """All that are blamed for anything."""
        return tuple(dict.fromkeys(name for one in self.decisions for name in one.directives))

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {**msgspec.to_builtins(self), "directives": list(self.directives)}
