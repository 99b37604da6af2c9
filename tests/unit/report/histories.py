"""Histories made by hand, in few words: alice calls web, and what both see of it."""

from __future__ import annotations

from typing import Any

from orchestrator.model.events import (
    Closing,
    Crossing,
    EndHistory,
    Event,
    History,
    Side,
    Source,
    Span,
    Timeline,
)
from orchestrator.model.recording import ACK, FIN, PSH, RST, SYN, Address, Loss, Recording, Segment

ALICE: Address = ("10.20.1.2", 41812)
WEB: Address = ("10.20.2.80", 80)
OURS, THEIRS = 4_000_000_000, 77  # first sequence numbers; the client's wraps round soon
WAY = 0.00002  # seconds from one end to the other
ERROR = 0.00001
SYN_ACK, FIN_ACK, PSH_ACK = SYN | ACK, FIN | ACK, PSH | ACK


def segment(
    t: float, host: str, outgoing: bool, ends: tuple[Address, Address], flags: int, **more: Any
) -> Segment:
    """As one end sees it. `seq`, `ack`: relative numbers."""
    own, other = (OURS, THEIRS) if ends[0] == ALICE else (THEIRS, OURS)
    seq = (own + more.get("seq", 0)) % (1 << 32)
    ack = (other + more.get("ack", 0)) % (1 << 32) if flags & ACK else 0
    length, window = more.get("length", 0), more.get("window", 64240)
    return Segment(t, host, "eth0", outgoing, ends[0], ends[1], flags, seq, ack, length, window)


def crossing(
    sender: Side,
    t: float,
    flags: int,
    *,
    way: float = WAY,
    again: bool = False,
    seen: str = "both",
    came_as: Address | None = None,
    **more: Any,
) -> Crossing:
    """A segment from `t` on. `seen`: both, sent, received, or `lost` (sent, and it never came)."""
    ends, hosts = (ALICE, WEB), ("alice", "web")
    if sender == "server":
        ends, hosts = (WEB, ALICE), ("web", "alice")
    sent = segment(t, hosts[0], True, ends, flags, **more) if seen != "received" else None
    came = segment(t + way, hosts[1], False, ends, flags, **more) if seen in ("both", "received") else None
    if came and came_as:
        came = Segment(
            came.t,
            came.host,
            "eth0",
            False,
            came_as,
            WEB,
            flags,
            came.seq,
            came.ack,
            came.length,
            came.window,
        )
    return Crossing(sender=sender, sent=sent, received=came, again=again, missing=seen == "lost")


def call(side: Side, t: float, verb: str, duration: float = 0.00005, **detail: Any) -> Event:
    """A system call of an end."""
    host = "alice" if side == "client" else "web"
    return Event(
        t=t,
        error_s=ERROR,
        host=host,
        source="call",
        connection="c1",
        end=side,
        kind=verb,
        detail={"duration": duration, **detail},
    )


def spans(*states: tuple[str, float], end: float | None = None, **more: Any) -> tuple[Span, ...]:
    """One after the other, from these times on."""
    until = [t for _, t in states[1:]] + [end]
    return tuple(
        Span(state=state, began=t, ended=ended, error=ERROR, source=more.get("source", "packet"))
        for (state, t), ended in zip(states, until, strict=True)
    )


def end(side: Side, *found: Span, **more: Any) -> EndHistory:
    """alice's, or web's."""
    at, host = (ALICE, "alice") if side == "client" else (WEB, "web")
    return EndHistory(**{"host": host, "address": at[0], "port": at[1], "spans": found, **more})


def history(
    crossings: list[Crossing], *, client: EndHistory | None, server: EndHistory | None, **more: Any
) -> History:
    """Of one connection."""
    times = [one.segment.t for one in crossings] or [0.0]
    about: dict[str, Any] = {
        "id": "c1",
        "began": min(times),
        "ended": max(times),
        "client_address": ALICE,
        "server_address": WEB,
        "isn_client": OURS,
        "isn_server": THEIRS,
    }
    return History(**{**about, "crossings": tuple(crossings), "client": client, "server": server, **more})


def handshake(at: float = 0.0001, way: float = WAY) -> list[Crossing]:
    """The three segments."""
    return [
        crossing("client", at, SYN, way=way),
        crossing("server", at + way, SYN_ACK, way=way, ack=1),
        crossing("client", at + 2 * way, ACK, way=way, seq=1, ack=1),
    ]


def whole() -> History:
    """Opened, five bytes, closed by alice first; web waits 2 s before it closes."""
    sent = [
        *handshake(),
        crossing("client", 0.0021, PSH_ACK, seq=1, ack=1, length=5),
        crossing("server", 0.00214, ACK, seq=1, ack=6),
        crossing("client", 0.5, FIN_ACK, seq=6, ack=1),
        crossing("server", 0.50004, ACK, seq=1, ack=7),
        crossing("server", 2.5, FIN_ACK, seq=1, ack=7),
        crossing("client", 2.50003, ACK, seq=7, ack=2),
    ]
    calls = (
        call("client", 0.0, "connect", 0.0002, fd=7, result=0),
        call("server", 0.001, "accept", fd=9),
        call("client", 0.002, "send", fd=7, result=5),
        call("server", 0.0022, "recv", fd=9, result=5),
        call("server", 0.003, "recv", 0.4971, fd=9, result=0),
        call("client", 0.4999, "close", fd=7, result=0),
        call("server", 2.4999, "close", fd=9, result=0),
    )
    client = spans(
        ("SYN_SENT", 0.0001),
        ("ESTABLISHED", 0.00014),
        ("FIN_WAIT1", 0.5),
        ("FIN_WAIT2", 0.50006),
        ("TIME_WAIT", 2.50002),
    )
    server = spans(
        ("SYN_RECV", 0.00012),
        ("ESTABLISHED", 0.00016),
        ("CLOSE_WAIT", 0.50002),
        ("LAST_ACK", 2.5),
        ("CLOSE", 2.50005),
    )
    return history(
        sent,
        client=end("client", *client, fd=7, names=("call",)),
        server=end("server", *server, fd=9, names=("conn",)),
        events=calls,
        closing=Closing(first="client", by="FIN", at=0.5),
    )


def timeline(*found: History, events: tuple[Event, ...] = (), losses: tuple[Loss, ...] = ()) -> Timeline:
    """Of these connections."""
    length = max((one.ended for one in found), default=0.0)
    recording = Recording(lab="first", engine="fake", began=1.7e9, length=length)
    mine = tuple(sorted((e for one in found for e in one.events), key=lambda e: e.t))
    return Timeline(recording=recording, events=(*mine, *events), histories=found, losses=losses)


def beside(t: float, source: Source, text: str, host: str = "") -> Event:
    """A note, an impairment …, of no connection."""
    return Event(t=t, error_s=0.0, host=host, source=source, kind=source, detail={"text": text})


__all__ = ["ACK", "FIN", "FIN_ACK", "PSH_ACK", "RST", "SYN", "SYN_ACK"]
