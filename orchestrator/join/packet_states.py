"""The states of one end by its packets: the machine's, and what follows from silence."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.join.incarnations import Life
from orchestrator.join.paths import RANK
from orchestrator.join.steps import NO_SIGN, SILENT, Step
from orchestrator.join.tcp import Machine
from orchestrator.join.watching import Coverage, Gap
from orchestrator.model.events import UNKNOWN
from orchestrator.model.recording import BULK

# Seconds after which what is not acknowledged has been sent again, if ever: the first timeout is 1 s until a
# round trip was measured (RFC 6298), and at least 0.2 s then; each is twice the one before. With what timers
# need.
FIRST_RETRY = 1.5
RETRY = 3.0
NEXT_RETRY = 2.3
# include/net/tcp.h, TCP_TIMEWAIT_LEN, which is tcp_fin_timeout's default too; a timer of the wheel may be an
# eighth late (kernel/time/timer.c).
TIME_WAIT = 60.0
LATE = 60.0 / 8

_BY_ACK = {
    ("SYN_RECV", "ESTABLISHED"),
    ("FIN_WAIT1", "FIN_WAIT2"),
    ("CLOSING", "TIME_WAIT"),
    ("LAST_ACK", "CLOSE"),
}
TAMPERED = "what came may have been dropped or held behind the tap, and nothing shows that it was taken"
NO_BARE = "ACKs without payload were not recorded"
GIVEN_UP = "nothing was sent again"
ORPHAN = "an orphan waits for the other end's FIN for 60 s only"
OVER = "TIME_WAIT lasts 60 s"


class ByPackets(NamedTuple):
    """What packets say of one end."""

    machine: Machine
    steps: list[Step]


def by_packets(life: Life, coverage: Coverage, length: float, tampered: float) -> ByPackets:
    """`length`: until when. `tampered`: from when on something in the host may have acted behind the tap."""
    machine = Machine(whole=coverage.everything or whole(life), tampered=tampered)
    gaps = coverage.within(life.segments[0].t, length) if coverage.gaps else []
    marks = _run(life, machine, marking=bool(gaps))
    steps = machine.steps
    if steps:
        machine.settle(length)
        if not coverage.bare:
            _widened(steps)
        steps = _believed(machine, coverage, length, tampered)
        _end(machine, steps, coverage, length)
        if gaps:
            steps = _cut(steps, marks, gaps)
    return ByPackets(machine, steps)


def whole(life: Life) -> bool:
    """Whether all of it was recorded also where long transfers are not: it is none (model/recording.py)."""
    return len(life.segments) < BULK


def _run(life: Life, machine: Machine, *, marking: bool) -> list[tuple[float, bool]]:
    """Every segment, in order. With `marking`: (time, whether the state changed) of each."""
    marks: list[tuple[float, bool]] = []
    local, sent, received = life.local, machine.sent, machine.received
    if local == life.peer or (life.iss is None and life.irs is None and life.sightings):
        return _run_slowly(life, machine, marking)
    places = 0
    for segment in life.segments:
        before = machine.state
        if segment.source == local:
            sent(segment, places)
            places += 1
        else:
            received(segment)
        if marking:
            marks.append((segment.t, machine.state != before))
    return marks


def _run_slowly(life: Life, machine: Machine, marking: bool) -> list[tuple[float, bool]]:
    """As `_run`, of a socket that is connected to itself, or that was there before anybody watched."""
    marks: list[tuple[float, bool]] = []
    seen = iter(life.sightings)
    sighting = next(seen, None)
    places = 0
    for segment in life.segments:
        while sighting is not None and sighting.ended <= segment.t:
            if machine.state in (None, UNKNOWN) and sighting.state in RANK and life.local != life.peer:
                machine.know(sighting.state, sighting.began, sighting.ended)
            sighting = next(seen, None)
        before = machine.state
        if segment.source == life.local:
            machine.sent(segment, places)
            places += 1
        if segment.target == life.local:
            machine.received(segment)
        if marking:
            marks.append((segment.t, machine.state != before))
    return marks


def _widened(steps: Sequence[Step]) -> None:
    """Where an ACK alone may have made a step, it was made at some time since the one before."""
    for before, step in itertools.pairwise(steps):
        if step.received and (before.state, step.state) in _BY_ACK:
            step.earliest = before.earliest


def _retry(machine: Machine, handshake: bool) -> float:
    """Seconds after which it would have sent again."""
    first = FIRST_RETRY if handshake else RETRY
    return max(first, NEXT_RETRY * machine.retry, 5 * machine.lag)


def _believed(machine: Machine, coverage: Coverage, length: float, tampered: float) -> list[Step]:
    """A step that something received has made, and that nothing sent has confirmed since, is believed where
    dropping it would have shown, or where nothing can have dropped it."""
    steps = machine.steps
    if steps[-1].sure:
        return steps
    found: list[Step] = []
    doubtful = False
    for step in steps:
        handshake = step.state == "ESTABLISHED" and machine.answers
        if not step.sure and (handshake or step.latest >= tampered):
            due = max(machine.out_at, step.latest) + _retry(machine, handshake)
            unacknowledged = handshake or machine.fin_out is not None
            if not (unacknowledged and due < length and coverage.whole(step.earliest, due)):
                if not doubtful:
                    why = NO_SIGN if handshake else TAMPERED
                    found.append(Step(UNKNOWN, step.earliest, step.latest, why=why))
                doubtful = True
                continue
        if not doubtful or step.state == "CLOSE":  # a reset ends it in either state
            found.append(step)
    return found


def _end(machine: Machine, steps: list[Step], coverage: Coverage, length: float) -> None:
    """What follows from silence after the last segment."""
    last = steps[-1]
    if last.state in (UNKNOWN, "CLOSE"):
        return
    if last.state in ("TIME_WAIT", "FIN_WAIT2"):
        _timed(last, steps, machine, length)
    else:
        machine.wait_unseen(steps, length)
    if not machine.outstanding or machine.closed_window:
        return
    if not coverage.bare and last.state in ("SYN_RECV", "FIN_WAIT1", "CLOSING", "LAST_ACK"):
        steps.append(Step(UNKNOWN, last.latest, last.latest, why=NO_BARE))
        return
    if last.state in ("ESTABLISHED", "CLOSE_WAIT") and not machine.whole:
        return
    due = machine.out_at + _retry(machine, last.state in ("SYN_SENT", "SYN_RECV"))
    since = max(machine.out_at, steps[-1].latest)
    if due < length and coverage.watched and coverage.whole(machine.out_at, due):
        steps.append(Step("CLOSE", since, due, why=GIVEN_UP))
    elif last.state == "SYN_SENT":
        steps.append(Step(UNKNOWN, since, since, why=SILENT))


def _timed(last: Step, steps: list[Step], machine: Machine, length: float) -> None:
    """The kernel's own timers end these, and no packet tells."""
    if last.state == "FIN_WAIT2":
        if last.earliest + TIME_WAIT < length:
            steps.append(Step(UNKNOWN, last.earliest + TIME_WAIT, last.latest + TIME_WAIT, why=ORPHAN))
        return
    earliest = max(last.earliest, machine.ended_at) + TIME_WAIT
    latest = max(last.latest, machine.ended_at) + TIME_WAIT + LATE
    if latest < length:
        steps.append(Step("CLOSE", earliest, latest, why=OVER))
    elif earliest < length:
        steps.append(Step(UNKNOWN, earliest, earliest, why=OVER))


def _cut(steps: Sequence[Step], marks: Sequence[tuple[float, bool]], gaps: Sequence[Gap]) -> list[Step]:
    """Between two segments, with a time between them that nobody watched, a state is known only where the
    second still shows it."""
    times = [at for at, _ in marks]
    holes: list[tuple[float, float, str]] = []
    for gap in gaps:
        began = max(gap.began, times[0])
        while began <= gap.ended:
            at = bisect_right(times, began)
            if at == len(times):
                holes.append((began, float("inf"), gap.why))
                break
            if marks[at][1]:
                holes.append((began, times[at], gap.why))
            began = times[at]
    return punched(steps, holes)


def punched(steps: Sequence[Step], holes: Sequence[tuple[float, float, str]]) -> list[Step]:
    """The steps with a state of UNKNOWN for each hole (in order): what was in it goes on behind it."""
    found = list(steps)
    for began, ended, why in holes:
        before = [step for step in found if step.latest <= began]
        if not before or before[-1].state == "CLOSE":
            continue
        kept = [step for step in found if not began < step.earliest < ended]
        kept.append(Step(UNKNOWN, began, began, why=why))
        kept.sort(key=lambda step: step.earliest)
        found = kept
    return found
