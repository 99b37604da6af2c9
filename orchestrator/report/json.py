"""The JSON of `lab conns --json`: the contract with users' programs. One document, ASCII only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import msgspec

from orchestrator.model.events import History, Timeline
from orchestrator.model.explanations import Explanation
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


def history(*, lab: str, engine: str, timeline: Timeline) -> str:
    """`{"lab", "engine", "began", "length", "connections", "events", "losses"}`: of each connection its ends
    with their states over time and who closed it; events as the contract has them."""
    recording = timeline.recording
    return _document(
        {
            "lab": lab,
            "engine": engine,
            "began": recording.began,
            "length": recording.length,
            "connections": [_history(one) for one in timeline.histories],
            "events": [one.document() for one in timeline.events],
            "losses": timeline.losses,
        }
    )


def explanations(*, lab: str, engine: str, found: Sequence[Explanation]) -> str:
    """`{"lab", "engine", "explanations"}`: of each connection what decided it, moment by moment."""
    return _document({"lab": lab, "engine": engine, "explanations": [one.document() for one in found]})


def _history(one: History) -> dict[str, object]:
    return {
        "id": one.id,
        "began": one.began,
        "ended": one.ended,
        "client": one.client,
        "server": one.server,
        "closing": one.closing,
        "doubts": one.doubts,
    }


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
