"""Expectations against one look: what passes was seen, what is missing was looked for where it would be."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.rows import Connection, Via
from orchestrator.model.runs import Verdict, worst
from orchestrator.scenarios import rows as evidence
from orchestrator.scenarios.checks import judge
from orchestrator.scenarios.observation import (
    Descriptor,
    Log,
    Observation,
    Received,
    StepResult,
)
from tests.unit.scenarios.looks import ALICE, CALL, DOOR, MANY, WEB, end, expect, listener, row

JOINED = Observation(connections=(row(),), descriptors=CALL)
NOTHING = Observation(descriptors=CALL)


def verdict(text: str, seen: Observation) -> Verdict:
    """The verdict alone."""
    return judge(expect(text), seen).verdict


@pytest.mark.parametrize(
    ("text", "seen", "is_so"),
    [
        ("connection: alice.call, client: ESTABLISHED, server: ESTABLISHED", JOINED, "pass"),
        ("connection: alice.call, client: SYN_SENT|ESTABLISHED", JOINED, "pass"),
        ("connection: alice.call, client: SYN_SENT, server: ESTABLISHED", JOINED, "fail"),
        ("connection: 'alice -> web:80', status: joined", JOINED, "pass"),
        ("connection: 'alice -> web:81', status: joined", JOINED, "fail"),
        ("connection: 'alice -> web:81', status: none", JOINED, "pass"),
        ("connection: 'alice -> 10.0.0.2:80', status: joined", JOINED, "pass"),
        ("connection: 'web -> alice:4000', status: none", JOINED, "pass"),
        ("connection: alice.call, server: none", JOINED, "fail"),
        ("connection: alice.call, accepted: true, roles_by: listener, via: none", JOINED, "pass"),
        ("connection: alice.call, client.port: 4000, server.address: 10.0.0.2", JOINED, "pass"),
        ("connection: alice.call, client.holders: 1, client.process: agent", JOINED, "pass"),
        ("connection: alice.call, server.rx_queue: '>=1'", JOINED, "fail"),
        ("connection: alice.call, server.rx_queue: '<1', server.timer: none", JOINED, "pass"),
        ("connection: alice.call, client: none, server: none, status: none", NOTHING, "pass"),
        ("connection: alice.call, client: ESTABLISHED", NOTHING, "fail"),
        ("connection: alice.call, server.rx_queue: 0", NOTHING, "fail"),
        ("connection: alice.call, accepted: false", NOTHING, "fail"),
        ("connection: alice.call, status: none", Observation(), "unknown"),
        ("connection: alice.call, client: ESTABLISHED", Observation(connections=(row(),)), "unknown"),
    ],
)
def test_connections(text: str, seen: Observation, is_so: Verdict) -> None:
    assert verdict(text, seen) == is_so


def with_rows(*rows: Any, **more: Any) -> Observation:
    """A look with these rows."""
    return Observation(**({"connections": rows, "descriptors": CALL} | more))


def test_a_missing_end_is_none_where_its_host_was_looked_at() -> None:
    alone = row(server=None, accepted=None)
    assert verdict("connection: alice.call, server: none", with_rows(alone)) == "pass"
    assert verdict("connection: alice.call, accepted: true", with_rows(alone)) == "fail"
    unseen = with_rows(alone, not_observed=frozenset({"web"}))
    assert verdict("connection: alice.call, server: none", unseen) == "unknown"
    assert verdict("connection: alice.call, accepted: false", unseen) == "unknown"
    assert verdict("connection: alice.call, client: ESTABLISHED", unseen) == "pass"


@pytest.mark.parametrize(
    ("text", "before", "now", "same"),
    [
        ("client: ESTABLISHED, server: ESTABLISHED", row(), row(), True),
        ("client: ESTABLISHED, status: client-only", row(server=None), row(server=None), True),
        ("client: ESTABLISHED|FIN_WAIT2", row(), row("FIN_WAIT2"), False),
        ("client: ESTABLISHED", row(), row(id="another"), False),
        ("client: ESTABLISHED, client.holders: 1", row(), row(), False),
        ("client: SYN_SENT", row("SYN_SENT", None), row("SYN_SENT", None), False),
    ],
)
def test_two_looks_tell_of_the_time_between_only_what_nothing_brings_back(
    text: str, before: Connection, now: Connection, same: bool
) -> None:
    expectation = expect(f"connection: 'alice -> web:80', {text}, for: 1s")
    first, second = (judge(expectation, Observation(connections=(one,))) for one in (before, now))
    assert (first.verdict, second.verdict) == ("pass", "pass")
    assert bool(first.still and first.still == second.still) == same


def test_what_is_outside_the_lab_is_not_known() -> None:
    outside = row(server=None, status="external", reason="9.9.9.9 is no host of this lab")
    judged = judge(expect("connection: alice.call, server: none"), with_rows(outside))
    assert (judged.verdict, judged.why) == ("unknown", "9.9.9.9 is no host of this lab")


def test_what_is_outside_the_lab_is_not_known_when_the_call_has_ended_either() -> None:
    called = {("alice", "call"): Descriptor(local=ALICE, peer=("9.9.9.9", 80))}
    ended = with_rows(descriptors=called, addresses=frozenset({ALICE[0], WEB[0]}))
    for field, is_so in (
        ("server: none", "unknown"),
        ("accepted: false", "unknown"),
        ("client: none", "pass"),
    ):
        assert verdict(f"connection: alice.call, {field}", ended) == is_so, field
    inside = with_rows(addresses=frozenset({ALICE[0], WEB[0]}))
    assert verdict("connection: alice.call, server: none", inside) == "pass"


def test_no_row_is_known_only_where_all_tables_were_read() -> None:
    for text in ("connection: alice.call, status: none", "connection: 'alice -> web:80', count: 0"):
        for host, is_so in (("alice", "unknown"), ("web", "unknown")):
            assert verdict(text, with_rows(not_observed=frozenset({host}))) == is_so, (text, host)
    behind = with_rows(translating=True)
    assert verdict("connection: alice.call, status: none", behind) == "unknown"
    seen_before = {("alice", "call"): Descriptor(local=ALICE, peer=WEB, connection="fa0")}
    gone = with_rows(translating=True, descriptors=seen_before)
    assert verdict("connection: alice.call, status: none", gone) == "pass"


def test_between_two_hosts_there_may_be_more_than_was_seen() -> None:
    by_address = "connection: 'alice -> 10.0.0.2:80', status: none"
    assert verdict(by_address, with_rows()) == "pass"
    assert verdict(by_address, with_rows(not_observed=frozenset({"web"}))) == "unknown"
    server = end("web", WEB, ("10.0.9.9", 1234), peer_host="edge")
    half = msgspec.structs.replace(row(client=None), server=server)
    by_name = "connection: 'alice -> web:80', status: none"
    assert verdict(by_name, with_rows(half)) == "pass"
    assert verdict(by_name, with_rows(half, translating=True)) == "unknown"


def test_the_other_end_alone_is_found_by_the_mirrored_tuple_or_the_id() -> None:
    left = row(client=None)
    text = "connection: alice.call, client: none, server: ESTABLISHED"
    assert verdict(text, with_rows(left)) == "pass"
    translated = row(client=None, server=None, id="77")
    server = end("web", WEB, ("10.0.9.9", 1234))
    translated = msgspec.structs.replace(translated, server=server, status="server-only")
    assert verdict(text, with_rows(translated)) == "fail"
    known = {("alice", "call"): Descriptor(local=ALICE, peer=WEB, connection="77")}
    assert verdict(text, with_rows(translated, descriptors=known)) == "pass"


def test_two_halves_that_nat_may_have_parted_are_not_called_alone() -> None:
    half = row(server=None)
    server = end("web", WEB, ("10.0.9.9", 1234), peer_host="edge")
    other = row(client=None, id="2", server="ESTABLISHED")
    other = msgspec.structs.replace(other, server=server)
    text = "connection: alice.call, server: none"
    assert verdict(text, with_rows(half, other)) == "pass"
    assert verdict(text, with_rows(half, other, translating=True)) == "unknown"
    via = (Via(host="edge", client="10.0.9.9:1", server="10.0.0.2:80"),)
    assert verdict(text, with_rows(row(server=None, via=via), other, translating=True)) == "pass"


def test_a_step_whose_host_has_gone_neither_runs_nor_has_ended() -> None:
    seen = Observation(steps={("web", "got"): StepResult(lost="the agent of web is gone")})
    for what in ("running: true", "running: false", "result: none", "duration: '<1s'"):
        judged = judge(expect(f"step: web.got, {what}"), seen)
        assert (judged.verdict, judged.why) == ("unknown", "the agent of web is gone")


def test_a_row_in_transition_decides_nothing_but_that() -> None:
    moving = with_rows(row(status="in-transition"))
    assert verdict("connection: alice.call, client: ESTABLISHED", moving) == "unknown"
    assert verdict("connection: alice.call, accepted: true", moving) == "unknown"
    assert verdict("connection: alice.call, status: in-transition", moving) == "pass"
    assert verdict("connection: alice.call, status: joined", moving) == "unknown"
    assert verdict("connection: alice.call, status: none, client: CLOSE", moving) == "unknown"


def test_accepted_that_cannot_be_known() -> None:
    judged = judge(expect("connection: alice.call, accepted: true"), with_rows(row(accepted=None)))
    assert judged.verdict == "unknown"
    assert judged.why


def test_two_rows_between_two_hosts_are_not_one() -> None:
    two = with_rows(row(), row(port=4001))
    judged = judge(expect("connection: 'alice -> web:80', client: ESTABLISHED"), two)
    assert judged.verdict == "unknown"
    assert "2 rows" in judged.why
    assert len(judged.evidence) == 2


@pytest.mark.parametrize(
    ("count", "is_so"), [("2", "pass"), ("'>=2'", "pass"), ("3", "fail"), ("'>3'", "fail"), ("0", "fail")]
)
def test_counting_rows_that_are_so(count: str, is_so: Verdict) -> None:
    rows = (row(), row(port=4001), row("SYN_SENT", None, port=4002))
    text = f"connection: 'alice -> web:80', client: ESTABLISHED, count: {count}"
    assert verdict(text, with_rows(*rows)) == is_so


def test_counting_where_some_are_not_known() -> None:
    rows = with_rows(row(), row(port=4001, status="in-transition"))
    text = "connection: 'alice -> web:80', client: ESTABLISHED, count: "
    assert [verdict(text + count, rows) for count in ("1", "2", "'>=1'", "3", "'<=2'")] == [
        *("unknown", "unknown", "pass", "fail", "pass")
    ]
    unseen = with_rows(row(), not_observed=frozenset({"web"}))
    assert [verdict(text + count, unseen) for count in ("1", "'>=1'", "'>=2'", "0")] == [
        *("unknown", "pass", "unknown", "fail")
    ]


def test_a_name_of_several_is_so_when_each_is() -> None:
    rows = [row(port=5000 + n) for n in (1, 2, 3)]
    text = "connection: alice.many, client: ESTABLISHED"
    assert verdict(text, with_rows(*rows, descriptors=MANY)) == "pass"
    rows[1] = row("SYN_SENT", None, port=5002)
    judged = judge(expect(text), with_rows(*rows, descriptors=MANY))
    assert judged.verdict == "fail"
    assert judged.observed == "alice.many-2: client SYN_SENT (1 of 3 fail)"
    assert (
        verdict("connection: alice.many, client: ESTABLISHED, count: 2", with_rows(*rows, descriptors=MANY))
        == "pass"
    )
    assert (
        verdict("connection: alice.many-3, client: ESTABLISHED", with_rows(*rows, descriptors=MANY)) == "pass"
    )
    without = {name: one for name, one in MANY.items() if name[1] != "many-3"}
    assert verdict("connection: alice.many, count: '>=3'", with_rows(*rows, descriptors=without)) == "unknown"


def test_mapped_addresses_are_ipv4() -> None:
    mapped = {("alice", "call"): Descriptor(local=("::ffff:10.0.0.1", 4000), peer=("::ffff:10.0.0.2", 80))}
    assert verdict("connection: alice.call, status: joined", with_rows(row(), descriptors=mapped)) == "pass"


@pytest.mark.parametrize(
    ("text", "seen", "is_so"),
    [
        ("listener: web:80, queue: 0, limit: 128", Observation(listeners=(listener(),)), "pass"),
        ("listener: web:80, state: LISTEN, address: '*'", Observation(listeners=(listener(),)), "pass"),
        ("listener: web:80, queue: '>=1'", Observation(listeners=(listener(),)), "fail"),
        ("listener: web:80, state: none", Observation(), "pass"),
        ("listener: web:80, state: none", Observation(not_observed=frozenset({"web"})), "unknown"),
        ("listener: web:80, state: none", Observation(not_observed=frozenset({"alice"})), "pass"),
        ("listener: web:80, queue: 0", Observation(), "fail"),
        ("listener: web:80, limit: 5", Observation(listeners=(listener(limit=None),)), "unknown"),
        ("listener: web:80, count: 2", Observation(listeners=(listener(), listener(fd=5))), "pass"),
        ("listener: web:80, queue: 0", Observation(listeners=(listener(), listener(fd=5))), "unknown"),
        (
            "listener: web:80, address: '*', queue: 1",
            Observation(listeners=(listener(address="10.0.0.2"), listener(queue=1))),
            "pass",
        ),
        ("listener: web.door, queue: 0", Observation(listeners=(listener(),), descriptors=DOOR), "pass"),
        ("listener: web.door, queue: 0", Observation(listeners=(listener(),)), "unknown"),
        ("listener: web.door, state: none", Observation(descriptors=DOOR), "pass"),
    ],
)
def test_listeners(text: str, seen: Observation, is_so: Verdict) -> None:
    assert verdict(text, seen) == is_so


def test_of_several_sockets_at_a_port_the_named_one_is_meant() -> None:
    shared = Observation(listeners=(listener(queue=7, inode=8), listener(queue=2)), descriptors=DOOR)
    assert verdict("listener: web.door, queue: 2", shared) == "pass"


def test_a_socket_opened_at_the_port_later_is_not_the_named_one() -> None:
    later = Observation(listeners=(listener(inode=8),), descriptors=DOOR)  # by the same descriptor number
    assert verdict("listener: web.door, state: LISTEN", later) == "fail"
    assert verdict("listener: web.door, state: none", later) == "pass"


@pytest.mark.parametrize(
    ("text", "grown", "is_so"),
    [("'>=1'", 1, "pass"), ("'>=1'", 0, "fail"), ("0", 0, "pass"), ("3", None, "unknown")],
)
def test_counters(text: str, grown: int | None, is_so: Verdict) -> None:
    counters = {} if grown is None else {("web", "TcpExtListenDrops"): grown}
    expectation = f"counter: web.TcpExtListenDrops, difference: {text}"
    assert verdict(expectation, Observation(counters=counters)) == is_so


def step(**fields: Any) -> Observation:
    """A look in which web.got is so."""
    return Observation(steps={("web", "got"): StepResult(**fields)})


@pytest.mark.parametrize(
    ("text", "seen", "is_so"),
    [
        ("result: 5, errno: none, running: false", step(result=5), "pass"),
        ("result: '>5'", step(result=5), "fail"),
        ("result: 5", step(running=True), "unknown"),
        ("running: true", step(running=True), "pass"),
        ("running: true", step(), "fail"),
        ("errno: ECONNRESET", step(errno="ECONNRESET"), "pass"),
        ("errno: none", step(errno="ECONNRESET"), "fail"),
        ("errno: timeout", step(errno="EAGAIN", timed_out=True), "pass"),
        ("errno: EAGAIN", step(errno="EAGAIN", timed_out=True), "pass"),
        ("errno: timeout", step(errno="EAGAIN"), "fail"),
        ("result: readable", step(result={"readable": True, "writable": False}), "pass"),
        ("result: cubic", step(result="cubic"), "pass"),
        ("contains: lo w", step(output="hello world"), "pass"),
        ("matches: '^w'", step(output="hello world"), "fail"),
        ("duration: 2s +-50ms", step(duration=2.04), "pass"),
        ("duration: 2s +-50ms", step(duration=2.06), "fail"),
        ("duration: 2s +-50ms", step(duration=2.04, stalled=0.06), "unknown"),
        ("duration: 2s +-50ms", step(duration=2.06, stalled=0.04), "unknown"),
        ("duration: 2s +-50ms", step(duration=2.20, stalled=0.04), "fail"),
        ("duration: '<100ms'", step(duration=0.09, stalled=5), "pass"),
        ("duration: '<100ms'", step(duration=0.2, stalled=0.15), "unknown"),
        ("duration: '>=1s'", step(duration=1.1, running=True), "pass"),
        ("duration: '<1s'", step(duration=0.5, running=True), "unknown"),
        ("duration: '<1s'", step(duration=1.5, running=True), "fail"),
        ("running: false", Observation(), "unknown"),
    ],
)
def test_steps(text: str, seen: Observation, is_so: Verdict) -> None:
    assert verdict(f"step: web.got, {text}", seen) == is_so


def received(data: bytes, **fields: Any) -> Observation:
    """A look in which web.conn has received this."""
    kept: dict[str, Any] = {"data": data, "total": len(data)}
    one = Received(**(kept | fields))
    return Observation(received={("web", "conn"): one})


@pytest.mark.parametrize(
    ("text", "seen", "is_so"),
    [
        ("text: hello, bytes: 5", received(b"hello"), "pass"),
        ("text: hell", received(b"hello"), "fail"),
        ("contains: ell", received(b"hello"), "pass"),
        ("matches: 'l+o$'", received(b"hello"), "pass"),
        ("contains: ell", received(b"hello", total=9), "pass"),
        ("contains: x", received(b"hello", total=9), "unknown"),
        ("text: hello", received(b"hello", total=9), "unknown"),
        ("matches: 'o$'", received(b"hello", total=9), "unknown"),
        ("eof: true", received(b"", eof=True), "pass"),
        ("eof: true", received(b"", eof=False), "fail"),
        ("eof: false", received(b""), "unknown"),
        ("bytes: 0", Observation(), "unknown"),
    ],
)
def test_received(text: str, seen: Observation, is_so: Verdict) -> None:
    assert verdict(f"received: web.conn, {text}", seen) == is_so


def log(*lines: str, complete: bool = True) -> Observation:
    """A look at web's log."""
    return Observation(logs={"web": Log(lines=lines, complete=complete)})


@pytest.mark.parametrize(
    ("text", "seen", "is_so"),
    [
        ("contains: timed out", log("a", "b timed out"), "pass"),
        ("contains: timed, matches: '^a'", log("a", "b timed out"), "fail"),
        ("contains: x", log("a"), "fail"),
        ("contains: x", log("a", complete=False), "unknown"),
        ("contains: a, count: 2", log("a", "ba", "c"), "pass"),
        ("contains: a, count: 2", log("a", "ba", complete=False), "unknown"),
        ("contains: a, count: '>=2'", log("a", "ba", complete=False), "pass"),
        ("count: 0", log(), "pass"),
        ("count: 0", Observation(), "unknown"),
    ],
)
def test_logs(text: str, seen: Observation, is_so: Verdict) -> None:
    assert verdict(f"log: web, {text}", seen) == is_so


def test_what_is_shown() -> None:
    late = with_rows(row("SYN_SENT", None, accepted=None, reason="web has no room"))
    judged = judge(expect("connection: alice.call, client: ESTABLISHED, server: ESTABLISHED"), late)
    assert judged.expected == "client ESTABLISHED, server ESTABLISHED"
    assert judged.observed == "client SYN_SENT, server none"
    assert judged.evidence == ("alice 10.0.0.1:4000 SYN_SENT <=> no row (client-only, web has no room)",)


TEXTS = (
    "connection: alice.call, client: ESTABLISHED",
    "connection: alice.call, server: none",
    "connection: alice.call, status: none",
    "connection: alice.call, client.rx_queue: '<=9'",
    "connection: alice.call, accepted: false",
    "connection: 'alice -> web:80', client: none",
    "connection: 'alice -> web:80', count: 0",
    "connection: 'alice -> web:80', count: '<9'",
    "connection: alice.many, client: ESTABLISHED",
    "connection: alice.many, count: '<=3'",
    "listener: web:80, state: none",
    "listener: web.door, queue: '<9'",
    "counter: web.TcpExtListenDrops, difference: 0",
    "log: web, count: 0",
    "received: web.conn, bytes: 0",
    "step: web.got, running: false",
    "step: web.got, duration: '<9s'",
)
EXPECTATIONS = [expect(text) for text in TEXTS]
STATES = st.sampled_from(["ESTABLISHED", "SYN_SENT", "TIME_WAIT", None])
NAMES = st.sampled_from([{}, CALL, MANY, DOOR, CALL | MANY | DOOR])


@given(st.sampled_from(EXPECTATIONS), NAMES)
def test_nothing_passes_of_a_lab_that_was_not_seen(expectation: Any, descriptors: Any) -> None:
    blind = Observation(not_observed=frozenset({"alice", "web"}), descriptors=descriptors)
    judged = judge(expectation, blind)
    assert judged.verdict == "unknown"
    assert judged.why


@st.composite
def looks(draw: st.DrawFn) -> Observation:
    """Rows of alice and web, of hosts that were looked at."""
    unseen = draw(st.sets(st.sampled_from(["alice", "web"])))
    rows = []
    for port in draw(st.lists(st.sampled_from([4000, 5001, 5002, 5003]), unique=True)):
        client = None if "alice" in unseen else draw(STATES)
        server = None if "web" in unseen else draw(STATES)
        if client or server:
            status = {"status": "in-transition"} if draw(st.integers(0, 3)) == 0 else {}
            accepted = draw(st.sampled_from([True, False, None])) if server else None
            rows.append(row(client, server, port=port, accepted=accepted, **status))
    listeners = () if "web" in unseen else draw(st.sampled_from([(), (listener(),)]))
    return Observation(
        connections=tuple(rows),
        listeners=listeners,
        not_observed=frozenset(unseen),
        descriptors=draw(NAMES),
    )


@given(looks(), st.sampled_from(EXPECTATIONS))
def test_what_passes_or_fails_does_so_whatever_the_unseen_tables_say(
    seen: Observation, expectation: Any
) -> None:
    """A verdict on part of the tables is never contradicted by the whole."""
    partial = judge(expectation, seen).verdict
    if partial == "unknown" or not seen.not_observed:
        return
    for state in ("ESTABLISHED", "TIME_WAIT", None):
        assert judge(expectation, completed(seen, state)).verdict in (partial, "unknown")


def completed(seen: Observation, state: str | None) -> Observation:
    """The look that would have seen the tables that this one did not: each missing end in that state, or
    none."""
    rows = {one.client.port if one.client else one.server.peer_port: one for one in seen.connections}  # type: ignore[union-attr]
    full = []
    for port in (4000, 5001, 5002, 5003):
        old = rows.get(port)
        client = old.client.state if old and old.client else state if "alice" in seen.not_observed else None
        server = old.server.state if old and old.server else state if "web" in seen.not_observed else None
        if client or server:
            fields = {"accepted": old.accepted if old and old.server else None}
            full.append(row(client, server, port=port, **fields, **_moving(old)))
    listeners = seen.listeners
    if "web" in seen.not_observed and state:
        listeners = (listener(),)
    return msgspec.structs.replace(
        seen, connections=tuple(full), listeners=listeners, not_observed=frozenset()
    )


def _moving(old: Any) -> dict[str, str]:
    return {"status": "in-transition"} if old is not None and old.status == "in-transition" else {}


@given(st.lists(st.sampled_from(["pass", "fail", "unknown"])))
def test_of_several_verdicts(verdicts: list[Verdict]) -> None:
    found = worst(tuple(verdicts))
    assert (found == "fail") == ("fail" in verdicts)
    assert (found == "pass") == all(one == "pass" for one in verdicts)


def test_a_step_that_still_runs_has_run_all_the_while() -> None:
    """Two looks that show it running leave no time between them in which it was not. Once ended, a step
    of the same name may begin."""
    text = "step: alice.call, running: true"
    running = judge(expect(text), Observation(steps={("alice", "call"): StepResult(running=True)}))
    assert (running.verdict, running.still) == ("pass", ("alice", "call"))
    ended = judge(
        expect("step: alice.call, running: false"), Observation(steps={("alice", "call"): StepResult()})
    )
    assert (ended.verdict, ended.still) == ("pass", ())


def test_an_ipv6_end_stands_in_brackets_in_evidence() -> None:
    six = row()
    assert six.client is not None
    client = msgspec.structs.replace(six.client, address="fd20:1::2", port=4000)
    six = msgspec.structs.replace(six, client=client)
    assert "alice [fd20:1::2]:4000 ESTABLISHED" in evidence.as_text(six)
    assert evidence.as_text(listener(address="fd20:2::80")).startswith("web [fd20:2::80]:80 LISTEN")


def test_a_row_of_addresses_that_were_used_again_is_another_descriptors() -> None:
    first = Descriptor(fd=4, inode=8, local=ALICE, peer=WEB)
    again = with_rows(row(), descriptors={("alice", "call"): first})  # its socket has inode 9
    assert verdict("connection: alice.call, status: none", again) == "pass"
    gone = msgspec.structs.replace(first, inode=9, connection="another")
    assert (
        verdict(
            "connection: alice.call, client: ESTABLISHED",
            with_rows(row(), descriptors={("alice", "call"): gone}),
        )
        == "pass"
    )
    closed = row(client=None, server=None)
    orphan = msgspec.structs.replace(closed, client=end("alice", ALICE, WEB, "TIME_WAIT", inode=0))
    second = Descriptor(fd=5, inode=9, local=ALICE, peer=WEB, connection=orphan.id)
    both = with_rows(orphan, descriptors={("alice", "call"): first, ("alice", "many-1"): second})
    assert verdict("connection: alice.call, client: TIME_WAIT", both) == "fail"
    assert (
        verdict(
            "connection: alice.call, client: TIME_WAIT",
            with_rows(orphan, descriptors={("alice", "call"): first}),
        )
        == "pass"
    )
