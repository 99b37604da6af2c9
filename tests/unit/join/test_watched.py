"""What a daemon's history says, collected: frames of a ring, when who was watched, losses, bulk."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.daemon import header_taps
from orchestrator.errors import ObservationError
from orchestrator.join import headers, watched
from orchestrator.join.clock import Shift
from orchestrator.join.watched import Watched
from orchestrator.model.recording import ACK, FIN, PSH, RST, SYN, Segment

S = 1_000_000_000
REAL = 1_700_000_000 * S
A, B = ("10.0.0.1", 40000), ("10.0.0.2", 80)
A6, B6 = ("fd00::1", 40000), ("fd00::2", 80)


def frame(at: int, one: Segment, *, ip_options: int = 0, protocol: int = 6) -> bytes:
    """As net/packet/af_packet.c writes it, with 12 bytes of TCP options."""
    tcp = struct.pack(
        ">HHIIBBHHH", one.source[1], one.target[1], one.seq, one.ack, 8 << 4, one.flags, one.window, 0, 0
    )
    rest = tcp + bytes(12) + bytes(min(one.length, 1400))
    family = socket.AF_INET6 if ":" in one.source[0] else socket.AF_INET
    ends = b"".join(socket.inet_pton(family, end[0]) for end in (one.source, one.target))
    if family == socket.AF_INET6:
        head, kind = struct.pack(">IHBB", 6 << 28, 32 + one.length, protocol, 64) + ends, 0x86DD
    else:
        total = 20 + ip_options + 32 + one.length
        first = 0x40 | (5 + ip_options // 4)
        head = struct.pack(">BBHHHBBH", first, 0, total & 0xFFFF, 0, 0, 64, protocol, 0) + ends
        head, kind = head + bytes(ip_options), 0x0800
    packet = bytes(12) + struct.pack(">H", kind) + head + rest
    kept = packet[: header_taps.SNAP]
    about = struct.pack("<IIIHHII", 1, len(packet), len(kept), 66, 80, *divmod(at, S)) + bytes(8)
    where = struct.pack("<HHiHBB8x", 17, 8, 2, 1, 4 if one.outgoing else 0, 6)
    return (about + where + bytes(66 - 52) + kept).ljust(header_taps.FRAME, b"\0")


def segment(t: float, flags: int = ACK, length: int = 0, **more: Any) -> Segment:
    fields: dict[str, Any] = {
        "outgoing": True,
        "source": A,
        "target": B,
        "seq": 100,
        "ack": 7,
        "window": 502,
    } | more
    return Segment(t=t, host="alice", device="eth0", flags=flags, length=length, **fields)


def clock(t: float) -> list[int]:
    return [int(t * S), REAL + int(t * S), int(t * S), 0]


def opened(since: float = 0.0, began: float = 0.0, **more: Any) -> Watched:
    """One tap, of alice."""
    found = Watched(0, int(since * S))
    tap = {"tap": 0, "host": "alice", "device": "eth0", "clock": clock(began), "ended": None, "why": ""}
    found.take({"taps": [tap | more], "unwatched": {"bob": "why not"}, "boot": "b", "clock": clock(0)}, b"")
    return found


def come(found: Watched, t: float, *segments: Segment, dropped: int = 0) -> None:
    """They are taken out of the ring at t."""
    data = b"".join(frame(REAL + round(one.t * S), one) for one in segments)
    found.take({"tap": 0, "dropped": dropped, "clock": clock(t)}, data)


def test_both_sides_agree_on_the_frame() -> None:
    assert headers.FRAME == header_taps.FRAME
    assert header_taps.BLOCK % 4096 == header_taps.FRAME % 16 == 0


@pytest.mark.parametrize(
    "one",
    [
        segment(1.25, SYN),
        segment(1.25, SYN | ACK, outgoing=False),
        segment(1.25, PSH | ACK, 1234, seq=2**32 - 1, ack=2**32 - 2, window=65535),
        segment(1.25, PSH | ACK, 60_000),
        segment(1.25, FIN | ACK, source=A6, target=B6),
        segment(1.25, RST, 500, source=B6, target=A6),
    ],
)
def test_a_segment_is_read_as_it_was(one: Segment) -> None:
    found = opened()
    come(found, 2.0, one)
    found.read()
    assert found.segments == [one]


def test_options_of_ip_are_passed_over() -> None:
    one = segment(1.25, PSH | ACK, 10)
    data = frame(REAL + int(1.25 * S), one, ip_options=40)
    assert list(headers.segments(data, "alice", "eth0", lambda stamp: (stamp - REAL) / S)) == [one]


def test_what_is_no_tcp_is_passed_over() -> None:
    other = frame(REAL, segment(0), protocol=17)
    assert not list(headers.segments(other, "alice", "eth0", float))
    assert not list(headers.segments(bytes(header_taps.FRAME), "alice", "eth0", float))
    with pytest.raises(ObservationError):
        list(headers.segments(other[:-1], "alice", "eth0", float))


@given(st.binary(min_size=header_taps.FRAME, max_size=header_taps.FRAME))
def test_any_frame_is_read_or_refused(data: bytes) -> None:
    try:
        list(headers.segments(data, "alice", "eth0", float))
    except ObservationError:
        pass


def test_what_was_before_is_left_out() -> None:
    found = opened(since=1.0)
    come(found, 2.0, segment(0.5), segment(1.5))
    found.read()
    assert [one.t for one in found.segments] == [1.5]


def test_another_computers_clock() -> None:
    found = opened(since=5.0)
    found.shift(Shift(4 * S, 1000))
    come(found, 2.0, segment(1.5))
    found.read()
    assert [one.t for one in found.segments] == [5.5]
    assert found.error == pytest.approx(watched.TAPPED + 1e-6)


def test_who_was_watched_from_when_until_when() -> None:
    found = opened(since=1.0, began=3.0)
    alice, bob = found.watches(9.0)
    assert (alice.host, alice.began, alice.ended, alice.everything, alice.why) == (
        "alice",
        3.0,
        9.0,
        True,
        "",
    )
    assert (bob.host, bob.began, bob.ended, bob.everything, bob.why) == ("bob", 9.0, 9.0, False, "why not")
    found.take({"ended": 0, "why": "it was removed", "clock": clock(5)}, b"")
    again = {"tap": 1, "host": "alice", "device": "eth0", "clock": clock(6), "ended": None, "why": ""}
    found.take({"opened": again, "clock": clock(6)}, b"")
    first, second, _ = found.watches(9.0, "the daemon is gone")
    assert (first.began, first.ended, first.why) == (3.0, 5.0, "it was removed")
    assert (second.began, second.ended, second.why) == (6.0, 9.0, "the daemon is gone")


def test_a_watch_that_was_over_before_is_none() -> None:
    found = opened(since=4.0, ended=clock(3))
    assert [one.host for one in found.watches(9.0)] == ["bob"]


def test_losses_are_told_with_when_and_where() -> None:
    found = opened()
    come(found, 1.0, segment(0.5), dropped=2)
    come(found, 2.0, segment(1.5), dropped=2)
    come(found, 3.0, segment(2.5), dropped=7)
    found.take({"tap": 0, "lost": 9, "clock": clock(4)}, b"")
    told = [(one.stage, one.host, one.count, one.began, one.ended) for one in found.losses(9.0)]
    assert told == [
        ("ring", "alice", 2, 0.0, 1.0),
        ("ring", "alice", 5, 2.0, 3.0),
        ("store", "alice", 9, 3.0, 4.0),
    ]


def test_more_than_there_is_room_for_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "MOST", 2)
    found = opened()
    come(found, 2.0, *(segment(n / 10, SYN) for n in range(5)))
    found.read()
    assert len(found.segments) == 2
    (loss,) = found.losses(9.0)
    assert (loss.stage, loss.count, loss.began, loss.ended) == ("bound", 3, 0.2, 9.0)


def test_bulk_is_passed_over_and_that_is_said() -> None:
    found = opened()
    data = [segment(n / 1000, ACK, 1000, seq=100 + 1000 * n) for n in range(500)]
    again = segment(0.6, ACK, 1000, seq=100)
    same = segment(0.61, ACK, 1000, seq=100 + 1000 * 499)
    stalled = segment(0.62, ACK, 0, seq=100 + 500_000, window=0)
    fin = segment(0.7, FIN | ACK, 0, seq=100 + 500_000)
    last = segment(0.8, ACK, 0, seq=1, source=B, target=A, outgoing=False)
    come(found, 2.0, *data, again, same, stalled, fin, last)
    found.read()
    assert found.segments == [*data[: watched.BULK], again, same, stalled, fin, last]
    alice, _ = found.watches(2.0)
    assert (alice.everything, alice.bare) == (False, False)


def test_both_ways_are_kept_when_one_end_closes() -> None:
    found = opened()
    acks = [segment(n / 1000, ACK, seq=1, ack=n, source=B, target=A, outgoing=False) for n in range(100)]
    fin = segment(0.7, FIN | ACK, 10, seq=100)
    last = segment(0.8, ACK, 0, seq=1, ack=1000, source=B, target=A, outgoing=False)
    come(found, 2.0, *acks, fin, last)
    found.read()
    assert found.segments == [*acks[: watched.BULK], fin, last]


@pytest.mark.parametrize(
    "part",
    [
        {},
        {"clock": clock(0), "taps": [{}]},
        {"clock": clock(0), "taps": 7},
        {"clock": clock(0), "tap": 5, "dropped": 0},
        {"clock": clock(0), "tap": 0, "dropped": "many"},
        {"clock": clock(0), "ended": 9},
        {"clock": [1], "tap": 0, "dropped": 0},
    ],
)
def test_what_cannot_be_read(part: dict[str, Any]) -> None:
    with pytest.raises(ObservationError):
        opened().take(part, b"")
