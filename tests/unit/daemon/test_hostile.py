"""An agent is hostile input: a daemon bounds it, cuts it off, and goes on with the others."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from orchestrator import errors
from tests.unit.agent.agents import until
from tests.unit.daemon.conftest import Daemon


def alive(daemon: Daemon, host: str) -> bool:
    return bool(next(h["alive"] for h in daemon.channel.call("hosts")["hosts"] if h["name"] == host))


@pytest.mark.parametrize("act", ["garbage", "huge", "unasked", "no_object", "deep"])
def test_who_breaks_a_rule_is_cut_off(daemon: Daemon, act: str) -> None:
    daemon.make("good")
    daemon.make("bad", act=act)
    until(lambda: not alive(daemon, "bad"))
    with pytest.raises(errors.AgentError, match="the agent of bad is gone") as caught:
        daemon.call("bad", "list")
    assert "cut off" in caught.value.hint
    daemon.call("good", "list")


def test_an_agent_that_sends_more_than_its_window(daemon: Daemon) -> None:
    daemon.make("good")
    daemon.make("bad", act="flood")
    client = daemon.connect()
    client.ask("exec", host="bad", argv=["true"])
    client.receive()  # the first part; the others are not read
    until(lambda: not alive(daemon, "bad"))
    pages = int(Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1])
    assert pages * os.sysconf("SC_PAGESIZE") < 128 << 20
    daemon.call("good", "list")


def test_an_agent_whose_messages_nobody_reads_is_cut_off(daemon: Daemon) -> None:
    """Parts without bytes take no window, and are bounded all the same."""
    daemon.make("bad", act="wordy")
    client = daemon.connect()
    client.ask("exec", host="bad", argv=["true"])
    client.receive()
    until(lambda: not alive(daemon, "bad"))
    pages = int(Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1])
    assert pages * os.sysconf("SC_PAGESIZE") < 192 << 20


def test_a_folder_without_end_is_not_kept(daemon: Daemon) -> None:
    daemon.make("bad", act="endless")
    with pytest.raises(errors.AgentError, match="lists more than"):
        daemon.channel.call("list", host="bad", path="/")


def test_what_an_agent_says_of_itself_is_only_what_it_holds(daemon: Daemon) -> None:
    daemon.make("good")
    daemon.make("bad", act="pretending")
    good, bad = daemon.channel.call("hosts")["hosts"]
    assert (good["name"], bad["name"], bad["kind"], bad["alive"]) == ("good", "bad", "host", True)
    assert bad["pid"] == daemon.pid("bad")
    assert (bad["listening"], bad["connected"], bad["programs"]) == ([], 0, [])


def test_an_agent_that_never_answers(daemon: Daemon) -> None:
    daemon.make("bad", act="silent")
    began = time.monotonic()
    (host,) = daemon.channel.call("hosts")["hosts"]
    assert time.monotonic() - began < 15
    assert host["problem"] == "the agent of bad does not answer"
    parts = list(daemon.channel.parts(daemon.channel.ask("snapshot", hosts=None)))
    assert parts[0].message["part"]["host"] == "bad"  # tables are the kernel's: no agent is asked


def test_what_an_agent_calls_an_error_is_an_agents_error(daemon: Daemon) -> None:
    daemon.make("bad", act="lying")
    with pytest.raises(errors.AgentError) as caught:
        daemon.call("bad", "list")
    assert len(caught.value.message) == 4000


@pytest.mark.parametrize("act", ["odd_place", "odd_twice", "odd_size", "odd_form", "odd_list"])
def test_answers_of_many_calls_have_their_form(daemon: Daemon, act: str) -> None:
    daemon.make("good")
    daemon.make("bad", act=act)
    with pytest.raises(errors.AgentError, match="the agent of bad"):
        daemon.channel.call("calls", host="bad", calls=[{"do": "list"}, {"do": "list"}])
    until(lambda: not alive(daemon, "bad"))
    daemon.call("good", "list")


def test_more_to_an_agent_that_does_not_read_is_refused(daemon: Daemon) -> None:
    daemon.make("bad", act="silent")
    client = daemon.connect()
    for _ in range(40):
        client.ask("call", host="bad", call={"do": "send", "text": "x" * 600_000}, timeout=60)
    with pytest.raises(errors.AgentError, match="does not read"):
        daemon.call("bad", "list")


def test_an_agent_that_floods_a_request_without_parts(daemon: Daemon) -> None:
    daemon.make("bad", act="flood")
    with pytest.raises(errors.AgentError, match="gone") as caught:
        daemon.call("bad", "list")
    assert "more than was asked for" in caught.value.hint


def test_an_agent_that_goes_on_after_a_cancel(daemon: Daemon) -> None:
    daemon.make("bad", act="flood")
    client = daemon.connect()
    client.ask("exec", host="bad", argv=["true"])
    client.receive()
    client.close()
    until(lambda: not alive(daemon, "bad"))


def test_a_request_that_is_too_long_is_refused_before_its_agent_sees_it(daemon: Daemon) -> None:
    daemon.make("a")
    with pytest.raises(errors.AgentError, match="in one request to a"):
        daemon.call("a", "send", text="x" * (2 << 20))
    daemon.call("a", "list")
