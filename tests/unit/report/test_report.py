"""Rows as text and as JSON, against files of what a person and a program are to see.

LAB_GOLDEN=write writes them anew; read what `git diff` says then.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.join.connections import Joined, join
from orchestrator.model.rows import Connection, End, Holder, Listener, Taken
from orchestrator.report import harmless, layout, terminal
from orchestrator.report import json as document
from orchestrator.report.layout import PLAIN, Style, style_for
from tests.unit.join.worlds import ALICE, ALICE6, BOB, EDGE_OUT, PLAN, WEB, WEB6, held, listen, sock, tables

GOLDEN = Path(__file__).parents[2] / "golden" / "report"
NGINX = held(9, 7, "nginx")
TAKEN = {"local": Taken(began=12.5, ended=12.53)}


def world() -> Joined:
    """A row of each kind."""
    behind = [BOB, 40001, WEB, 80, EDGE_OUT, 51000, WEB, 80]
    return join(
        tables(
            [
                listen("web", "0.0.0.0:80", cookie=1, limit=128, holders=held(5, 3), rx_queue=1),
                listen(
                    "web", "[::]:8080", cookie=2, limit=0, inode=901, rx_queue=1, holders=held(9, 7, "nginx")
                ),
                sock("alice", f"{ALICE}:40000", f"{WEB}:80", inode=11, cookie=21, holders=held(7, 4)),
                sock("web", f"{WEB}:80", f"{ALICE}:40000", inode=12, cookie=22, holders=held(5, 6)),
                sock("bob", f"{BOB}:40001", f"{WEB}:80", inode=13, cookie=23, holders=held(7, 4)),
                sock("web", f"{WEB}:80", f"{EDGE_OUT}:51000", cookie=24, rx_queue=5),
                sock(
                    "alice",
                    f"[{ALICE6}]:40002",
                    f"[{WEB6}]:8080",
                    "SYN_SENT",
                    inode=15,
                    cookie=25,
                    tx_queue=1,
                    timer="retransmission",
                    timer_seconds=2.04,
                    retransmits=3,
                    holders=held(8, 3, "curl"),
                ),
                sock("alice", f"{ALICE}:40003", "203.0.113.9:443", inode=16, cookie=26),
                sock(
                    "alice", f"{ALICE}:40004", f"{WEB}:80", "TIME_WAIT", timer="time-wait", timer_seconds=59.9
                ),
                sock("web", f"{WEB}:5000", f"{WEB}:5000", inode=17, cookie=27, holders=held(11, 3, "nc")),
                sock("web", "127.0.0.1:40005", "127.0.0.1:8080", inode=18, cookie=28),
                sock(
                    "web",
                    "127.0.0.1:8080",
                    "127.0.0.1:40005",
                    family=6,
                    inode=19,
                    cookie=29,
                    holders=(*held(9, 8, "nginx"), *held(10, 8, "nginx")),
                ),
            ],
            translations={"edge": [behind]},
        ),
        PLAN,
    )


def check(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("LAB_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "style"),
    [
        ("connections.wide.txt", PLAIN),
        ("connections.80.txt", Style(80)),
        ("connections.50.txt", Style(50)),
        ("connections.colors.txt", Style(80, color=True)),
    ],
)
def test_connections(name: str, style: Style) -> None:
    rows = world().connections
    check(name, terminal.heading("first", "fake", rows, ["bob"]) + terminal.connections(rows, style))


def test_listeners() -> None:
    check("listeners.txt", terminal.listeners(world().listeners))


def test_the_three_descriptors_of_the_books() -> None:
    row = terminal.connections(world().connections[:1], Style(80))
    assert "clientfd 4 agent[7] -> listenfd 3 (*:80,*:*) agent[5] -> connfd 6 agent[5]" in row


def test_lines_fit_the_terminal_where_addresses_do() -> None:
    for line in terminal.connections(world().connections, Style(80)).splitlines():
        assert len(line) <= 80


def test_wide_terminals_have_a_line_each() -> None:
    rows = world().connections
    assert terminal.connections(rows, Style(400)) == terminal.connections(rows, PLAIN)


def test_nothing() -> None:
    assert terminal.connections([]) == "no connections\n"
    assert terminal.listeners([]) == "no listening sockets\n"
    assert terminal.heading("first", "fake", []) == "lab first (fake): 0 connections\n"


@pytest.mark.parametrize(
    ("is_terminal", "environment", "style"),
    [
        (False, {}, PLAIN),
        (True, {}, Style(80, True)),
        (True, {"NO_COLOR": "1"}, Style(80)),
        (True, {"NO_COLOR": ""}, Style(80, True)),
        (True, {"TERM": "dumb"}, Style(80)),
    ],
)
def test_style(is_terminal: bool, environment: Mapping[str, str], style: Style) -> None:
    assert style_for(is_terminal, 80, environment) == style


HOSTILE = "\x1b[2Jnginx\r\n\x07\u202e\u200b\x9b31m\U000e0041"


def hostile_rows() -> tuple[Connection, Listener]:
    held_by = (Holder(7, HOSTILE, 4),)
    joined = world()
    row = joined.connections[0]
    assert row.client is not None
    assert row.listener is not None
    values = {f: getattr(row.client, f) for f in row.client.__struct_fields__}
    client = End(**{**values, "process": HOSTILE, "holders": held_by, "host": "al\u202eice"})
    fields = {f: getattr(row.listener, f) for f in row.listener.__struct_fields__}
    listener = Listener(**{**fields, "process": HOSTILE, "holders": held_by})
    more = {f: getattr(row, f) for f in row.__struct_fields__}
    return Connection(**{**more, "client": client, "listener": listener, "reason": HOSTILE}), listener


@pytest.mark.parametrize("width", [None, 80, 40])
def test_hostile_names_cannot_steer_the_terminal(width: int | None) -> None:
    row, listener = hostile_rows()
    text = terminal.connections([row], Style(width)) + terminal.listeners([listener], Style(width))
    assert all(c == "\n" or c.isprintable() for c in text)
    assert "\\x1b[2Jnginx" in text


def test_hostile_names_in_json() -> None:
    row, _ = hostile_rows()
    text = document.connections(lab="first", engine="fake", taken=TAKEN, not_observed=[], rows=[row])
    assert text.isascii()
    assert all(c.isprintable() for c in text.rstrip("\n"))
    assert json.loads(text)["connections"][0]["client"]["process"] == HOSTILE


def test_width_of_wide_and_combining_characters() -> None:
    assert [harmless.width(text) for text in ("abc", "網路", "e\u0301")] == [3, 4, 1]
    table = layout.Table(
        ("A", "B"), [[layout.Cell("網"), layout.Cell("x")], [layout.Cell("abc"), layout.Cell("y")]]
    )
    assert table.render(PLAIN) == "A    B\n網   x\nabc  y\n"


def test_json_is_the_contract() -> None:
    joined = world()
    text = document.connections(
        lab="first", engine="fake", taken=TAKEN, not_observed=["bob", "a"], rows=joined.connections
    )
    whole = json.loads(text)
    assert list(whole) == ["lab", "engine", "taken", "not_observed", "connections"]
    assert whole["taken"] == {"local": {"began": 12.5, "ended": 12.53}}
    assert whole["not_observed"] == ["a", "bob"]
    check("connections.json", json.dumps(whole, indent=1) + "\n")
    for row in whole["connections"]:
        check_row(row)


CONTRACT = ("id", "protocol", "status", "accepted", "roles_by", "client", "server", "via")
END = (
    "host", "address", "port", "state", "rx_queue", "tx_queue", "timer", "retransmits", "uid", "inode", "pid",
    "process", "fd", "holders",
)  # fmt: skip
LISTENER = ("host", "address", "port", "pid", "process", "fd", "holders", "queue", "limit")


def check_row(row: dict[str, Any]) -> None:
    assert set(CONTRACT) <= set(row)
    for end in (row["client"], row["server"]):
        assert end is None or set(END) <= set(end)
    assert (row["status"] == "joined") == (row["client"] is not None and row["server"] is not None)
    assert all(set(one) == {"host", "client", "server"} for one in row["via"])


def test_json_of_listeners() -> None:
    text = document.listeners(
        lab="first", engine="fake", taken=TAKEN, not_observed=[], rows=world().listeners
    )
    whole = json.loads(text)
    assert list(whole) == ["lab", "engine", "taken", "not_observed", "listeners"]
    assert all(set(LISTENER) <= set(one) for one in whole["listeners"])
    assert whole["listeners"][0]["address"] == "*"


def test_nothing_heavy_is_imported() -> None:
    """`lab conns` of a small lab must not pay for rich (60 ms) or NumPy (140 ms)."""
    code = (
        "import sys; from orchestrator.join import connections, looks, snapshot; "
        "from orchestrator.report import json, terminal; "
        "print({'rich', 'numpy', 'docker', 'yaml', 'asyncio'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
