"""The JSON of `lab conns --json`: the contract with users' programs. One document, ASCII only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import msgspec

from orchestrator.model.rows import Connection, Listener, Taken


def connections(
    *,
    lab: str,
    engine: str,
    taken: Mapping[str, Taken],
    not_observed: Sequence[str],
    rows: Sequence[Connection],
) -> str:
    """`{"lab", "engine", "taken", "not_observed", "connections"}`."""
    return _document({**_head(lab, engine, taken, not_observed), "connections": rows})


def listeners(
    *,
    lab: str,
    engine: str,
    taken: Mapping[str, Taken],
    not_observed: Sequence[str],
    rows: Sequence[Listener],
) -> str:
    """The same with `"listeners"` for `--listeners`."""
    return _document({**_head(lab, engine, taken, not_observed), "listeners": rows})


def _head(
    lab: str, engine: str, taken: Mapping[str, Taken], not_observed: Sequence[str]
) -> dict[str, object]:
    return {"lab": lab, "engine": engine, "taken": taken, "not_observed": sorted(not_observed)}


def _document(value: dict[str, object]) -> str:
    return ascii_only(msgspec.json.encode(value)) + "\n"


def ascii_only(document: bytes) -> str:
    """Process names may hold C1 controls, which are legal in JSON and steer a terminal: they are escaped
    then."""
    if not document.isascii() or b"\x7f" in document:
        document = json.dumps(json.loads(document), separators=(",", ":")).encode()
    return document.replace(b"\x7f", b"\\u007f").decode("ascii")
