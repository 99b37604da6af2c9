"""Scenarios of good files: both forms mean the same, names are followed, every value is typed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.errors import TopologyError
from orchestrator.model.steps import (
    About,
    Between,
    ByName,
    Call,
    Check,
    Contains,
    CounterOf,
    Endpoint,
    Expectation,
    Flag,
    Kill,
    ListenerAt,
    LogOf,
    Matches,
    Note,
    Number,
    Parallel,
    Pause,
    Ref,
    Repeat,
    Resume,
    Run,
    Scenario,
    Sequence,
    Step,
    Test,
    Wait,
    Words,
)
from orchestrator.read import read_text
from orchestrator.read.verbs import GRAMMARS
from tests.support.limits import BLOW_UP

HEAD = """name: t
networks: {dc: {}}
hosts:
  web: {role: server, networks: [dc], run: sleep 9}
  alice: {role: client, networks: [dc]}
  bob: {role: client, networks: [dc], count: 3}
scenarios:
  s:
"""
OPENED = (
    "web: listen :80 as door",
    "alice: connect web:80 as call",
    "alice: connect web:80 as many x3",
    "web: accept door as conn",
    "web: recv conn all as got &",
)


def scenarios(body: str) -> tuple[Scenario, ...]:
    """The scenarios of a file; `body` is one, indented by four."""
    return read_text((HEAD + body).encode(), "lab.yaml", "/").scenarios


def steps(*lines: str) -> tuple[Step, ...]:
    """The steps of a file with these."""
    return scenarios("    steps:\n" + "".join(f"      - {line}\n" for line in lines))[0].steps


def last(line: str, *before: str) -> Step:
    """The last step, read behind those that open door, call, many and conn."""
    return steps(*(before or OPENED), line)[-1]


def sent(line: str, *before: str) -> list[dict[str, Any]]:
    """What the agent is told for the last step."""
    call = last(line, *before)
    assert isinstance(call, Call)
    return list(call.messages(lambda host, name: f"<{name} for {host}>"))


SAID = {"timeout": 5.0}


@pytest.mark.parametrize(
    ("expression", "seconds"),
    [
        ("T + 200ms", 2.2),
        ("T*2", 4.0),
        ("T / 4 - 1ms", 0.499),
        ("1s + T * N - T / 2", 6.0),
        ("T / 500ms * 1s", 4.0),
        ("T / 3", 0.666667),
        ("0.1s * N", 0.3),
    ],
)
def test_values_are_reckoned_with(expression: str, seconds: float) -> None:
    (scenario,) = scenarios(f"    variables: {{T: 2s, N: 3}}\n    steps:\n      - wait: ${{{expression}}}\n")
    (step,) = scenario.steps
    assert isinstance(step, Wait)
    assert step.seconds == pytest.approx(seconds, abs=1e-9)
    assert step.text.startswith("wait: ")
    assert "$" not in step.text


def test_reckoning_in_both_forms_of_a_step() -> None:
    (scenario,) = scenarios(
        "    variables: {T: 500ms, N: 4}\n    steps:\n"
        "      - web: listen :80 backlog=${N - 1} as door\n"
        '      - web: {listen: ":81", backlog: "${N * N}", timeout: "${T + 3s}"}\n'
    )
    short, long = scenario.steps
    assert isinstance(short, Call)
    assert short.arguments["backlog"] == 3
    assert isinstance(long, Call)
    assert (long.arguments["backlog"], long.timeout) == (16, 3.5)


def test_what_is_written_has_the_values_of_variables(tmp_path: Path) -> None:
    (tmp_path / "case.conf").write_text("a ${T}; ${T * 2}; $${T}; ${remote_addr}; ${X + 1s}; $status")
    text = HEAD + (
        "    variables: {T: 2s}\n    steps:\n"
        "      - web: write /etc/case.conf file=case.conf\n"
        '      - web: {write: /etc/case.conf, text: "a ${T}; $status; $${x}"}\n'
        "      - web: write /etc/empty ''\n"
    )
    (scenario,) = read_text(text.encode(), "lab.yaml", str(tmp_path)).scenarios
    said = [step.arguments for step in scenario.steps if isinstance(step, Call)]
    assert [one["text"] for one in said] == [
        "a 2s; 4s; ${T}; ${remote_addr}; ${X + 1s}; $status",
        "a 2s; $status; ${x}",
        "",
    ]
    assert scenario.steps[1].text == "web: {write: /etc/case.conf, text: …}"


def test_rows_have_names_and_what_it_is_about_is_kept() -> None:
    found = scenarios(
        "    about: {directive: send_timeout, covers: gap, differs: 'early by ${T}'}\n"
        "    table: [{row: plain, T: 2s}, {row: short, T: 1s}, {T: 3s}]\n"
        "    steps: [wait: '${T}']\n"
    )
    assert [one.label for one in found] == ["s[plain]", "s[short]", "s[T=3s]"]
    assert found[1].row == {"T": "1s"}
    assert found[1].variables == {"T": "1s"}
    assert found[1].about == About(directive=("send_timeout",), covers="gap", differs="early by 1s")


def test_scenarios_of_other_files_are_the_labs_own(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.yaml").write_text(
        "variables: {T: 1s}\nscenarios:\n  a:\n"
        "    steps: [{wait: '${T}'}, {web: write /x file=more/b.conf}]\n"
    )
    (tmp_path / "more" / "b.conf").write_text("b")
    text = (HEAD + "    steps: [wait: 1s]\n" + "include: [more/a.yaml]\n").encode()
    first = read_text(text, "lab.yaml", str(tmp_path))
    assert [(one.name, one.file, one.line) for one in first.scenarios] == [
        ("s", "", 8),
        ("a", "more/a.yaml", 3),
    ]
    assert first.included == ("more/a.yaml",)
    (tmp_path / "more" / "a.yaml").write_text("scenarios:\n  a:\n    steps: [wait: 2s]\n")
    assert read_text(text, "lab.yaml", str(tmp_path)).digest != first.digest


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("alice: socket", {"do": "socket"}),
        ("alice: socket udp dual as s", {"do": "socket", "kind": "udp", "family": "dual", "as": "s"}),
        ("alice: bind call :0", {"do": "bind", "fd": "call", "address": "0.0.0.0", "port": 0}),
        ("alice: bind call alice:9", {"do": "bind", "fd": "call", "address": "<alice for alice>", "port": 9}),
        ("alice: listen [::]:81 backlog=2", {"do": "listen", "address": "::", "port": 81, "backlog": 2}),
        (
            "alice: listen :81 family=dual",
            {"do": "listen", "address": "::", "port": 81, "family": "dual"},
        ),
        ("web: listen door backlog=0", {"do": "listen", "fd": "door", "backlog": 0}),
        ("web: accept door as c2", {"do": "accept", "fd": "door", "as": "c2"}),
        (
            "alice: connect web:80",
            {"do": "connect", "address": "<web for alice>", "port": 80, "target": "web:80"},
        ),
        ("alice: connect 10.0.0.9:80", {"do": "connect", "address": "10.0.0.9", "port": 80}),
        ("alice: connect [FD00::9]:80", {"do": "connect", "address": "fd00::9", "port": 80}),
        (
            "alice: connect WEB:80",
            {"do": "connect", "address": "<web for alice>", "port": 80, "target": "web:80"},
        ),
        (
            "alice: connect localhost:80 blocking=no",
            {
                **{"do": "connect", "address": "<localhost for alice>", "port": 80, "blocking": False},
                "target": "localhost:80",
            },
        ),
        ("alice: send call hello", {"do": "send", "fd": "call", "text": "hello"}),
        ("alice: send call 'a  b'", {"do": "send", "fd": "call", "text": "a  b"}),
        (r'alice: send call "GET /\r\n\x41\""', {"do": "send", "fd": "call", "text": 'GET /\r\nA"'}),
        ("alice: send call 1000", {"do": "send", "fd": "call", "size": 1000}),
        ("alice: send call 10MB", {"do": "send", "fd": "call", "size": 10 << 20}),
        ("alice: send call '1000'", {"do": "send", "fd": "call", "text": "1000"}),
        ("alice: send call hex=1603", {"do": "send", "fd": "call", "hex": "1603"}),
        ("alice: recv call", {"do": "recv", "fd": "call"}),
        ("alice: recv call 64k", {"do": "recv", "fd": "call", "size": 65536}),
        ("alice: recv call all", {"do": "recv", "fd": "call", "all": True}),
        ('alice: recv call until "\\n"', {"do": "recv", "fd": "call", "until": "\n"}),
        ("alice: shutdown call", {"do": "shutdown", "fd": "call", "how": "both"}),
        ("alice: shutdown call write", {"do": "shutdown", "fd": "call", "how": "write"}),
        ("alice: close call", {"do": "close", "fd": "call"}),
        ("alice: reset call timeout=200ms", {"do": "reset", "fd": "call", "timeout": 0.2}),
        ("alice: set call SO_RCVBUF=1", {"do": "set", "fd": "call", "option": "SO_RCVBUF", "value": 1}),
        (
            "alice: set call SO_LINGER=1,5",
            {"do": "set", "fd": "call", "option": "SO_LINGER", "value": (1, 5)},
        ),
        (
            "alice: set call TCP_CONGESTION=reno",
            {"do": "set", "fd": "call", "option": "TCP_CONGESTION", "value": "reno"},
        ),
        ("alice: get call SO_ERROR", {"do": "get", "fd": "call", "option": "SO_ERROR"}),
        ("alice: poll call", {"do": "poll", "fd": "call"}),
        ("alice: dup call as copy", {"do": "dup", "fd": "call", "as": "copy"}),
        ("alice: fork call as kid", {"do": "fork", "fds": ["call"], "as": "kid"}),
        ("alice: send call hello pace=1s/byte", {"do": "send", "fd": "call", "text": "hello", "pace": 1.0}),
        (
            "alice: send call hello to=[FD00::9]:53",
            {"do": "send", "fd": "call", "text": "hello", "address": "fd00::9", "port": 53},
        ),
        (
            "alice: send call hello to=web:53",
            {"do": "send", "fd": "call", "text": "hello", "address": "<web for alice>", "port": 53},
        ),
        ("alice: tls call", {"do": "tls", "fd": "call", "side": "client"}),
        (
            "alice: tls call server_name=web verify=yes fails=SSL_CERTIFICATE_VERIFY_FAILED",
            {"do": "tls", "fd": "call", "side": "client", "server_name": "web", "verify": True},
        ),
        (
            "alice: tls call server cert=/etc/a.pem key=/etc/a.key ca=/etc/ca.pem version=TLSv1.2 alpn=h2",
            {
                **{"do": "tls", "fd": "call", "side": "server", "cert": "/etc/a.pem", "key": "/etc/a.key"},
                **{"ca": "/etc/ca.pem", "version": "TLSv1.2", "alpn": "h2"},
            },
        ),
        ("web: tls conn", {"do": "tls", "fd": "conn", "side": "server"}),
        (
            "alice: http call GET /a?b=c pace=100ms/byte",
            {"do": "http", "fd": "call", "method": "GET", "path": "/a?b=c", "pace": 0.1},
        ),
    ],
)
def test_short_forms_and_what_the_agent_is_told(line: str, message: dict[str, Any]) -> None:
    assert sent(line) == [{**SAID, **message}]


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("socket udp 6 as s", "{socket: udp, family: 6, as: s}"),
        ("connect web:80 as c x3 &", "{connect: , to: web:80, as: c, times: 3, background: yes}"),
        ("connect web:80", "{connect: web:80}"),
        ("listen :81 backlog=2 as l", "{listen: ':81', backlog: 2, as: l}"),
        ("send call hello fails=EPIPE|ECONNRESET", "{send: call, text: hello, fails: EPIPE|ECONNRESET}"),
        ("send call 10k", "{send: call, size: 10k}"),
        ("recv call until 'a b' timeout=2s", "{recv: call, until: a b, timeout: 2s}"),
        ("recv call all as x &", "{recv: call, all: yes, as: x, background: true}"),
        ("shutdown call read", "{shutdown: call, how: read}"),
        ("set call SO_LINGER=1,0", "{set: call, option: SO_LINGER, value: '1,0'}"),
        ("fork call many-2 as kid", "{fork: [call, many-2], as: kid}"),
        ("http call GET /", "{http: call, method: GET, path: /}"),
        ("run sh -c 'a b' as p &", "{run: [sh, -c, a b], as: p, background: yes}"),
        ("run sleep 1 fails=3 timeout=2s", "{run: sleep 1, fails: 3, timeout: 2s}"),
    ],
)
def test_both_forms_mean_the_same(short: str, long: str) -> None:
    one, other = last(f"alice: {short}"), last(f"alice: {long}")
    ignored = {"text", "column"}
    fields = [f for f in one.__struct_fields__ if f not in ignored]
    assert [getattr(one, field) for field in fields] == [getattr(other, field) for field in fields]
    assert type(one) is type(other)


def test_options_may_stand_before_and_behind_the_name() -> None:
    one = last("alice: connect web:80 as c timeout=1s x2 fails=timeout &")
    assert isinstance(one, Call)
    assert (one.name, one.timeout, one.times, one.fails, one.background) == ("c", 1.0, 2, ("timeout",), True)


def test_where_it_stands_and_how_it_was_written() -> None:
    step = last('alice: {send: call, text: "Host: a\\r\\n"}')
    assert (step.line, step.column) == (15, 9)
    assert step.text == 'alice: {send: call, text: "Host: a\\r\\n"}'
    assert last("alice: send call 'a b' &").text == "alice: send call 'a b' &"
    assert last("expect: {connection: alice.call, client: none}").text == (
        "expect: {connection: alice.call, client: none}"
    )


def test_a_command_is_split_as_a_shell_does_and_run_by_none() -> None:
    run = last("web: run env A=b sh -c 'echo ${HOME} x3' \"a b\" x as x3")
    assert isinstance(run, Run)
    assert run.argv == ("env", "A=b", "sh", "-c", "echo ${HOME} x3", "a b", "x")
    assert run.name == "x3"


def test_names_may_be_left_out_where_one_is_open() -> None:
    assert sent("alice: send hello", "alice: connect web:80 as call") == [
        {**SAID, "do": "send", "fd": "call", "text": "hello"}
    ]
    assert sent("alice: send hello", "alice: connect web:80")[0].keys() == {"do", "text", "timeout"}
    closed = ("alice: connect web:80 as a", "alice: connect web:80 as b", "alice: close a")
    assert sent("alice: recv", *closed)[0]["fd"] == "b"


def test_connect_alone_makes_a_socket_unless_one_is_waiting_for_it() -> None:
    assert sent("alice: connect web:80", "alice: socket as s")[0]["fd"] == "s"
    assert "fd" not in sent("alice: connect web:80 as t", "alice: socket as s")[0]
    connected = ("alice: socket as s", "alice: connect s web:80")
    assert "fd" not in sent("alice: connect web:80", *connected)[0]
    assert sent("alice: recv", *connected)[0]["fd"] == "s"


def test_several_at_once_have_numbered_names() -> None:
    assert [one["as"] for one in sent("alice: connect web:80 as c x3")] == ["c-1", "c-2", "c-3"]
    assert [one["fd"] for one in sent("alice: close many")] == ["many-1", "many-2", "many-3"]
    assert sent("alice: close many-2")[0]["fd"] == "many-2"
    assert [one["fd"] for one in sent("alice: send call hi x2")] == ["call", "call"]
    copies = sent("alice: dup many as copy")
    assert [(one["fd"], one["as"]) for one in copies] == [(f"many-{n}", f"copy-{n}") for n in (1, 2, 3)]
    call = last("alice: connect web:80 as c x3")
    assert isinstance(call, Call)
    assert call.names() == ("c-1", "c-2", "c-3")
    assert call.count == 3


def test_what_failed_to_open_is_not_open() -> None:
    again = ("alice: listen :80 as l fails=EADDRINUSE", "alice: listen :81 as l")
    assert isinstance(last("alice: close l", *again), Call)
    assert isinstance(last("alice: close c", "alice: connect web:1 as c fails=ECONNREFUSED"), Call)


def test_a_name_is_free_again_when_it_is_closed() -> None:
    before = ("alice: connect web:80 as a", "alice: close a", "alice: connect web:80 as a")
    assert sent("alice: send hi", *before)[0]["fd"] == "a"


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("wait: 1.5s", Wait(line=0, column=0, text="", seconds=1.5)),
        ("wait: web.got", Wait(line=0, column=0, text="", step=Ref(host="web", name="got"))),
        ("wait: got", Wait(line=0, column=0, text="", step=Ref(host="web", name="got"))),
        ("web: wait got", Wait(line=0, column=0, text="", step=Ref(host="web", name="got"))),
        ("note: 'all: done'", Note(line=0, column=0, text="", words="all: done")),
        ("pause: web", Pause(line=0, column=0, text="", host="web")),
        ("{pause: bob-2, for: 2s}", Pause(line=0, column=0, text="", host="bob-2", seconds=2)),
        ("pause: web.run", Pause(line=0, column=0, text="", host="web", program="run")),
        ("resume: web", Resume(line=0, column=0, text="", host="web")),
        ("kill: web", Kill(line=0, column=0, text="", host="web")),
        (
            "{kill: web.run, signal: SIGTERM}",
            Kill(line=0, column=0, text="", host="web", program="run", signal="TERM"),
        ),
    ],
)
def test_other_steps(line: str, step: Step) -> None:
    found = last(line)
    for field in step.__struct_fields__:
        if field not in ("line", "column", "text"):
            assert getattr(found, field) == getattr(step, field)
    assert type(found) is type(step)


def test_steps_of_steps() -> None:
    both = last("parallel: [alice: connect web:80 as a, bob-1: connect web:80 as a]")
    assert isinstance(both, Parallel)
    assert [one.host for one in both.steps if isinstance(one, Call)] == ["alice", "bob-1"]
    thrice = last("{repeat: 3, steps: [alice: connect web:80 as a, wait: 10ms, alice: close a]}")
    assert isinstance(thrice, Repeat)
    assert (thrice.times, len(thrice.steps)) == (3, 3)


def expected(text: str) -> Expectation:
    """An expectation behind the usual steps."""
    found = last(f"expect: {{{text}}}")
    assert isinstance(found, Expectation)
    return found


@pytest.mark.parametrize(
    ("text", "subject", "test"),
    [
        ("connection: alice.call, client: none", ByName(host="alice", name="call"), Words(any_of=(None,))),
        ("connection: call, client: none", ByName(host="alice", name="call"), Words(any_of=(None,))),
        ("connection: many, client: none", ByName(host="alice", name="many", each=3), Words(any_of=(None,))),
        ("connection: many-2, client: none", ByName(host="alice", name="many-2"), Words(any_of=(None,))),
        (
            "connection: alice -> web:80, status: joined",
            Between(client="alice", server=Endpoint(host="web", port=80)),
            Words(any_of=("joined",)),
        ),
        (
            "connection: call, server: FIN_WAIT2 | none",
            ByName(host="alice", name="call"),
            Words(any_of=("FIN_WAIT2", None)),
        ),
        ("connection: call, accepted: no", ByName(host="alice", name="call"), Flag(value=False)),
        (
            "connection: call, client.tx_queue: '!=0'",
            ByName(host="alice", name="call"),
            Number(operator="!=", value=0),
        ),
        (
            "connection: call, client.timer_seconds: 60s +- 1.5s",
            ByName(host="alice", name="call"),
            Number(value=60, below=1.5, above=1.5),
        ),
        ("listener: WEB:80, queue: '>=5'", ListenerAt(host="web", port=80), Number(operator=">=", value=5)),
        ("listener: web.door, limit: none", ByName(host="web", name="door"), Words(any_of=(None,))),
        (
            "counter: web.TcpExtListenDrops, difference: <9",
            CounterOf(host="web", name="TcpExtListenDrops"),
            Number(operator="<", value=9),
        ),
        (
            "counter: web.TcpExtSomethingQuiteNewer, difference: 1",
            CounterOf(host="web", name="TcpExtSomethingQuiteNewer"),
            Number(value=1),
        ),
        ("log: web, contains: 'timed out'", LogOf(host="web"), Contains(text="timed out")),
        ("received: web.conn, matches: '^a'", ByName(host="web", name="conn"), Matches(pattern="^a")),
        ("step: got, errno: ECONNRESET", ByName(host="web", name="got"), Words(any_of=("ECONNRESET",))),
        (
            "step: got, duration: 2s ±50ms",
            ByName(host="web", name="got"),
            Number(value=2, below=0.05, above=0.05),
        ),
        (
            "step: got, duration: 2s -5ms +50ms",
            ByName(host="web", name="got"),
            Number(value=2, below=0.005, above=0.05),
        ),
        ("step: got, duration: 2s +1ms", ByName(host="web", name="got"), Number(value=2, above=0.001)),
        ("step: got, result: cubic", ByName(host="web", name="got"), Words(any_of=("cubic",))),
        ("step: got, result: 5", ByName(host="web", name="got"), Number(value=5)),
    ],
)
def test_expectations(text: str, subject: Any, test: Test) -> None:
    found = expected(text)
    assert found.subject == subject
    assert [check.test for check in found.checks] == [test]


def test_an_expectation_may_be_about_one_of_several_that_is_closed() -> None:
    closed = "alice: close many-2"
    found = last("expect: {connection: alice.many-2, client: TIME_WAIT}", *OPENED, closed)
    assert isinstance(found, Expectation)
    assert found.subject == ByName(host="alice", name="many-2")
    again = last("alice: connect web:80 as many-2", *OPENED, closed)
    assert isinstance(again, Call)


def test_what_the_contract_shows() -> None:
    found = expected(
        'connection: alice.call, client: ESTABLISHED, accepted: false, server.rx_queue: ">=5", within: 1s'
    )
    assert found.checks[1:] == (
        Check(field="accepted", test=Flag(value=False), text="false"),
        Check(field="server.rx_queue", test=Number(operator=">=", value=5), text=">=5"),
    )
    assert (found.within, found.lasting) == (1.0, None)
    assert expected("connection: call, client: none, for: 200ms").lasting == 0.2
    assert expected("connection: call, client: none").within == 1.0


def test_what_has_happened() -> None:
    found = expected("connection: call, client: SYN_SENT -> ESTABLISHED|SYN_RECV, first to close: none")
    order = Sequence(states=(("SYN_SENT",), ("ESTABLISHED", "SYN_RECV")))
    assert found.checks[0] == Check(field="client", test=order, text="SYN_SENT -> ESTABLISHED|SYN_RECV")
    assert found.happened == found.checks
    assert (
        expected("connection: call, client: ESTABLISHED, retransmits: 0").happened[0].field == "retransmits"
    )


@pytest.mark.parametrize(
    "after", ["call 2s +-50ms", "alice.call 2s +-50ms", "{step: call, at: 2s +-50ms}", '"call  == 2s ±50ms"']
)
def test_a_time_after_a_step(after: str) -> None:
    found = expected(f"connection: call, client: CLOSE_WAIT, after: {after}")
    assert found.after is not None
    assert found.after.step == Ref(host="alice", name="call")
    assert found.after.test == Number(operator="==", value=2.0, below=0.05, above=0.05)
    assert found.checks[0].test == Sequence(states=(("CLOSE_WAIT",),))  # when it came into it
    assert found.within == pytest.approx(3.05)  # it is waited for so much longer
    given = expected(f"connection: call, client: CLOSE_WAIT, within: 4s, after: {after}")
    assert given.within == 4.0


def test_a_scenario_may_say_within_for_all_that_say_nothing() -> None:
    found = scenarios(
        "    variables: {patience: 5s}\n"
        "    within: ${patience}\n"
        "    steps:\n"
        "      - web: listen :80 as door\n"
        "      - expect: {listener: web.door, queue: 0}\n"
        "      - expect: {listener: web.door, queue: 0, within: 2s}\n"
        "      - expect: {listener: web.door, queue: 0, for: 200ms}\n"
    )[0]
    times = [(one.within, one.lasting) for one in found.steps if isinstance(one, Expectation)]
    assert times[:2] == [(5.0, None), (2.0, None)]
    assert times[2][1] == 0.2


def test_a_table_makes_one_scenario_of_each_row() -> None:
    found = scenarios(
        "    title: Queue of ${backlog}\n"
        "    variables: {port: 80, backlog: 0}\n"
        "    table: [{backlog: 2, many: 3}, {backlog: 5, many: 6}]\n"
        "    setup: [web: 'listen :${port} backlog=${backlog} as door']\n"
        "    steps:\n"
        "      - alice: connect web:${port} as call x${many}\n"
        "      - expect: {listener: 'web:${port}', queue: '${many}'}\n"
        "      - note: ${many} of ${backlog}, not $${many}\n"
        "    cleanup: [alice: close call]\n"
    )
    assert [one.label for one in found] == ["s[backlog=2,many=3]", "s[backlog=5,many=6]"]
    assert [one.title for one in found] == ["Queue of 2", "Queue of 5"]
    assert found[1].variables == {"port": "80", "backlog": "5", "many": "6"}
    assert found[1].row == {"backlog": "5", "many": "6"}
    call, expectation, note = found[1].steps
    assert isinstance(call, Call)
    assert call.times == 6
    assert call.text == "alice: connect web:80 as call x6"
    assert isinstance(expectation, Expectation)
    assert expectation.checks[0].test == Number(value=6)
    assert isinstance(note, Note)
    assert note.words == "6 of 5, not ${many}"
    assert isinstance(found[0].cleanup[0], Call)
    assert found[0].cleanup[0].each == 3


def test_a_value_is_one_word_whatever_is_in_it() -> None:
    found = scenarios(
        "    variables: {text: 'a=b \"c\" & x3', who: alice, no: ''}\n"
        "    steps:\n"
        "      - ${who}: connect web:80 as call\n"
        "      - ${who}: send call ${text}\n"
        '      - ${who}: send call "<${text}>\\n" fails=${no}\n'
    )[0].steps
    texts = [one.arguments["text"] for one in found[1:] if isinstance(one, Call)]
    assert texts == ['a=b "c" & x3', '<a=b "c" & x3>\n']


def test_a_file_without_scenarios_has_none() -> None:
    assert read_text(HEAD.removesuffix("scenarios:\n  s:\n").encode(), "lab.yaml", "/").scenarios == ()


HUGE = {
    "steps": "".join("      - alice: connect web:80\n" for _ in range(4_900)),
    "names": "".join(f"      - alice: connect web:80 as n{n}\n" for n in range(4_900))
    + "      - alice: recv\n",
    "groups": "".join(f"      - alice: connect web:80 as n{n} x2\n" for n in range(4_900)) + "      - x\n",
    "unknown": "".join(f"      - alice: send n{n} x\n" for n in range(4_900)),
    "parallel": "      - parallel:\n" + "".join("          - alice: connect web:80\n" for _ in range(4_900)),
    "too many": "".join("      - note: x\n" for _ in range(20_000)),
    "long text": f"      - alice: send call {'x' * 1_000_000}\n",
    "long line": f"      - alice: send {'x ' * 500_000}\n",
    "quotes": f"      - alice: send {'a' * 200_000}'\n",
    "variables": f"      - alice: send {'${x}' * 100_000}\n",
    "expectations": "".join(f"      - expect: {{connection: a{n}, client: none}}\n" for n in range(4_900)),
    "deep": "      - " + "{repeat: 2, steps: [" * 7 + "note: x" + "]}" * 7 + "\n",
}


@pytest.mark.parametrize("kind", HUGE)
def test_huge_scenarios_are_read_or_refused_in_a_second(kind: str) -> None:
    text = HEAD + "    steps:\n" + HUGE[kind]
    began = time.process_time()
    assert len(said(text)) < 1000
    assert time.process_time() - began < BLOW_UP


VERB = st.sampled_from([*GRAMMARS])
WORDS = (
    "call door conn web:80 :80 as x3 & all until read 10 10MB SO_LINGER=1,0 timeout=1s fails=EPIPE GET / "
    "${x} ${y} 'a b' \" ' # : -> >=2 none tcp dual backlog=1 x0 as-as \\ \\n"
)
WORD = st.sampled_from(WORDS.split(" "))
LINE = st.tuples(
    st.sampled_from(["alice", "web", "bob", "${x}", "wait", "kill", "note"]), VERB | WORD, st.lists(WORD)
)


@settings(max_examples=400, deadline=None)
@given(st.lists(LINE, min_size=1, max_size=6))
@example([("alice", "send", ['"', "\\"])])
def test_random_steps_never_do_more_than_be_refused(lines: list[tuple[str, str, list[str]]]) -> None:
    body = "".join(f"      - {host}: {' '.join([verb, *words])}\n" for host, verb, words in lines)
    judged("    variables: {x: alice}\n    steps:\n" + body)


VALUE = st.sampled_from(
    [
        "alice.call",
        "call",
        "web:80",
        "alice -> web:80",
        "none",
        "1",
        ">=2",
        "2s",
        "${x}",
        "",
        "a.b.c",
        "->",
        "SYN_SENT -> ESTABLISHED",
        "call 2s +-50ms",
        "server",
        "+-",
    ]
)
KEYS = (
    "connection listener counter log received step client server client.fd accepted count queue within for "
    "text contains matches duration result state after retransmits"
)
KEY = st.sampled_from([*KEYS.split(), "first to close", "closed by"])


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(KEY, VALUE, max_size=4), st.booleans())
def test_random_expectations_never_do_more_than_be_refused(fields: dict[str, str], opened: bool) -> None:
    before = "".join(f"      - {line}\n" for line in OPENED) if opened else ""
    inside = ", ".join(f'"{key}": "{value}"' for key, value in fields.items())
    judged(f"    steps:\n{before}      - expect: {{{inside}}}\n")


def judged(body: str) -> None:
    """Read it; if it is refused, then in the one way."""
    assert all(line.startswith("lab.yaml:") and line.isprintable() for line in said(HEAD + body))


def said(text: str) -> tuple[str, ...]:
    """The diagnostics of a file, none where it is read."""
    try:
        read_text(text.encode(), "lab.yaml", "/")
    except TopologyError as error:
        return error.diagnostics or ("refused without a word",)
    return ()
