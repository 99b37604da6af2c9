"""Files that a lab file names: below its folder, after links are resolved, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.read.findings import Findings, Place, shown

MOST_TEXT = 256 << 10  # bytes of a text that a step writes


def file(folder: str, at: Place, name: str, findings: Findings) -> str | None:
    """The file, links resolved, inside the folder; the reason why not is a diagnostic."""
    try:
        resolved = Path(folder, name).resolve(strict=True)
    except FileNotFoundError:
        hint = _near(folder, name, findings)
        findings.add(at, f"there is no file {shown(name)} in the folder of the lab file", hint)
        return None
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or "its links go round"
        findings.add(at, f"{shown(name)} cannot be read: {why}")
        return None
    if not resolved.is_relative_to(Path(folder).resolve()):
        findings.add(at, f"{shown(name)} leads outside the folder of the lab file", "copy it there")
    elif resolved.is_dir():
        findings.add(at, f"{shown(name)} is a folder", "name its files one by one")
    elif not resolved.is_file():
        findings.add(at, f"{shown(name)} is no file, but a device, pipe or socket")
    elif not os.access(resolved, os.R_OK):
        findings.add(at, f"{shown(name)} may not be read by you")
    else:
        return str(resolved)
    return None


def content(folder: str, at: Place, name: str, findings: Findings, most: int) -> bytes | None:
    """The bytes of such a file. None after a diagnostic."""
    path = file(folder, at, name, findings)
    if path is None:
        return None
    try:
        with open(path, "rb") as opened:
            found = opened.read(most + 1)
    except OSError as error:
        findings.add(at, f"{shown(name)} cannot be read: {error.strerror}")
        return None
    if len(found) > most:
        findings.add(at, f"{shown(name)} has more than {most >> 10} KiB")
        return None
    return found


def text(folder: str, at: Place, name: str, findings: Findings) -> str | None:
    """The text of such a file. None after a diagnostic."""
    found = content(folder, at, name, findings, MOST_TEXT)
    if found is None:
        return None
    try:
        return found.decode("utf-8")
    except UnicodeDecodeError as error:
        findings.add(
            at, f"{shown(name)}: byte 0x{found[error.start]:02x} is no UTF-8", "use `files` of the host"
        )
        return None


def _near(folder: str, name: str, findings: Findings) -> str:
    """A file beside the one that is missing."""
    beside = os.path.dirname(name)
    try:
        with os.scandir(os.path.join(folder, beside)) as entries:
            names = [os.path.join(beside, entry.name) for _, entry in zip(range(1000), entries, strict=False)]
    except (OSError, ValueError):
        return ""
    return findings.meant(name, names)
