"""Expectations on what happened, on real labs: who closed first and by what, whatever way it went."""

from __future__ import annotations

import pytest

from orchestrator.model.runs import ScenarioRecord
from tests.support.rig import Rig
from tests.support.scenarios import explained, perform, verdicts

pytestmark = pytest.mark.engine("namespaces", "docker")
LAB = """
networks: {office: {}, dc: {}}
routers: {edge: {networks: [office, dc]}}
hosts:
  web: {role: server, networks: [dc]}
  alice: {role: client, networks: [office]}
"""
BEGUN = """
steps:
  - web: listen :80 as door
  - alice: connect web:80 as call
  - web: accept door as conn
"""


def performed(lab: Rig, steps: str, base: str = LAB) -> ScenarioRecord:
    """After alice's `call` has become web's `conn`."""
    return perform(lab, base, BEGUN + steps)


def passes(lab: Rig, steps: str) -> None:
    """All that is expected is so."""
    record = performed(lab, steps)
    assert record.verdict == "pass", explained(record)
    assert record.expectations


def test_a_connection_that_the_client_closes(lab: Rig) -> None:
    passes(
        lab,
        """
  - expect: {connection: alice.call, first to close: none, closed by: none, retransmits: 0}
  - alice: close call
  - web: recv conn all
  - web: close conn
  - expect: {connection: alice.call, client: SYN_SENT -> ESTABLISHED -> FIN_WAIT1 -> FIN_WAIT2 -> TIME_WAIT}
  - expect: {connection: alice.call, server: SYN_RECV -> ESTABLISHED -> CLOSE_WAIT -> LAST_ACK -> CLOSE}
  - expect: {connection: web.conn, first to close: client, closed by: FIN}
""",
    )


def test_a_connection_that_the_server_closes(lab: Rig) -> None:
    passes(
        lab,
        """
  - web: close conn as bye
  - alice: recv call all
  - alice: close call
  - expect: {connection: alice.call, first to close: server, closed by: FIN}
  - expect: {connection: alice.call, server: ESTABLISHED -> FIN_WAIT1 -> FIN_WAIT2 -> TIME_WAIT}
  - expect: {connection: alice.call, client: ESTABLISHED -> CLOSE_WAIT -> LAST_ACK -> CLOSE}
  - expect: {connection: alice.call, client: CLOSE_WAIT, after: bye <1s}
""",
    )


def test_a_half_close(lab: Rig) -> None:
    passes(
        lab,
        """
  - alice: shutdown call write
  - expect: {connection: alice.call, first to close: client, closed by: FIN}
  - expect: {connection: alice.call, client: FIN_WAIT1 -> FIN_WAIT2, server: ESTABLISHED -> CLOSE_WAIT}
  - web: send conn 'still here'
  - alice: recv call
  - expect: {received: alice.call, text: still here}
  - web: close conn
  - expect: {connection: alice.call, client: FIN_WAIT2 -> TIME_WAIT, server: CLOSE_WAIT -> LAST_ACK -> CLOSE}
  - expect: {connection: alice.call, first to close: client}
""",
    )


def test_a_reset(lab: Rig) -> None:
    passes(
        lab,
        """
  - web: reset conn
  - expect: {connection: alice.call, first to close: server, closed by: RST}
  - expect: {connection: alice.call, client: ESTABLISHED -> CLOSE, server: ESTABLISHED -> CLOSE}
""",
    )


def test_data_that_nobody_has_read_makes_close_a_reset(lab: Rig) -> None:
    passes(
        lab,
        """
  - alice: send call unread
  - expect: {connection: alice.call, server.rx_queue: 6}
  - web: close conn
  - expect: {connection: alice.call, first to close: server, closed by: RST}
  - expect: {connection: alice.call, server: ESTABLISHED -> CLOSE}
""",
    )


def test_a_call_that_is_refused(lab: Rig) -> None:
    passes(
        lab,
        """
  - alice: connect web:81 as other fails=ECONNREFUSED
  - expect: {connection: alice.other, client: SYN_SENT -> CLOSE, first to close: server, closed by: RST}
""",
    )


def test_a_peer_that_is_gone_without_a_word(lab: Rig) -> None:
    """The client's own time limit ends it: nothing on the wire says so."""
    passes(
        lab,
        """
  - alice: set call TCP_USER_TIMEOUT=1000
  - kill: web
  - alice: send call hello as ask
  - alice: recv call timeout=15s fails=ETIMEDOUT
  - expect: {connection: alice.call, closed by: timeout, retransmits: ">=1"}
  - expect: {connection: alice.call, client: ESTABLISHED -> CLOSE}
""",
    )


def test_a_call_that_nobody_answers(lab: Rig) -> None:
    passes(
        lab,
        """
  - kill: web
  - alice: connect web:80 as lost timeout=1500ms fails=timeout
  - expect: {connection: alice.lost, retransmits: ">=1", first to close: none}
""",
    )


def test_the_time_from_wire_to_wire(lab: Rig) -> None:
    passes(
        lab,
        """
  - alice: send call hello as ask
  - web: recv conn 5
  - wait: 300ms
  - web: close conn
  - expect: {connection: web.conn, first to close: server, after: ask 300ms +-200ms}
  - expect: {connection: web.conn, first to close: server, after: {step: alice.ask, at: ">=100ms"}}
""",
    )


def test_a_port_that_is_used_again_is_another_connection(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - web: listen :80 as door
  - alice: socket tcp as first
  - alice: bind first :45000
  - alice: connect first web:80
  - web: accept door as conn
  - alice: reset first
  - expect: {connection: alice.first, closed by: RST, first to close: client}
  - alice: socket tcp as second
  - alice: bind second :45000
  - alice: connect second web:80
  - web: accept door as again
  - expect: {connection: alice.second, first to close: none}
  - web: close again
  - expect: {connection: alice.second, first to close: server, closed by: FIN}
  - expect: {connection: alice.first, first to close: client, closed by: RST}
  - expect: {connection: web.conn, closed by: RST}
  - expect: {connection: "alice -> web:80", closed by: FIN, count: 1}
""",
    )
    assert record.verdict == "pass", explained(record)


def test_both_close_before_they_hear_of_it(lab: Rig) -> None:
    """Whoever's FIN left first; both ends may have been in CLOSING, or not. Never what did not happen."""
    record = performed(
        lab,
        """
  - parallel: [alice: close call, web: close conn]
  - expect: {connection: alice.call, closed by: FIN}
  - expect: {connection: alice.call, client: ESTABLISHED -> FIN_WAIT1|CLOSE_WAIT}
  - expect: {connection: alice.call, server: ESTABLISHED -> FIN_WAIT1|CLOSE_WAIT}
  - expect: {connection: alice.call, first to close: none}
""",
    )
    assert verdicts(record)[:3] == ["pass"] * 3, explained(record)
    assert verdicts(record)[3] in ("fail", "unknown"), explained(record)


def test_a_failed_one_shows_both_ends_and_what_closed_it(lab: Rig) -> None:
    record = performed(
        lab,
        """
  - alice: close call
  - web: close conn
  - expect: {connection: alice.call, first to close: server, within: 300ms}
  - expect: {connection: alice.call, client: ESTABLISHED -> CLOSE_WAIT, within: 300ms}
""",
    )
    assert verdicts(record) == ["fail", "fail"], explained(record)
    text = "\n".join(record.expectations[0].evidence)
    assert "client alice" in text
    assert "FIN_WAIT1 at" in text
    assert "server web" in text
    assert "first to close: client, closed by FIN at" in text


def test_what_lasts_is_judged_on_the_timeline(lab: Rig) -> None:
    record = performed(
        lab,
        """
  - expect: {connection: alice.call, client: ESTABLISHED, server: ESTABLISHED, for: 300ms}
  - expect: {connection: alice.call, first to close: none, retransmits: 0, for: 300ms}
  - expect: {connection: alice.call, client: ESTABLISHED, first to close: none, for: 200ms}
""",
    )
    assert record.verdict == "pass", explained(record)
    assert all("judged on the timeline" in "\n".join(one.evidence) for one in record.expectations)


def test_what_does_not_last(lab: Rig) -> None:
    record = performed(
        lab,
        """
  - alice: run sleep 0.1 as nap &
  - parallel:
    - expect: {connection: alice.call, client: ESTABLISHED, for: 1s}
    - repeat: 1
      steps:
        - wait: 200ms
        - web: reset conn
""",
    )
    assert verdicts(record) == ["fail"], explained(record)


def test_several_that_a_name_stands_for(lab: Rig) -> None:
    passes(
        lab,
        """
  - alice: connect web:80 as many x5
  - web: accept door as took x5
  - alice: close many
  - expect: {connection: alice.many, first to close: client, closed by: FIN}
  - expect: {connection: "alice -> web:80", first to close: client, count: 5}
""",
    )
