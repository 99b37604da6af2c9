"""Records of tracepoints to Changes, and what a daemon says of them to watches and losses."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from orchestrator.daemon.tracing.programs import RECORD
from orchestrator.errors import ObservationError
from orchestrator.join import traced
from orchestrator.join.traced import Traced
from orchestrator.join.traces import SLOT, Changes
from orchestrator.model.recording import Change

ALICE, WEB = 71, 72  # cookies of network namespaces
HOSTS = {ALICE: "alice", WEB: "web"}
ESTABLISHED, SYN_SENT, SYN_RECV, CLOSE, LISTEN = 1, 2, 3, 7, 10
STATE, RESET_SENT, RETRANSMIT = 1, 2, 4
Ends = tuple[str, int, str, int]
CLIENT: Ends = ("10.0.0.2", 40000, "10.0.0.80", 80)
SERVER: Ends = ("10.0.0.80", 80, "10.0.0.2", 40000)


def record(at: int, ends: Ends, **more: Any) -> bytes:
    """One, as a ring has it."""
    about = {"socket": 1, "cookie": 9, "netns": ALICE, "reason": 0, "kind": STATE, "old": 0, "new": 0} | more
    local, port, peer, peer_port = ends
    family = socket.AF_INET6 if ":" in local else socket.AF_INET
    first = (about[name] for name in ("socket", "cookie", "netns", "reason", "kind"))
    packed = (socket.inet_pton(family, one) for one in (local, peer))
    fields = (at, *first, family, about["old"], about["new"], port, peer_port, 0, *packed)
    return struct.pack("<II", RECORD.size, 0) + RECORD.pack(*fields)


def changes(*records: bytes) -> tuple[Change, ...]:
    """What is made of them, 100 s being t = 0."""
    found = Changes(HOSTS, {14: "TCP_DISCONNECT_WITH_DATA"})
    for one in records:
        found.add(one, -100.0)
    return found.changes()


def test_a_change() -> None:
    (one,) = changes(record(101_500_000_000, CLIENT, old=SYN_SENT, new=ESTABLISHED))
    assert one == Change(
        t=1.5,
        host="alice",
        kind="state",
        cookie=9,
        local=("10.0.0.2", 40000),
        peer=("10.0.0.80", 80),
        old="SYN_SENT",
        new="ESTABLISHED",
    )


@pytest.mark.parametrize(("address", "text"), [("fd00::2", "fd00::2"), ("::ffff:10.0.0.2", "10.0.0.2")])
def test_addresses_of_ipv6(address: str, text: str) -> None:
    (one,) = changes(record(0, (address, 1, address, 2), old=CLOSE, new=SYN_SENT))
    assert (one.local, one.peer) == ((text, 1), (text, 2))


def test_resets_and_retransmissions() -> None:
    first, second = changes(
        record(1, SERVER, netns=WEB, socket=0, cookie=0, kind=RESET_SENT, reason=14, old=0),
        record(2, CLIENT, kind=RETRANSMIT, old=SYN_SENT, reason=14),
    )
    assert (first.kind, first.host, first.cookie, first.reason) == (
        "reset-sent",
        "web",
        None,
        "TCP_DISCONNECT_WITH_DATA",
    )
    assert (first.old, first.new) == (None, None)
    assert (second.kind, second.reason, second.old) == ("retransmit", None, None)


def test_a_port_that_is_chosen_later() -> None:
    """By any later record of that socket; one that ends without it stays without."""
    unbound = ("10.0.0.2", 0, "10.0.0.80", 80)
    found = changes(
        record(1, unbound, old=CLOSE, new=SYN_SENT),
        record(2, unbound, cookie=10, old=CLOSE, new=SYN_SENT),
        record(3, CLIENT, kind=RETRANSMIT, old=SYN_SENT),
        record(4, unbound, cookie=10, old=SYN_SENT, new=CLOSE),
    )
    assert [one.local[1] for one in found] == [40000, 0, 40000, 0]


def test_a_child_that_has_no_cookie_yet() -> None:
    """Nor its peer's port, with older kernels. Another socket of that number is none of it."""
    found = changes(
        record(1, ("10.0.0.80", 80, "0.0.0.0", 0), socket=5, cookie=0, netns=WEB, old=LISTEN, new=SYN_RECV),
        record(2, SERVER, socket=5, cookie=33, netns=WEB, old=SYN_RECV, new=ESTABLISHED),
        record(3, SERVER, socket=5, cookie=34, netns=WEB, old=SYN_RECV, new=ESTABLISHED),
    )
    assert [one.cookie for one in found] == [33, 33, 34]
    assert {one.peer for one in found} == {("10.0.0.2", 40000)}


def test_processors_write_side_by_side() -> None:
    found = Changes(HOSTS)
    found.add(record(5, CLIENT, old=1, new=4) + record(3, SERVER, netns=WEB, cookie=8, old=1, new=8), 0)
    found.add(record(4, CLIENT, cookie=7, old=1, new=4), 0)
    assert [one.cookie for one in found.changes()] == [8, 7, 9]
    assert len(found) == 3


def test_what_is_of_no_host_is_passed_over() -> None:
    assert changes(record(1, CLIENT, netns=99, old=1, new=4)) == ()


@pytest.mark.parametrize(
    "data", [b"x", record(1, CLIENT, kind=77), record(1, CLIENT, old=77, new=1), record(1, CLIENT)[:-1]]
)
def test_what_cannot_be_read(data: bytes) -> None:
    with pytest.raises(ObservationError):
        changes(data)


def started(**more: Any) -> Traced:
    """One of which the first parts have come."""
    one = Traced(origin=100_000_000_000)
    one.take({"tracing": True, "missing": {}, "reasons": {"1": "NO_SOCKET"}, **more})
    one.take({"came": "alice", "netns": ALICE, "at": 101_000_000_000})
    return one


def test_watches() -> None:
    one = started()
    one.take({"came": "web", "netns": WEB, "at": 102_000_000_000})
    one.take({"came": "odd", "why": "it is odd", "at": 102_000_000_000})
    one.take({"went": "web", "netns": WEB, "at": 103_000_000_000})
    one.take({"mark": 1, "at": 104_000_000_000})
    one.take({"came": "web", "netns": 73, "at": 104_500_000_000})
    one.take({"mark": 2, "at": 105_000_000_000})
    found = {(w.host, w.began, w.ended, w.why, w.everything) for w in one.watches(["alice", "web", "late"])}
    assert found == {
        ("alice", 1.0, 5.0, "", True),
        ("web", 2.0, 3.0, "it ended, or was made anew", True),
        ("web", 4.5, 5.0, "", True),
        ("odd", 5.0, 5.0, "it is odd", False),
        ("late", 5.0, 5.0, "it was not there", False),
    }


def test_what_a_kernel_does_for_a_host_whose_power_was_cut_is_not_the_hosts() -> None:
    one = started()
    one.take({"went": "alice", "netns": ALICE, "at": 102_000_000_000})
    for at in (101_999_999_999, 102_000_000_001):
        one.take({"records": SLOT}, record(at, CLIENT, old=SYN_SENT, new=ESTABLISHED))
    one.take({"mark": 1, "at": 103_000_000_000})
    assert len(one.changes()) == 1


def test_nothing_is_traced() -> None:
    one = Traced(0)
    one.take({"tracing": False, "why": "it may not"})
    one.take({"came": "alice", "netns": ALICE, "at": 1})
    assert not one.tracing
    assert [(w.host, w.began, w.ended, w.why) for w in one.watches(["alice"])] == [
        ("alice", 0, 0, "it may not")
    ]
    assert (one.changes(), one.losses()) == ((), ())


def test_a_tracepoint_that_is_missing() -> None:
    one = started(missing={"tcp_send_reset": "this kernel has no type btf_trace_tcp_send_reset"})
    one.take({"mark": 1, "at": 102_000_000_000})
    (watch,) = one.watches(["alice"])
    assert not watch.everything
    assert watch.why.startswith("tcp_send_reset is not traced: this kernel")


def test_losses_and_another_clock() -> None:
    one = started()
    when = {"since": 102_000_000_000, "at": 103_000_000_000}
    one.take({"lost": 3, "host": "alice", **when})
    one.take({"lost": 2, "host": None, **when})
    one.shift = 1_000_000_000
    first, second = one.losses()
    assert (first.host, first.count, second.host, second.count) == ("alice", 3, None, 2)
    assert (second.source, second.began, second.ended) == ("tracepoint", 3.0, 4.0)
    one.take({"records": SLOT}, record(103_000_000_000, CLIENT, old=1, new=4))
    assert [change.t for change in one.changes()] == [4.0]


def test_no_more_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced, "MOST", 2)
    one = started()
    one.take({"records": 3 * SLOT}, b"".join(record(at, CLIENT, old=1, new=4) for at in range(3)))
    one.take({"records": SLOT}, record(9, CLIENT, old=1, new=4))
    one.take({"mark": 1, "at": 102_000_000_000})
    assert len(one.changes()) == 2
    (loss,) = one.losses()
    assert (loss.stage, loss.count, loss.began, loss.ended) == ("bound", 2, 1.0, 2.0)


@pytest.mark.parametrize(
    "part", [{"came": "alice"}, {"mark": 1}, {"lost": "x", "host": "a", "since": 0, "at": 1}, {"went": "x"}]
)
def test_parts_that_cannot_be_read(part: dict[str, Any]) -> None:
    with pytest.raises(ObservationError):
        started().take(part)
