"""Expectations on what happened, against timelines made by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.events import Closing, Crossing, History
from orchestrator.model.runs import Verdict
from orchestrator.scenarios.checks import judge
from orchestrator.scenarios.observation import Descriptor, Judgement, Observation
from tests.unit.scenarios.looks import ALICE, CALL, MANY, WEB, expect, row
from tests.unit.scenarios.timelines import (
    BEGAN,
    BY_FIN,
    CLIENT,
    NOT_CLOSED,
    SERVER,
    Sent,
    call,
    history,
    seen,
)

WHOLE = history()


def judged(text: str, *found: History, **more: Any) -> Judgement:
    """What is made of `connection: alice.call, …`."""
    return judge(expect(f"connection: alice.call, {text}"), seen(*(found or (WHOLE,)), **more))


def with_client(states: str) -> History:
    """One whose client's end was in these."""
    return history(client=states)


@pytest.mark.parametrize(
    ("wanted", "states", "is_so"),
    [
        ("SYN_SENT -> ESTABLISHED -> FIN_WAIT1 -> FIN_WAIT2 -> TIME_WAIT", CLIENT, "pass"),
        ("SYN_SENT -> ESTABLISHED", CLIENT, "pass"),
        ("FIN_WAIT1 -> FIN_WAIT2", CLIENT, "pass"),
        ("FIN_WAIT1 -> FIN_WAIT2|CLOSING -> TIME_WAIT", CLIENT, "pass"),
        ("TIME_WAIT -> CLOSE", CLIENT, "fail"),
        ("ESTABLISHED -> CLOSE_WAIT", CLIENT, "fail"),
        ("FIN_WAIT1 -> TIME_WAIT", CLIENT, "fail"),  # FIN_WAIT2 was between
        ("SYN_SENT -> ESTABLISHED", "SYN_SENT", "fail"),
        ("SYN_SENT -> ESTABLISHED", "", "unknown"),
        # What is not known may have been anything that can be there.
        ("SYN_SENT -> ESTABLISHED -> FIN_WAIT1", "SYN_SENT ?@1 FIN_WAIT1@2", "unknown"),
        ("SYN_SENT -> ESTABLISHED -> CLOSE_WAIT", "SYN_SENT ESTABLISHED@1 FIN_WAIT1@2 ?@3", "fail"),
        ("FIN_WAIT1 -> FIN_WAIT2", "SYN_SENT ESTABLISHED@1 CLOSE_WAIT@2 ?@3", "fail"),
        ("FIN_WAIT1 -> FIN_WAIT2", "SYN_SENT ESTABLISHED@1 ?@2", "unknown"),
        ("SYN_SENT -> ESTABLISHED", "SYN_SENT ESTABLISHED@1 ?@2", "pass"),
        ("SYN_SENT -> ESTABLISHED", "? FIN_WAIT1@1", "unknown"),
        # Nothing was recorded of its beginning.
        ("SYN_SENT -> ESTABLISHED", "ESTABLISHED@1", "unknown"),
        ("SYN_SENT -> ESTABLISHED", "FIN_WAIT1@1 FIN_WAIT2@2", "unknown"),
        ("ESTABLISHED -> CLOSE_WAIT", "FIN_WAIT1@1 FIN_WAIT2@2", "fail"),
        ("ESTABLISHED -> FIN_WAIT1", "FIN_WAIT1@1 FIN_WAIT2@2", "unknown"),
        ("FIN_WAIT2 -> TIME_WAIT", "FIN_WAIT1@1 FIN_WAIT2@2", "fail"),
        ("ESTABLISHED -> FIN_WAIT1 -> CLOSING", "SYN_SENT ?@1 FIN_WAIT2@2", "fail"),
        # Two sources that disagree: either may be right.
        ("ESTABLISHED -> FIN_WAIT1", "ESTABLISHED FIN_WAIT1/CLOSE_WAIT@1", "unknown"),
        ("ESTABLISHED -> FIN_WAIT1|CLOSE_WAIT", "ESTABLISHED FIN_WAIT1/CLOSE_WAIT@1", "pass"),
        ("ESTABLISHED -> CLOSE", "ESTABLISHED FIN_WAIT1/CLOSE_WAIT@1", "fail"),
        # What is not known, and can have been nothing else.
        (
            "SYN_SENT -> ESTABLISHED -> FIN_WAIT1 -> FIN_WAIT2",
            "SYN_SENT ESTABLISHED@1 ?@2 FIN_WAIT2@3",
            "pass",
        ),
        ("FIN_WAIT1 -> FIN_WAIT2 -> TIME_WAIT", "ESTABLISHED ?@2 TIME_WAIT@3", "unknown"),
        ("ESTABLISHED -> FIN_WAIT1", "? TIME_WAIT@3", "unknown"),
        ("TIME_WAIT -> CLOSE", "? TIME_WAIT@3 CLOSE@60", "pass"),
        ("ESTABLISHED -> SYN_RECV|FIN_WAIT1", "ESTABLISHED@1 SYN_SENT@2", "unknown"),  # it cannot be
    ],
)
def test_sequences(wanted: str, states: str, is_so: Verdict) -> None:
    assert judged(f"client: {wanted}", with_client(states)).verdict == is_so


def test_a_sequence_of_the_other_end_and_both_at_once() -> None:
    assert judged("server: SYN_RECV -> ESTABLISHED -> CLOSE_WAIT -> LAST_ACK -> CLOSE").verdict == "pass"
    both = judged("client: FIN_WAIT1 -> FIN_WAIT2, server: CLOSE_WAIT -> LAST_ACK")
    assert both.verdict == "pass"
    assert both.since == pytest.approx(BEGAN + 1.4999)
    assert judged("server: SYN_RECV -> ESTABLISHED", history(server=None)).verdict == "unknown"


def test_a_failed_one_is_shown_with_both_ends_over_time_and_what_closed_it() -> None:
    found = judged("client: ESTABLISHED -> CLOSE_WAIT")
    assert found.expected == "client ESTABLISHED -> CLOSE_WAIT"
    assert found.observed == "client SYN_SENT -> ESTABLISHED -> FIN_WAIT1 -> FIN_WAIT2 -> TIME_WAIT"
    assert found.evidence == (
        "client alice 10.0.0.1:4000: SYN_SENT at 0.000000 s, ESTABLISHED at 0.001000 s, "
        "FIN_WAIT1 at 1.000000 s, FIN_WAIT2 at 1.001000 s, TIME_WAIT at 1.500000 s",
        "server web 10.0.0.2:80: SYN_RECV at 0.000500 s, ESTABLISHED at 0.001500 s, "
        "CLOSE_WAIT at 1.000500 s, LAST_ACK at 1.499900 s, CLOSE at 1.502000 s",
        "first to close: client, closed by FIN at 1.000000 s",
    )


def test_why_it_is_unknown_is_said() -> None:
    found = judged("client: SYN_SENT -> ESTABLISHED -> FIN_WAIT1", with_client("SYN_SENT ?@1"))
    assert (found.verdict, found.why) == (
        "unknown",
        "unknown at 1.000000 s (packets were lost)",
    )
    disagreeing = judged(
        "client: ESTABLISHED -> FIN_WAIT1", with_client("SYN_SENT ESTABLISHED@1 FIN_WAIT1/CLOSE_WAIT@2")
    )
    assert "snapshot says CLOSE_WAIT" in disagreeing.why


@pytest.mark.parametrize(
    ("text", "closing", "is_so"),
    [
        ("first to close: client, closed by: FIN", BY_FIN, "pass"),
        ("first to close: server", BY_FIN, "fail"),
        ("closed by: RST|FIN", BY_FIN, "pass"),
        ("closed by: timeout", BY_FIN, "fail"),
        ("first to close: none, closed by: none", NOT_CLOSED, "pass"),
        ("first to close: server", NOT_CLOSED, "fail"),
        ("first to close: server", Closing(known=False, why="3 packets were lost"), "unknown"),
        ("first to close: none", Closing(known=False, why="3 packets were lost"), "unknown"),
        ("first to close: client", Closing(by="FIN", at=1.0, known=False, why="both at once"), "unknown"),
        ("closed by: FIN", Closing(by="FIN", at=1.0, known=False, why="both at once"), "pass"),
        ("closed by: timeout", Closing(by="timeout", at=1.0), "pass"),
    ],
)
def test_closing(text: str, closing: Closing, is_so: Verdict) -> None:
    found = judged(text, history(closing=closing))
    assert found.verdict == is_so
    assert bool(found.why) is (is_so == "unknown")


@pytest.mark.parametrize(
    ("wanted", "counts", "is_so"),
    [
        ("3", (2, 1), "pass"),
        ("'>=2'", (2, 1), "pass"),
        ("0", (2, 1), "fail"),
        ("'>=2'", (2, None), "pass"),
        ("'>=4'", (2, None), "unknown"),
        ("2", (2, None), "unknown"),
        ("'<2'", (2, None), "fail"),
    ],
)
def test_retransmits_of_both_ends(wanted: str, counts: tuple[int | None, int | None], is_so: Verdict) -> None:
    assert judged(f"retransmits: {wanted}", history(retransmits=counts)).verdict == is_so


def test_an_end_that_was_not_seen_may_have_sent_more() -> None:
    alone = history(server=None, retransmits=(1, 0))
    assert judged("retransmits: '>=1'", alone).verdict == "pass"
    assert judged("retransmits: 1", alone).verdict == "unknown"


def test_nothing_recorded_is_unknown() -> None:
    wanted = expect("connection: alice.call, first to close: none")
    assert judge(wanted, Observation(descriptors=CALL)).verdict == "unknown"
    found = judge(wanted, Observation(descriptors=CALL, not_recorded="the lab's daemon is older"))
    assert (found.verdict, found.why) == ("unknown", "the lab's daemon is older")
    assert judge(wanted, seen()).verdict == "unknown"
    assert judge(wanted, seen(WHOLE, descriptors={})).verdict == "unknown"


# Which connection.


def test_a_pair_of_addresses_that_was_used_again_is_another_connection() -> None:
    first, second = (
        history(names=("call",)),
        history(closing=NOT_CLOSED, number="2", names=("other",), began=5.0),
    )
    assert judged("first to close: client", first, second).verdict == "pass"
    other = {("alice", "many-1"): Descriptor(fd=5, local=ALICE, peer=WEB)}
    nameless = [history(names=(), number=str(n), began=n) for n in (1.0, 2.0)]
    found = judge(
        expect("connection: alice.many-1, first to close: client"), seen(*nameless, descriptors=CALL | other)
    )
    assert (found.verdict, found.why) == ("unknown", "2 connections are alice.many-1")
    again = history(closing=NOT_CLOSED, number="2", began=5.0)  # `call` was opened anew
    assert judged("first to close: none", first, again).verdict == "pass"


def test_it_may_be_named_by_either_end_or_by_both() -> None:
    conn = {("web", "conn"): Descriptor(fd=6, local=WEB, peer=ALICE)}
    wanted = expect("connection: web.conn, first to close: client")
    assert judge(wanted, seen(WHOLE, descriptors=conn)).verdict == "pass"
    for both in ("'alice -> web:80'", "'alice -> 10.0.0.2:80'"):
        assert judge(expect(f"connection: {both}, first to close: client"), seen(WHOLE)).verdict == "pass"
    assert (
        judge(expect("connection: 'alice -> web:81', first to close: client"), seen(WHOLE)).verdict
        == "unknown"
    )
    two = seen(WHOLE, history(number="2", began=3.0))
    assert judge(expect("connection: 'alice -> web:80', first to close: client"), two).verdict == "unknown"


def test_connections_are_counted_over_time() -> None:
    found = seen(WHOLE, history(number="2", closing=NOT_CLOSED), history(number="3"))
    wanted = "connection: 'alice -> web:80', first to close: client"
    assert judge(expect(f"{wanted}, count: 2"), found).verdict == "pass"
    assert judge(expect(f"{wanted}, count: 3"), found).verdict == "fail"
    lost = history(number="4", closing=Closing(known=False, why="lost"))
    unsure = seen(WHOLE, lost)
    assert judge(expect(f"{wanted}, count: 2"), unsure).verdict == "unknown"
    assert judge(expect(f"{wanted}, count: '>=1'"), unsure).verdict == "pass"


def test_each_that_a_name_stands_for() -> None:
    wanted = expect("connection: alice.many, closed by: FIN")
    assert judge(wanted, seen(WHOLE, descriptors=MANY)).verdict == "unknown"


def test_what_is_now_is_looked_at_beside() -> None:
    text = "client: SYN_SENT -> ESTABLISHED, server.rx_queue: 0"
    assert judged(text, connections=(row(),)).verdict == "pass"
    assert judged(text).verdict == "fail"  # there is no row
    assert judged("client: FIN_WAIT1 -> CLOSING, status: joined", connections=(row(),)).verdict == "fail"


# After a step.

ASKED = call("send", 0.5, "ask")
SENT = [("client", 0.5001, "P"), ("client", 0.5002, "P"), ("server", 0.9, "P"), ("client", 1.0, "F")]


def timed(after: str, *, closes: float = 2.5, error: float = 0.0001, **more: Any) -> Judgement:
    """A server that closes at 2.5 s, 2 s after what `ask` sent."""
    closing = Closing(first="server", by="FIN", at=closes, error=error)
    one = history(closing=closing, sent=more.pop("sent", SENT))
    return judged(f"first to close: server, after: {after}", one, calls=more.pop("calls", [ASKED]), **more)


@pytest.mark.parametrize(
    ("after", "is_so"),
    [
        ("ask 2s +-50ms", "pass"),
        ("ask 2s +-1ms", "pass"),
        ("ask 1.9s +-50ms", "fail"),
        ("ask <2.1s", "pass"),
        ("ask '<1.9s'", "fail"),
        ("{step: alice.ask, at: '>1s'}", "pass"),
        ("ask 2s +-100us", "unknown"),  # its times are not known so well
    ],
)
def test_a_time_from_wire_to_wire(after: str, is_so: Verdict) -> None:
    assert timed(after.replace("ask '<1.9s'", "'ask <1.9s'")).verdict == is_so


def test_the_time_is_shown_from_the_last_byte_that_left() -> None:
    found = timed("ask 3s +-50ms")
    assert found.expected == "first to close server, after ask 3s +-50ms"
    assert found.evidence[0] == "alice.ask had left at 0.500200 s"
    assert found.observed.startswith("first to close server, after 1.99")


def test_what_has_not_come_is_no_time() -> None:
    waiting = judged(
        "first to close: server, after: ask 2s +-50ms", history(closing=NOT_CLOSED), calls=[ASKED]
    )
    assert waiting.verdict == "fail"


def test_a_step_whose_packets_were_not_seen_has_no_moment() -> None:
    assert "was not seen leaving" in timed("ask 2s +-50ms", sent=()).why
    assert "has not ended" in timed("ask 2s +-50ms", calls=()).why
    elsewhere = call("send", 0.5, "ask", local=("10.0.0.1", 5), peer=WEB)
    assert "which connection" in timed("ask 2s +-50ms", calls=[elsewhere]).why


def test_bytes_of_the_next_step_are_not_this_ones() -> None:
    later = call("send", 0.8, "more")
    sent = [("client", 0.5001, "P"), ("client", 0.8001, "P")]
    assert timed("ask 2s +-1ms", sent=sent, calls=[ASKED, later]).verdict == "pass"
    assert timed("ask 1.7s +-1ms", sent=sent, calls=[ASKED]).verdict == "pass"


def test_a_step_that_has_no_part_on_the_wire_counts_from_its_end() -> None:
    waited = call("get", 0.2, "ask", duration=0.3)
    assert timed("ask 2s +-1ms", sent=(), calls=[waited]).verdict == "pass"


def test_a_recv_counts_from_when_its_last_byte_had_come() -> None:
    """However late its program was told, or asked."""
    sent: Sent = [("server", 0.3, "P"), ("server", 0.4, "P"), ("server", 0.9, "P")]
    for began, duration in ((0.1, 0.5), (0.7, 0.001)):
        waited = call("recv", began, "ask", duration=duration)
        assert timed("ask 2.1s +-1ms", sent=sent, calls=[waited]).verdict == "pass"
    failed = call("recv", 0.2, "ask", duration=0.3, errno="EINTR")
    assert timed("ask 2s +-1ms", sent=sent, calls=[failed]).verdict == "pass"


def test_a_recv_whose_last_byte_nobody_saw_coming_has_a_time_as_exact_as_is_known() -> None:
    """An earlier byte is not taken for it: it came between that one and the return of recv, here from 0.3 s
    to 0.451 s, and web closes at 1 s."""
    sent: Sent = [("server", 0.0005, "S"), ("server", 0.3, "P"), ("server", 0.4, "P")]
    plain = history(sent=sent)
    first, second = (one for one in plain.crossings if one.segment.length)
    moved = [_moved(first, 2), _moved(second, 7)]  # the SYN has 1, and five bytes are in each
    whole = msgspec.structs.replace(plain, crossings=(plain.crossings[0], *moved))
    lost = msgspec.structs.replace(plain, crossings=(plain.crossings[0], moved[0]))
    calls = [call("recv", 0.35, "some", result=4), call("recv", 0.45, "ask", result=6)]

    def after(text: str, one: History) -> Judgement:
        return judged(f"first to close: client, after: 'ask {text}'", one, calls=calls)

    assert after("600ms +-1ms", whole).verdict == "pass"
    for text in ("600ms +-1ms", "700ms +-1ms", ">600ms"):
        assert after(text, lost).verdict == "unknown", text
    assert "is known to ±0.0757 s" in after("600ms +-1ms", lost).why
    for text, is_so in (("600ms +-150ms", "pass"), (">540ms", "pass"), (">701ms", "fail")):
        assert after(text, lost).verdict == is_so, text


def _moved(crossing: Crossing, seq: int) -> Crossing:
    sent, received = (
        msgspec.structs.replace(one, seq=seq) if one else None for one in (crossing.sent, crossing.received)
    )
    return msgspec.structs.replace(crossing, sent=sent, received=received)


def test_a_close_counts_from_its_fin_and_a_connect_from_when_it_stood() -> None:
    assert timed("ask 1.5s +-1ms", calls=[call("close", 0.99, "ask")]).verdict == "pass"
    assert timed("ask 2.499s +-1ms", calls=[call("connect", 0.0, "ask")]).verdict == "pass"


def test_the_last_time_of_a_repeated_step_counts() -> None:
    again = call("send", 1.5, "ask")
    sent = [*SENT, ("client", 1.5001, "P")]
    assert timed("ask 1s +-1ms", sent=sent, calls=[ASKED, again]).verdict == "pass"


def test_a_stall_is_no_time_that_the_hosts_took() -> None:
    assert timed("ask 2s +-50ms", stalled=lambda _began, _ended: 0.2).verdict == "unknown"
    assert timed("'ask <1.9s'", stalled=lambda _began, _ended: 0.2).verdict == "unknown"
    assert timed("'ask <2.1s'", stalled=lambda _began, _ended: 0.2).verdict == "pass"
    asked: list[tuple[float, float]] = []

    def stalled(began: float, ended: float) -> float:
        asked.append((began, ended))
        return 0.0

    timed("ask 2s +-50ms", stalled=stalled)
    ((began, ended),) = asked
    assert (began, ended) == pytest.approx((BEGAN + 0.5002, BEGAN + 2.5))


def test_a_stall_in_the_middle_of_a_wait_excuses_only_what_came_late() -> None:
    """From 0.5 to 2.5 s; the observer stood still for 0.2 s from 1.2 s on, or at an end."""

    def stood(since: float, length: float = 0.2) -> Callable[[float, float], float]:
        first, last = BEGAN + since, BEGAN + since + length
        return lambda began, ended: max(0.0, min(ended, last) - max(began, first))

    assert timed("ask 2s -5ms +50ms", stalled=stood(1.2)).verdict == "pass"
    assert timed("ask 1.9s -5ms +50ms", stalled=stood(1.2)).verdict == "unknown"
    assert timed("ask 2.1s -5ms +50ms", stalled=stood(1.2)).verdict == "fail"
    assert timed("ask 2s -5ms +50ms", stalled=stood(0.45)).verdict == "unknown"
    assert timed("ask 2s -5ms +50ms", stalled=stood(2.4)).verdict == "unknown"
    assert timed("ask 2s -5ms +50ms", stalled=stood(2.48, 0.015)).verdict == "pass"


def test_the_time_to_a_state_and_to_a_retransmission() -> None:
    sent: Sent = [("client", 0.5, "P")]
    found = history(sent=sent, again=[("client", 0.7), ("client", 1.1)])
    calls = [call("send", 0.4999, "ask")]
    assert judged("retransmits: '>=2', after: ask 600ms +-1ms", found, calls=calls).verdict == "pass"
    assert (
        judged("client: FIN_WAIT1 -> FIN_WAIT2, after: ask 501ms +-1ms", found, calls=calls).verdict == "pass"
    )
    assert judged("server: CLOSE_WAIT, after: ask 500ms +-5ms", found, calls=calls).verdict == "pass"
    assert judged("server: LAST_ACK, after: ask 500ms +-5ms", found, calls=calls).verdict == "fail"


@given(st.data())
def test_what_is_lost_never_makes_a_verdict_that_the_whole_would_not(data: st.DataObject) -> None:
    """A part of the states hidden: unknown, or what it would be with them."""
    parts = CLIENT.split()
    hidden = data.draw(st.sets(st.integers(0, len(parts) - 1), max_size=len(parts)))
    states = " ".join(
        f"?@{part.partition('@')[2] or 0}" if place in hidden else part for place, part in enumerate(parts)
    )
    first = data.draw(st.integers(0, len(parts) - 1))
    last = data.draw(st.integers(first, len(parts) - 1))
    names = [part.partition("@")[0] for part in parts]
    wanted = names[first : last + 1]
    text = " -> ".join(wanted if len(wanted) > 1 else [*names[-2:]])
    whole = judged(f"client: {text}").verdict
    assert judged(f"client: {text}", with_client(states)).verdict in ("unknown", whole)


def test_server_states_are_what_they_are() -> None:
    assert judged(f"server: {SERVER.split('@')[0]} -> ESTABLISHED").verdict == "pass"
