"""What `lab run`, `lab report` and `lab conns --history` show of what happened: against a capture of the same
packets that tshark reads, and against each other."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from orchestrator.engines.base import Engine
from tests.support.cli import SECONDS, Commands
from tests.support.terminal import Terminal

pytestmark = pytest.mark.engine("namespaces", "docker")
FILE = """
name: {name}
networks:
  office: {subnet: {net}.1.0/24}
  home: {subnet: {net}.3.0/24}
  dc: {subnet: {net}.2.0/24}
routers:
  edge: {networks: [office, dc]}
  box: {networks: [home, dc], nat: dc}
hosts:
  web: {role: server, networks: {dc: {net}.2.80}}
  alice: {role: client, networks: [office]}
  carol: {role: client, networks: [home]}
scenarios:
  talk:
    title: Opened, used, closed by alice first
    setup:
      - web: listen :80 as door
    steps:
      - alice: connect web:80 as call
      - web: accept door as conn
      - note: "現在連上了"
      - alice: send call hello
      - web: recv conn
      - web: send conn 3000
      - alice: recv call 3000
      - alice: close call
      - web: recv conn
      - expect: {connection: alice.call, client: FIN_WAIT2, server: CLOSE_WAIT, within: 2s}
      - wait: 300ms
      - web: close conn
      - expect: {connection: alice.call, client: TIME_WAIT, server: none, within: 2s}
  wrong:
    steps:
      - web: listen :80 as door
      - alice: connect web:80 as call
      - expect: {connection: alice.call, client: LAST_ACK, within: 50ms}
  behind-nat:
    steps:
      - web: listen :81 as door
      - carol: connect web:81 as call
      - web: accept door as conn
      - carol: reset call
      - expect: {connection: carol.call, status: none, within: 2s}
  path-gone:
    steps:
      - web: listen :82 as door
      - alice: connect web:82 as call
      - kill: edge
      - alice: send call hello
      - wait: 700ms
      - expect: {connection: alice.call, client.tx_queue: 5, within: 2s}
"""
STATES = (
    "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
    "LAST_ACK", "CLOSING",
)  # fmt: skip
FLAGS = {0x02: "SYN", 0x01: "FIN", 0x04: "RST", 0x08: "PSH", 0x10: "ACK"}
ARROW = re.compile(
    r"\|(?P<tail>[<. -]*) (?P<flags>[A-Z,]+) seq (?P<seq>\d+)(?: ack (?P<ack>\d+))?"
    r"(?: len (?P<len>\d+))?(?: again)? (?P<head>[>. -]*)\|"
)


class Seen(NamedTuple):
    """A segment as its sender's interface has it."""

    host: str
    flags: str
    seq: int
    ack: int
    size: int


@pytest.fixture(scope="module")
def lab(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """A lab that runs, in a folder with its file."""
    commands = Commands(tmp_path_factory.mktemp("timeline"), engine.name)
    commands.write(FILE)
    commands.up()
    yield commands
    commands.good("down")


def arrows(text: str, client: str = "alice", server: str = "web") -> list[Seen]:
    """The arrows of a ladder in ASCII, in the order in which they leave."""
    found = []
    for arrow in ARROW.finditer(text):
        tail, head = arrow["tail"], arrow["head"]
        to_right, to_left = head.endswith(">"), tail.startswith("<")
        from_air, into_air = tail.startswith("   ."), head.endswith(".   ")
        if (from_air and to_right) or (into_air and to_left):
            continue  # the coming of one that was under way for long
        host = client if to_right or into_air else server
        found.append(
            Seen(
                host,
                arrow["flags"],
                int(arrow["seq"]),
                int(arrow["ack"] or 0),
                int(arrow["len"] or 0),
            )
        )
    return found


def captured(file: Path) -> list[Seen]:
    """What left each host of the connection, as tshark says it, in the order of the times."""
    fields = (
        "frame.interface_name",
        "frame.packet_flags_direction",
        "tcp.flags",
        "tcp.seq",
        "tcp.ack",
        "tcp.len",
    )
    command = ["tshark", "-n", "-r", str(file), "-Y", "tcp.port == 80", "-T", "fields"]
    done = subprocess.run(
        [*command, *(word for field in fields for word in ("-e", field))],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    found = []
    for line in done.stdout.splitlines():
        interface, direction, flags, seq, ack, size = line.split("\t")
        host = interface.partition(":")[0]
        if host in ("alice", "web") and int(direction, 16) & 3 == 2:
            names = ",".join(name for bit, name in FLAGS.items() if int(flags, 16) & bit)
            found.append(Seen(host, names, int(seq), int(ack or 0), int(size)))
    return found


def test_arrows_are_the_packets_that_tshark_sees(lab: Commands) -> None:
    file = lab.folder / "talk.pcapng"
    capture = lab.start("capture", "alice", "web", "-o", str(file), stderr=subprocess.PIPE)
    try:
        assert capture.stderr is not None
        assert capture.stderr.readline().startswith(b"capturing on ")
        out = lab.good("run", "talk", "--timeline", "--ascii").out
        capture.send_signal(signal.SIGINT)
        _, said = capture.communicate(timeout=SECONDS)
    finally:
        capture.kill()
        capture.wait()
    assert capture.returncode == 0, said
    wanted = captured(file)
    assert [one.flags for one in wanted[:3]] == ["SYN", "SYN,ACK", "ACK"]
    assert sum(one.size for one in wanted if one.host == "web") == 3000
    assert [one.host for one in wanted if "FIN" in one.flags] == ["alice", "web"]
    assert arrows(out) == wanted


def test_states_calls_and_waits_stand_beside_them(lab: Commands) -> None:
    out = lab.good("run", "talk", "--timeline").out
    ladder = out[out.index("timeline:") :].splitlines()
    rungs = [line for line in ladder if "│" in line]
    left, right = ([line.split("│")[at].split() for line in rungs] for at in (0, -1))
    assert [words[-1] for words in left if words and words[-1] in STATES] == [
        "SYN_SENT",
        "ESTABLISHED",
        "FIN_WAIT1",
        "FIN_WAIT2",
        "TIME_WAIT",
    ]
    assert [words[0] for words in right if words and words[0] in STATES] == [
        "SYN_RECV",
        "ESTABLISHED",
        "CLOSE_WAIT",
        "LAST_ACK",
        "CLOSE",
    ]
    assert any(words[:3] == ["accept()", "=", "fd"] for words in right)
    assert any(re.search(r"close\(\d+\) ", line.split("│")[0]) for line in rungs)
    assert any(re.fullmatch(r" +┊ *… \d+ ms … *┊", line) for line in ladder), (
        "the wait before the server's close"
    )
    assert "  closed: alice first, by FIN" in ladder
    assert any("現在連上了" in line for line in ladder)
    assert all(len(line) <= 80 for line in rungs)


def test_a_report_says_what_the_run_has_said(lab: Commands) -> None:
    ended = lab.run("run", "talk", "wrong", "--timeline")
    assert ended.code == 1
    told = ended.out.splitlines()
    kept = next(line for line in told if line.startswith("kept in "))
    told.remove(kept)
    folder = Path(kept.removeprefix("kept in "))
    assert lab.good("report").out.splitlines() == told
    assert lab.good("report", str(folder)).out.splitlines() == told
    assert lab.good("report", folder.name).out.splitlines() == told
    lines = lab.good("report", "--list").out.splitlines()
    assert lines[-1].split() == [folder.name, lab.name, "fail", "talk,", "wrong"]
    one = lab.good("report", "--connection", "alice -> web:80").out
    assert one.count("<=>") == 2
    assert "web: listen" not in one
    missing = lab.run("report", "20000101")
    assert (missing.code, missing.err.splitlines()[0]) == (
        2,
        "lab: there is no run 20000101 of any lab",
    )


def test_a_log_has_the_ladder_of_what_did_not_pass_and_of_nothing_else(lab: Commands) -> None:
    assert "SYN seq 0" not in lab.good("run", "talk").out
    wrong = lab.run("run", "wrong")
    assert wrong.code == 1
    assert "SYN seq 0" in wrong.out
    assert wrong.out.index("fail  wrong") < wrong.out.index("SYN seq 0")
    quiet = lab.run("run", "wrong", "--quiet")
    assert "SYN seq 0" in quiet.out
    assert "SYN seq 0" not in lab.run("run", "wrong", "--no-timeline").out


def test_at_a_terminal_a_lesson_has_its_ladder(lab: Commands) -> None:
    with_colors = Terminal(lab, "run", "talk", columns=90)
    with_colors.expect(r"timeline: 1 connection")
    with_colors.expect(r"SYN seq 0")
    with_colors.expect(r"closed: alice first, by FIN")
    with_colors.expect(r"1 scenario: ")
    assert with_colors.process.wait(SECONDS) == 0


def test_json_on_stdout_is_one_document(lab: Commands) -> None:
    ended = lab.good("run", "talk", "--json", "-", "--timeline")
    document = json.loads(ended.out)
    assert document["scenarios"][0]["verdict"] == "pass"
    assert "SYN seq 0" in ended.err
    kinds = {one["kind"] for one in document["scenarios"][0]["events"]}
    assert {"connect", "accept", "send", "close"} <= kinds


def test_a_connection_behind_nat_is_one(lab: Commands) -> None:
    out = lab.good("run", "behind-nat", "--timeline", "--ascii").out
    assert "timeline: 1 connection," in out
    assert [one.flags for one in arrows(out, "carol")][:3] == ["SYN", "SYN,ACK", "ACK"]
    assert re.search(rf"via box {lab.net}\.2\.\d+:\d+ -> {lab.net}\.2\.80:81", out)


def test_what_does_not_come_ends_at_a_cross(lab: Commands) -> None:
    out = lab.good("run", "path-gone", "--timeline", "--ascii").out
    found = [one for one in out.splitlines() if "PSH,ACK" in one or "P. " in one]
    assert found[0].partition("|")[2].endswith("X   |")
    assert len(found) >= 3, "sent again after some 0.2 s and 0.4 s"
    assert all(" again " in one for one in found[1:])
    assert any(line.startswith("  an arrow that ends at a cross") for line in out.splitlines())


def test_history_of_connections_that_are_closed(lab: Commands) -> None:
    lab.good("run", "talk")
    text = lab.good("conns", "--history").out
    assert re.search(r"alice:\d+ -> web:80 .* client FIN ", text)
    assert "SYN seq 0 →" in text
    ladder = lab.good("conns", "--history", "alice -> web:80", "--ascii").out
    assert [one.flags for one in arrows(ladder)][:3] == ["SYN", "SYN,ACK", "ACK"]
    assert "closed: alice first, by FIN" in ladder
    document = lab.good("conns", "--history", "--port", "80", "--state", "LAST_ACK", "--json").json
    newest = document["connections"][-1]
    states = [span["state"] for span in newest["client"]["spans"]]
    assert states == ["SYN_SENT", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT"]
    assert {one["connection"] for one in document["events"]} == {one["id"] for one in document["connections"]}
    by_id = lab.good("conns", "--history", newest["id"], "--ascii").out
    assert by_id.count("<=>") == 1
    none = lab.run("conns", "--history", "alice -> web:9")
    assert none.code == 2
    assert "no connection alice -> web:9 is known" in none.err
