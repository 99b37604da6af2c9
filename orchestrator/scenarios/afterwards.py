"""How long after a step something came, from wire to wire: from when what the step sent had left, or what it
received had come. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.join.apart import Apart
from orchestrator.model.events import History, Side, Timeline
from orchestrator.model.recording import FIN, RST, SYN, CallMade, Recording
from orchestrator.model.runs import Verdict
from orchestrator.model.steps import After, Number, Ref
from orchestrator.scenarios.compare import Value, compare, unknown
from orchestrator.scenarios.histories import EARLY, Moment, end_of, side_of, told_by
from orchestrator.scenarios.observation import Recorded
from orchestrator.scenarios.rows import plain

SENDING = ("send", "http", "tls")  # data; of a call under way others' bytes are not taken for its own
ENDING = {"close": FIN | RST, "shutdown": FIN, "reset": RST}


def left(step: Ref, timeline: Timeline) -> Moment:
    """When the last of what the step sent left its host, or of what it received came there; of a step that
    has done neither, when it returned. That a program was told late of what had come is no time on the wire.
    """
    return told_by(_left(step, timeline), step.host, Apart(timeline.recording.clocks))


def _left(step: Ref, timeline: Timeline) -> Moment:
    calls = [one for one in timeline.recording.calls if (one.host, one.step) == (step.host, step.name)]
    if not calls:
        return Moment(why=f"{step} has not ended, or nobody has recorded it")
    call = max(calls, key=lambda one: one.t)
    found = _connection(call, timeline)
    if call.verb not in (*SENDING, *ENDING, "connect"):
        return _come(call, found, timeline.recording) or Moment(at=call.t + call.duration)
    if found is None:
        return Moment(why=f"which connection {step} is about is not known")
    history, side = found
    if call.verb == "connect" and call.errno is None:
        return _established(history, side, step)
    moments = list(_sent(call, history, side, _until(call, timeline.recording)))
    if not moments:
        return Moment(why=f"what {step} sent was not seen leaving {step.host}")
    return Moment(at=max(moments), error=error_of(timeline.recording, step.host))


def _connection(call: CallMade, timeline: Timeline) -> tuple[History, Side] | None:
    """The one that the call was made on, and which end of it."""
    if call.local is None:
        return None
    local = (plain(call.local[0]), call.local[1])
    found: list[tuple[History, Side]] = []
    for history in sorted(timeline.histories, key=lambda one: one.began, reverse=True):
        side = side_of(history, call.host, local)
        if side is not None and history.began <= call.t + call.duration and _is_peer(call, history, side):
            found.append((history, side))
    named = [one for one in found if call.name in _names(*one)]  # a server has many at one address
    return next(iter(named or found), None)


def _names(history: History, side: Side) -> tuple[str, ...]:
    end = end_of(history, side)
    return end.names if end else ()


def _come(call: CallMade, found: tuple[History, Side] | None, recording: Recording) -> Moment | None:
    """When the last of what it received had come, by when it returned; of accept, when its end was
    ESTABLISHED. Where its last byte was not seen coming, that is somewhere between the last that was and its
    return. None where it is no such call, or nothing was seen."""
    if found is None or call.errno is not None:
        return None
    history, side = found
    if call.verb == "accept":
        stood = _established(history, side, Ref(host=call.host, name=call.step or ""))
        return None if stood.why else stood
    returned = call.t + call.duration
    times = [
        crossing.received.t
        for crossing in history.crossings
        if crossing.received is not None
        and crossing.sender != side
        and crossing.received.t <= returned
        and (crossing.received.length or crossing.received.flags & FIN)
        and not crossing.again
    ]
    if call.verb != "recv" or not times:
        return None
    error = error_of(recording, call.host)
    last = max(times)
    if _stream_seen(history, side, returned + error) < _taken(call, recording):
        # It was lost from the record, or of a bulk transfer that is not all kept: it came after what was seen
        return Moment(at=(last + returned) / 2, error=(returned - last) / 2 + error)
    return Moment(at=last, error=error)


def _stream_seen(history: History, side: Side, until: float) -> float:
    """Up to which byte of its stream this end was seen to receive by then; without the SYN nobody knows which
    byte a segment begins with."""
    come = [one.received for one in history.crossings if one.sender != side and one.received is not None]
    first = next((one.seq + 1 for one in come if one.flags & SYN), None)
    if first is None:
        return float("inf")
    ends = [(one.seq - first) % 2**32 + one.length for one in come if one.length and one.t <= until]
    return max(ends, default=0)


def _taken(call: CallMade, recording: Recording) -> int:
    """How many bytes of the stream recv had returned with the end of this call; with TLS there were more."""
    return sum(
        one.result
        for one in recording.calls
        if one.verb == "recv"
        and one.t <= call.t
        and one.host == call.host
        and isinstance(one.result, int)
        and _same_socket(one, call)
    )


def _is_peer(call: CallMade, history: History, side: Side) -> bool:
    """The address at the other end, as far as this end can know it."""
    if call.peer is None or side == "server":
        return True
    return history.server_address == (plain(call.peer[0]), call.peer[1])


def _established(history: History, side: Side, step: Ref) -> Moment:
    end = end_of(history, side)
    for span in end.spans if end else ():
        if span.state == "ESTABLISHED":
            return Moment(at=span.began, error=span.error)
    return Moment(why=f"when the connection of {step} was established is not known")


def _sent(call: CallMade, history: History, side: Side, until: float) -> Iterator[float]:
    """When its segments left. Bytes that are sent again had left before."""
    wanted = SYN if call.verb == "connect" else ENDING.get(call.verb, 0)
    for crossing in history.crossings:
        segment = crossing.sent
        if segment is None or crossing.sender != side or not call.t - EARLY <= segment.t < until:
            continue
        if wanted and segment.flags & wanted:
            yield segment.t
            if call.verb != "connect":
                return
        elif not wanted and segment.length and not crossing.again:
            yield segment.t


def _until(call: CallMade, recording: Recording) -> float:
    """When the next call that sends began on the same socket: what leaves from then on may be its."""
    later = [
        one.t
        for one in recording.calls
        if one.t > call.t and one.host == call.host and one.verb in SENDING and _same_socket(one, call)
    ]
    return min(later, default=float("inf"))


def _same_socket(one: CallMade, other: CallMade) -> bool:
    if one.inode is not None and other.inode is not None:
        return one.inode == other.inode
    return one.local == other.local and one.peer == other.peer


def error_of(recording: Recording, host: str) -> float:
    """How far the times of this host's packets may be off."""
    return max(
        (one.error for one in recording.watches if (one.source, one.host) == ("packet", host)), default=0
    )


def compared(after: After, came: Moment, recorded: Recorded) -> tuple[Value, Verdict, Moment]:
    """The time from the step to this moment, judged; and when the step's last segment left."""
    began = left(after.step, recorded.timeline)
    if began.why or came.why:
        return unknown(began.why or came.why), "unknown", began
    value = _elapsed(after.test, began, came, recorded)
    return value, compare(after.test, value), began


def _elapsed(test: Number, began: Moment, came: Moment, recorded: Recorded) -> Value:
    """Seconds between the two, as exactly as they are known. While the observer stood still the hosts may
    have, too: that is no time that they took.

    With a tolerance, a stall of the middle excuses only what came too late: what is waited for is made late
    by a stall at the beginning or at the end of the waiting, and nothing comes too early because of one.
    """
    between = Apart(recorded.timeline.recording.clocks).between(began.host, came.host)
    elapsed, error = came.at - began.at, began.error + came.error + between
    first, last = recorded.began + began.at, recorded.began + came.at
    stall = recorded.stalled(first, last) if elapsed > 0 else 0.0
    if test.operator == "==" and test.tolerance:
        near = 2 * test.tolerance
        long = elapsed > 2 * near and stall > test.tolerance
        at_ends = (
            max(recorded.stalled(first, first + near), recorded.stalled(last - near, last)) if long else stall
        )
        if max(at_ends, error) > test.tolerance:
            what = (
                f"is known to ±{error:.3g} s"
                if error > at_ends
                else f"the observer stalled for {at_ends:.3g} s"
            )
            return unknown(f"{what}, the tolerance is {test.tolerance:g} s")
        if elapsed + error <= test.value + test.above:
            stall = 0.0
    low, high = elapsed - error - stall, elapsed + error
    doubt = f"the observer stalled for {stall:.3g} s of that" if stall > error else ""
    return Value(value=low if elapsed <= 0 else max(0.0, low), high=high, doubt=doubt)
