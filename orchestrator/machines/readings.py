"""What a machine has: by its shell from the kernel's files, proc(5), and df(1); the reading of it is pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

# Marked as in ssh.py. The time stands first, for it is compared with ours from before and after.
SCRIPT = rb"""
echo "lab: time $(date +%s.%N)"
sed -n 's/^MemAvailable: *\([0-9]*\) kB/lab: memory \1/p' /proc/meminfo
echo "lab: cpus $(getconf _NPROCESSORS_ONLN)"
echo "lab: disk $(df -Pk "$1" 2>/dev/null | awk 'NR == 2 {print $4}')"
ip -d -o link show type vxlan 2>/dev/null | sed -n 's/.* dstport \([0-9]*\) .*/lab: vxlan \1/p'
"""


class Readings(NamedTuple):
    """What was read; None where it could not be."""

    memory_free: int | None  # bytes
    cpus: float | None
    disk_free: int | None  # bytes
    clock: float | None  # seconds since 1970 there
    vxlan: tuple[int, ...]  # UDP ports of the VXLANs that stand in the machine's own namespace


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
        vxlan=tuple(int(port) for port in found.get("vxlan", ())),
    )


def _number(said: Sequence[str] | None) -> float | None:
    try:
        return float(said[0]) if said else None
    except ValueError:  # busybox's date knows no %N
        return None
