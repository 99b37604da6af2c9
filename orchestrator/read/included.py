"""`include:` of a lab file → the files with more of its scenarios, each with its own places and findings."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import NamedTuple

from orchestrator.read import sources
from orchestrator.read.check import check
from orchestrator.read.findings import Findings, shown
from orchestrator.read.nodes import MOST_BYTES, Mapping, Scalar, Sequence, compose
from orchestrator.read.schema import INCLUDED
from orchestrator.read.words import Source


class LabFile(NamedTuple):
    """A file with scenarios: its well-formed part. `name`: as it is included, "" of the lab file itself."""

    name: str
    kept: Mapping
    source: Source
    findings: Findings


def included(
    kept: Mapping, findings: Findings, path: str, folder: str, digest: bytes
) -> tuple[list[LabFile], str]:
    """The files, and the digest of all that makes the lab. `path`: what diagnostics call the lab file."""
    reader = _Reader(findings, path, folder, digest)
    node = kept.get("include")
    files = [file for item in node.items for file in reader.file(item)] if isinstance(node, Sequence) else []
    return files, reader.digest.hexdigest()


class _Reader:
    def __init__(self, findings: Findings, path: str, folder: str, text: bytes) -> None:
        self.findings, self.folder = findings, folder
        self.beside = os.path.dirname(path)
        self.seen: dict[str, Scalar] = {}
        self.digest = hashlib.sha256(text)

    def file(self, at: object) -> Iterator[LabFile]:
        """One of them; nothing after a diagnostic."""
        if not isinstance(at, Scalar) or not self._first(at):
            return
        text = sources.content(self.folder, at, at.text, self.findings, MOST_BYTES)
        if text is None:
            return
        self.digest.update(f"\0{at.text}\0{len(text)}\0".encode() + text)
        findings = Findings(os.path.join(self.beside, at.text))
        root = compose(text, findings)
        if root is None or (isinstance(root, Scalar) and root.nothing):
            if not findings:
                self.findings.add(at, f"{shown(at.text)} is empty", "an included file has `scenarios`")
            kept: object = None
        else:
            kept = check(root, INCLUDED, "an included file", findings)
        if not isinstance(kept, Mapping):
            kept = Mapping(1, 1, ())
        yield LabFile(at.text, kept, Source(text.decode("utf-8-sig", "replace")), findings)

    def _first(self, at: Scalar) -> bool:
        other = self.seen.setdefault(os.path.normpath(at.text), at)
        if other is not at:
            self.findings.add(at, f"{shown(at.text)} is included twice, first in line {other.line}")
        return other is at
