"""`lab agent` through the real launcher: typed at a terminal, and from a pipe."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from orchestrator.engines.base import Engine
from tests.support.cli import Commands, Ended
from tests.support.rig import eventually
from tests.support.terminal import Terminal

pytestmark = pytest.mark.engine("namespaces", "docker")
FILE = """
name: {name}
networks:
  n: {subnet: {net}.8.0/24}
hosts:
  web: {role: server, networks: [n], listen: [8080]}
  alice: {role: client, networks: [n], run: sleep 3600}
"""
PROMPT = "web> "


@pytest.fixture(scope="module")
def lab(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    commands = Commands(tmp_path_factory.mktemp("agent"), engine.name, {"NO_COLOR": "1"})
    commands.write(FILE)
    commands.up()
    yield commands
    commands.good("down")


def script(lab: Commands, *lines: str, host: str = "web") -> Ended:
    """`lab agent` with these lines from a pipe."""
    return lab.run("agent", host, stdin="".join(f"{line}\n" for line in lines))


def listening(lab: Commands) -> set[int]:
    """Ports of the lab's listeners."""
    rows: list[Any] = lab.good("conns", "--listeners", "--json").json["listeners"]
    return {row["port"] for row in rows}


@contextmanager
def typing(lab: Commands, host: str = "web") -> Iterator[Terminal]:
    """A prompt at a terminal, wide enough that no line is broken."""
    terminal = Terminal(lab, "agent", host, columns=400)
    try:
        terminal.expect(f"{host}> ")
        yield terminal
    finally:
        terminal.close()


@pytest.fixture
def web(lab: Commands) -> Iterator[Terminal]:
    with typing(lab) as terminal:
        yield terminal


# At a terminal.


def test_a_step_is_typed_and_both_ends_change(lab: Commands, web: Terminal) -> None:
    web.type("listen :80 as door\n")
    web.expect(r"→ fd \d+ .*ms\r\n")
    web.type("alice: connect web:80 as call\n")
    web.expect(r"→ fd \d+ .*:80 .*ms\r\n")
    web.expect(r"\+ alice .* ESTABLISHED .*web .*:80 ESTABLISHED .*not accepted")
    web.expect(PROMPT)
    assert 80 in listening(lab), "other commands see what is open, while the session goes on"
    web.type("accept as conn\n")
    web.expect(r"from listener fd \d+")
    web.expect(r"~ alice .* ESTABLISHED .*ESTABLISHED .*\(joined\)")
    web.type("open\n")
    web.expect(r"web\.door  fd \d+  tcp  0\.0\.0\.0:80\r\n.*web\.conn  fd \d+")
    web.type("rows\n")
    web.expect("1 connection")
    web.type("listeners\n")
    web.expect(r"web +\d+ +\(\*:80,\*:\*\)")
    web.type("expect: {connection: alice.call, client: ESTABLISHED}\n")
    web.expect("→ pass")
    web.expect(PROMPT)
    web.type("\x04")
    assert web.ended() == 0
    assert listening(lab) == {8080}, "what was opened is closed"
    assert lab.conns() == []


def test_a_mistake_is_pointed_at_and_changes_nothing(web: Terminal) -> None:
    web.type("listen :80 as door\n")
    web.expect(PROMPT)
    web.type("close dor\n")
    web.expect(r"  close dor\r\n        \^\r\n.*no `dor`; did you mean `door`\?")
    web.type("connect alice:81 as call\n")
    web.expect("→ fail: ECONNREFUSED +[0-9.]+ ms")
    web.type("nonsense\n")
    web.expect("there is no verb `nonsense`")
    web.type("close door\n")
    web.expect("→ fd")
    web.type("quit\n")
    assert web.ended() == 0


def test_ctrl_c_ends_the_step_and_not_the_session(web: Terminal) -> None:
    """Nothing is left waiting in the agent: the next accept gets the connection."""
    web.type("listen :80 as door\n")
    web.expect(PROMPT)
    web.type("accept as lost timeout=100s\n")
    web.no_more(PROMPT)
    web.type("\x03")
    web.expect("→ fail: EINTR")
    web.expect(PROMPT)
    web.type("wait: 100s\n")
    web.no_more(PROMPT)
    web.type("\x03")
    web.expect(PROMPT)
    web.type("half a li\x03")  # and an empty prompt is what Ctrl-C gives there
    web.expect(PROMPT)
    web.type("run sleep 100 timeout=100s\n")
    web.no_more(PROMPT)
    web.type("\x03")
    web.expect("interrupted")
    web.expect(PROMPT)
    web.type("alice: connect web:80 as call\n")
    web.expect("not accepted")
    web.expect(PROMPT)
    web.type("accept as lost\n")  # the name is free again
    web.expect(r"from listener fd \d+")
    web.expect(PROMPT)
    web.type("\x04")
    assert web.ended() == 0


def test_what_is_left_running_is_told_when_it_ends(web: Terminal) -> None:
    web.type("listen :80 as door\n")
    web.expect(PROMPT)
    web.type("accept as conn timeout=100s &\n")
    web.expect("→ left running")
    web.expect(PROMPT)
    web.type("wait conn\n")
    web.no_more(PROMPT)
    web.type("\x03")
    web.expect("interrupted")  # the waiting for it, not the step itself
    web.expect(PROMPT)
    web.type(
        "alice: connect web:80 as call\nnote: go on\n"
    )  # it may end before the first prompt, or the next
    web.expect(r"web: accept as conn timeout=100s & +→ fd \d+  from listener fd")
    web.type("recv conn timeout=50ms &\n")
    web.expect("→ left running")
    web.type("wait: 200ms\n")
    web.expect(r"recv conn timeout=50ms & +→ fail: timed out after 0.05 s")
    web.type("send conn hello\n")
    web.expect(r"→ fd \d+  5")
    web.type("quit\n")
    assert web.ended() == 0


def test_tab_completes_what_is_there(web: Terminal) -> None:
    web.type("acc\t")
    web.expect("accept ")
    web.type("\x15al\tconn\tweb:8\tas call\n")
    web.expect(r"alice: connect web:8080 as call\r\n")
    web.expect(r"\+ alice .* ESTABLISHED")
    web.expect(PROMPT)
    web.type("alice: set ca\tSO_KEEPA\t1\n")
    web.expect("alice: set call SO_KEEPALIVE=1\r\n")
    web.expect("→ fd")
    web.expect(PROMPT)
    web.type("exp\tconnection: alice.\tclient: EST\t}")
    web.expect(r"expect: \{connection: alice\.call.*\}")
    web.type("\x03")  # when all is read: the terminal drops what is not, and readline waits in vain for it
    web.expect(PROMPT)
    web.type("\x04")
    assert web.ended() == 0


def test_history_is_kept_from_session_to_session(lab: Commands) -> None:
    with typing(lab) as first:
        first.type("note: something to remember\n")
        first.expect("# something to remember")
        first.expect(PROMPT)
        first.type("\x04")
        assert first.ended() == 0
    with typing(lab) as second:
        second.type("\x1b[A\n")
        second.expect("# something to remember")
        second.expect(PROMPT)
        second.type("\x04")
        assert second.ended() == 0
    (path,) = lab.folder.glob("state/lab/agent-history")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_however_it_ends_nothing_stays_open(lab: Commands, web: Terminal, number: signal.Signals) -> None:
    web.type("listen :80 as door\n")
    web.expect(PROMPT)
    web.type("accept as conn timeout=100s\n")
    web.no_more(PROMPT)
    os.kill(web.process.pid, number)
    assert web.process.wait(30) == (-number if number == signal.SIGKILL else 128 + number)
    eventually(lambda: listening(lab) == {8080})


# From a pipe.


def test_a_script_prints_what_came_of_each_line(lab: Commands) -> None:
    ended = script(
        lab,
        "# a lesson",
        "listen :80 as door",
        "accept door as conn &",
        "- alice: connect web:80 as call",
        "wait conn",
        "alice: send call 'a: b'",
        "recv conn until b",
        "expect: {received: web.conn, text: 'a: b'}",
        "quit",
        "nonsense",
    )
    assert (ended.code, ended.err) == (0, "")
    assert "> " not in ended.out.replace("=> ", ""), "no prompt"
    assert "  web: listen :80 as door" in ended.out
    assert "      + alice " in ended.out
    assert "'a: b'" in ended.out
    assert "→ pass" in ended.out
    assert listening(lab) == {8080}


@pytest.mark.parametrize(
    ("lines", "code", "said"),
    [
        (["connect alice:81 as call"], 1, "→ fail: ECONNREFUSED"),
        (["connect alice:81 fails=ECONNREFUSED"], 0, "ECONNREFUSED"),
        (["expect: {listener: web:80, state: LISTEN, within: 20ms}"], 1, "→ fail"),
        (["recv x &"], 2, "stdin:1:6: `web` has opened no `x`"),
        (["listen :80 as a", "", "  close b"], 2, "stdin:3:9: `web` has opened no `b`"),
        (["run sh -c 'exit 3'"], 1, "it ended with 3, and must with 0"),
        (["accept timeout=10ms &", "wait: 1s"], 2, "no descriptor open"),
        (["listen :80", "accept timeout=10ms &", "wait: 200ms", "note: too late"], 1, "timed out"),
    ],
)
def test_a_script_ends_at_what_fails(lab: Commands, lines: list[str], code: int, said: str) -> None:
    ended = script(lab, *lines, "note: further")
    assert ended.code == code, ended
    assert said in ended.out + ended.err
    assert ("# further" in ended.out) == (code == 0)
    assert "# too late" not in ended.out


def test_what_is_killed_is_made_anew_at_the_end(lab: Commands) -> None:
    ended = script(lab, "kill: alice.run", "expect: {log: alice, contains: nothing, within: 10ms}")
    assert ended.code == 1
    programs = {one["name"]: one["programs"] for one in lab.good("status", lab.name, "--json").json["hosts"]}
    assert programs["alice"][0]["state"] == "running"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["nobody"], "has no host nobody"), (["web", "alice"], "unexpected extra argument")],
)
def test_usage(lab: Commands, arguments: list[str], words: str) -> None:
    ended = lab.run("agent", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err


def test_without_a_host_each_line_names_one(lab: Commands) -> None:
    ended = lab.run("agent", stdin="web: listen :80 as door\nlisten :81\n")
    assert ended.code == 2
    assert "→ fd" in ended.out
    assert "stdin:2:1: no host stands before this step" in ended.err
