"""Machines as they were found: what is wrong first, for that is what one reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.model.machine_checks import Finding, MachineReport
from orchestrator.report.harmless import harmless

_MARKS = {"ok": "ok", "wrong": "--", "unknown": "??", "note": " !"}
_GIB = 1 << 30


def lines(reports: Sequence[MachineReport]) -> Iterator[str]:
    """A table of all, then what is to be said of each."""
    yield from _table(reports)
    for report in reports:
        said = [one for one in report.findings if one.state != "ok"]
        if said:
            yield ""
            yield harmless(f"{report.name} ({report.url})")
        for finding in said:
            yield from _finding(finding)


def _table(reports: Sequence[MachineReport]) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [
        ("MACHINE", "STATE", "ENGINE", "ADDRESS", "CPUS", "MEMORY", "DISK", "MTU", "CLOCK")
    ]
    rows += [tuple(map(harmless, _row(report))) for report in reports]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _row(report: MachineReport) -> tuple[str, ...]:
    has = report.capacity
    return (
        report.name,
        "ready" if report.ready else "not ready",
        report.engine or "-",
        has.address or "-",
        "-" if has.cpus is None else f"{has.cpus:g}",
        _size(has.memory_free),
        _size(report.disk_free),
        str(has.mtu) if report.engine else "-",
        "-" if report.clock is None else f"{report.clock:+.3f} s",
    )


def _size(size: int | None) -> str:
    return "-" if size is None else f"{size / _GIB:.1f} GiB"


def _finding(finding: Finding) -> Iterator[str]:
    detail = f": {finding.detail}" if finding.detail else ""
    yield harmless(f"  {_MARKS[finding.state]} {finding.what}{detail}")
    for line in finding.cure.splitlines():
        yield harmless(f"     -> {line}")
