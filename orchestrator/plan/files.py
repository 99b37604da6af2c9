"""What files are copied: the one place of the plan that reads the disk."""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

from orchestrator.errors import PlanError
from orchestrator.model.plan import PlannedFile
from orchestrator.model.topology import Host, Topology


class Content(NamedTuple):
    """What a source held when it was looked at."""

    sha256: str
    mode: int


def contents(topology: Topology) -> dict[str, Content]:
    """Every source of a lab, read once. Raises PlanError where one has gone since the file was read."""
    sources = {one.source for host in topology.hosts for one in host.files}
    return {source: _content(source) for source in sorted(sources)}


def _content(source: str) -> Content:
    try:
        with open(source, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            executable = os.fstat(file.fileno()).st_mode & 0o100
    except OSError as error:
        raise PlanError(f"`{source}` cannot be read: {error.strerror}") from error
    return Content(digest, 0o755 if executable else 0o644)


def planned(host: Host, known: dict[str, Content]) -> tuple[PlannedFile, ...]:
    """The copies of one host."""
    return tuple(
        PlannedFile(
            source=one.source,
            target=one.target,
            sha256=known[one.source].sha256,
            mode=known[one.source].mode,
        )
        for one in host.files
    )
