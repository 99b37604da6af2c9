"""Ladders and timelines as text, against files of what a person is to see, and what their layout promises.

LAB_GOLDEN=write writes the files anew; read what `git diff` says then.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.model.events import Closing, Event, History, Otherwise, Side, Span
from orchestrator.model.recording import Loss
from orchestrator.model.rows import Via
from orchestrator.report import ladder_text, timeline_text
from orchestrator.report.arrows import ASCII, UNICODE, Glyphs, glyphs_for
from orchestrator.report.harmless import width
from orchestrator.report.ladder import ladder
from orchestrator.report.layout import PLAIN, Style
from tests.unit.report.histories import (
    ACK,
    ERROR,
    FIN_ACK,
    PSH_ACK,
    RST,
    SYN,
    beside,
    call,
    crossing,
    end,
    handshake,
    history,
    spans,
    timeline,
    whole,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "report"


def check(name: str, lines: Sequence[str]) -> None:
    path, text = GOLDEN / name, "".join(f"{line}\n" for line in lines)
    if os.environ.get("LAB_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def drawn(
    one: History,
    columns: int = 80,
    *,
    style: Style = PLAIN,
    glyphs: Glyphs = UNICODE,
    around: Sequence[Event] = (),
    via: Sequence[Via] = (),
    most: int = 300,
) -> list[str]:
    return list(ladder_text.lines(ladder(one, columns, around, via, most=most), style, glyphs))


def black_hole() -> History:
    """SYNs that nothing answers, at 0, 1 and 3 s; connect gives up."""
    sent = [
        crossing("client", t, SYN, seen="lost", again=at > 0) for at, t in enumerate((0.0001, 1.03, 3.046))
    ]
    return history(
        sent,
        client=end(
            "client", *spans(("SYN_SENT", 0.0001), ("CLOSE", 7.1)), fd=7, names=("call",), retransmits=2
        ),
        server=None,
        isn_server=None,
        events=(call("client", 0.0, "connect", 7.1, fd=7, errno="ETIMEDOUT"),),
        closing=Closing(by="timeout", at=7.1),
    )


def both_at_once() -> History:
    """Both ends close at the same moment, 50 ms apart from each other."""
    way = 0.05
    sent = [
        *handshake(way=way),
        crossing("client", 1.0, FIN_ACK, way=way, seq=1, ack=1),
        crossing("server", 1.01, FIN_ACK, way=way, seq=1, ack=1),
        crossing("client", 1.06, ACK, way=way, seq=2, ack=2),
        crossing("server", 1.05, ACK, way=way, seq=2, ack=2),
    ]
    client = spans(
        ("SYN_SENT", 0.0001),
        ("ESTABLISHED", 0.1001),
        ("FIN_WAIT1", 1.0),
        ("CLOSING", 1.06),
        ("TIME_WAIT", 1.1),
    )
    server = spans(
        ("SYN_RECV", 0.0501),
        ("ESTABLISHED", 0.1501),
        ("FIN_WAIT1", 1.01),
        ("CLOSING", 1.05),
        ("TIME_WAIT", 1.11),
    )
    return history(sent, client=end("client", *client), server=end("server", *server))


def bulk() -> History:
    """17,376 bytes in twelve segments, every second acknowledged, and a reset when it is enough."""
    sent = handshake()
    for at in range(12):
        t = 0.01 + at * 0.0001
        sent.append(
            crossing("client", t, PSH_ACK if at == 11 else ACK, seq=1 + at * 1448, ack=1, length=1448)
        )
        if at % 2:
            sent.append(crossing("server", t + 0.00005, ACK, seq=1, ack=1 + (at + 1) * 1448))
    sent.append(crossing("server", 0.02, RST | ACK, seq=1, ack=17377))
    received = tuple(call("server", 0.01004 + at * 0.0002, "recv", fd=9, result=2896) for at in range(6))
    return history(
        sent,
        client=end("client", *spans(("SYN_SENT", 0.0001), ("ESTABLISHED", 0.00014), ("CLOSE", 0.02002))),
        server=end("server", *spans(("SYN_RECV", 0.00012), ("ESTABLISHED", 0.00016), ("CLOSE", 0.02))),
        events=(call("client", 0.0099, "send", 0.0008, fd=7, result=17376), *received),
        closing=Closing(first="server", by="RST", at=0.02),
    )


def doubtful() -> History:
    """Seen at one end only, states that nobody knows, sources that say different things, NAT on the way."""
    sent = [
        crossing("client", 0.0001, SYN, came_as=("10.20.2.1", 51000)),
        crossing("server", 0.0002, SYN | ACK, ack=1, seen="received"),
        crossing("client", 0.0003, ACK, seq=1, ack=1, seen="sent"),
        crossing("server", 0.2, ACK, seq=1, ack=1, window=0),
    ]
    known = Span(
        state="ESTABLISHED",
        began=0.0002,
        ended=None,
        error=ERROR,
        source="packet",
        otherwise=(Otherwise(source="tracepoint", state="SYN_SENT"),),
    )
    why = "12 packets of web were lost between 0.000 and 0.100 s"
    unknown = Span(state="unknown", began=0.0002, ended=None, error=ERROR, source="packet", why=why)
    return history(
        sent,
        client=end("client", *spans(("SYN_SENT", 0.0001), end=0.0002), known),
        server=end("server", unknown, retransmits=None),
        closing=Closing(known=False, why="the end was not seen"),
        doubts=(why,),
    )


NOTES = (
    beside(
        0.0005, "note", "現在 alice 和 web 連上了: both are ESTABLISHED, and nobody has called accept() yet"
    ),
    beside(0.4, "impairment", "cut alice web for 30s", "edge"),
)
CASES = {
    "whole": (whole(), NOTES),
    "black-hole": (black_hole(), ()),
    "both-at-once": (both_at_once(), ()),
    "bulk": (bulk(), ()),
    "doubtful": (doubtful(), ()),
}


@pytest.mark.parametrize("name", CASES)
def test_ladders(name: str) -> None:
    one, around = CASES[name]
    check(f"ladder.{name}.txt", drawn(one, around=around))


def test_a_wide_one() -> None:
    check("ladder.wide.txt", drawn(doubtful(), 140))


def test_plain_ascii() -> None:
    lines = drawn(whole(), glyphs=ASCII, around=NOTES)
    assert "".join(lines).isascii()
    check("ladder.ascii.txt", lines)


def test_colors() -> None:
    check("ladder.colors.txt", drawn(black_hole(), style=Style(80, color=True)))


@pytest.mark.parametrize("columns", [20, 80, 97, 132, 400])
@pytest.mark.parametrize("name", CASES)
def test_lines_fit(name: str, columns: int) -> None:
    one, around = CASES[name]
    for line in drawn(one, columns, around=around):
        assert width(line) <= max(80, columns), line


@pytest.mark.parametrize("name", CASES)
def test_lifelines_are_straight(name: str) -> None:
    """Whatever stands beside them, and however wide its characters are."""
    one, around = CASES[name]
    laid = ladder(one, 80, around)
    for line in ladder_text.lines(laid):
        if "│" in line:
            at = [width(line[:n]) for n, c in enumerate(line) if c == "│"]
            assert at == [laid.columns.client, laid.columns.server]


def test_the_layout_alone_says_where_everything_stands() -> None:
    """Pure values, rows in the order of time: a page can draw the same."""
    laid = ladder(both_at_once(), 80)
    assert [one.t for one in laid.rungs] == sorted(one.t for one in laid.rungs)
    rows = [one.row for one in laid.rungs] + [one.row for one in laid.gaps]
    assert len(rows) == len(set(rows))
    assert max(rows) < laid.rows
    fins = [one for one in laid.arrows if one.label.startswith("FIN")]
    assert [one.sender for one in fins] == ["client", "server"]
    first, second = fins
    assert first.row is not None
    assert second.row is not None
    assert first.to_row is not None
    assert second.to_row is not None
    assert first.row < second.row < second.to_row
    assert second.row < first.to_row, "each leaves before the other comes: they cross"
    assert msgspec.json.decode(msgspec.json.encode(laid), type=type(laid)) == laid


def test_a_lost_segment_and_one_that_was_sent_again() -> None:
    laid = ladder(black_hole(), 80)
    assert [(one.lost, one.again) for one in laid.arrows] == [(True, False), (True, True), (True, True)]
    assert all(one.to_row is None for one in laid.arrows)


def test_bulk_is_one_arrow_and_its_acknowledgements_another() -> None:
    laid = ladder(bulk(), 80)
    assert [one.label for one in laid.arrows if one.bundle] == [
        "12 segments, 17,376 bytes",
        "6 ACKs, up to ack 17377",
    ]


def test_a_very_long_one_is_bounded() -> None:
    sent = handshake()
    for at in range(5000):
        sender: Side = "client" if at % 2 else "server"
        sent.append(crossing(sender, 1 + at, PSH_ACK, seq=1 + at // 2, ack=1, length=1))
    lines = drawn(history(sent, client=end("client"), server=end("server")), most=60)
    assert len(lines) < 140
    assert any("4,943 rungs are left out" in line for line in lines)


def test_where_no_packets_were_seen_there_are_calls_states_and_what_the_kernel_says() -> None:
    """States that only looks have shown say how far their times may be off."""
    rough = spans(("ESTABLISHED", 0.5), ("CLOSE", 3.0), source="snapshot")
    rough = tuple(msgspec.structs.replace(one, error=0.25) for one in rough)
    told = Event(
        t=1.0,
        error_s=1e-6,
        host="alice",
        source="tracepoint",
        connection="c1",
        end="client",
        kind="retransmit",
    )
    one = history(
        [],
        client=end("client", *rough, retransmits=1),
        server=end("server", retransmits=None),
        events=(call("client", 0.1, "connect", 0.3, fd=7), told),
        closing=Closing(first="client", by="timeout", at=3.0),
        doubts=("packets of alice were not watched: no AF_PACKET here",),
    )
    check("ladder.no-packets.txt", drawn(one))


def test_bytes_that_nobody_has_seen_are_said() -> None:
    """Of a bulk only the first segments are recorded; and where a sender was not watched, some are lost."""
    sent = [*handshake(), crossing("client", 0.01, PSH_ACK, seq=1, ack=1, length=10)]
    sent.append(crossing("client", 0.02, FIN_ACK, seq=5011, ack=1))
    sent.append(crossing("client", 0.03, ACK, seq=5012, ack=1))
    laid = ladder(history(sent, client=end("client"), server=end("server")), 80)
    assert [one.text for one in laid.gaps] == ["… 5,000 bytes were not seen …"]
    assert laid.arrows[4].row == laid.gaps[0].row + 1


def test_a_bulk_with_a_hole_is_counted_by_its_numbers() -> None:
    sent = handshake()
    for at in range(10):
        seq = 1 + at * 100 + (4000 if at > 5 else 0)
        sent.append(crossing("client", 0.01 + at / 10000, ACK, seq=seq, ack=1, length=100))
    laid = ladder(history(sent, client=end("client"), server=end("server")), 80)
    assert [one.label for one in laid.arrows if one.bundle] == ["10+ segments, 5,000 bytes"]
    assert laid.gaps == ()


def test_bulk_that_was_seen_at_one_end_only() -> None:
    sent = handshake()
    for at in range(10):
        t = 0.01 + at / 10000
        sent.append(crossing("server", t, ACK, seq=1 + at * 100, ack=1, length=100, seen="received"))
    laid = ladder(history(sent, client=end("client"), server=end("server")), 80)
    (bulk_arrow,) = [one for one in laid.arrows if one.bundle]
    assert (bulk_arrow.row, bulk_arrow.sender) == (None, "server")
    assert any(line.startswith("an arrow with a ?") for line in laid.notes)


def test_what_the_kernel_has_folded_is_not_ours_to_fold() -> None:
    """Retransmissions, lost segments and closed windows stand alone in the middle of a bulk."""
    sent = handshake()
    special: dict[int, dict[str, Any]] = {10: {"seen": "lost"}, 11: {"again": True}, 12: {"window": 0}}
    for at in range(23):
        t = 0.01 + at / 10000
        sent.append(crossing("client", t, ACK, seq=1 + at * 100, ack=1, length=100, **special.get(at, {})))
    laid = ladder(history(sent, client=end("client"), server=end("server")), 80)
    alone = [one for one in laid.arrows if not one.bundle][3:]
    assert sum(one.lost for one in alone) == 1
    assert sum(one.again for one in alone) == 1
    assert sum("win 0" in one.label for one in alone) == 1
    assert [one.label for one in laid.arrows if one.bundle] == ["10 segments, 1,000 bytes"] * 2


HOSTILE = "\x1b[2J\r\n\x07\u202e\u200b\x9b31m"


def test_hostile_words_cannot_steer_the_terminal() -> None:
    one = whole()
    assert one.client is not None
    span = msgspec.structs.replace(one.client.spans[0], state="unknown", why=HOSTILE)
    client = msgspec.structs.replace(one.client, host="al" + HOSTILE, names=(HOSTILE,), spans=(span,))
    bad = call("client", 0.3, HOSTILE, errno=HOSTILE, fd=7)
    one = msgspec.structs.replace(one, client=client, events=(*one.events, bad), doubts=(HOSTILE,))
    around = [beside(0.2, "note", HOSTILE), beside(0.2, "log", HOSTILE, "w" + HOSTILE)]
    found = timeline(one, events=tuple(around), losses=(Loss(source="log", stage="pipe", began=0, ended=1),))
    lines = [
        *drawn(one, around=around),
        timeline_text.heading(found),
        *timeline_text.losses(found),
        *timeline_text.connections(found.histories),
        *timeline_text.happened(found),
    ]
    assert all(c.isprintable() for line in lines for c in line)


def test_timeline() -> None:
    others = [whole(), black_hole(), bulk(), doubtful()]
    lost = Loss(source="packet", stage="ring", host="web", count=12, began=0.0, ended=0.1)
    unknown = Loss(source="tracepoint", stage="pipe", began=0.5, ended=0.6)
    found = timeline(*others, events=NOTES, losses=(lost, unknown))
    lines = [
        timeline_text.heading(found),
        *timeline_text.losses(found),
        *timeline_text.connections(found.histories),
        *timeline_text.happened(found),
    ]
    check("timeline.txt", lines)


def test_thousands_of_connections_are_a_few_lines() -> None:
    found = timeline(*[whole()] * 3000)
    lines = list(timeline_text.connections(found.histories))
    assert len(lines) == timeline_text.MOST_CONNECTIONS + 2
    assert lines[-1] == "… 2,960 connections more"
    assert len(list(timeline_text.happened(found))) == timeline_text.MOST_MOMENTS + 2


def test_nothing() -> None:
    empty = history([], client=end("client"), server=None)
    assert drawn(empty)[0].startswith("alice -> ?:80")
    found = timeline()
    assert timeline_text.heading(found) == "timeline: 0 connections, 0 events in 0 µs"
    assert list(timeline_text.connections(())) == []
    assert list(timeline_text.happened(found)) == []


@pytest.mark.parametrize(
    ("encoding", "asked", "glyphs"),
    [
        ("utf-8", False, UNICODE),
        ("utf-8", True, ASCII),
        ("latin-1", False, ASCII),
        ("ascii", False, ASCII),
        (None, False, ASCII),
        ("no-such", False, ASCII),
    ],
)
def test_glyphs(encoding: str | None, asked: bool, glyphs: Glyphs) -> None:
    assert glyphs_for(encoding, ascii_only=asked) is glyphs
