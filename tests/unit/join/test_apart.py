"""Hosts on two machines, whose clocks are known to an error: nothing is ordered that may be otherwise."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.join.apart import Apart
from orchestrator.join.closing import TOGETHER
from orchestrator.join.timeline import timeline
from orchestrator.model.events import History
from orchestrator.model.recording import MachineClock, Recording
from tests.unit.join.scripts import recording, watched
from tests.unit.join.test_tcp import ANSWERED, CLOSED_BY_CLIENT

EXACT = watched("packet", "alice", "web", error=20e-6)


def clocks(error: float) -> tuple[MachineClock, ...]:
    """alice on one machine, web on another."""
    return tuple(
        MachineClock(machine=machine, hosts=(host,), error=error)
        for machine, host in (("m1", "alice"), ("m2", "web"))
    )


def told_by(found: Recording, host: str, off: float) -> Recording:
    """As it is recorded when the clock of a host's machine is mapped wrongly by this."""
    segments = tuple(
        msgspec.structs.replace(one, t=one.t + off) if one.host == host else one for one in found.segments
    )
    return msgspec.structs.replace(found, segments=tuple(sorted(segments, key=lambda one: one.t)))


def history(found: Recording) -> History:
    """Of its only connection."""
    (one,) = timeline(found).histories
    return one


def both_close(apart: float) -> str:
    """alice's FIN leaves so long before web's, which does not answer it."""
    first = 1.0 if apart >= 0 else 1.0 - apart
    second = first + apart
    lines = [f"{first:.6f} alice > web FA 6 1 late 2ms", f"{second:.6f} web > alice FA 1 6 late 2ms"]
    return "\n".join([ANSWERED, *(lines if apart >= 0 else lines[::-1])])


def test_which_of_two_was_first_is_not_known_where_their_clocks_may_be_further_apart() -> None:
    text = both_close(0.001)
    known = history(recording(text, watches=EXACT)).closing
    assert (known.first, known.known) == ("client", True)
    doubtful = history(recording(text, watches=EXACT, clocks=clocks(0.0006))).closing
    assert (doubtful.first, doubtful.known, doubtful.why) == (None, False, TOGETHER)
    close = history(recording(text, watches=EXACT, clocks=clocks(0.0004))).closing
    assert (close.first, close.known) == ("client", True)


def test_both_on_one_machine_are_in_order_however_badly_its_clock_is_known() -> None:
    one = (MachineClock(machine="m1", hosts=("alice", "web"), error=1.0),)
    closing = history(recording(both_close(0.001), watches=EXACT, clocks=one)).closing
    assert (closing.first, closing.known) == ("client", True)


@given(
    apart=st.integers(-1900, 1900).map(lambda us: us / 1e6),
    error=st.floats(0.0, 0.002),
    off=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
)
def test_no_order_is_told_that_is_not_the_true_one(
    apart: float, error: float, off: tuple[float, float]
) -> None:
    found = recording(both_close(apart), watches=EXACT, clocks=clocks(error))
    for host, by in zip(("alice", "web"), off, strict=True):
        found = told_by(found, host, by * error)
    closing = history(found).closing
    assert closing.first in (None, "client" if apart > 0 else "server" if apart < 0 else None)


@given(off=st.floats(-1, 1), error=st.floats(0.0, 0.05))
def test_what_came_is_not_missing_because_it_seems_to_have_come_before_it_left(
    off: float, error: float
) -> None:
    found = recording(CLOSED_BY_CLIENT, watches=EXACT, clocks=clocks(error))
    one = history(told_by(found, "web", off * error))
    assert not any(crossing.missing for crossing in one.crossings)
    assert all(crossing.sent and crossing.received for crossing in one.crossings)
    assert one.client is not None
    assert one.server is not None
    assert one.client.states[-1] == "TIME_WAIT"


def test_events_say_their_machine_and_how_far_they_may_be_off() -> None:
    events = timeline(recording(ANSWERED, watches=EXACT, clocks=clocks(0.003))).events
    assert {(event.machine, event.host) for event in events} == {("m1", "alice"), ("m2", "web")}
    assert all(event.error_s >= 0.003 for event in events)
    assert all(event.machine == "" for event in timeline(recording(ANSWERED, watches=EXACT)).events)


def test_apart() -> None:
    apart = Apart(clocks(0.5))
    assert apart.between("alice", "web") == 1.0
    assert apart.between("alice", "alice") == 0.0
    assert apart.between("alice", None) == 0.0
    assert apart.between("alice", "nobody-measured") > 1e8
    assert not Apart()
    assert Apart().between("alice", "web") == 0.0
