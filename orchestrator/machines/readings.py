"""What a machine has: by its shell from the kernel's files, proc(5), and df(1); the reading of it is pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

# Marked as in ssh.py. The time stands first, for it is compared with ours from before and after.
SCRIPT = rb"""
echo "lab: time $(date +%s.%N)"
sed -n 's/^MemAvailable: *\([0-9]*\) kB/lab: memory \1/p' /proc/meminfo
echo "lab: cpus $(getconf _NPROCESSORS_ONLN)"
echo "lab: disk $(df -Pk "$1" 2>/dev/null | awk 'NR == 2 {print $4}')"
awk 'FNR > 1 {n = split($2, at, ":"); print "lab: udp", at[n], $10}' /proc/net/udp /proc/net/udp6 2>/dev/null
"""


class Readings(NamedTuple):
    """What was read; None where it could not be."""

    memory_free: int | None  # bytes
    cpus: float | None
    disk_free: int | None  # bytes
    clock: float | None  # seconds since 1970 there
    udp: tuple[tuple[int, int], ...]  # ports in use, and the inode of their socket: 0 is the kernel's own


def parse(text: str) -> Readings:
    """The lines of SCRIPT."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("lab: "):
            _, word, *rest = line.split()
            found.setdefault(word, []).append(" ".join(rest))
    memory, disk = _number(found.get("memory")), _number(found.get("disk"))
    return Readings(
        memory_free=None if memory is None else int(memory) << 10,
        cpus=_number(found.get("cpus")),
        disk_free=None if disk is None else int(disk) << 10,
        clock=_number(found.get("time")),
        udp=tuple(_ports(found.get("udp", ()))),
    )


def _number(said: Sequence[str] | None) -> float | None:
    try:
        return float(said[0]) if said else None
    except ValueError:  # busybox's date knows no %N
        return None


def _ports(said: Sequence[str]) -> Iterator[tuple[int, int]]:
    for line in said:
        port, _, inode = line.partition(" ")
        yield int(port, 16), int(inode or 0)
