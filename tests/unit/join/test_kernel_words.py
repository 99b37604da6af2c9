"""What tracepoints say, with what they do not say from elsewhere."""

from __future__ import annotations

import pytest
from msgspec import structs

from orchestrator.join.kernel_words import MINI_SOCKET
from orchestrator.model.events import Otherwise
from orchestrator.model.recording import Loss
from tests.unit.join.scripts import client, history, path, seen, server, told, watched
from tests.unit.join.test_tcp import CLOSED_BY_CLIENT

KERNEL = """
    0.000000  alice  CLOSE        SYN_SENT
    0.000070  alice  SYN_SENT     ESTABLISHED
    0.000120  web    LISTEN       SYN_RECV
    0.000121  web    SYN_RECV     ESTABLISHED
    0.100000  alice  ESTABLISHED  FIN_WAIT1
    0.100020  web    ESTABLISHED  CLOSE_WAIT
    0.100070  alice  FIN_WAIT1    FIN_WAIT2
    0.100071  alice  FIN_WAIT2    CLOSE
    0.200000  web    CLOSE_WAIT   LAST_ACK
    0.200070  web    LAST_ACK     CLOSE
"""
TRACED = watched("tracepoint", "alice", "web", error=1e-6)
BOTH = (*TRACED, *watched("packet", "alice", "web"))


def test_a_whole_life() -> None:
    found = history(CLOSED_BY_CLIENT, changes=told(KERNEL), watches=BOTH)
    assert path(found.client) == "SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT"
    assert path(found.server) == "SYN_RECV ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE"
    assert found.client is not None
    assert found.client.cookie == 11
    assert [span.source for span in found.client.spans] == ["tracepoint"] * 4 + ["packet"]
    assert all(not span.otherwise for end in (found.client, found.server) if end for span in end.spans)


def test_the_kernels_times_are_better() -> None:
    found = history(CLOSED_BY_CLIENT, changes=told(KERNEL), watches=BOTH).client
    assert found is not None
    assert found.spans[1].error < 5e-6


def test_a_request_is_there_before_it_is_a_socket() -> None:
    """SYN_RECV from the SYN+ACK on, of which the tracepoint tells at the third packet."""
    found = history(CLOSED_BY_CLIENT, changes=told(KERNEL), watches=BOTH).server
    assert found is not None
    assert (found.spans[0].source, round(found.spans[0].began, 5)) == ("packet", 0.00005)


def test_without_packets_time_wait_is_what_the_tables_say() -> None:
    late = (seen(0.15, "alice", "FIN_WAIT2", cookie=11), seen(0.3, "alice", "TIME_WAIT", cookie=11))
    found = history(changes=told(KERNEL), watches=TRACED, sightings=late).client
    assert path(found).startswith("SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 TIME_WAIT")
    assert found is not None
    assert found.spans[4].source == "snapshot"
    assert found.spans[4].began - found.spans[4].error <= 0.2 <= found.spans[4].began + found.spans[4].error


def test_without_anything_else_it_is_not_known() -> None:
    found = history(changes=told(KERNEL), watches=TRACED).client
    assert found is not None
    assert (found.states[-1], found.spans[-1].why) == ("unknown", MINI_SOCKET)


def test_a_reset_of_fin_wait2_is_no_time_wait() -> None:
    text = KERNEL.replace("0.100071  alice  FIN_WAIT2    CLOSE", "")
    text += "\n 0.300000  alice  reset-received\n 0.300001  alice  FIN_WAIT2  CLOSE"
    assert client(changes=told(text), watches=TRACED).endswith("FIN_WAIT2 CLOSE")


def test_what_was_there_before_anybody_watched() -> None:
    text = "5.0  alice  ESTABLISHED  CLOSE_WAIT\n 6.0  alice  CLOSE_WAIT  LAST_ACK"
    assert client(changes=told(text), watches=TRACED) == "ESTABLISHED CLOSE_WAIT LAST_ACK"


def test_a_change_that_is_missing_shows_by_the_next() -> None:
    text = KERNEL.replace("0.100000  alice  ESTABLISHED  FIN_WAIT1", "")
    assert client(changes=told(text), watches=TRACED).startswith("SYN_SENT ESTABLISHED unknown FIN_WAIT1")


def test_words_that_fit_together_have_no_gap_whatever_was_lost() -> None:
    gone = Loss(source="tracepoint", stage="ring", host="alice", count=3, began=0.05, ended=0.09)
    found = history(changes=told(KERNEL), watches=TRACED, losses=(gone,))
    assert path(found.client).startswith("SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2")
    assert found.doubts == ("3 changes of alice were lost (ring)",)


def test_behind_the_last_word_a_loss_hides_what_came() -> None:
    text = "0.0  alice  CLOSE  SYN_SENT\n 0.1  alice  SYN_SENT  ESTABLISHED"
    gone = Loss(source="tracepoint", stage="ring", began=1.0, ended=2.0)
    assert client(changes=told(text), watches=TRACED, losses=(gone,)) == "SYN_SENT ESTABLISHED unknown"


def test_a_port_that_is_not_chosen_yet_is_found_by_the_cookie() -> None:
    first, *others = told(KERNEL)
    portless = structs.replace(first, local=(first.local[0], 0))
    assert client(changes=(portless, *others), watches=TRACED).startswith("SYN_SENT ESTABLISHED")


@pytest.mark.parametrize("side", ["alice", "web"])
def test_a_disagreement_is_shown(side: str) -> None:
    """The tracepoint says that a FIN was sent on its way at 0.05, where no packet shows one before 0.1."""
    text = KERNEL.replace("0.100000  alice", "0.050000  alice").replace("0.100020  web", "0.050020  web")
    found = history(CLOSED_BY_CLIENT, changes=told(text), watches=BOTH)
    end = found.client if side == "alice" else found.server
    assert end is not None
    assert end.spans[2].otherwise == (Otherwise(source="packet", state="ESTABLISHED"),)
    assert end.spans[2].source == "tracepoint"


def test_retransmissions_are_the_kernels_count() -> None:
    changes = told(f"{KERNEL}\n 0.15  web  retransmit\n 0.16  web  retransmit")
    found = history(CLOSED_BY_CLIENT, changes=changes, watches=BOTH)
    assert found.server is not None
    assert found.server.retransmits == 2
    assert sum(event.kind == "retransmit" for event in found.events) == 2


def test_listeners_are_no_connections() -> None:
    text = "0.0  web  CLOSE  LISTEN\n 0.1  web  LISTEN  CLOSE"
    assert server(f"{CLOSED_BY_CLIENT}", changes=told(text), watches=BOTH).startswith("SYN_RECV ESTABLISHED")
