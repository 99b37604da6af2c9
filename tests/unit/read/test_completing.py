"""What a prompt offers where a line ends, and what it explains."""

from __future__ import annotations

import pytest

from orchestrator.read import explaining
from orchestrator.read.completing import Known, candidates
from orchestrator.read.people import Residents
from orchestrator.read.scenario_schema import STEP_FIELDS
from orchestrator.read.session import StepSession
from orchestrator.read.verbs import ALL_VERBS

HOSTS = ("edge", "web", "alice")


@pytest.fixture
def known() -> Known:
    session = StepSession(Residents(HOSTS, ["web"]), "web")
    for line in (
        "listen :80 as door",
        "alice: connect web:80 as call",
        "accept door as conn &",
        "socket tcp as bare",
        "fork door as kid",
        "alice: connect web:80 as gone",
        "alice: close gone",
    ):
        assert not session.read(line).mistakes
    return Known("web", HOSTS, session.names, ("rows", "help ", "quit"), ("web:80", "web:8080"), ["web"])


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("lis", ["listen "]),
        ("r", ["recv ", "repeat: ", "reset ", "resume: ", "rows", "run "]),
        ("al", ["alice: "]),
        ("exp", ["expect: {"]),
        ("cu", ["cut: "]),
        ("alice: se", ["send ", "set "]),
        ("  alice: cl", ["close "]),
        ("- alice: cl", ["close "]),
        ("connect w", ["web:", "web:80 ", "web:8080 "]),
        ("connect web:8", ["web:80 ", "web:8080 "]),
        ("connect b", ["bare ", "blocking="]),
        ("accept ", ["&", "as ", "blocking=", "door ", "fails=", "timeout="]),
        ("alice: send c", ["call "]),
        ("alice: send g", []),  # closed
        ("send d", []),  # a listener
        ("close k", ["kid "]),
        ("send k", []),  # a process
        ("set conn SO_KEEP", ["SO_KEEPALIVE="]),
        ("set SO_KEEP", ["SO_KEEPALIVE="]),
        ("get conn TCP_INF", ["TCP_INFO "]),
        ("shutdown conn w", ["write "]),
        ("connect web:1 fails=ECONNREF", ["fails=ECONNREFUSED "]),
        ("connect web:80 as c", []),  # a new name
        ("wait ", ["conn"]),
        ("alice: wait ", ["web.conn"]),
        ("wait: ", ["web.conn"]),
        ("kill: w", ["web", "web.conn", "web.run"]),
        ("help acc", ["accept "]),
        ("nonsense ", []),
        ("expect: {conn", ["connection: "]),
        ("expect: {connection: ali", ["alice -> ", "alice.call", "alice.gone"]),
        ("expect: {connection: alice -> web:80", ["web:80", "web:8080"]),
        ("expect: {connection: alice.call, client: EST", ["ESTABLISHED"]),
        ("expect: {connection: alice.call, acc", ["accepted: "]),
        ("expect: {connection: alice.call, accepted: ", ["false", "true"]),
        ("expect: {connection: alice.call, wi", ["within: "]),
        ("expect: {connection: alice.call, first", ["first to close: "]),
        ("expect: {connection: alice.call, first to close: s", ["server"]),
        ("expect: {connection: alice.call, closed by: ", ["FIN", "RST", "none", "timeout"]),
        ("expect: {connection: alice.call, client: SYN_SENT -> EST", ["ESTABLISHED"]),
        ("expect: {connection: alice.call, closed by: FIN, after: ali", ["alice.call ", "alice.gone "]),
        ("expect: {listener: web.", ["web.bare", "web.door"]),
        ("expect: {counter: web.TcpExtListenO", ["web.TcpExtListenOverflows"]),
        ("expect: {step: web.", ["web.bare", "web.conn", "web.door", "web.kid"]),
        ("expect: {received: alice.", ["alice.call", "alice.gone"]),
    ],
)
def test_what_is_offered(known: Known, line: str, offered: list[str]) -> None:
    assert candidates(line, known) == offered


def test_an_empty_line_offers_verbs_hosts_and_commands(known: Known) -> None:
    offered = candidates("", known)
    assert {f"{verb} " for verb in ALL_VERBS} <= set(offered)
    assert {"edge: ", "web: ", "alice: ", "rows", "expect: {"} <= set(offered)
    assert candidates("", known._replace(host=None)) == [
        one for one in offered if one.strip() not in ALL_VERBS
    ]


def test_a_host_that_is_none_and_odd_lines_do_no_harm(known: Known) -> None:
    for line in ("nobody: send ", "{{{", "expect: {a: b, c", "a'b\"", ":", "- ", "}: ", "expect: [{"):
        candidates(line, known)


def test_every_verb_and_every_other_step_is_explained() -> None:
    said = "\n".join(explaining.verbs())
    for verb in ALL_VERBS:
        assert f"\n  {verb} " in f"\n{said}"
        assert next(iter(explaining.verb(verb))).startswith(verb)
    others = "\n".join(explaining.others())
    for key, field in STEP_FIELDS.items():
        if not field.later:
            assert f"{key}: " in others or key in ("steps", "for", "signal"), key
