"""What was kept of an nginx that ran in a host: how it was started, its configuration and its logs, as text.
Enough to say later which of its directives were in force, without the lab.
"""

from __future__ import annotations

import msgspec

PROGRAM = "the host's program"  # the path of a log that goes to stderr or stdout


class KeptFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of its configuration, by the path that nginx knows it by."""

    path: str
    text: str


class KeptLog(msgspec.Struct, frozen=True, kw_only=True):
    """What a log had in it, of the time that matters. `whole` false: its beginning was left out. `first`: the
    offset of its text in the file; -1: it is not known."""

    path: str
    text: str
    whole: bool = True
    first: int = -1


class NginxSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One master process. `at`: when it was looked at, seconds since 1970. `argv`: as in its title;
    `pids`: its own and its workers', as the host counts. `zone`: what its logs' local time is east of UTC,
    seconds. `missing`: what of it could not be kept, and why."""

    host: str
    at: float
    argv: tuple[str, ...]
    pids: tuple[int, ...] = ()
    main: str  # the path of its first file
    files: tuple[KeptFile, ...] = ()
    logs: tuple[KeptLog, ...] = ()
    zone: float = 0.0
    missing: tuple[str, ...] = ()
