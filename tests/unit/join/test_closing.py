"""Who closed first, and by what; what crossed, and what was lost on the way."""

from __future__ import annotations

import pytest

from orchestrator.join.closing import NOBODY, TOGETHER
from orchestrator.model.events import Closing
from orchestrator.model.recording import Loss
from tests.unit.join.scripts import call, history, seen, told, watched
from tests.unit.join.test_tcp import ANSWERED, CLOSED_BY_CLIENT, OPENED


def verdict(closing: Closing) -> tuple[str | None, str | None, bool]:
    """Who, by what, and whether that is known."""
    return closing.first, closing.by, closing.known


def test_nobody_has_closed() -> None:
    assert history(ANSWERED).closing == Closing()


def test_by_a_fin() -> None:
    closing = history(CLOSED_BY_CLIENT).closing
    assert verdict(closing) == ("client", "FIN", True)
    assert closing.at == pytest.approx(0.1)


def test_the_first_sent_is_the_first_however_late_it_comes() -> None:
    text = f"""{ANSWERED}
    0.100  alice > web  FA  6  1  late 50ms
    0.120  web > alice  FA  1  6
    """
    assert verdict(history(text).closing) == ("client", "FIN", True)


def test_at_the_same_time() -> None:
    text = f"""{ANSWERED}
    0.100000  alice > web  FA  6  1  late 1ms
    0.100010  web > alice  FA  1  6  late 1ms
    """
    exact = watched("packet", "alice", "web", error=20e-6)
    closing = history(text, watches=exact).closing
    assert (closing.first, closing.known, closing.why) == (None, False, TOGETHER)


def test_one_that_answers_the_other_is_second_however_near() -> None:
    text = f"""{ANSWERED}
    0.100000  alice > web  FA  6  1
    0.100025  web > alice  FA  1  7
    """
    exact = watched("packet", "alice", "web", error=20e-6)
    assert verdict(history(text, watches=exact).closing) == ("client", "FIN", True)


def test_by_a_reset() -> None:
    text = f"{ANSWERED}\n 0.1  web > alice  RA  1  6"
    assert verdict(history(text).closing) == ("server", "RST", True)


def test_a_reset_behind_a_fin_is_not_what_closed() -> None:
    text = f"{ANSWERED}\n 0.1  alice > web  FA  6  1\n 0.2  web > alice  R  1"
    assert verdict(history(text).closing) == ("client", "FIN", True)


def test_a_reset_that_nobody_has_sent() -> None:
    """A router or a firewall on the way did."""
    text = f"{ANSWERED}\n 0.1  web > alice  R  1  unsent"
    closing = history(text).closing
    assert (closing.first, closing.by, closing.known, closing.why) == (None, "RST", False, NOBODY)


def test_seen_at_one_end_only() -> None:
    one = watched("packet", "alice")
    assert verdict(history(at_alice(CLOSED_BY_CLIENT), watches=one).closing) == ("client", "FIN", True)
    crossing = f"{OPENED}\n 0.1  alice > web  FA  1  1\n 0.11  web > alice  FA  1  1"
    assert not history(at_alice(crossing), watches=one).closing.known, "when was the server's sent?"


def at_alice(text: str) -> str:
    """As alice's tap alone sees it."""
    lines = filter(str.strip, text.splitlines())
    return "\n".join(f"{line} {'unsent' if 'web >' in line else 'lost'}" for line in lines)


def test_by_the_kernels_words_alone() -> None:
    text = """
    0.0  alice  CLOSE  SYN_SENT
    0.1  alice  SYN_SENT  ESTABLISHED
    0.1  web  LISTEN  SYN_RECV
    0.1  web  SYN_RECV  ESTABLISHED
    0.5  web  ESTABLISHED  FIN_WAIT1
    0.6  alice  ESTABLISHED  CLOSE_WAIT
    0.7  alice  CLOSE_WAIT  LAST_ACK
    """
    closing = history(changes=told(text), watches=watched("tracepoint", "alice", "web")).closing
    assert verdict(closing) == ("server", "FIN", True)


def test_by_calls_alone() -> None:
    calls = (call(0.0, "alice", "connect"), call(0.1, "web", "accept"), call(0.5, "alice", "close"))
    assert verdict(history(calls=calls, watches=()).closing) == ("client", "FIN", True)


def test_by_a_timeout() -> None:
    calls = (call(0.0, "alice", "connect", duration=3.0, errno="ETIMEDOUT", peer=None),)
    closing = history("0.0  alice > web  S  0  lost", calls=calls, length=5.0).closing
    assert verdict(closing) == ("client", "timeout", True)


def test_where_what_closed_was_not_seen() -> None:
    rows = (seen(0.5, "alice", "ESTABLISHED"), seen(0.6, "alice", "TIME_WAIT"))
    assert not history(sightings=rows, watches=()).closing.known


# What crossed.


def test_every_segment_once_with_both_its_times() -> None:
    found = history(CLOSED_BY_CLIENT).crossings
    assert len(found) == 9
    assert all(one.sent and one.received and not one.missing and not one.again for one in found)
    assert [one.sender for one in found[:3]] == ["client", "server", "client"]


def test_what_does_not_come_is_missing_and_what_is_sent_again_says_so() -> None:
    text = f"""{OPENED}
    0.010  alice > web  PA  1:6  1  lost
    0.210  alice > web  PA  1:6  1
    0.211  web > alice  A   1  6
    """
    first, second = history(text).crossings[3:5]
    assert (first.missing, first.again) == (True, False)
    assert (second.missing, second.again) == (False, True)
    client = history(text).client
    assert client is not None
    assert client.retransmits == 1


def test_what_is_still_on_its_way_is_not_missing() -> None:
    text = f"{OPENED}\n 0.010  alice > web  PA  1:6  1  lost"
    assert not history(text, length=0.011).crossings[-1].missing


def test_what_its_sender_has_given_up_is_missing_also_where_nothing_came_later() -> None:
    text = f"""{OPENED}
    3.000  web > alice  FA  1  1  lost
    3.200  web > alice  FA  1  1  lost
    """
    assert [one.missing for one in history(text, length=3.5).crossings[3:]] == [True, False]
    assert [one.missing for one in history(text, length=4.1).crossings[3:]] == [True, False]
    assert [one.missing for one in history(text, length=4.3).crossings[3:]] == [True, True]


def test_what_was_taken_apart_on_the_way_is_not_missing() -> None:
    text = f"""{OPENED}
    0.010  alice > web  PA  1:2897  1  lost
    0.010  alice > web  A   1:1449  1  unsent
    0.010  alice > web  PA  1449:2897  1  unsent
    0.020  alice > web  PA  2897:2907  1  lost
    0.030  alice > web  PA  2907:2917  1
    """
    sent = [one for one in history(text).crossings[3:] if one.sent is not None]
    assert [one.missing for one in sent] == [False, True, False]


def test_what_comes_to_who_is_not_watched_is_not_missing() -> None:
    one = watched("packet", "alice")
    text = f"{OPENED}\n 0.010  alice > web  PA  1:6  1  lost\n 0.210  alice > web  PA  1:6  1"
    assert not any(crossing.missing for crossing in history(text, watches=one).crossings)
    gone = Loss(source="packet", stage="ring", host="web", count=1, began=0.0, ended=0.1)
    assert not any(crossing.missing for crossing in history(text, losses=(gone,)).crossings)


def test_a_burst_in_another_order() -> None:
    text = f"""{OPENED}
    0.010  alice > web  PA  1:6   1  late 10ms
    0.011  alice > web  PA  6:11  1
    """
    found = history(text).crossings[3:]
    assert all(one.received and not one.missing for one in found)


def test_probes_are_no_retransmissions() -> None:
    """Of keepalive and of a closed window: one before what was acknowledged, and empty."""
    text = f"{ANSWERED}\n 5.0  alice > web  A  5  1\n 5.1  web > alice  A  1  6"
    client = history(text).client
    assert client is not None
    assert client.retransmits == 0
