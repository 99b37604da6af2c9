"""Lines of nginx's logs, as it writes them."""

from __future__ import annotations

import msgspec
import pytest

from orchestrator.explain import logs, parsing
from orchestrator.explain.asked import Asked, asked
from orchestrator.explain.logs import Logs
from orchestrator.join.timeline import timeline
from orchestrator.model.nginx import PROGRAM, KeptLog
from tests.unit.explain.scripts import ASKED, OPENED, nginx
from tests.unit.join.scripts import call, recording

ERRORS = """\
1970/01/01 01:00:05 [notice] 2#2: using the "epoll" event method
1970/01/01 01:00:07 [info] 3#3: *2 client timed out (110: Connection timed out) while reading client request \
headers, client: 10.77.1.2, server: , request: "GET /a, b HTTP/1.1", host: "a"
1970/01/01 01:00:11 [error] 3#3: *4 upstream timed out (110: Connection timed out) while connecting to \
upstream, client: 10.77.1.2, server: , request: "GET / HTTP/1.1", upstream: "http://10.77.2.9:9000/api", \
host: "w"
no line of nginx's
""".replace("\\\n", "")


def read(
    text: str, format_: str = "", *, zone: float = 3600.0, path: str = "/var/log/nginx/access.log"
) -> Logs:
    """Both logs, of a host one hour east."""
    http = f"log_format told {format_}; access_log {path} told;" if format_ else ""
    seen = nginx(http, log=ERRORS, zone=zone)
    seen = msgspec.structs.replace(seen, logs=(*seen.logs, KeptLog(path=path, text=text)))
    return logs.read(seen, parsing.parse(seen).statements, 2.0)


def test_lines_of_the_error_log() -> None:
    found = read("").errors
    assert [(one.t, one.level, one.pid, one.number) for one in found] == [
        (3.5, "notice", 2, None),
        (5.5, "info", 3, 2),
        (9.5, "error", 3, 4),
    ]
    assert found[1].action == "reading client request headers"
    assert (found[1].client, found[1].request) == ("10.77.1.2", "GET /a, b HTTP/1.1")
    assert found[2].upstream == "http://10.77.2.9:9000/api"
    assert found[0].about(3.0)
    assert not found[0].about(2.0)


def test_lines_of_the_access_log_by_their_format() -> None:
    line = "5.274 10.77.1.2:39634 2/1 'GET /api?x=1 HTTP/1.1' 504 329 -\n"
    first = "'$msec $remote_addr:$remote_port $connection/$connection_requests '"
    format_ = first + " \"'$request' \" " + "'$status $bytes_sent -'"
    (one,) = read(line, format_).accesses
    assert one.t == pytest.approx(3.274)
    assert one.error == 0.002
    assert (one.fields["remote_port"], one.status, one.path) == ("39634", "504", "/api")


def test_lines_of_the_format_that_nginx_has() -> None:
    line = '10.77.1.2 - - [01/Jan/1970:00:00:06 +0000] "GET / HTTP/1.1" 200 5 "-" "curl/7.88"\n'
    (one,) = read(line).accesses
    assert (one.t, one.error, one.status, one.fields["remote_addr"]) == (4.5, 0.5, "200", "10.77.1.2")


@pytest.mark.parametrize("line", ["", "x", '- - - [yesterday] "GET / HTTP/1.1" 200 5 "-" "-"'])
def test_other_lines_are_none(line: str) -> None:
    assert read(line + "\n").accesses == ()


def test_a_log_that_was_not_kept_whole_proves_nothing_by_silence() -> None:
    seen = nginx("", log="")
    assert logs.read(seen, parsing.parse(seen).statements, 0.0).errors_whole
    cut = msgspec.structs.replace(seen, logs=(msgspec.structs.replace(seen.logs[0], whole=False),))
    assert not logs.read(cut, parsing.parse(cut).statements, 0.0).errors_whole
    none = msgspec.structs.replace(seen, logs=())
    assert not logs.read(none, parsing.parse(none).statements, 0.0).errors_whole
    more = nginx("error_log stderr info;", log="")
    assert not logs.read(more, parsing.parse(more).statements, 0.0).errors_whole
    kept = msgspec.structs.replace(more, logs=(*more.logs, KeptLog(path=PROGRAM, text="")))
    assert logs.read(kept, parsing.parse(kept).statements, 0.0).errors_whole


def of_steps(*texts: str) -> Asked:
    """What these steps on alice's descriptor have asked for."""
    calls = [call(0.0, "alice", "connect")]
    calls += [
        call(0.009 + at / 1000, "alice", text.split()[1].strip("{:"), text=text)
        for at, text in enumerate(texts)
    ]
    (history,) = timeline(recording(OPENED + ASKED, calls=tuple(calls))).histories
    return asked(history, 9.0)


def test_what_steps_have_asked_for() -> None:
    assert of_steps() == Asked()
    assert of_steps("alice: http GET /a?b=1") == Asked(path="/a", headers=True, body=False)
    begun = 'alice: {send: call, text: "GET /a HTTP/1.1\\r\\n"}'
    assert of_steps(begun) == Asked(path="/a", headers=False)
    assert of_steps(begun, 'alice: {send: call, text: "\\r\\n"}').headers is True
    post = 'alice: {send: call, text: "POST /b HTTP/1.1\\r\\nContent-Length: 9\\r\\n\\r\\nabc"}'
    assert of_steps(post) == Asked(path="/b", headers=True, body=True)
    assert of_steps("alice: send call 'GET /c HT'").headers is False
    assert of_steps("alice: send call 3000").headers is None
