"""Moments at which an end's state is known: as it stood in a table, as a call told, as a table that was read
whole did not have it any more."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from orchestrator.join.callers import Called
from orchestrator.join.incarnations import Life
from orchestrator.join.paths import RANK, Claim
from orchestrator.model.recording import CallMade, Look

REFUSED = ("ECONNREFUSED", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH")


def of_tables(life: Life, looks: Sequence[Look]) -> list[Claim]:
    """What tables showed; and that it was gone, where two looks one after the other did not have it. `looks`:
    of its host, in order."""
    found = [
        Claim(one.began, one.ended, one.state, "snapshot") for one in life.sightings if one.state in RANK
    ]
    if looks and life.sightings:
        last = life.sightings[-1]
        at = bisect_left(looks, last.ended, key=lambda look: look.began)
        if at + 1 < len(looks):
            found.append(Claim(looks[at].began, looks[at + 1].ended, "CLOSE", "snapshot", steady=False))
    return found


def of_calls(socket: Called | None, began: float) -> list[Claim]:
    """What the answers to calls tell of the socket that they were made on. `began`: its first sign."""
    if socket is None:
        return []
    found: list[Claim] = []
    for call in socket.calls:
        state = "CLOSE" if call.verb == "reset" and socket.closes(call) else _told(call)
        if state is not None:
            since = call.t if call.verb in ("connect", "reset") else began
            found.append(Claim(since, call.t + call.duration, state, "call", steady=False))
    return found


def _told(call: CallMade) -> str | None:
    if call.timed_out:
        return None
    if call.errno == "ECONNRESET":
        return "CLOSE"
    if call.verb == "connect":
        if call.errno is None:
            return "ESTABLISHED"
        return "CLOSE" if call.errno in REFUSED else "SYN_SENT" if call.errno == "EINPROGRESS" else None
    if call.errno is not None:
        return "CLOSE" if call.errno == "ETIMEDOUT" else None
    return "ESTABLISHED" if call.verb == "accept" else None


def closings(socket: Called | None) -> list[CallMade]:
    """Calls by which its program has sent a FIN on its way."""
    if socket is None:
        return []
    return [call for call in socket.calls if call.verb != "reset" and socket.closes(call)]
