"""Steps read line by line: the grammar of lab.yaml, names that live on, and mistakes that leave no trace."""

from __future__ import annotations

import pytest

from orchestrator.errors import TopologyError
from orchestrator.model.steps import (
    Call,
    Endpoint,
    Expectation,
    Flag,
    Kill,
    Note,
    Number,
    Parallel,
    Ref,
    Repeat,
    Run,
    Step,
    Wait,
    Words,
)
from orchestrator.read.people import Residents
from orchestrator.read.session import StepSession


@pytest.fixture
def session() -> StepSession:
    return StepSession(Residents(["edge", "web", "alice"], ["web"]), "web")


def good(session: StepSession, *lines: str) -> Step:
    step = None
    for line in lines:
        read = session.read(line)
        assert read.mistakes == (), (line, read.mistakes)
        step = read.step
    assert step is not None
    return step


def bad(session: StepSession, line: str) -> tuple[int, int, str]:
    """Where, and what (without the hint), of the one mistake in a line."""
    read = session.read(line)
    assert read.step is None
    (one,) = read.mistakes
    return one.line, one.column, one.text.partition(";")[0]


def test_a_line_is_a_step_of_the_host(session: StepSession) -> None:
    step = good(session, "listen :80 as door")
    assert isinstance(step, Call)
    assert (step.host, step.verb, step.name, step.target) == (
        "web",
        "listen",
        "door",
        Endpoint(host="", port=80),
    )
    assert step.text == "web: listen :80 as door"


@pytest.mark.parametrize(
    "line",
    [
        "alice: connect web:80 as call",
        "- alice: connect web:80 as call",
        'alice: "connect web:80 as call"',
        "ALICE: connect web:80 as call # a comment",
        "alice: {connect: , to: web:80, as: call}",
        "  {alice: connect web:80 as call}",
    ],
)
def test_another_host_is_named_before_it(session: StepSession, line: str) -> None:
    step = good(session, line)
    assert isinstance(step, Call)
    assert (step.host, step.verb, step.name, step.target) == (
        "alice",
        "connect",
        "call",
        Endpoint(host="web", port=80),
    )


def test_a_text_may_have_what_yaml_would_stumble_over(session: StepSession) -> None:
    good(session, "connect alice:7 as call")
    for line, text in (
        ("send call 'Host: a'", "Host: a"),
        ("send call 'a #b'  # c", "a #b"),
        ('send call "a \\" #b"', 'a " #b'),
        ("send call a#b", "a#b"),
        ("send call -", "-"),
        ('{send: call, text: "x: # y"}', "x: # y"),
    ):
        step = good(session, line)
        assert isinstance(step, Call)
        assert step.arguments["text"] == text, line


def test_other_steps_are_lines_too(session: StepSession) -> None:
    opened = ("listen :80 as door", "accept as conn &", "alice: connect web:80 as call")
    for line in opened:
        good(session, line)
    assert isinstance(good(session, "expect: {connection: alice.call, client: ESTABLISHED}"), Expectation)
    assert isinstance(good(session, "note: it is open"), Note)
    assert isinstance(good(session, "run sleep 60 as nap &"), Run)
    assert isinstance(good(session, "kill: web.nap"), Kill)
    assert isinstance(good(session, "parallel: [alice: close call, web: close door]"), Parallel)
    assert isinstance(good(session, "{repeat: 2, steps: [note: again]}"), Repeat)
    waited = good(session, "wait: 100ms")
    assert isinstance(waited, Wait)
    assert waited.seconds == 0.1
    joined = good(session, "wait conn")
    assert isinstance(joined, Wait)
    assert joined.step == Ref(host="web", name="conn")


@pytest.mark.parametrize("line", ["", "   ", "# listen", "  # a", "- ", "\t"])
def test_there_may_be_nothing_on_a_line(session: StepSession, line: str) -> None:
    assert session.read(line)[1:] == (None, ())


def test_mistakes_stand_in_their_line_and_column(session: StepSession) -> None:
    good(session, "listen :80 as door")
    assert bad(session, "  lisen :80") == (2, 3, "there is no verb `lisen`")
    assert bad(session, "alcie: connect web:80") == (3, 1, "there is no host `alcie`")
    assert bad(session, "close dor") == (4, 7, "`web` has opened no `dor`")
    assert bad(session, "close door now") == (5, 12, "`close` has no use for `now`")
    assert bad(session, 'send door "abc') == (6, 11, "this quote is not closed")
    where = bad(session, "expect: {listener: web.door, queue: many}")
    assert where == (7, 37, "`many` is no number")
    assert bad(session, "expect: {listener: web.door")[:2] == (8, 1)
    assert bad(session, "cut: alice wbe") == (9, 12, "there is no host and no network `wbe`")
    assert bad(session, "[listen]")[:2] == (10, 1)


def test_names_are_known_from_line_to_line(session: StepSession) -> None:
    good(session, "listen :80 as door")
    assert bad(session, "listen :81 as door") == (2, 15, "`door` of `web` is open already, since line 1")
    good(session, "close")
    assert bad(session, "accept door") == (4, 8, "`door` of `web` was closed in line 3")


def test_a_bad_line_leaves_no_trace(session: StepSession) -> None:
    good(session, "listen :80 as door")
    for line in (
        "socket tpc as s",
        "parallel: [web: socket as s, web: clse door]",
        "close door door",
        "lisen :1 as s",
    ):
        assert session.read(line).mistakes
    assert bad(session, "close s") == (6, 7, "`web` has opened no `s`")
    step = good(session, "accept as again")  # and the one without a name is still the door
    assert isinstance(step, Call)
    assert step.fd == "door"


def test_what_a_failed_step_was_to_open_is_not_open(session: StepSession) -> None:
    step = good(session, "listen :80 as door")
    session.failed(step)
    assert bad(session, "close door") == (2, 7, "`web` has opened no `door`")
    good(session, "listen :80 as door")
    session.failed(good(session, "alice: connect web:80 as call"))  # the socket stays
    assert bad(session, "listen :80 as door")[2].startswith("`door` of `web` is open already, since line 3")
    good(session, "alice: close call")


def test_a_step_that_has_ended_need_not_be_joined(session: StepSession) -> None:
    good(session, "listen :80 as door", "recv door as got &")
    assert "is still running" in bad(session, "recv door as got")[2]
    session.ended("web", "got")
    assert isinstance(good(session, "wait got"), Wait), "one may have been too late to know"
    assert session.read("nonsense").mistakes
    good(session, "recv door as got")


def test_two_hosts_of_one_session() -> None:
    session = StepSession(Residents(["web", "alice"]))
    assert session.read("listen :80 as door", "web").step is not None
    assert session.read("connect web:80 as call", "alice").step is not None
    assert session.read("expect: {connection: alice.call, client: ESTABLISHED}").step is not None
    assert session.read("listen :80").mistakes[0].text.startswith("no host stands before this step")


def test_variables_and_an_error_for_tests_that_give_steps() -> None:
    session = StepSession(Residents(["web"]), "web", {"port": "8080"})
    step = good(session, "listen :${port}")
    assert isinstance(step, Call)
    assert step.target == Endpoint(host="", port=8080)
    with pytest.raises(TopologyError) as raised:
        session.read("listen :${prt} as a").raise_if_bad("test.py")
    assert raised.value.diagnostics == ("test.py:2:8: there is no variable `${prt}`; did you mean `port`?",)


def test_a_program_gives_values_and_says_which_line(session: StepSession) -> None:
    values: list[dict[str, object]] = [
        {"alice": {"connect": "", "to": "web:80", "as": "call"}},
        {"alice": {"send": "call", "text": "none: # x\r\n"}},
        {"alice": {"send": "call", "hex": b"\x00\xff"}},
        {"expect": {"connection": "alice.call", "client": None, "accepted": False, "server.rx_queue": ">=5"}},
        {"parallel": [{"alice": "close call"}, {"web": ["run", "true"]}]},
    ]
    steps = [session.give(value, number) for number, value in enumerate(values, 40)]
    assert [one.number for one in steps] == [40, 41, 42, 43, 44]
    call, text, data, expect, wrong = (one.step for one in steps)
    assert isinstance(call, Call)
    assert (call.line, call.name) == (40, "call")
    assert isinstance(text, Call)
    assert text.arguments == {"text": "none: # x\r\n"}
    assert isinstance(data, Call)
    assert data.arguments == {"hex": "00ff"}
    assert isinstance(expect, Expectation)
    tests = {check.field: check.test for check in expect.checks}
    assert tests["client"] == Words(any_of=(None,))
    assert tests["accepted"] == Flag(value=False)
    assert tests["server.rx_queue"] == Number(operator=">=", value=5)
    assert wrong is None
    assert [(one.line, one.text.split(";")[0]) for one in steps[-1].mistakes] == [
        (44, "`web` is a value or a mapping, not a list")
    ]
    again = session.read("alice: connect web:81 as call", number=12)
    assert [one.text.split(";")[0] for one in again.mistakes] == [
        "`call` of `alice` is open already, since line 40"
    ]
