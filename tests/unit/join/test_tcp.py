"""The states that packets show: each peculiarity of RFC 9293 and of Linux, by a script of segments."""

from __future__ import annotations

import pytest
from msgspec import structs

from orchestrator.join.packet_states import GIVEN_UP, ORPHAN
from orchestrator.join.steps import NO_SIGN, STUCK
from orchestrator.join.timeline import timeline
from orchestrator.model.events import EndHistory
from orchestrator.model.recording import Loss, Said
from tests.unit.join.scripts import client, history, packets, recording, server, watched

OPENED = """
    0.00000  alice > web  S   0
    0.00005  web > alice  SA  0  1
    0.00010  alice > web  A   1  1
"""
ANSWERED = f"""{OPENED}
    0.01000  alice > web  PA  1:6  1
    0.01005  web > alice  A   1  6
"""
CLOSED_BY_CLIENT = f"""{ANSWERED}
    0.10000  alice > web  FA  6  1
    0.10005  web > alice  A   1  7
    0.20000  web > alice  FA  1  7
    0.20005  alice > web  A   7  2
"""
CLIENT_CLOSES = "SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT"
SERVER_IS_CLOSED = "SYN_RECV ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE"


def last(end: EndHistory | None) -> tuple[str, str]:
    """The last state, and why it is not known or came about."""
    assert end is not None
    return end.spans[-1].state, end.spans[-1].why


def test_open_and_close_by_the_client() -> None:
    assert client(CLOSED_BY_CLIENT) == CLIENT_CLOSES
    assert server(CLOSED_BY_CLIENT) == SERVER_IS_CLOSED


def test_times_are_those_of_the_packets_that_make_the_steps() -> None:
    found = history(CLOSED_BY_CLIENT)
    assert found.client is not None
    assert [round(span.began, 5) for span in found.client.spans] == [0.0, 0.00007, 0.1, 0.10007, 0.20002]
    assert all(span.error < 0.001 for span in found.client.spans)


def test_half_close_goes_on_in_one_direction() -> None:
    text = f"""{OPENED}
    0.100  alice > web  FA  1  1
    0.101  web > alice  A   1  2
    0.200  web > alice  PA  1:1001  2
    0.201  alice > web  A   2  1001
    """
    assert client(text) == "SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2"
    assert server(text) == "SYN_RECV ESTABLISHED CLOSE_WAIT"


def test_both_close_at_once() -> None:
    text = f"""{ANSWERED}
    0.100000  alice > web  FA  6  1  late 1ms
    0.100500  web > alice  FA  1  6  late 1ms
    0.102  alice > web  A  7  2
    0.102  web > alice  A  2  7
    """
    assert client(text) == "SYN_SENT ESTABLISHED FIN_WAIT1 CLOSING TIME_WAIT"
    assert server(text) == "SYN_RECV ESTABLISHED FIN_WAIT1 CLOSING TIME_WAIT"


def test_both_open_at_once() -> None:
    text = """
    0.0000  alice > web  S   0  late 1ms
    0.0005  web > alice  S   0  late 1ms
    0.0016  alice > web  SA  0  1
    0.0017  web > alice  SA  0  1
    0.0020  alice > web  PA  1:2  1
    0.0021  web > alice  A   1  2
    """
    assert client(text) == "SYN_SENT SYN_RECV ESTABLISHED"
    assert server(text) == "SYN_SENT SYN_RECV ESTABLISHED"


def test_the_first_ack_was_not_taken() -> None:
    """The accept queue was full when it came: the SYN+ACK comes again."""
    text = f"""{OPENED}
    1.001  web > alice  SA  0  1
    1.002  alice > web  A   1  1
    """
    assert client(text) == "SYN_SENT ESTABLISHED"
    assert last(history(text, length=1.5).server) == ("unknown", NO_SIGN)
    assert server(text, length=10) == "SYN_RECV ESTABLISHED", "else the SYN+ACK had come a third time"


def test_a_syn_that_nobody_answers() -> None:
    text = """
    0.0  alice > web  S  0
    1.0  alice > web  S  0
    3.0  alice > web  S  0
    """
    assert client(text, length=5) == "SYN_SENT unknown", "it may have been closed since"
    found = history(text, length=20)
    assert last(found.client) == ("CLOSE", GIVEN_UP)
    assert server(text) == "", "no socket answers a SYN that is dropped"
    assert found.client is not None
    assert found.client.retransmits == 2
    assert (found.closing.first, found.closing.by) == ("client", "timeout")


def test_refused() -> None:
    text = """
    0.000  alice > web  S   0
    0.001  web > alice  RA  0  1
    """
    assert client(text) == "SYN_SENT CLOSE"
    assert server(text) == ""


def test_a_reset_ends_it() -> None:
    text = f"""{ANSWERED}
    0.100  web > alice  RA  1  6
    """
    assert client(text) == "SYN_SENT ESTABLISHED CLOSE"
    assert server(text) == "SYN_RECV ESTABLISHED CLOSE"


@pytest.mark.parametrize("number", [2, 900, 4_000_000_000])
def test_a_reset_that_is_not_the_next_in_order_ends_nothing(number: int) -> None:
    """RFC 5961, 3.2."""
    text = f"""{ANSWERED}
    0.100  web > alice  R  {number}
    0.101  alice > web  A  6  1
    """
    assert client(text) == "SYN_SENT ESTABLISHED"


def test_a_reset_that_was_dropped_behind_the_tap_ends_nothing() -> None:
    text = f"""{ANSWERED}
    0.100  web > alice  RA  1  6
    0.200  alice > web  PA  6:9  1
    """
    assert client(text, length=1) == "SYN_SENT ESTABLISHED"


def test_a_reset_that_refuses_an_old_answer_leaves_syn_sent() -> None:
    """The other end still has a connection of before its peer lost its power (RFC 9293, 3.5.1)."""
    text = """
    0.000  alice > web  S   0
    0.001  web > alice  A   5000  9000
    0.002  alice > web  R   9000
    1.000  alice > web  S   0
    1.001  web > alice  SA  0  1
    1.002  alice > web  A   1  1
    """
    ends = [one for one in timeline(recording(text)).histories if one.client and one.client.states]
    assert ends[0].client is not None
    assert " ".join(ends[0].client.states) == "SYN_SENT ESTABLISHED"


def test_an_ack_of_a_fin_that_was_dropped_behind_the_tap() -> None:
    text = f"""{ANSWERED}
    0.100  alice > web  FA  6  1
    0.101  web > alice  A   1  7
    0.300  alice > web  FA  6  1
    """
    assert client(text, length=1) == "SYN_SENT ESTABLISHED FIN_WAIT1"
    assert client(f"{text}\n 0.301  web > alice  A   1  7", length=1).endswith("FIN_WAIT1 FIN_WAIT2")


def test_a_fin_that_crosses_the_ack_of_itself() -> None:
    """A retransmission on its way is no sign that the ACK was dropped."""
    text = f"""{ANSWERED}
    0.1000  alice > web  FA  6  1
    0.3000  web > alice  A   1  7
    0.3001  alice > web  FA  6  1
    """
    assert client(text, length=1).endswith("FIN_WAIT1 FIN_WAIT2")


def test_what_may_be_dropped_behind_the_tap_is_not_believed() -> None:
    rules = Said(t=0.05, host="alice", source="exit", kind="exit", text="iptables -A INPUT -j DROP")
    text = f"""{ANSWERED}
    0.100  alice > web  FA  6  1
    0.101  web > alice  A   1  7
    """
    assert client(text, length=1).endswith("FIN_WAIT2")
    assert client(text, length=1, said=(rules,)).endswith("FIN_WAIT1 unknown")
    assert client(text, length=5, said=(rules,)).endswith("FIN_WAIT1 FIN_WAIT2"), "it was not sent again"


def test_what_is_held_behind_the_tap_is_taken_later() -> None:
    """A delay line in the receiving host's netfilter: the answer shows when the SYN+ACK was let through."""
    text = """
    0.000  alice > web  S   0
    0.001  web > alice  SA  0  1
    0.051  alice > web  A   1  1
    """
    found = history(text).client
    assert found is not None
    assert found.spans[1].began == pytest.approx(0.051)


def test_a_fin_behind_a_closed_window() -> None:
    text = f"""{OPENED}
    0.010  alice > web  PA  1:501  1
    0.011  web > alice  A   1  501  window 0
    0.300  alice > web  A   500  1
    0.301  web > alice  A   1  501  window 0
    """
    assert last(history(text).client) == ("unknown", STUCK)
    closed = f"""{text}
    0.500  web > alice  A   1  501  window 64000
    0.5001 alice > web  FA  501  1
    0.501  web > alice  A   1  502
    """
    found = history(closed).client
    assert found is not None
    assert " ".join(found.states).endswith("FIN_WAIT1 FIN_WAIT2")
    step = found.spans[2]
    assert step.began - step.error <= 0.011, "it waited, since when?"
    assert step.began + step.error >= 0.5


def test_a_fin_behind_data_that_is_sent_again() -> None:
    text = f"""{OPENED}
    0.010  alice > web  PA  1:501  1  lost
    0.210  alice > web  PA  1:501  1  lost
    """
    assert last(history(text, length=0.5).client) == ("unknown", STUCK)


def test_data_that_is_sent_no_more() -> None:
    text = f"""{OPENED}
    0.010  alice > web  PA  1:501  1  lost
    0.210  alice > web  PA  1:501  1  lost
    0.610  alice > web  PA  1:501  1  lost
    """
    found = history(text, length=9)
    assert last(found.client) == ("CLOSE", GIVEN_UP)
    assert found.closing.by == "timeout"


def test_data_behind_a_fin_that_came_too_early() -> None:
    """It is taken when the gap before it is filled."""
    text = f"""{ANSWERED}
    0.100  web > alice  PA  1:101    6  lost
    0.101  web > alice  FA  101      6
    0.102  alice > web  A   6  1
    0.300  web > alice  PA  1:101    6
    0.301  alice > web  A   6  102
    """
    found = history(text).client
    assert found is not None
    assert " ".join(found.states) == "SYN_SENT ESTABLISHED CLOSE_WAIT"
    assert found.spans[2].began == pytest.approx(0.30002)


def test_time_wait_ends_by_itself() -> None:
    found = history(CLOSED_BY_CLIENT, length=200).client
    assert found is not None
    assert found.states[-2:] == ("TIME_WAIT", "CLOSE")
    end = found.spans[-1]
    assert end.began - end.error <= 60.201 <= end.began + end.error
    assert client(CLOSED_BY_CLIENT, length=62).endswith("TIME_WAIT unknown")


def test_a_fin_that_comes_again_begins_time_wait_anew() -> None:
    text = f"{CLOSED_BY_CLIENT}\n 30.0  web > alice  FA  1  7\n 30.1  alice > web  A  7  2"
    assert client(text, length=80).endswith("TIME_WAIT")


def test_an_orphan_is_given_up_after_a_minute() -> None:
    text = f"""{ANSWERED}
    0.100  alice > web  FA  6  1
    0.101  web > alice  A   1  7
    """
    assert client(text, length=50).endswith("FIN_WAIT2")
    assert last(history(text, length=70).client) == ("unknown", ORPHAN)


def test_a_reset_of_time_wait() -> None:
    """RFC 1337's protection is off by default (tcp_rfc1337)."""
    text = f"{CLOSED_BY_CLIENT}\n 1.0  web > alice  R  2"
    assert client(text).endswith("TIME_WAIT CLOSE")


def test_a_connection_that_was_there_before() -> None:
    text = """
    5.0  alice > web  PA  100:105  200
    5.1  web > alice  A   200  105
    """
    assert client(text) == "unknown"


def test_where_nobody_watched_nothing_follows() -> None:
    halves = watched("packet", "alice", ended=0.05) + watched("packet", "web")
    assert client(ANSWERED, watches=halves) == "SYN_SENT ESTABLISHED unknown"
    nobody = watched("packet", "alice", ended=0.0, why="no AF_PACKET") + watched("packet", "web")
    found = history(ANSWERED, watches=nobody).client
    assert found is not None
    assert "no AF_PACKET" in found.spans[-1].why


def test_what_was_lost_makes_a_hole() -> None:
    gone = Loss(source="packet", stage="ring", host="alice", count=7, began=0.02, ended=0.05)
    found = history(CLOSED_BY_CLIENT, losses=(gone,))
    assert found.client is not None
    assert found.client.states == (
        "SYN_SENT",
        "ESTABLISHED",
        "unknown",
        "FIN_WAIT1",
        "FIN_WAIT2",
        "TIME_WAIT",
    )
    assert found.doubts == ("7 packets of alice were lost (ring)",)
    assert server(CLOSED_BY_CLIENT, losses=(gone,)) == SERVER_IS_CLOSED, "web's own taps lost nothing"


def test_a_loss_between_two_segments_of_one_state_hides_nothing() -> None:
    gone = Loss(source="packet", stage="ring", host="alice", began=0.005, ended=0.006)
    assert client(CLOSED_BY_CLIENT, losses=(gone,)) == CLIENT_CLOSES


def test_without_bare_acks_steps_have_wide_times() -> None:
    quiet = watched("packet", "alice", "web", everything=False, bare=False)
    text = """
    0.000  alice > web  S   0
    0.001  web > alice  SA  0  1
    0.500  alice > web  PA  1:6  1
    0.900  alice > web  FA  6  1
    1.000  web > alice  FA  1  7
    """
    found = history(text, watches=quiet)
    assert found.server is not None
    step = found.server.spans[1]
    assert step.state == "ESTABLISHED"
    assert step.began - step.error < 0.01
    assert step.began + step.error > 0.49


def test_a_long_transfer_is_judged_by_what_was_kept_of_it() -> None:
    """Of what is in between nothing was recorded: its FIN comes far behind the last data that was."""
    thinned = watched("packet", "alice", "web", everything=False)
    bulk = "\n".join(f"0.{100 + at}  web > alice  A  {1 + at * 10}:{11 + at * 10}  1" for at in range(80))
    text = f"""{OPENED}
    {bulk}
    0.900  web > alice  FA  90001  1
    0.901  alice > web  A   1  90002
    0.902  alice > web  FA  1  90002
    0.903  web > alice  A   90002  2
    """
    found = history(text, watches=thinned)
    assert found.client is not None
    assert found.client.states == ("SYN_SENT", "ESTABLISHED", "CLOSE_WAIT", "LAST_ACK", "CLOSE")
    assert found.server is not None
    assert found.server.retransmits is None


def test_a_socket_that_is_connected_to_itself() -> None:
    """A port of the range that is asked for is given to who asks (both open at once)."""
    one = packets(
        """
        0.0000  alice > alice  S   0
        0.0001  alice > alice  SA  0  1
        0.0002  alice > alice  A   1  1
        """
    )
    inside = tuple(structs.replace(s, device="lo", outgoing=False) for s in one if s.outgoing)
    (found,) = timeline(structs.replace(recording(length=1.0), segments=inside)).histories
    end = found.client or found.server
    assert end is not None
    assert end.states == ("SYN_SENT", "SYN_RECV", "ESTABLISHED")
