"""Random steps on a running lab, and whether what the timeline derives of them contradicts what was seen.

The states that packets and calls alone give are held against the tables that were read meanwhile and, where
there are tracepoints, against those. An unknown state contradicts nothing; how many there are is counted.
"""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from orchestrator.join.timeline import timeline
from orchestrator.lab import Lab
from orchestrator.model.events import UNKNOWN, EndHistory, History, Span, Timeline
from orchestrator.model.recording import Address, Change, Look, Recording, Sighting
from orchestrator.model.rows import FOLLOWING
from orchestrator.model.steps import Scenario
from orchestrator.scenarios.calls import StepFailed
from orchestrator.scenarios.perform import Performer
from orchestrator.scenarios.run import release, staged
from tests.support.scenarios import Silent, scenarios

LAB = """
networks: {net: {}}
hosts:
  web: {role: server, networks: [net]}
  alice: {role: client, networks: [net]}
"""
CONNECTIONS = 12  # of one scenario
GONE = (UNKNOWN, "CLOSE")
STILL = 0.0005  # seconds within which a table may show a change earlier or later than the packet that made it
# What tracepoints cannot say (shared facts of the kernel, man 7 tcp): TIME_WAIT is no socket's state but a
# row of its own, and a handshake that is not done has no socket yet.
NOT_TRACED = ("TIME_WAIT", "SYN_RECV")


class Found(NamedTuple):
    """What came of it. `transitions`: from one known state to another; `compared`: what they were held
    against."""

    transitions: int
    unknown: int
    compared: int
    contradictions: tuple[str, ...]


class _Sides:
    """Which descriptors of one connection are open."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.client = self.server = True
        self.accepted = False


def steps(seed: int, connections: int = CONNECTIONS) -> str:
    """A scenario's steps, as a lab file has them: connections begin, talk and end in any order."""
    dice = random.Random(seed)
    lines = ["web: listen :80 backlog=64 as door"]
    alive: list[_Sides] = []
    waiting: list[_Sides] = []
    begun = 0
    while begun < connections or alive:
        if begun < connections and (not alive or dice.random() < 0.4):
            begun += 1
            if dice.random() < 0.1:
                lines.append(f"alice: connect web:81 as c{begun} fails=ECONNREFUSED")
                continue
            lines += _beginning(begun, dice)
            alive.append(_Sides(begun))
            waiting.append(alive[-1])
        elif waiting and dice.random() < 0.5:
            one = waiting.pop(0)
            lines.append(f"web: accept door as s{one.number} timeout=1s")
            one.accepted = True
            if not one.client and one not in alive:
                alive.append(one)
        else:
            one = dice.choice(alive)
            lines += _something(one, dice)
        alive = [one for one in alive if one.client or (one.accepted and one.server) or one in waiting]
        if begun >= connections and not waiting:
            alive = [one for one in alive if one.client or one.server]
    return "steps:\n" + "".join(f"  - {line}\n" for line in lines)


def _beginning(number: int, dice: random.Random) -> Iterator[str]:
    """A call; some of them from a port that was used before, if the kernel gives it again."""
    if dice.random() < 0.2:
        yield f"alice: socket tcp as c{number}"
        yield f"alice: set c{number} SO_REUSEADDR=1"
        yield f"alice: bind c{number} :{dice.choice((45000, 45001))}"
        yield f"alice: connect c{number} web:80 timeout=1s"
    else:
        yield f"alice: connect web:80 as c{number} timeout=1s"


def _something(one: _Sides, dice: random.Random) -> Iterator[str]:
    """Done with one connection, by one of its ends or by both at once."""
    client, server = f"c{one.number}", f"s{one.number}"
    sides = [("alice", client)] * one.client + [("web", server)] * (one.accepted and one.server)
    if not sides:
        return
    host, name = dice.choice(sides)
    do = dice.choice(("send", "send", "recv", "shutdown", "close", "close", "reset", "both"))
    if do == "both" and len(sides) == 2:
        how = [dice.choice(("close", "close", "shutdown", "reset")) for _ in sides]
        yield f"parallel: [alice: {_ending(how[0], client)}, web: {_ending(how[1], server)}]"
        one.client, one.server = one.client and how[0] == "shutdown", one.server and how[1] == "shutdown"
    elif do == "send":
        yield f"{host}: send {name} hello timeout=300ms"
    elif do == "recv":
        yield f"{host}: recv {name} blocking=no"
    elif do != "both":
        yield f"{host}: {_ending(do, name)}"
        if do != "shutdown":
            one.client, one.server = one.client and host != "alice", one.server and host != "web"


def _ending(do: str, name: str) -> str:
    return f"shutdown {name} write" if do == "shutdown" else f"{do} {name}"


def drive(lab: Lab, seed: int, connections: int = CONNECTIONS) -> Recording:
    """The recording of these steps, with a look after each; whatever of them fails."""
    scenario: Scenario = scenarios(LAB, steps(seed, connections))[0]
    audience = Silent()
    with staged(
        lab.another_channel, lab.plan, audience, time.monotonic(), watch=True, logs=(), counters=()
    ) as stage:
        performer = Performer(stage)
        for step in scenario.steps:
            with contextlib.suppress(StepFailed):
                performer.step(step)
        stage.observer.changed()
        recording = stage.recorder.recording()
        problem = release(stage.requests)
        assert not problem, problem
    return recording


def examined(recording: Recording) -> Found:
    """The whole of it: what is derived, and what contradicts it."""
    packets = msgspec.structs.replace(recording, sightings=(), looks=(), changes=())
    derived, whole = timeline(packets), timeline(recording)
    against_looks = list(_of_looks(derived, recording))
    against_trace = list(_of_changes(derived, recording.changes))
    wrong = [text for text in (*against_looks, *against_trace) if text]
    wrong += [*_impossible(derived), *_disagreeing(whole)]
    spans = [(end, span) for end in _ends(derived) for span in end.spans]
    known = sum(len([one for one in end.spans if one.state != UNKNOWN]) for end in _ends(derived))
    return Found(
        transitions=known,
        unknown=len(spans) - known,
        compared=len(against_looks) + len(against_trace),
        contradictions=tuple(_first_of_each(wrong)),
    )


def _first_of_each(wrong: Sequence[str]) -> Iterator[str]:
    """A table shows the same again and again."""
    said: set[str] = set()
    for text in wrong:
        alike = re.sub(r"[0-9]+\.[0-9]{6}[0-9]*", "", text)
        if alike not in said:
            said.add(alike)
            yield text


def _ends(found: Timeline) -> Iterator[EndHistory]:
    for history in found.histories:
        yield from (end for end in (history.client, history.server) if end is not None and end.host)


def _impossible(found: Timeline) -> Iterator[str]:
    """States that do not follow each other."""
    for end in _ends(found):
        for before, after in zip(end.spans, end.spans[1:], strict=False):
            if UNKNOWN in (before.state, after.state) or after.state in FOLLOWING.get(before.state, ()):
                continue
            if before.state != after.state:
                yield f"{_where(end)}: {before.state} -> {after.state} at {after.began:.6f}"


def _disagreeing(found: Timeline) -> Iterator[str]:
    """What the timeline itself shows as a disagreement of its sources."""
    for end in _ends(found):
        for span in end.spans:
            if span.otherwise:
                yield f"{_where(end)}: {span}"


def _where(end: EndHistory) -> str:
    return f"{end.host} {end.address}:{end.port}"


# Tables.


def _of_looks(derived: Timeline, recording: Recording) -> Iterator[str]:
    """For each row that was read what contradicts it, or nothing; and for each table the rows that are not
    in it."""
    by_socket = _by_socket(derived)
    rows: dict[tuple[str, float], set[tuple[Address, Address]]] = {}
    for one in recording.sightings:
        rows.setdefault((one.host, one.began), set()).add((one.local, one.peer))
        yield _row(one, by_socket.get((one.host, one.local, one.peer), ()))
    missed: set[tuple[str, Address, Address]] = (
        set()
    )  # in the host's look before: one may miss a row that moves
    for look in sorted(recording.looks, key=lambda one: one.began):
        there = rows.get((look.host, look.began), set())
        for key, ends in by_socket.items():
            if key[0] != look.host:
                continue
            text = "" if key[1:] in there else _no_row(look, ends)
            yield text if key in missed else ""
            (missed.add if text else missed.discard)(key)


def _by_socket(derived: Timeline) -> Mapping[tuple[str, Address, Address], Sequence[EndHistory]]:
    found: dict[tuple[str, Address, Address], list[EndHistory]] = {}
    for history in derived.histories:
        for end, other in _pairs(history):
            if end is not None and end.host is not None and other is not None:
                key = (end.host, (end.address, end.port), (other.address, other.port))
                found.setdefault(key, []).append(end)
    return found


def _pairs(history: History) -> Iterator[tuple[EndHistory | None, EndHistory | None]]:
    yield history.client, history.server
    yield history.server, history.client


def _row(one: Sighting, ends: Sequence[EndHistory]) -> str:
    """It shows one of the states that some connection of these addresses was in meanwhile."""
    if one.state in ("LISTEN", "CLOSE"):
        return ""
    states = {span.state for end in ends for span in _while(end.spans, one.began, one.ended)}
    begun = any(end.spans and end.spans[0].began <= one.ended for end in ends)
    if not begun or one.state in states or UNKNOWN in states:
        return ""
    when = f"{one.began:.6f}–{one.ended:.6f}"
    ends_at = f"{one.host} {one.local} {one.peer}"
    return f"{ends_at}: the table read at {when} has {one.state}, derived {states}"


def _no_row(look: Look, ends: Sequence[EndHistory]) -> str:
    """Nothing was there all the while that would have had a row."""
    for end in ends:
        states = {span.state for span in _while(end.spans, look.began, look.ended)}
        began = min((span.began - span.error for span in end.spans), default=look.ended)
        if states and began < look.began - STILL and states.isdisjoint(GONE):
            return f"{_where(end)}: no row at {look.began:.6f}–{look.ended:.6f}, derived {states}"
    return ""


def _while(spans: Sequence[Span], began: float, ended: float) -> Iterator[Span]:
    """A span's end is known as well as the beginning of the next."""
    for at, span in enumerate(spans):
        error = spans[at + 1].error if at + 1 < len(spans) else span.error
        begins_late = span.began - span.error - STILL > ended
        if not begins_late and (span.ended is None or span.ended + error + STILL >= began):
            yield span


# Tracepoints.


def _of_changes(derived: Timeline, changes: Sequence[Change]) -> Iterator[str]:
    """A change of state is near one that is derived, or near what is unknown."""
    by_socket = _by_socket(derived)
    in_vain = set(_in_vain(changes))
    for one in changes:
        if one.cookie in in_vain:
            continue
        if one.kind != "state" or one.new in (None, "LISTEN", "CLOSE", *NOT_TRACED) or not one.local[1]:
            continue
        ends = by_socket.get((one.host, one.local, one.peer), ())
        spans = [span for end in ends for span in _while(end.spans, one.t, one.t)]
        fits = any(span.state in (one.new, UNKNOWN) for span in spans)
        yield (
            ""
            if fits or not ends
            else f"{one.host} {one.local}: {one.old} -> {one.new} at {one.t:.6f}, derived {spans}"
        )


def _in_vain(changes: Sequence[Change]) -> Iterator[int]:
    """Sockets whose connect(2) failed at once, as there is another with their addresses: in SYN_SENT for the
    length of a look into the hash table (net/ipv4/tcp_ipv4.c, tcp_v4_connect)."""
    asked: dict[int, float] = {}
    for one in changes:
        if one.cookie is None:
            continue
        if one.new == "SYN_SENT":
            asked[one.cookie] = one.t
        elif (one.old, one.new) == ("SYN_SENT", "CLOSE") and one.t - asked.get(one.cookie, -1.0) < STILL:
            yield one.cookie
