"""What went over a connection, as nginx's end of it saw it: who sent when, in bursts, and how it ended.
`near` is nginx's side, `far` the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from orchestrator.model.events import Crossing, EndHistory, History, Side
from orchestrator.model.recording import ACK, FIN, RST, SYN

Who = Literal["near", "far"]
_MASK = 0xFFFFFFFF
_HALF = 0x80000000
FAREWELL = 0.008  # seconds before a FIN in which TLS says close_notify, and HTTP/2 GOAWAY
MOST_FAREWELL = 100  # bytes of that
UNTOLD = 128 << 10  # bytes that may be taken before nginx is told that there is room
_GONE = ("FIN_WAIT1", "FIN_WAIT2", "CLOSING", "LAST_ACK", "TIME_WAIT", "CLOSE")


class Piece(msgspec.Struct, frozen=True):
    """Payload that came to nginx, or left it."""

    who: Who
    t: float
    length: int


class Burst(msgspec.Struct, frozen=True, kw_only=True):
    """What one side sent before the other did."""

    who: Who
    pieces: tuple[Piece, ...]

    @property
    def began(self) -> float:
        """When its first bytes were there."""
        return self.pieces[0].t

    @property
    def ended(self) -> float:
        """When its last bytes were."""
        return self.pieces[-1].t

    @property
    def length(self) -> int:
        """Bytes of it."""
        return sum(one.length for one in self.pieces)


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How one side ended it: `by` FIN, RST; "silently": its socket was closed, and nothing went out.
    `late`: it had ended before, unseen, and this only shows it: a socket that is gone answers by an RST
    without ACK (RFC 9293, 3.10.7.1). `given_up`: an open connection was gone at once, as when the kernel
    itself ends it."""

    t: float
    error: float
    by: Literal["FIN", "RST", "silently"]
    came: bool = True  # the other side has got it
    given_up: bool = False
    late: bool = False


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """`opened`: the first SYN; `accepted`: when the handshake was through at nginx (None: it was not, or was
    not seen). `stuck`: since when nothing more that nginx sent was taken, if so. `probes`: segments of
    nginx's without payload that asked whether the other end is there."""

    near: Side
    opened: float | None
    accepted: float | None
    bursts: tuple[Burst, ...]
    farewell: Piece | None = None
    near_end: Ending | None = None
    far_end: Ending | None = None
    stuck: tuple[float, float] | None = None
    after: tuple[Piece, ...] = ()  # what came from the far side behind nginx's FIN
    again: tuple[float, ...] = ()  # when nginx's kernel sent something again that it had sent before
    probes: tuple[float, ...] = ()

    def last(self, who: Who) -> float | None:
        """When the last bytes of a side were there."""
        found = [one.ended for one in self.bursts if one.who == who]
        return found[-1] if found else None

    @property
    def waiting(self) -> Burst | None:
        """What the far side has sent and nginx has not answered."""
        return self.bursts[-1] if self.bursts and self.bursts[-1].who == "far" else None

    @property
    def answered(self) -> Burst | None:
        """What nginx has sent last, where nothing has come since."""
        return self.bursts[-1] if self.bursts and self.bursts[-1].who == "near" else None

    @property
    def exchanges(self) -> int:
        """How often the far side was answered."""
        pairs = zip(self.bursts, self.bursts[1:], strict=False)
        return sum(1 for one, other in pairs if (one.who, other.who) == ("far", "near"))

    @property
    def activity(self) -> float | None:
        """When bytes went either way for the last time."""
        return self.bursts[-1].ended if self.bursts else None


def traffic(history: History, near: Side, *, farewells: bool = False, ended: Ending | None = None) -> Traffic:
    """`farewells`: TLS or HTTP/2 may be spoken, which say good-bye before the FIN. `ended`: how nginx's side
    did, where that is known otherwise."""
    end = history.server if near == "server" else history.client
    far: Side = "client" if near == "server" else "server"
    ordered = sorted(history.crossings, key=lambda one: _t(one, near))
    near_end = ended or _earlier(_ending(ordered, near, near), _silent(end))
    far_end = _ending(ordered, far, near)
    if near_end is not None and near_end.by == "silently" and _reset(far_end, near_end):
        near_end = None
    pieces = [
        Piece("near" if one.sender == near else "far", _t(one, near), one.segment.length)
        for one in ordered
        if one.segment.length and not one.again and not (one.sender == far and one.received is None)
    ]
    before = [one for one in pieces if near_end is None or one.who == "near" or one.t <= near_end.t]
    after = [one for one in pieces if near_end is not None and one.who == "far" and one.t > near_end.t]
    farewell = None
    if farewells and near_end is not None and before:
        last = before[-1]
        if last.who == "near" and near_end.t - last.t <= FAREWELL and last.length <= MOST_FAREWELL:
            farewell = before.pop()
    return Traffic(
        near=near,
        opened=next((_t(one, near) for one in ordered if one.segment.flags & SYN), None),
        accepted=_accepted(ordered, end, near),
        bursts=_bursts(before),
        farewell=farewell,
        near_end=near_end,
        far_end=far_end,
        stuck=_stuck(ordered, near, near_end),
        after=tuple(after),
        again=tuple(_t(one, near) for one in ordered if one.again and one.sender == near),
        probes=tuple(_probes(ordered, near)),
    )


def _t(one: Crossing, near: Side) -> float:
    """When it passed nginx's host, where that is known."""
    segment = (one.sent or one.received) if one.sender == near else (one.received or one.sent)
    assert segment is not None
    return segment.t


def _bursts(pieces: Sequence[Piece]) -> tuple[Burst, ...]:
    found: list[list[Piece]] = []
    for one in pieces:
        if found and found[-1][0].who == one.who:
            found[-1].append(one)
        else:
            found.append([one])
    return tuple(Burst(who=one[0].who, pieces=tuple(one)) for one in found)


def _ending(ordered: Sequence[Crossing], side: Side, near: Side) -> Ending | None:
    """By its first FIN or RST. One of the far side that never came has not told nginx anything."""
    for one in ordered:
        if one.sender == side and one.segment.flags & (FIN | RST):
            if side != near and one.received is None and one.missing:
                continue
            if one.segment.flags & RST and not one.segment.flags & ACK and side == near:
                return Ending(t=_t(one, near), error=0.0005, by="silently", late=True)
            by: Literal["FIN", "RST"] = "RST" if one.segment.flags & RST else "FIN"
            return Ending(t=_t(one, near), error=0.0005, by=by, came=not one.missing)
    return None


def _reset(far: Ending | None, near: Ending) -> bool:
    """Whether the socket was gone because the other side had reset it."""
    return far is not None and far.by == "RST" and far.t <= near.t + near.error + 0.002


def _silent(end: EndHistory | None) -> Ending | None:
    """By the states of its socket: a FIN behind data that nobody takes does not go out, and a SYN that
    nobody answers is given up without a word."""
    if end is None:
        return None
    for before, span in zip(end.spans, end.spans[1:], strict=False):
        if span.state in _GONE and before.state in ("SYN_SENT", "SYN_RECV", "ESTABLISHED", "CLOSE_WAIT"):
            gone = span.state == "CLOSE" and before.state == "ESTABLISHED"
            return Ending(t=span.began, error=span.error, by="silently", given_up=gone)
    return None


def _earlier(said: Ending | None, silent: Ending | None) -> Ending | None:
    """A socket that was gone answers by RST, which has not ended it; a FIN follows its state at once."""
    if said is None or silent is None:
        return said or silent
    return silent if said.t - silent.t > 0.05 + silent.error else said


def _accepted(ordered: Sequence[Crossing], end: EndHistory | None, near: Side) -> float | None:
    synced = False
    for one in ordered:
        flags = one.segment.flags
        if flags & SYN and flags & ACK:
            synced = True
            if near == "client" and one.received is not None:
                return _t(one, near)
        elif synced and flags & ACK and one.sender == "client" and near == "server":
            return _t(one, near) if one.received is not None or not one.missing else None
    spans = end.spans if end is not None else ()
    return next((one.began for one in spans if one.state == "ESTABLISHED"), None)


def _stuck(ordered: Sequence[Crossing], near: Side, ending: Ending | None) -> tuple[float, float] | None:
    """Since when nothing has been taken of what nginx sent, where bytes were left, or the window was shut:
    when the last ACK of new bytes came. nginx is told of room only when a third of its buffer is free
    (sk_stream_is_writeable), so it may have written last some way before: (that, the last ACK)."""
    sent = acked = None
    progress: list[tuple[float, int]] = []  # when, and how many bytes had been taken by then
    taken, window = 0, 1
    for one in ordered:
        segment, t = one.segment, _t(one, near)
        if ending is not None and t > ending.t:
            break
        if one.sender == near:
            end = (segment.seq + segment.length) & _MASK
            if segment.length and (sent is None or _behind(sent, end)):
                sent = end
                progress = progress or [(t, 0)]
        elif segment.flags & ACK and one.received is not None:
            if progress and (acked is None or _behind(acked, segment.ack)):
                taken += (segment.ack - acked) & _MASK if acked is not None else 0
                progress.append((t, taken))
            if acked is None or _behind(acked, segment.ack):
                acked = segment.ack
            window = segment.window
    if sent is None or not progress:
        return None
    left = acked is None or _behind(acked, sent)
    if not left and window:
        return None
    first = next(t for t, so_far in progress if so_far >= taken - UNTOLD)
    return first, progress[-1][0]


def _behind(one: int, other: int) -> bool:
    return 0 < ((other - one) & _MASK) < _HALF


def _probes(ordered: Sequence[Crossing], near: Side) -> list[float]:
    """tcp_write_wakeup: no payload (or one old byte), a sequence number that is acknowledged already."""
    highest: int | None = None
    found: list[float] = []
    for one in ordered:
        segment = one.segment
        if one.sender != near or segment.flags & (SYN | FIN | RST):
            continue
        if highest is not None and segment.length <= 1 and segment.seq == (highest - 1) & _MASK:
            found.append(_t(one, near))
        end = (segment.seq + segment.length) & _MASK
        if highest is None or _behind(highest, end):
            highest = end
    return found
