"""Several sources about one end: which is believed, what the others add, and where they disagree."""

from __future__ import annotations

import pytest

from orchestrator.join.steps import STUCK
from orchestrator.model.events import EndHistory, Otherwise
from orchestrator.model.recording import Look
from tests.unit.join.scripts import call, client, history, path, seen, server, watched
from tests.unit.join.test_tcp import ANSWERED, OPENED

NOTHING = watched("packet", "alice", "web", ended=0.0)
BLOCKED = f"""{OPENED}
    0.010  alice > web  PA  1:501  1
    0.011  web > alice  A   1  501  window 0
"""


def looks(host: str, *times: float) -> tuple[Look, ...]:
    """Whole tables that were read."""
    return tuple(Look(host=host, began=at - 0.0005, ended=at + 0.0005) for at in times)


def when(end: EndHistory | None, state: str) -> tuple[float, float]:
    """Between which times it came into that state."""
    assert end is not None
    found = next(span for span in end.spans if span.state == state)
    return found.began - found.error, found.began + found.error


# Tables alone.


def test_a_step_lies_between_two_sightings() -> None:
    rows = (seen(1.0, "alice", "ESTABLISHED"), seen(2.0, "alice", "CLOSE_WAIT"))
    found = history(sightings=rows, watches=NOTHING).client
    assert path(found) == "ESTABLISHED CLOSE_WAIT unknown"
    assert when(found, "CLOSE_WAIT") == pytest.approx((0.9995, 2.0005))


def test_what_lies_between_two_that_do_not_follow_each_other_is_not_known() -> None:
    rows = (seen(1.0, "alice", "ESTABLISHED"), seen(2.0, "alice", "TIME_WAIT"))
    assert client(sightings=rows, watches=NOTHING, length=2.1) == "ESTABLISHED unknown TIME_WAIT"


def test_many_sightings_of_one_state_are_one_span() -> None:
    rows = tuple(seen(at / 10, "alice", "ESTABLISHED") for at in range(1, 99))
    found = history(sightings=rows, watches=NOTHING).client
    assert path(found) == "ESTABLISHED"


def test_gone_where_two_looks_say_so() -> None:
    rows = (seen(1.0, "alice", "LAST_ACK"),)
    once, twice = looks("alice", 1.0, 1.5), looks("alice", 1.0, 1.5, 1.6)
    assert client(sightings=rows, looks=once, watches=NOTHING) == "LAST_ACK unknown"
    found = history(sightings=rows, looks=twice, watches=NOTHING).client
    assert path(found) == "LAST_ACK CLOSE"
    assert when(found, "CLOSE")[1] == pytest.approx(1.6005)


def test_a_host_without_power_has_no_sockets() -> None:
    """No packet tells that it lost it."""
    rows = (seen(1.0, "alice", "ESTABLISHED"),)
    assert (
        client(ANSWERED, sightings=rows, looks=looks("alice", 1.0, 2.0, 2.1)) == "SYN_SENT ESTABLISHED CLOSE"
    )


# Tables and packets.


def test_a_sighting_confirms_what_packets_leave_open() -> None:
    rows = (seen(0.5, "web", "ESTABLISHED"),)
    assert server(OPENED, length=1.0) == "SYN_RECV unknown"
    found = history(OPENED, length=0.6, sightings=rows).server
    assert path(found) == "SYN_RECV ESTABLISHED"


def test_a_fin_that_waits_is_seen_in_the_table() -> None:
    rows = (seen(1.0, "alice", "ESTABLISHED"), seen(2.0, "alice", "FIN_WAIT1"))
    found = history(BLOCKED, sightings=rows, length=2.1).client
    assert path(found) == "SYN_SENT ESTABLISHED FIN_WAIT1"
    assert when(found, "FIN_WAIT1") == pytest.approx((0.9995, 2.0005))


def test_a_sighting_that_contradicts_packets_is_kept_beside() -> None:
    rows = (seen(0.5, "alice", "SYN_SENT"),)
    found = history(ANSWERED, sightings=rows).client
    assert found is not None
    assert found.spans[1].state == "ESTABLISHED"
    assert found.spans[1].otherwise == (Otherwise(source="snapshot", state="SYN_SENT"),)


@pytest.mark.parametrize("at", [0.0001, 0.0004, 0.001])
def test_a_sighting_next_to_a_step_contradicts_nothing(at: float) -> None:
    rows = (seen(at, "alice", "SYN_SENT"),)
    found = history(ANSWERED, sightings=rows).client
    assert found is not None
    assert not any(span.otherwise for span in found.spans)


# Calls.


def test_an_accept_shows_that_the_handshake_is_done() -> None:
    calls = (call(0.3, "web", "accept"),)
    found = history(OPENED, length=0.5, calls=calls).server
    assert found is not None
    assert path(found) == "SYN_RECV ESTABLISHED"
    assert found.names == ("call",)


def test_a_call_that_closes_sends_a_fin_on_its_way() -> None:
    calls = (call(0.0, "alice", "connect"), call(1.0, "alice", "close"))
    found = history(BLOCKED, length=2.0, calls=calls).client
    assert path(found) == "SYN_SENT ESTABLISHED FIN_WAIT1"
    assert when(found, "FIN_WAIT1") == pytest.approx((1.0, 1.0001))


def test_without_such_a_call_nothing_waits_but_data() -> None:
    calls = (call(0.0, "alice", "connect"), call(0.01, "alice", "send", result=500))
    assert client(BLOCKED, length=2.0, calls=calls) == "SYN_SENT ESTABLISHED"


def test_what_was_given_up_while_data_waited_was_closed_by_nobody() -> None:
    given_up = (
        call(0.0, "alice", "connect"),
        call(0.01, "alice", "send", result=500),
        call(0.02, "alice", "recv", duration=1.4, errno="ETIMEDOUT"),
    )
    assert client(BLOCKED, length=2.0, calls=given_up) == "SYN_SENT ESTABLISHED CLOSE"
    closed_then = (*given_up, call(1.5, "alice", "close"))
    assert client(BLOCKED, length=2.0, calls=closed_then) == "SYN_SENT ESTABLISHED CLOSE"
    closed_before = (*given_up, call(0.5, "alice", "shutdown"))
    path_then = client(BLOCKED, length=2.0, calls=closed_before)
    assert path_then == "SYN_SENT ESTABLISHED FIN_WAIT1 unknown CLOSE", "it may have been acknowledged"
    shared = (*given_up, call(0.015, "alice", "fork"))
    assert "unknown" in client(BLOCKED, length=2.0, calls=shared)


def test_another_descriptor_keeps_the_connection() -> None:
    calls = (
        call(0.0, "alice", "connect"),
        call(0.5, "alice", "dup", name="other", fd=5),
        call(1.0, "alice", "close"),
    )
    assert client(BLOCKED, length=2.0, calls=calls) == "SYN_SENT ESTABLISHED"
    both = (*calls, call(1.5, "alice", "close", name="other"))
    assert client(BLOCKED, length=2.0, calls=both) == "SYN_SENT ESTABLISHED FIN_WAIT1"


def test_a_child_of_a_fork_may_keep_it() -> None:
    calls = (call(0.0, "alice", "connect"), call(0.5, "alice", "fork"), call(1.0, "alice", "close"))
    found = history(BLOCKED, length=2.0, calls=calls).client
    assert found is not None
    assert (found.states[-1], found.spans[-1].why) == ("unknown", STUCK)


def test_a_connect_that_is_given_up_leaves_nothing() -> None:
    calls = (
        call(0.0, "alice", "connect", duration=0.3, timed_out=True, errno="EINPROGRESS", peer=None),
        call(0.5, "alice", "close"),
    )
    found = history("0.0  alice > web  S  0  lost", length=1.0, calls=calls)
    assert path(found.client) == "SYN_SENT CLOSE"
    assert when(found.client, "CLOSE") == pytest.approx((0.5, 0.5001))
    assert (found.closing.first, found.closing.by) == ("client", None)


def test_calls_alone_tell_little_but_that() -> None:
    calls = (call(0.0, "alice", "connect"), call(0.1, "web", "accept"))
    found = history(calls=calls, watches=NOTHING)
    assert path(found.client) == "ESTABLISHED unknown"
    assert path(found.server) == "ESTABLISHED unknown"


@pytest.mark.parametrize(
    ("closed", "way"),
    [
        (0.09998, "SYN_SENT ESTABLISHED unknown CLOSE"),  # its FIN may have been on its way
        (0.05, "SYN_SENT ESTABLISHED CLOSE"),  # that would have left long before
        (None, "SYN_SENT ESTABLISHED CLOSE"),
    ],
)
def test_a_reset_that_came_while_it_was_being_closed(closed: float | None, way: str) -> None:
    text = f"{ANSWERED}\n    0.100  web > alice  RA  1  6"
    calls = [call(0.0, "alice", "connect")]
    if closed is not None:
        calls.append(call(closed, "alice", "close"))
    assert client(text, length=1.0, calls=tuple(calls)) == way
