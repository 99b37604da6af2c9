"""Tables as this kernel wrote them, and lines that no kernel writes."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ObservationError
from orchestrator.join.proc_net_tcp import Family, parse
from orchestrator.model.rows import SocketEntry
from tests.unit.join import worlds
from tests.unit.join.entries import UNTIMED, any_entry

GOLDEN = Path(__file__).parents[2] / "golden" / "tables"
RECORDED = sorted(GOLDEN.glob("*.txt"))
ONE = (GOLDEN / "established.tcp.txt").read_bytes().split(b"\n")[2].decode()


def table_of(*lines: str) -> bytes:
    return "\n".join(["  sl  local_address", *lines, ""]).encode()


def family_of(path: Path) -> Family:
    return 6 if path.name.endswith(".tcp6.txt") else 4


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded(path: Path) -> None:
    expected = msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=list[SocketEntry])
    assert parse(path.read_bytes(), "host", family_of(path), "little") == expected


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_other_byte_order(path: Path) -> None:
    text, family = path.read_bytes(), family_of(path)
    assert parse(worlds.swapped(text), "host", family, "big") == parse(text, "host", family, "little")


def test_every_recording_has_rows() -> None:
    assert len(RECORDED) >= 13
    states = {row["state"] for path in RECORDED for row in json.loads(path.with_suffix(".json").read_text())}
    assert {"LISTEN", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "TIME_WAIT", "CLOSE_WAIT"} <= states
    assert {"FIN_WAIT1", "FIN_WAIT2", "LAST_ACK"} <= states


def test_empty_file_is_an_empty_table() -> None:
    assert parse(b"", "host", 6) == []


def test_a_line_cut_short_is_refused_or_whole() -> None:
    """Cut at any place: what follows the inode's reference count is not needed."""
    whole = parse(table_of(ONE), "host", 4, "little")
    needed = ONE.index(" 3 0000") + 4
    for cut in range(needed):
        with pytest.raises(ObservationError, match="line 2"):
            parse(table_of(ONE[:cut]), "host", 4, "little")
    for cut in range(needed, len(ONE)):
        assert parse(table_of(ONE[:cut]), "host", 4, "little") == whole


def test_a_table_that_ends_within_a_line() -> None:
    with pytest.raises(ObservationError, match=r"host: /proc/net/tcp, line 3: .*ends within"):
        parse(table_of(ONE, ONE)[:-60], "host", 4)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (" 01 ", " 0F "),
        (" 01 ", " 00 "),
        (" 02:", " 09:"),
        ("0100007F", "0100007f"),
        ("0100007F", "0100007G"),
        (":1F90", ":1F9"),
        (":1F90", ":1F900"),
        (" ", "  "),
        ("0100007F", "00000000000000000000000001000000"),
    ],
)
def test_garbled(old: str, new: str) -> None:
    at = ONE.index(":") + 2
    garbled = ONE[:at] + ONE[at:].replace(old, new, 1)
    with pytest.raises(ObservationError, match="line 2"):
        parse(table_of(garbled), "host", 4)


def test_no_heading() -> None:
    with pytest.raises(ObservationError, match="heading"):
        parse(f"{ONE}\n".encode(), "host", 4)


@UNTIMED
@given(st.lists(any_entry("host"), max_size=30))
def test_what_is_written_is_read(entries: list[SocketEntry]) -> None:
    rows = [*parse(worlds.table(entries, 4), "host", 4, "little")]
    rows += parse(worlds.table(entries, 6), "host", 6, "little")
    wanted = [e for e in entries if e.family == 4] + [e for e in entries if e.family == 6]
    assert rows == wanted


@UNTIMED
@given(st.binary(max_size=300))
def test_anything_else_is_refused(data: bytes) -> None:
    try:
        parse(b"  sl  \n" + data, "host", 4)
    except ObservationError:
        return
    assert not data
