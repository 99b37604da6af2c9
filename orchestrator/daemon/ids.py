"""Which ids a lab's user namespace has, and writing them down (user_namespaces(7)).

    started by   with                                id 0 of the lab is         others
    a user       newuidmap, entries in /etc/subuid   the first subordinate id   the following
    a user       nothing                             the user                   none: "single"
    root         65,536 free ids                     one that is nobody's       the following
    root         no room (a container's own map)     nobody (65534)             none: "single"
    "root"       a user's id only (unshare -r)       that user                  none: "single"

Root is never mapped to root: a host could then write what belongs to the computer's root, core_pattern for
one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal, NamedTuple

from orchestrator import errors

RANGE = 65_536
_FIRST = 1_900_000_000  # far above what distributions and directories hand out
_LAST = 2_100_000_000
_NOBODY = 65_534

Span = tuple[int, int]  # first id, how many


class IdMap(NamedTuple):
    """`uids` and `gids`: the span outside that ids from 0 on mean. `by`: who may write it."""

    uids: Span
    gids: Span
    by: Literal["kernel", "newuidmap"]

    @property
    def single(self) -> bool:
        """Whether the lab has one id only: nothing can be given to another user."""
        return self.uids[1] == 1


def choose() -> IdMap:
    """The map for a lab that this process starts."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        return _for_root()
    import shutil  # what root needs not is not loaded for root: it costs as long as five hosts

    name = _user_name(uid)
    uids = subordinate(_read("/etc/subuid"), name, uid)
    gids = subordinate(_read("/etc/subgid"), name, uid)
    if uids and gids and shutil.which("newuidmap") and shutil.which("newgidmap"):
        return IdMap(uids, gids, "newuidmap")
    return single(uid, gid)


def single(uid: int, gid: int) -> IdMap:
    """One id; what every kernel allows to a process for itself."""
    return IdMap((uid, 1), (gid, 1), "kernel")


def _for_root() -> IdMap:
    taken = spans(_read("/etc/subuid")) + spans(_read("/etc/subgid"))
    uids = free_range(taken, _mapped("uid"))
    gids = free_range(taken, _mapped("gid"))
    if uids is not None and gids is not None:
        return IdMap((uids, RANGE), (gids, RANGE), "kernel")
    if all(_is_mapped(_NOBODY, kind) for kind in ("uid", "gid")):
        return single(_NOBODY, _NOBODY)
    if _read("/proc/self/uid_map").split()[1:2] == ["0"]:
        raise errors.EngineError(
            "here root has no id but its own, and a host's root must not be the computer's"
        )
    return single(0, 0)  # a user who is called root in a namespace


def _is_mapped(number: int, kind: str) -> bool:
    return any(first <= number < first + count for first, count in _mapped(kind))


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _mapped(kind: str) -> list[Span]:
    """The ids that there are in this process's own user namespace."""
    rows = [line.split() for line in _read(f"/proc/self/{kind}_map").splitlines()]
    return [(int(row[0]), int(row[2])) for row in rows]


def spans(text: str) -> list[Span]:
    """Every span of a file in the form of subuid(5)."""
    rows = [line.split(":") for line in text.splitlines()]
    return [(int(r[1]), int(r[2])) for r in rows if len(r) == 3 and r[1].isdigit() and r[2].strip().isdigit()]


def subordinate(text: str, name: str, uid: int) -> Span | None:
    """The first useful span of a user in subuid(5), at most 65,536 ids of it."""
    lines = [line for line in text.splitlines() if line.partition(":")[0] in (name, str(uid))]
    found = next((span for span in spans("\n".join(lines)) if span[1] > _NOBODY // 2), None)
    return None if found is None else (found[0], min(found[1], RANGE))


def free_range(taken: Iterable[Span], there: Iterable[Span]) -> int | None:
    """The first of 65,536 ids in a row that exist here and that are in nobody's span."""
    avoid = list(taken)
    for first, count in there:
        candidate = max(first, _FIRST)
        while candidate + RANGE <= min(first + count, _LAST):
            hit = next((s for s in avoid if s[0] < candidate + RANGE and candidate < s[0] + s[1]), None)
            if hit is None:
                return candidate
            candidate = hit[0] + hit[1]
    return None


def write(pid: int, ids: IdMap) -> None:
    """Write the map of a process that has just unshared its user namespace, from where it was before."""
    if ids.by == "newuidmap":
        _run("newuidmap", pid, ids.uids)
        _run("newgidmap", pid, ids.gids)
        return
    if ids.single:
        _write(f"/proc/{pid}/setgroups", "deny")
    _write(f"/proc/{pid}/uid_map", f"0 {ids.uids[0]} {ids.uids[1]}")
    _write(f"/proc/{pid}/gid_map", f"0 {ids.gids[0]} {ids.gids[1]}")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _run(program: str, pid: int, span: Span) -> None:
    import subprocess

    command = [program, str(pid), "0", str(span[0]), str(span[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise errors.EngineError(
            f"{' '.join(command)}: {done.stderr.strip()}", "see newuidmap(1) and subuid(5)"
        )
