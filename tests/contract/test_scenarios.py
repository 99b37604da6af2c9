"""Scenarios on every engine: steps, what they record, verdicts, and that nothing stays open."""

from __future__ import annotations

from typing import NoReturn

import pytest

from orchestrator.errors import DaemonError
from orchestrator.model.runs import Part, StepRecord
from orchestrator.model.steps import Expectation, Step
from orchestrator.runs import Runner
from tests.support.rig import Rig, eventually
from tests.support.rows import look
from tests.support.scenarios import Silent, explained, perform, scenarios, verdicts

LAB = """
networks: {office: {subnet6: auto}, dc: {subnet6: auto}}
routers: {edge: {networks: [office, dc]}}
hosts:
  web: {role: server, networks: [dc]}
  alice: {role: client, networks: [office]}
"""
real = pytest.mark.engine("namespaces", "docker")


def nothing_is_open(lab: Rig) -> None:
    """No descriptor of a scenario is left; a TIME_WAIT is nobody's (a scenario may have closed by itself)."""

    def ends() -> list[str]:
        rows = look(lab).connections
        return [end.state for row in rows for end in (row.client, row.server) if end is not None]

    eventually(lambda: set(ends()) <= {"TIME_WAIT"} and not look(lab).listeners)


def test_a_connection_from_listen_to_close(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - web: listen :80 as door
  - alice: connect web:80 as call
  - expect: {connection: alice.call, client: ESTABLISHED, server: ESTABLISHED, accepted: false}
  - expect: {listener: web.door, queue: 1}
  - web: accept door as conn
  - expect: {connection: web.conn, accepted: true, status: joined}
  - alice: send call hello
  - expect: {connection: alice.call, server.rx_queue: 5}
  - web: recv conn 5
  - expect: {received: web.conn, text: hello, eof: false}
  - alice: shutdown call write
  - expect: {connection: alice.call, client: FIN_WAIT2, server: CLOSE_WAIT}
  - web: recv conn all
  - expect: {received: web.conn, bytes: 5, eof: true}
  - web: close conn
  - expect: {connection: alice.call, client: TIME_WAIT, server: none}
""",
    )
    assert record.verdict == "pass", explained(record)
    assert len(record.expectations) == 8
    connect = next(one for one in record.steps if "connect" in one.text)
    (call,) = connect.calls
    assert connect.host == "alice"
    assert (call.errno, call.timed_out, call.refused) == (None, False, "")
    assert call.fd is not None
    assert call.local is not None
    assert call.peer == (lab.address("web"), 80)
    assert 0 <= call.duration < 5
    accept = next(one for one in record.steps if "accept" in one.text).calls[0]
    assert accept.listener is not None
    assert accept.fd not in (None, accept.listener)
    assert accept.peer == call.local


def test_all_is_closed_afterwards(lab: Rig) -> None:
    record = perform(lab, LAB, "steps: [web: listen :80, alice: connect web:80 as call x5]")
    assert record.verdict == "pass", explained(record)
    nothing_is_open(lab)


def test_a_row_that_one_look_alone_has_shown_does_not_fail_what_lasts(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - web: listen :80 as door
  - expect: {listener: web.door, queue: 0}
  - alice: connect web:80 as call
  - expect: {connection: alice.call, status: joined, for: 200ms}
""",
    )
    first, second = record.expectations
    assert first.verdict == "pass", explained(record)
    assert second.verdict != "fail", explained(record)  # a busy computer may leave it unknown


def test_a_step_that_was_left_running_is_known_to_have_ended_before_it_is_joined(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - web: listen :80 as door
  - web: accept door as conn &
  - expect: {step: web.conn, running: true}
  - alice: connect web:80 as call
  - expect: {step: web.conn, running: false, errno: none}
  - web: recv conn as heard &
  - alice: send call hello
  - expect: {received: web.conn, text: hello}
  - expect: {step: web.heard, running: false, result: 5}
  - wait: web.heard
  - wait: web.conn
  - expect: {received: web.conn, text: hello}
""",
    )
    assert record.verdict == "pass", explained(record)


@real
def test_a_program_left_running_takes_as_long_as_it_ran(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - alice: run sleep 0.1 as nap &
  - wait: 1s
  - expect: {step: alice.nap, running: false}
  - wait: alice.nap
  - expect: {step: alice.nap, duration: "<800ms", result: 0}
""",
    )
    assert verdicts(record) == ["pass", "pass"], explained(record)
    assert record.steps[-1].duration < 0.8


def test_what_waits_in_a_host_that_is_gone_ends_with_it(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - web: listen :80 as door
  - web: accept door as conn &
  - kill: web
  - expect: {step: web.conn, running: true, within: 100ms}
cleanup:
  - alice: connect web:81 timeout=100ms fails=timeout
""",
    )
    assert verdicts(record) == ["unknown"], explained(record)
    assert [one.part for one in record.steps][-1] == "cleanup"
    assert record.problem == ""


def test_what_came_in_belongs_to_one_descriptor_of_a_name(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - web: listen :80 as door
  - repeat: 2
    steps:
      - alice: connect web:80 as call
      - web: accept door as conn
      - expect: {received: web.conn, bytes: 5, within: 50ms}
      - alice: send call hello
      - web: recv conn
      - expect: {received: web.conn, text: hello}
      - alice: reset call
      - web: close conn
""",
    )
    assert verdicts(record) == ["unknown", "pass"] * 2, explained(record)


def test_a_listener_that_was_closed_is_not_the_one_that_followed_it(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - web: listen :80 as first
  - web: close first
  - expect: {listener: web.first, state: none}
  - web: listen :80 as second
  - expect: {listener: web.first, state: none}
  - expect: {listener: web.second, state: LISTEN, queue: 0}
  - expect: {listener: "web:80", state: LISTEN}
""",
    )
    assert record.verdict == "pass", explained(record)


def test_a_failed_expectation_is_told_with_evidence_and_the_rest_goes_on(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - web: listen :80 as door
  - alice: connect web:80 as call
  - expect: {connection: alice.call, client: CLOSE_WAIT, within: 100ms}
  - expect: {connection: alice.call, client: ESTABLISHED}
""",
    )
    assert record.verdict == "fail"
    assert verdicts(record) == ["fail", "pass"]
    failed = record.expectations[0]
    assert (failed.expected, failed.observed) == ("client CLOSE_WAIT", "client ESTABLISHED")
    assert "alice" in failed.evidence[0]
    assert "web" in failed.evidence[0]
    assert failed.lately == (f"alice: connect web:80 as call: fd {record.steps[1].calls[0].fd}",)
    assert failed.duration >= 0.1


def test_a_failed_call_ends_the_steps_and_cleanup_is_done(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - alice: connect web:81 as call
  - note: never said
  - expect: {connection: alice.call, client: ESTABLISHED}
cleanup:
  - alice: connect web:82 as other fails=ECONNREFUSED
  - alice: close other
""",
    )
    assert record.verdict == "fail"
    assert "ECONNREFUSED" in record.why
    assert [(one.part, one.errno) for one in record.steps] == [
        ("steps", "ECONNREFUSED"),
        ("cleanup", "ECONNREFUSED"),
        ("cleanup", None),
    ]
    assert verdicts(record) == ["unknown"]
    assert record.expectations[0].why.startswith("not reached: line ")


def test_cleanup_goes_on_past_a_failure(lab: Rig) -> None:
    record = perform(lab, LAB, "steps: [note: x]\ncleanup: [alice: connect web:81, web: listen :82 as door]")
    assert record.verdict == "fail"
    assert [one.verdict for one in record.steps] == ["fail", "pass"]


def test_what_was_left_running_and_failed_is_told_where_a_step_after_it_fails(lab: Rig) -> None:
    text = (
        "steps: [alice: connect web:81 &, alice: connect web:82, expect: {listener: 'web:80', state: none}]"
    )
    record = perform(lab, LAB, text)
    failed = [one.text for one in record.steps if one.verdict == "fail"]
    assert failed == ["alice: connect web:82", "alice: connect web:81 &"], explained(record)
    assert verdicts(record) == ["unknown"]


def test_a_failed_setup_means_that_the_steps_are_not_reached(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
setup: [alice: connect web:81 as call]
steps: [expect: {connection: "alice -> web:81", count: 0}]
""",
    )
    assert (record.verdict, verdicts(record)) == ("fail", ["unknown"])


@pytest.mark.parametrize(
    ("step", "verdict"),
    [
        ("connect web:81 fails=ECONNREFUSED", "pass"),
        ("connect web:81 fails=ETIMEDOUT|ECONNREFUSED", "pass"),
        ("connect web:81 fails=ETIMEDOUT", "fail"),
        ("connect web:80 fails=ECONNREFUSED", "fail"),
    ],
)
def test_how_a_call_must_fail(lab: Rig, step: str, verdict: str) -> None:
    record = perform(lab, LAB, f"steps: [web: listen :80, alice: {step}]")
    assert record.verdict == verdict, explained(record)


def test_a_call_that_is_not_answered_in_time_has_timed_out(lab: Rig) -> None:
    text = "steps: [web: listen :80, alice: connect web:80 as call, alice: recv call timeout=50ms{}]"
    assert perform(lab, LAB, text.format("")).verdict == "fail"
    record = perform(lab, LAB, text.format(" fails=timeout"))
    assert record.verdict == "pass", explained(record)
    assert record.steps[-1].timed_out
    assert 0.05 <= record.steps[-1].calls[0].duration < 1


def test_a_call_that_must_not_wait(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - web: listen :80 as door
  - web: accept door blocking=no fails=EAGAIN
  - alice: connect web:80 as call
  - alice: recv call blocking=no fails=EAGAIN
""",
    )
    assert record.verdict == "pass", explained(record)
    assert not any(one.timed_out for one in record.steps)


def test_steps_that_are_left_running(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - web: listen :80 as door
  - web: accept door as conn &
  - expect: {step: web.conn, running: true}
  - alice: connect web:80 as call
  - wait: web.conn
  - expect: {step: web.conn, running: false, errno: none}
  - expect: {connection: web.conn, accepted: true}
""",
    )
    assert record.verdict == "pass", explained(record)
    assert [one.background for one in record.steps] == [False, True, False, False]


def test_a_failure_of_a_step_that_nobody_joined_counts(lab: Rig) -> None:
    record = perform(lab, LAB, "steps: [alice: connect web:81 as call &, wait: 200ms]")
    assert record.verdict == "fail"
    assert record.steps[-1].errno == "ECONNREFUSED"


def test_what_still_runs_at_the_end_just_ends(lab: Rig) -> None:
    record = perform(lab, LAB, "steps: [web: listen :80 as door, web: accept door as conn timeout=60s &]")
    assert record.verdict == "pass", explained(record)
    nothing_is_open(lab)


def test_side_by_side(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - web: listen :80 as door
  - parallel:
      - web: accept door as conn
      - alice: connect web:80 as call
  - expect: {connection: alice.call, accepted: true}
""",
    )
    assert record.verdict == "pass", explained(record)


def test_again_and_again_with_variables_and_tables(lab: Rig) -> None:
    text = """
variables: {word: hello}
table: [{port: 80}, {port: 8080}]
steps:
  - web: listen :${port} as door
  - repeat: 3
    steps:
      - alice: connect web:${port} as call
      - web: accept door as conn
      - alice: send call ${word}
      - web: recv conn
      - expect: {received: web.conn, text: "${word}"}
      - alice: close call
      - web: close conn
"""
    both = scenarios(LAB, text)
    assert [one.label for one in both] == ["it[port=80]", "it[port=8080]"]
    record = perform(lab, LAB, text)
    assert record.verdict == "pass", explained(record)
    assert len(record.steps) == 19


def test_many_at_once(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - web: listen :80 backlog=200 as door
  - alice: connect web:80 as call x100
  - web: accept door as conn x100
  - alice: send call x
  - web: recv conn
  - expect: {connection: alice.call, client: ESTABLISHED, accepted: true}
  - expect: {connection: "alice -> web:80", count: 100, accepted: true}
  - expect: {received: web.conn, text: x}
""",
    )
    assert record.verdict == "pass", explained(record)
    assert [one.count for one in record.steps] == [1, 100, 100, 100, 100]


def test_the_rows_that_changed_are_told_where_somebody_watches(lab: Rig) -> None:
    record = perform(
        lab, LAB, "steps: [web: listen :80 as door, alice: connect web:80, web: accept door]", watch=True
    )
    listen, connect, accept = (one.changed for one in record.steps)
    assert listen == ()
    assert [line[0] for line in (*connect, *accept)] == ["+", "~"]
    assert "not accepted" in connect[0]
    assert "not accepted" not in accept[0]


def test_notes_are_for_whoever_watches(lab: Rig) -> None:
    audience = Silent()
    assert perform(lab, LAB, "steps: [note: look here]", audience=audience).verdict == "pass"
    assert audience.notes == ["look here"]


def test_what_is_lasting_is_looked_at_all_the_while(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - web: listen :80 as door
  - alice: connect web:80 as call
  - expect: {connection: alice.call, client: CLOSE_WAIT, for: 200ms}
""",
    )
    assert verdicts(record) == ["fail"]
    assert record.expectations[0].evidence[0].startswith("not so after ")


def test_an_interrupted_scenario_is_cleaned_up(lab: Rig) -> None:
    done: list[str] = []

    def interrupt(record: StepRecord) -> None:
        done.append(record.text)
        if record.part == "steps" and "connect" in record.text:
            raise KeyboardInterrupt

    audience = Silent(interrupt)
    with pytest.raises(KeyboardInterrupt):
        perform(
            lab,
            LAB,
            """
steps:
  - web: listen :80 as door
  - alice: connect web:80 as call
  - web: accept door as conn
cleanup: [alice: connect web:81 fails=ECONNREFUSED]
""",
            audience=audience,
        )
    assert [text.split()[1] for text in done] == ["listen", "connect", "connect"]
    nothing_is_open(lab)


# What only a kernel has.


@real
def test_counters_are_differences_since_the_scenario_began(lab: Rig) -> None:
    text = """
steps:
  - alice: connect web:81 fails=ECONNREFUSED
  - expect: {counter: alice.TcpAttemptFails, difference: 1}
  - expect: {counter: web.TcpOutRsts, difference: 1}
"""
    for _ in range(2):
        record = perform(lab, LAB, text)
        assert record.verdict == "pass", explained(record)


@real
def test_programs(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - web: run sh -c 'echo hello; exit 3' fails=3 as said
  - expect: {step: web.said, result: 3, contains: hello}
  - web: run sleep 60 timeout=300ms as nap &
  - expect: {step: web.nap, running: true}
  - kill: web.nap
  - expect: {step: web.nap, running: true, within: 100ms}
""",
    )
    assert verdicts(record) == ["pass", "pass", "pass"], explained(record)
    assert record.steps[0].output == "hello\n"


@real
def test_a_program_that_is_not_there_is_a_failed_step(lab: Rig) -> None:
    record = perform(lab, LAB, "steps: [web: run nosuchprogram]")
    assert (record.verdict, record.problem) == ("fail", "")


@real
def test_a_program_that_takes_too_long_is_killed(lab: Rig) -> None:
    record = perform(lab, LAB, "steps: [web: run sleep 77.7 timeout=300ms]")
    assert record.verdict == "fail"
    assert record.steps[0].timed_out
    assert b"sleep" not in lab.run("web", "sh", "-c", "cat /proc/[0-9]*/comm").out


@real
def test_a_million_bytes_and_a_reader_that_does_not_read(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        """
steps:
  - web: listen :80 as door
  - alice: connect web:80 as call
  - web: accept door as conn
  - alice: send call 8MB timeout=300ms fails=timeout
  - expect: {connection: alice.call, server.rx_queue: ">10000", client.tx_queue: ">0"}
  - alice: close call
  - web: recv conn all
  - expect: {received: web.conn, eof: true, bytes: ">100000"}
""",
    )
    assert record.verdict == "pass", explained(record)


@real
def test_ipv6_and_dual_stack(lab: Rig) -> None:
    record = perform(
        lab,
        LAB,
        f"""
steps:
  - web: listen [::]:80 family=dual as door
  - alice: connect web:80 as four
  - alice: {{connect: null, to: "[{lab.address("web", 6)}]:80", as: six}}
  - expect: {{connection: alice.four, client.family: 4, server.family: 6, server.mapped: true}}
  - expect: {{connection: alice.six, client.family: 6, server.family: 6, server.mapped: false}}
""",
    )
    assert record.verdict == "pass", explained(record)


def test_a_scenario_that_could_not_be_begun_leaves_no_green_document(
    lab: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = Runner(lab.lab, Silent())
    (scenario,) = scenarios(LAB, "steps: [alice: connect web:80 fails=ECONNREFUSED]")
    assert runner.run(scenario).verdict == "pass"

    def gone() -> NoReturn:
        raise DaemonError("the daemon of the lab is gone")

    monkeypatch.setattr(lab.lab, "another_channel", gone)
    with pytest.raises(DaemonError):
        runner.run(scenario)
    record = runner.record()
    assert (record.verdict, record.exit_code) == ("unknown", 3)
    assert record.scenarios[-1].problem == "the daemon of the lab is gone"


class Quitting(Silent):
    """Ends the run before the first expectation, as a key of `--step` does."""

    def step_begins(self, step: Step, part: Part) -> None:
        if isinstance(step, Expectation):
            raise KeyboardInterrupt


def test_each_expectation_of_a_run_that_was_ended_is_in_its_record(lab: Rig) -> None:
    runner = Runner(lab.lab, Quitting())
    text = """
steps:
  - repeat: 2
    steps:
      - web: listen :80 as door
      - expect: {listener: web.door, queue: 0}
      - web: close door
  - expect: {listener: web.door, state: none}
"""
    with pytest.raises(KeyboardInterrupt):
        runner.run(scenarios(LAB, text)[0])
    record = runner.records[-1]
    assert [one.why for one in record.expectations] == ["not reached: interrupted"] * 2
    assert record.verdict == "unknown"
