"""What follows from packets, a configuration and logs; and what does not."""

from __future__ import annotations

import msgspec
import pytest

from orchestrator.explain.explaining import explain
from orchestrator.explain.scene import scene
from orchestrator.join.timeline import timeline
from orchestrator.model.recording import Loss, Said
from tests.unit.explain.scripts import ANSWERED, ASKED, OPENED, end, explained, names, nginx
from tests.unit.join.scripts import ENDS, ISN, call, packets, recording, told
from tests.unit.join.worlds import ALICE

SERVER = "server { listen 80; client_header_timeout 1s; client_body_timeout 1600ms; keepalive_timeout 2s; }"
EQUAL = "server { listen 80; client_header_timeout 1s; client_body_timeout 1s; keepalive_timeout 1s; }"
LINE = "1970/01/01 00:00:{:02d} [info] 3#3: *{} client timed out (110: Connection timed out) while {}"
OF_ALICE = ", client: 10.20.1.2, server: 0.0.0.0:80\n"


def fin(at: float, seq: int = 1, ack: int = 1, sender: str = "web", receiver: str = "alice") -> str:
    """A FIN that is acknowledged."""
    return (
        f"{at:.4f}  {sender} > {receiver}  FA {seq} {ack}\n"
        f"{at + 0.0002:.4f}  {receiver} > {sender}  A {ack} {seq + 1}\n"
    )


def exited(at: float, code: int) -> Said:
    """The end of web's nginx."""
    return Said(
        t=at, error=0.005, host="web", source="exit", kind="exit", text="nginx", detail={"code": code}
    )


def test_a_silent_client() -> None:
    made = end(OPENED + fin(1.004), nginx(SERVER))
    assert made.certainty == "unknown"  # the log takes info, is whole, and says nothing
    log = LINE.format(1, 1, "waiting for request") + OF_ALICE
    made = end(OPENED + fin(1.004), nginx(SERVER, log=log))
    assert (made.certainty, names(made)) == ("named", ["client_header_timeout"])
    (cause,) = made.causes
    assert (cause.value, cause.where) == ("1s", "/etc/nginx/nginx.conf:4")
    assert cause.counts == "since it was accepted"
    assert cause.proven
    assert made.decides == ()


@pytest.mark.parametrize(("at", "named"), [(0.96, False), (0.992, True), (1.1, True), (1.2, False)])
def test_a_timer_is_blamed_at_its_moment_alone(at: float, named: bool) -> None:
    made = end(OPENED + fin(at), nginx(SERVER, level="error"))
    assert (made.certainty == "named") == named
    assert named or "due" in made.excluded[0].against[0]


def test_the_smallest_set_and_what_would_decide() -> None:
    """A request that was begun: headers and body look alike on the wire."""
    made = end(OPENED + ASKED + fin(1.012, 1, 31), nginx(EQUAL, level="error"))
    assert made.certainty == "several"
    assert set(names(made)) == {"client_header_timeout", "client_body_timeout"}
    assert any("error_log" in words for words in made.decides)
    assert any("different values" in words for words in made.decides)


def test_a_missing_line_counts_against_what_would_have_written_it() -> None:
    """client_body_timeout writes none."""
    made = end(OPENED + ASKED + fin(1.012, 1, 31), nginx(EQUAL))
    assert names(made) == ["client_body_timeout"]


def test_what_a_client_has_sent_by_its_own_steps() -> None:
    text = 'alice: {send: call, text: "GET / HTTP/1.1\\r\\nHost: a\\r\\n"}'
    calls = (call(0.0, "alice", "connect"), call(0.009, "alice", "send", text=text))
    made = end(OPENED + ASKED + fin(1.012, 1, 31), nginx(EQUAL, level="error"), calls=calls)
    assert names(made) == ["client_header_timeout"]
    whole = text.replace('a\\r\\n"', 'a\\r\\nContent-Length: 9\\r\\n\\r\\n"')
    calls = (calls[0], call(0.009, "alice", "send", text=whole))
    made = end(OPENED + ASKED + fin(1.012, 1, 31), nginx(EQUAL, level="error"), calls=calls)
    assert names(made) == ["client_body_timeout"]


def test_behind_a_response_it_is_the_idle_one() -> None:
    made = end(OPENED + ASKED + ANSWERED + fin(2.013, 151, 31), nginx(SERVER))
    assert names(made) == ["keepalive_timeout"]
    made = end(OPENED + ASKED + ANSWERED + fin(1.013, 151, 31), nginx(EQUAL, level="error"))
    assert names(made) == ["keepalive_timeout"]


def test_the_other_side_was_first() -> None:
    """However near a timer was."""
    made = end(OPENED + fin(1.0009, sender="alice", receiver="web") + fin(1.0017, 1, 2), nginx(SERVER))
    assert (made.certainty, names(made), made.directives) == ("named", ["the client closed it"], ())


def test_another_manner_is_another_cause() -> None:
    made = end(OPENED + "1.003 web > alice RA 1 1\n", nginx(SERVER, level="error"))
    assert made.certainty == "unknown"
    on = SERVER.replace("listen 80;", "listen 80; reset_timedout_connection on;")
    made = end(OPENED + "1.003 web > alice RA 1 1\n", nginx(on, level="error"))
    assert made.certainty == "unknown"  # no request was begun: nginx closes it by FIN all the same
    made = end(OPENED + ASKED + "1.003 web > alice RA 1 31\n", nginx(on, level="error"))
    assert names(made) == ["client_header_timeout"]


def test_nobody_has_ended_it() -> None:
    made = end(OPENED + ASKED + ANSWERED, nginx(SERVER))
    assert (made.certainty, made.causes) == ("open", ())


def test_where_packets_were_lost_nothing_follows() -> None:
    loss = Loss(source="packet", stage="ring", host="web", count=3, began=0.0, ended=1.0)
    made = end(OPENED + fin(1.004), nginx(SERVER, level="error"), losses=(loss,))
    assert (made.certainty, made.causes) == ("unknown", ())
    assert "lost" in made.why
    log = LINE.format(1, 1, "waiting for request") + OF_ALICE
    made = end(OPENED + fin(1.004), nginx(SERVER, log=log), losses=(loss,))
    assert names(made) == ["client_header_timeout"]  # the log says so all the same


def test_a_program_that_was_killed() -> None:
    """Where no timer was due it is that; where one was, both may be."""
    made = end(OPENED + fin(0.5), nginx(SERVER, level="error"), said=(exited(0.505, -9),))
    assert (names(made), made.directives) == (["its process was ended"], ())
    made = end(OPENED + fin(1.004), nginx(SERVER, level="error"), said=(exited(1.007, -9),))
    assert made.certainty == "several"
    made = end(OPENED + fin(0.5), nginx(SERVER, level="error"), said=(exited(0.505, 0),))
    assert made.certainty == "unknown"


def test_the_kernel_gave_up() -> None:
    """The socket is gone at once, and no FIN went out."""
    again = "".join(f"{at} web > alice PA 1:151 31 lost\n" for at in (0.3, 0.7, 1.5))
    changes = told("0.0005 web LISTEN SYN_RECV\n0.002 web SYN_RECV ESTABLISHED\n3.1 web ESTABLISHED CLOSE")
    sent = OPENED + ASKED + "0.012 web > alice PA 1:151 31 lost\n" + again
    made = end(sent, nginx(SERVER), changes=changes)
    assert made.directives == ()
    assert [name for name in names(made) if "kernel gave up" in name]


def test_lines_of_two_connections_in_one_second_prove_nothing() -> None:
    """The log has whole seconds and no port: which of both a line is about is not known."""
    script = OPENED + fin(1.004)
    more = packets(script, {**ENDS, "alice": (ALICE, 40001)}, {**ISN, "alice": 5000})
    log = LINE.format(1, 1, "waiting for request") + OF_ALICE
    made = recording(script, nginxes=(nginx(SERVER, log=log),))
    joined = timeline(msgspec.structs.replace(made, segments=(*made.segments, *more)))
    assert len(joined.histories) == 2
    for history in joined.histories:
        found = explain(scene(joined), history).end
        assert found is not None
        assert names(found) == ["client_header_timeout"]
        assert not found.causes[0].proven


def test_no_nginx_no_word_about_directives() -> None:
    made = explained(OPENED + fin(1.004), nginx("server { listen 81; }"))
    assert made.end is not None
    assert made.end.certainty == "unknown"
    assert made.directives == ()
    assert "neither end is an nginx" in made.end.why
