"""Which records are one socket's where a tuple is used again."""

from __future__ import annotations

from msgspec import structs

from orchestrator.join.timeline import timeline
from orchestrator.model.events import EndHistory, History
from tests.unit.join.scripts import ENDS, ISN, call, joined, packets, recording, seen, told, watched

FIRST = """
    0.00000  alice > web  S   0
    0.00005  web > alice  SA  0  1
    0.00010  alice > web  A   1  1
    1.00000  alice > web  FA  1  1
    1.00005  web > alice  FA  1  2
    1.00010  alice > web  A   2  2
"""
AGAIN = """
    3.00000  alice > web  S   0
    3.00005  web > alice  SA  0  1
    3.00010  alice > web  A   1  1
    3.10000  alice > web  PA  1:4  1
    3.10005  web > alice  A   1  4
"""
OTHER = {"alice": 123_456, "web": 654_321}
CLOSED = ("SYN_SENT", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT")


def both() -> tuple[History, ...]:
    """Two connections of one tuple, one after the other."""
    first = recording(FIRST)
    segments = (*first.segments, *packets(AGAIN, isn=OTHER))
    return timeline(structs.replace(first, segments=segments)).histories


def states(end: EndHistory | None) -> tuple[str, ...]:
    """Of an end that is there."""
    assert end is not None
    return end.states


def test_another_first_number_begins_another_connection() -> None:
    one, two = both()
    assert one.id != two.id
    assert (one.isn_client, two.isn_client) == (ISN["alice"], OTHER["alice"])
    assert states(two.client) == ("SYN_SENT", "ESTABLISHED")
    assert states(two.server) == ("SYN_RECV", "ESTABLISHED")


def test_time_wait_that_is_used_again_is_over_then() -> None:
    """tcp_tw_reuse at who connects; RFC 9293, 3.6.1 at who listens."""
    one, _ = both()
    assert states(one.client) == (*CLOSED, "CLOSE")
    assert one.client is not None
    assert abs(one.client.spans[-1].began - 3.0) < 0.001


def test_a_syn_that_comes_again_begins_nothing() -> None:
    text = """
    0.00000  alice > web  S   0
    0.00005  web > alice  SA  0  1  lost
    1.00000  alice > web  S   0
    1.00005  web > alice  SA  0  1
    """
    (found,) = joined(text).histories
    assert found.client is not None
    assert found.client.retransmits == 1


def test_the_same_tuple_and_first_number_of_different_times_have_different_ids() -> None:
    """As far as is known without cookies: nothing makes a first number unique."""
    one, two = both()
    three = structs.replace(recording(FIRST), segments=packets(FIRST))
    assert timeline(three).histories[0].id == one.id
    assert two.id != one.id


def test_a_listener_keeps_an_old_connection_until_a_reset() -> None:
    """The client lost its power and connects from the same port: the server's end is of before, and answers
    with a challenge (RFC 5961, 4)."""
    old = recording("\n".join(FIRST.strip().splitlines()[:3]))
    challenge = packets("2.00005  web > alice  A  1  1")
    syn = packets("2.00000  alice > web  S   0\n3.00000  alice > web  S  0", isn=OTHER)
    reset = packets("2.00010  alice > web  R  1")
    answer = packets(
        """
        3.00005  web > alice  SA  0    1
        3.00010  alice > web  A   1    1
        3.10000  web > alice  PA  1:9  1
        3.20000  alice > web  A   1    9
        """,
        isn=OTHER,
    )
    segments = (*old.segments, *challenge, *syn, *reset, *answer)
    one, two = timeline(structs.replace(old, segments=segments)).histories
    assert states(one.server) == ("SYN_RECV", "ESTABLISHED", "CLOSE")
    assert states(two.client) == ("SYN_SENT", "ESTABLISHED")
    assert states(two.server) == ("SYN_RECV", "ESTABLISHED")


def test_cookies_tell_sockets_apart_without_packets() -> None:
    rows = [seen(0.5, "alice", "ESTABLISHED", cookie=1), seen(0.6, "alice", "TIME_WAIT", cookie=1)]
    rows += [seen(2.0, "alice", "SYN_SENT", cookie=2), seen(2.1, "alice", "ESTABLISHED", cookie=2)]
    found = joined(sightings=tuple(rows)).histories
    assert [one.client.cookie for one in found if one.client] == [1, 2]
    assert len({one.id for one in found}) == 2


def test_changes_that_begin_again_are_another_socket() -> None:
    text = """
    0.0  alice  CLOSE        SYN_SENT
    0.1  alice  SYN_SENT     CLOSE
    1.0  alice  CLOSE        SYN_SENT
    1.1  alice  SYN_SENT     ESTABLISHED
    """
    changes = tuple(structs.replace(one, cookie=None) for one in told(text))
    found = joined(changes=changes, watches=watched("tracepoint", "alice", "web")).histories
    assert [states(one.client) for one in found] == [("SYN_SENT", "CLOSE"), ("SYN_SENT", "ESTABLISHED")]


def test_an_inode_that_is_used_again_is_another_socket() -> None:
    calls = (
        call(0.0, "alice", "connect"),
        call(0.5, "alice", "close"),
        call(2.0, "alice", "connect", local=(ENDS["alice"][0], 40001)),
    )
    found = joined(calls=calls).histories
    assert [one.client_address[1] for one in found] == [40000, 40001]
