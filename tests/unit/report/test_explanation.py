"""An explanation as text."""

from __future__ import annotations

from orchestrator.model.explanations import THE_END, Cause, Decision, Explanation
from orchestrator.report.explanation import brief, lines

KEPT = Cause(
    name="keepalive_timeout",
    kind="timer",
    value="2s",
    where="/etc/nginx/nginx.conf:7",
    scope="location /",
    counts="since the end of the response",
    since=1.0,
    due=3.0,
    because=("it was due at 3.000 s, this was 1 ms later",),
)
HEADER = Cause(
    name="client_header_timeout",
    kind="timer",
    value="1m",
    where="nginx's default",
    against=("it was due at 60.000 s, and this was 9 ms before",),
)
END = Decision(
    what=THE_END,
    at=3.001,
    how="nginx closed it first, by FIN",
    certainty="named",
    causes=(KEPT,),
    excluded=(HEADER,),
)


def made(*decisions: Decision, **more: str) -> Explanation:
    """Of alice's connection."""
    about = {
        "connection": "c1",
        "pair": "alice -> web:80",
        "client": "10.0.0.2:41812",
        "server": "10.0.0.80:80",
    }
    return Explanation(**{**about, **more}, decisions=decisions, notes=("a note",))


def test_what_is_named() -> None:
    assert list(lines(made(END, role="a client's connection to web"))) == [
        "alice -> web:80  10.0.0.2:41812 <=> 10.0.0.80:80: a client's connection to web",
        "the end of the connection at 3.001 s: nginx closed it first, by FIN",
        "  keepalive_timeout 2s  /etc/nginx/nginx.conf:7, location /",
        "    it counts since the end of the response, 1.000 s",
        "    it was due at 3.000 s, this was 1 ms later",
        "  not",
        "    client_header_timeout 1m (nginx's default): it was due at 60.000 s, and this was 9 ms before",
        "  note: a note",
    ]


def test_a_set_and_what_would_tell_more() -> None:
    two = Cause(name="proxy_read_timeout", kind="timer", value="2s")
    several = Decision(
        what=THE_END, at=3.0, how="by FIN", certainty="several", causes=(KEPT, two), decides=("other values",)
    )
    said = list(lines(made(several)))
    assert "  one of: keepalive_timeout 2s, proxy_read_timeout 2s" in said
    assert said[-3:-1] == ["  what would tell them apart", "    other values"]


def test_what_is_not_known_is_said() -> None:
    unknown = Decision(what=THE_END, at=None, certainty="unknown", why="packets were lost")
    assert "  unknown: packets were lost" in list(lines(made(unknown)))
    still = Decision(what=THE_END, at=None, how="neither end had closed it", certainty="open")
    assert "  nothing has ended it" in list(lines(made(still)))


def test_text_of_a_host_steers_no_terminal() -> None:
    evil = "\x1b[2J\u202e"
    cause = Cause(name=evil, kind="limit", value=evil, where=evil, scope=evil, because=(evil,), against=())
    several = Decision(what=evil, at=1.0, how=evil, certainty="several", causes=(cause,), excluded=(cause,))
    explanation = made(several, END, pair=evil, role=evil)
    text = "\n".join((*lines(explanation), *brief([explanation])))
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_a_line_for_each() -> None:
    response = Decision(
        what="the response at 1.000 s", at=1.0, certainty="named", causes=(KEPT,), how="when nginx gave up"
    )
    heading, row = brief([made(response, END)])
    assert heading.split() == ["CONNECTION", "CLIENT", "HOW", "BY", "BEFORE"]
    assert row.endswith("keepalive_timeout 2s  response: keepalive_timeout 2s")
    assert list(brief([])) == ["no connection of an nginx is known"]
