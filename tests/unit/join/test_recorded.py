"""Recordings of real labs, made as root with everything that there is: what each source alone says is held
against the kernel's own words.

`tests/golden/timelines`: random calls of agents, recorded by the daemon's taps, tracepoints and quick looks.

- routed: two clients, one of them behind a router, some to a port with a full queue and to a closed one.
- translated: six at a time, IPv6 among them, a router that masquerades, both ends closing at once.
- docker: the same on the docker engine.
- dropped: the same, where iptables drops 15 % of what comes to each host, behind the taps.
- programs: no agents, but programs that fork, close, shut down one way, reset, and are killed.
"""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from orchestrator.join.spans import SAME
from orchestrator.join.timeline import timeline
from orchestrator.model.events import UNKNOWN, EndHistory, Timeline
from orchestrator.model.recording import Recording

FOLDER = Path(__file__).resolve().parents[2] / "golden" / "timelines"
NAMES = ("routed", "translated", "docker", "programs", "dropped")
WITHOUT: dict[str, dict[str, Any]] = {
    "rootless": {"changes": ()},
    "packets": {"changes": (), "sightings": (), "looks": (), "calls": ()},
    "tables": {"changes": (), "segments": (), "calls": (), "watches": ()},
    "tables and calls": {"changes": (), "segments": (), "watches": ()},
    "calls": {"changes": (), "segments": (), "sightings": (), "looks": (), "watches": ()},
}
End = tuple[str, str, int, str, int]


@lru_cache
def recorded(name: str) -> Recording:
    """One of them."""
    packed = (FOLDER / f"{name}.json.gz").read_bytes()
    return msgspec.json.decode(gzip.decompress(packed), type=Recording)


@lru_cache
def joined(name: str, without: str | None = None) -> Timeline:
    """Its timeline, without some of the sources."""
    one = recorded(name)
    if without is None:
        return timeline(one)
    watches = tuple(watch for watch in one.watches if watch.source == "packet")
    return timeline(replace(one, **{"watches": watches, **WITHOUT[without]}))


def kernel(name: str) -> dict[tuple[str, int | None], list[tuple[float, str]]]:
    """What the tracepoint said of each socket, (time, new state), by host and cookie."""
    found: dict[tuple[str, int | None], list[tuple[float, str]]] = defaultdict(list)
    for change in recorded(name).changes:
        if change.kind == "state" and change.new is not None:
            found[change.host, change.cookie].append((change.t, change.new))
    return found


def places(name: str) -> dict[End, list[int | None]]:
    """Which sockets had a tuple, in order."""
    found: dict[End, list[int | None]] = defaultdict(list)
    for change in recorded(name).changes:
        cookies = found[change.host, *change.local, *change.peer]
        if change.kind == "state" and change.cookie not in cookies:
            cookies.append(change.cookie)
    return found


def ends(found: Timeline) -> Iterator[tuple[EndHistory, End]]:
    """Every end in a host, with its place as the host's own socket has it."""
    for history in found.histories:
        for end in (history.client, history.server):
            if end is not None and end.host is not None:
                yield end, (end.host, end.address, end.port, *peer(found, history.id, end))


def peer(found: Timeline, number: str, end: EndHistory) -> tuple[str, int]:
    """What the socket itself has for its other end."""
    history = next(one for one in found.histories if one.id == number)
    other = history.server if end is history.client else history.client
    assert other is not None
    return other.address, other.port


@pytest.mark.parametrize("name", ["routed", "translated", "docker", "programs"])
def test_all_sources_agree(name: str) -> None:
    assert [span for end, _ in ends(joined(name)) for span in end.spans if span.otherwise] == []


@pytest.mark.parametrize("name", ["routed", "translated", "docker", "programs"])
def test_every_connection_has_both_ends_and_is_there_once(name: str) -> None:
    ports = [one.client_address for one in joined(name).histories]
    assert len(ports) == len(set(ports))
    asked = {s.source for s in recorded(name).segments if s.flags == 2 and s.outgoing}
    assert set(ports) == asked


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("without", WITHOUT)
def test_no_source_contradicts_the_kernel(name: str, without: str) -> None:
    """Each span that is known, less its errors, against what the tracepoint said of the same socket. Of
    CLOSE by it nothing follows where the small socket of TIME_WAIT goes on."""
    words, sockets = kernel(name), places(name)
    judged = 0
    for end, place in ends(joined(name, without)):
        if len(sockets.get(place, ())) != 1:
            continue  # used again, or behind a translation
        told = words[place[0], sockets[place][0]]
        for at, span in enumerate(end.spans):
            if span.state == UNKNOWN:
                continue
            after = end.spans[at + 1].error if at + 1 < len(end.spans) else 0.0
            ended = recorded(name).length if span.ended is None else span.ended
            judged += 1
            wrong = contrary(told, span.state, span.began + span.error, ended - after)
            assert wrong is None, f"{end.host} {place}: {span}, and the kernel says {wrong}"
    assert judged > 20 or not recorded(name).calls


def contrary(told: list[tuple[float, str]], state: str, began: float, ended: float) -> str | None:
    """Another state in which the kernel had the socket for longer than sources may differ by."""
    for (since, new), (until, _) in zip(told, [*told[1:], (float("inf"), "")], strict=True):
        mini = new == "CLOSE" and (state in ("TIME_WAIT", "FIN_WAIT2"))
        if new != state and not mini and min(ended, until) - max(began, since) > SAME:
            return f"{new} from {since} to {until}"
    return None


@pytest.mark.parametrize("name", ["routed", "translated", "docker", "programs"])
def test_packets_alone_leave_little_unknown(name: str) -> None:
    spans = [span for end, _ in ends(joined(name, "packets")) for span in end.spans]
    assert sum(span.state == UNKNOWN for span in spans) < len(spans) / 20
