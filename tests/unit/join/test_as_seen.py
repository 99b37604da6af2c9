"""What real labs have shown that no RFC says: each a short script of what was recorded there."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from orchestrator.join.steps import HIDDEN, NO_SIGN, STUCK
from orchestrator.join.timeline import timeline
from orchestrator.model.recording import Look, Said
from tests.unit.join.scripts import (
    call,
    client,
    history,
    packets,
    path,
    recording,
    seen,
    server,
    told,
    watched,
)
from tests.unit.join.test_tcp import ANSWERED, CLOSED_BY_CLIENT, OPENED
from tests.unit.join.worlds import PLAN

FULL = f"""{OPENED}
    0.01000  alice > web  PA  1:60001      1
    0.01005  alice > web  PA  60001:64001  1
"""  # all of the window of 64,000 bytes


def last(text: str, **more: Any) -> tuple[str, str]:
    """The client's last state, and why it is not known."""
    end = history(text, **more).client
    assert end is not None
    return end.spans[-1].state, end.spans[-1].why


def test_a_full_window_hides_a_fin_though_nothing_is_sent_again() -> None:
    assert last(FULL, length=0.1) == ("unknown", STUCK)


def test_what_follows_an_ack_at_once_had_been_waiting() -> None:
    """The window opens, is filled within microseconds, and a FIN may be behind that as before."""
    text = f"""{FULL}
    0.05000  web > alice  A  1  64001  window 12000
    0.05003  alice > web  PA  64001:76001  1
    0.05010  web > alice  A  1  76001  window 64000
    0.05012  alice > web  FA  76001  1
    """
    end = history(text).client
    assert end is not None
    step = next(span for span in end.spans if span.state == "FIN_WAIT1")
    assert step.began - step.error <= 0.0101, "since the window was full first"


def test_a_window_of_less_than_a_segment_is_as_good_as_closed() -> None:
    """Silly window avoidance: the sender waits for its timer, 0.2 s."""
    text = f"""{FULL}
    0.05000  web > alice  A  1  64001  window 1000
    0.26000  alice > web  PA  64001:65001  1
    0.26010  web > alice  A  1  65001  window 0
    """
    assert last(text, length=0.5) == ("unknown", STUCK)


def test_a_fin_that_comes_while_data_waits() -> None:
    """Which of the two was closed first shows when all data is through."""
    text = f"""{FULL}
    0.02000  web > alice  FA  1  1
    0.02005  alice > web  A   64001  2
    """
    assert last(text, length=0.1) == ("unknown", HIDDEN)
    through = f"{text}\n 0.03000  web > alice  A  2  64001  window 64000"
    assert client(through, length=0.1) == "SYN_SENT ESTABLISHED CLOSE_WAIT"


def test_a_fin_that_comes_while_one_waits_behind_data() -> None:
    """Both had closed; which states it went through meanwhile shows nowhere."""
    text = f"""{FULL}
    0.02000  web > alice  FA  1      1
    0.02005  alice > web  A   64001  2
    0.03000  web > alice  A   2      64001  window 64000
    0.03002  alice > web  FA  64001  2
    0.03010  web > alice  A   2      64002
    """
    assert last(text, length=0.1) == ("unknown", HIDDEN)


def test_a_syn_ends_time_wait_though_the_queue_is_full() -> None:
    one = recording(CLOSED_BY_CLIENT.replace("alice", "x").replace("web", "alice").replace("x", "web"))
    again = packets("5.0  web > alice  S  0", isn={"web": 999_999, "alice": 1})
    found = timeline(structs.replace(one, segments=(*one.segments, *again))).histories
    ended = [
        end.spans[-1]
        for h in found
        for end in (h.client, h.server)
        if end and end.host == "alice" and end.spans
    ]
    assert [span.state for span in ended] == ["CLOSE"]


def test_a_reset_that_does_not_know_of_a_fin_was_on_its_way_before() -> None:
    text = f"""{ANSWERED}
    0.10000  alice > web  FA  6  1
    0.10003  web > alice  RA  1  6
    """
    assert server(text) == "SYN_RECV ESTABLISHED CLOSE"


def test_a_fin_that_comes_again_before_it_was_acknowledged() -> None:
    """The first was dropped behind the tap, or this one is early: between the two."""
    text = f"""{ANSWERED}
    0.10000  alice > web  FA  6  1
    0.30000  alice > web  FA  6  1
    0.30005  web > alice  A   1  7
    """
    end = history(text).server
    assert end is not None
    step = end.spans[-1]
    assert step.state == "CLOSE_WAIT"
    assert step.began - step.error < 0.1001
    assert step.began + step.error >= 0.30002


def test_data_for_a_program_that_is_gone_is_answered_with_a_reset() -> None:
    """An orphan in FIN_WAIT2: data that nobody can read (tcp_minisocks.c)."""
    text = f"""{ANSWERED}
    0.10000  web > alice  FA  1  6
    0.10005  alice > web  A   6  2
    0.20000  alice > web  PA  6:9  2
    0.20003  web > alice  R   2
    """
    assert server(text) == "SYN_RECV ESTABLISHED FIN_WAIT1 FIN_WAIT2 CLOSE"
    assert client(text) == "SYN_SENT ESTABLISHED CLOSE_WAIT CLOSE"


def test_a_table_shows_that_a_reset_was_dropped() -> None:
    text = f"{ANSWERED}\n 0.1  web > alice  RA  1  6"
    later = tuple(seen(at, "alice", "ESTABLISHED", cookie=3) for at in (0.5, 0.9))
    assert client(text, length=1.0, sightings=later) == "SYN_SENT ESTABLISHED"


def test_a_call_that_closes_what_may_be_gone_tells_nothing() -> None:
    rules = Said(t=0.0, host="alice", source="exit", kind="exit", text="nft -f rules")
    text = f"{ANSWERED}\n 0.1  web > alice  RA  1  6"
    calls = (call(0.0, "alice", "connect"), call(0.5, "alice", "close"))
    assert client(text, length=1.0, said=(rules,), calls=calls) == "SYN_SENT ESTABLISHED unknown"


def test_a_host_that_drops_what_it_sends_is_silent_for_no_reason() -> None:
    """`iptables -A OUTPUT` is before the tap: what was sent is not seen, and the end went on all the same."""
    rules = Said(t=0.0, host="alice", source="exit", kind="exit", text="iptables -A OUTPUT -j DROP")
    assert client(ANSWERED, said=(rules,)).endswith("ESTABLISHED unknown")
    assert server(ANSWERED, said=(rules,)) == "SYN_RECV ESTABLISHED"


def test_an_impairment_concerns_the_hosts_that_it_names() -> None:
    cut = Said(t=0.05, host="", source="impairment", kind="cut", text="cut web bob")
    text = f"{ANSWERED}\n 0.1  alice > web  FA  6  1\n 0.10005  web > alice  A  1  7"
    others = watched("packet", "alice", "web", "bob")
    assert client(text, length=1.0, said=(cut,), watches=others).endswith("FIN_WAIT2")
    near = Said(t=0.05, host="", source="impairment", kind="cut", text="cut web alice")
    assert client(text, length=1.0, said=(near,), watches=others).endswith("FIN_WAIT1 unknown")


def test_with_syn_cookies_there_is_no_socket_until_they_come_back() -> None:
    one = recording(ANSWERED)
    hosts = tuple(
        structs.replace(host, sysctls={"net.ipv4.tcp_syncookies": "2"}) if host.name == "web" else host
        for host in PLAN.hosts
    )
    (found,) = timeline(structs.replace(one, plan=structs.replace(PLAN, hosts=hosts))).histories
    assert path(found.server) == "ESTABLISHED"
    assert path(found.client) == "SYN_SENT ESTABLISHED"


def test_a_request_that_was_answered_again_is_the_socket_that_it_becomes() -> None:
    words = """
    0.000  alice  CLOSE     SYN_SENT
    1.000  web    retransmit-synack
    1.001  web    LISTEN    SYN_RECV
    1.002  web    SYN_RECV  ESTABLISHED
    """
    found = recording(
        f"{OPENED}\n 1.000  web > alice  SA  0  1\n 1.0005  alice > web  A  1  1",
        changes=told(words),
        watches=watched("packet", "alice", "web") + watched("tracepoint", "alice", "web"),
    )
    (one,) = timeline(found).histories
    assert path(one.server) == "SYN_RECV ESTABLISHED"
    assert one.server is not None
    assert one.server.retransmits == 1


def test_nothing_is_unknown_of_a_socket_that_is_gone() -> None:
    ended = watched("packet", "alice", "web", ended=1.0, why="its power was cut")
    text = f"{ANSWERED}\n 0.1  web > alice  RA  1  6"
    assert client(text, watches=ended) == "SYN_SENT ESTABLISHED CLOSE"
    assert client(ANSWERED, watches=ended) == "SYN_SENT ESTABLISHED unknown"


def test_packets_may_come_in_a_little_later_than_a_recording_ends() -> None:
    late = watched("packet", "alice", "web", ended=9.5)
    assert client(ANSWERED, watches=late) == "SYN_SENT ESTABLISHED"


def test_an_id_is_given_once() -> None:
    rows = (
        seen(1.0, "alice", "TIME_WAIT", cookie=1, connection="00000000aaaa"),
        seen(3.0, "alice", "ESTABLISHED", cookie=2, connection="00000000aaaa"),
    )
    found = timeline(recording(sightings=rows)).histories
    assert len({one.id for one in found}) == 2


@pytest.mark.parametrize("first", [True, False])
def test_calls_on_a_tuple_that_is_used_again(first: bool) -> None:
    """Of the first use nobody saw anything but the calls, or of the second."""
    calls = (
        call(1.0, "alice", "connect", inode=1, name="one"),
        call(1.1, "alice", "close", name="one"),
        call(5.0, "alice", "connect", inode=2, name="two"),
        call(5.1, "alice", "close", name="two"),
    )
    at = 1.05 if first else 5.05
    found = timeline(
        recording(calls=calls, sightings=(seen(at, "alice", "ESTABLISHED", cookie=9),))
    ).histories
    names = [(one.client.names, one.client.cookie) for one in found if one.client]
    assert names == [(("one",), 9 if first else None), (("two",), None if first else 9)]


def test_an_accept_of_what_was_reset_before_is_of_no_connection() -> None:
    """It succeeds, and the socket has no peer."""
    calls = (call(0.5, "web", "accept", peer=None),)
    found = timeline(recording(OPENED, calls=calls))
    assert [one.server.names for one in found.histories if one.server] == [()]
    assert [event.connection for event in found.events if event.kind == "accept"] == [None]


def test_time_wait_that_a_look_does_not_have_any_more() -> None:
    """tcp_max_tw_buckets, or power that was cut."""
    rows = (seen(1.0, "alice", "TIME_WAIT", cookie=5),)
    looks = tuple(Look(host="alice", began=at, ended=at + 0.001) for at in (0.9995, 2.0, 3.0))
    assert client(CLOSED_BY_CLIENT, sightings=rows, looks=looks).endswith("TIME_WAIT CLOSE")


def test_the_last_ack_of_a_handshake_waits_for_a_sign() -> None:
    end = history(OPENED, length=0.5).server
    assert end is not None
    assert (end.spans[-1].state, end.spans[-1].why) == ("unknown", NO_SIGN)
