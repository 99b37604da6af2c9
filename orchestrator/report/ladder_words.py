"""The words of a ladder: segments, calls, times and ends, each made harmless. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from orchestrator.model.events import Crossing, EndHistory, Event, History
from orchestrator.model.recording import ACK, FIN, PSH, RST, SYN, Address
from orchestrator.model.rows import endpoint
from orchestrator.report.harmless import harmless, width
from orchestrator.report.moments import Bundle, Flight

DOTS = "…"
GONE = "(gone)"
_NOTHING = ("bind", "listen", "connect", "shutdown", "close", "reset")  # calls that give 0
MOST_SAID = 400  # characters of a note or a log line
_FLAGS = ((SYN, "SYN", "S"), (FIN, "FIN", "F"), (RST, "RST", "R"), (PSH, "PSH", "P"), (ACK, "ACK", "."))
_BREAKS = re.compile(r"(?<= )(?!(?:s|ms|µs)\b)")  # between words, not between a number and its unit
_WRAP = 1 << 32  # sequence numbers are modulo this (RFC 9293, 3.4)
_BEFORE = 1 << 16  # a number so little below the first one is before it: a keepalive's, not 4 GiB later

# Segments.


def flags(number: int, *, short: bool = False) -> str:
    """`SYN,ACK`; short as tcpdump has them, `S.`."""
    found = [brief if short else name for bit, name, brief in _FLAGS if number & bit]
    return ("" if short else ",").join(found) or "none"


def relative(number: int, isn: int | None) -> int:
    """A sequence number counted from the first one of its direction; as it is where that was not seen."""
    if isn is None:
        return number
    far = (number - isn) % _WRAP
    return far - _WRAP if far >= _WRAP - _BEFORE else far


def numbers(crossing: Crossing, history: History) -> tuple[int, int]:
    """Relative sequence and acknowledgement number."""
    own, other = history.isn_client, history.isn_server
    if crossing.sender == "server":
        own, other = other, own
    segment = crossing.segment
    return relative(segment.seq, own), relative(segment.ack, other)


def segment(crossing: Crossing, history: History, *, short: bool = False) -> str:
    """`PSH,ACK seq 1 ack 1 len 5`; short as tcpdump says it, `P. 1:6 ack 1`."""
    one = crossing.segment
    seq, ack = numbers(crossing, history)
    parts = [flags(one.flags, short=short)]
    if short:
        parts.append(f"{seq}:{seq + one.length}" if one.length else str(seq))
    else:
        parts.append(f"seq {seq}")
    if one.flags & ACK:
        parts.append(f"ack {ack}")
    if one.length and not short:
        parts.append(f"len {one.length}")
    if one.window == 0 and not one.flags & RST:
        parts.append("win 0")
    return " ".join(parts) + (" again" if crossing.again else "")


def bundle(one: Bundle, history: History, *, short: bool = False) -> str:
    """`12 segments, 17,376 bytes`; of ACKs alone how many, and up to what."""
    if one.size:
        many, size = ("seg", "B") if short else ("segments", "bytes")
        more = "+" if one.more else ""
        return f"{one.segments:,}{more} {many}, {one.size:,} {size}"
    ack = numbers(one.last, history)[1]
    return f"{one.segments:,} ACKs" if short else f"{one.segments:,} ACKs, up to ack {ack}"


def arrow(one: Flight | Bundle, history: History, *, short: bool = False) -> str:
    """What stands on an arrow."""
    if isinstance(one, Bundle):
        return bundle(one, history, short=short)
    return segment(one.crossing, history, short=short)


def fitting(room: int, *texts: str) -> str:
    """The first that has room; else the last, cut."""
    for text in texts:
        if width(text) <= room:
            return text
    return cut(texts[-1], room)


# Calls.


def duration_of(event: Event) -> float:
    """Seconds in the call."""
    found = event.detail.get("duration")
    return float(found) if isinstance(found, int | float) else 0.0


def bytes_of(event: Event) -> int:
    """What a send or recv has passed."""
    found = event.detail.get("result")
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def failed(event: Event) -> bool:
    """Whether it ended with an error, or with its time."""
    return bool(event.detail.get("errno") or event.detail.get("timed_out"))


def begun(event: Event) -> str:
    """A call that waits: `recv(7) …`."""
    return f"{_call(event)} {DOTS}"


def called(event: Event) -> str:
    """As strace(1) writes it: `recv(7) = 5`, `connect(7) = ECONNREFUSED`, and how long it took where it
    waited."""
    detail, duration = event.detail, duration_of(event)
    result: Any = detail.get("result")
    if failed(event):
        result = "timed out" if detail.get("timed_out") else detail["errno"]
    if result is None and event.kind in _NOTHING:
        result = 0
    fd = detail.get("fd")
    if result is None and event.kind in ("accept", "socket") and isinstance(fd, int):
        result = f"fd {fd}"
    shown = "" if not isinstance(result, int | str) or isinstance(result, bool) else f" = {result}"
    took = f", {seconds(duration)}" if duration >= 0.001 else ""
    return harmless(f"{_call(event)}{shown}{took}")[:MOST_SAID]


def _call(event: Event) -> str:
    fd = event.detail.get("fd")
    inside = str(fd) if isinstance(fd, int) and event.kind != "accept" else ""
    return harmless(f"{event.kind}({inside})")


def said(event: Event) -> str:
    """A note, an impairment, a line of a log: over the whole breadth."""
    text = str(event.detail.get("text", event.kind))
    if event.source == "note":
        return harmless(f"# {text}")[:MOST_SAID]
    whose = f" of {event.host}" if event.host else ""
    return harmless(f"{event.source}{whose}: {text}")[:MOST_SAID]


# Times.


def seconds(value: float) -> str:
    """A length of time as a person reads it."""
    if abs(value) >= 1:
        return f"{value:,.2f} s"
    if abs(value) >= 0.01:
        return f"{value * 1000:.0f} ms"
    return f"{value * 1000:.2f} ms" if abs(value) >= 0.0001 else f"{value * 1e6:.0f} µs"


class Clock:
    """Times of one ladder, all in one unit, that the column can be compared down: milliseconds, or seconds
    where it lasted longer than 10."""

    def __init__(self, began: float, ended: float) -> None:
        self._zero = began
        length = ended - began
        self._long = length >= 10
        self._decimals = 6 if length < 1000 else 4
        self.unit = "s" if self._long else "ms"

    def of(self, t: float) -> str:
        """Since the ladder began, without the unit."""
        since = t - self._zero
        return f"{since:.{self._decimals}f}" if self._long else f"{since * 1000:.3f}"


# Ends.


def title(history: History) -> str:
    """`alice -> web:80`, with both addresses as the client has them."""
    client, server = history.client, history.server
    who = f"{name(client)} -> {name(server)}:{history.server_address[1]}"
    pair = f"{endpoint(*history.client_address)} <=> {endpoint(*history.server_address)}"
    return harmless(f"{who}  {pair}")


def name(end: EndHistory | None) -> str:
    """The host, or that it is none of the lab."""
    return "?" if end is None else end.host or "outside"


def head(end: EndHistory | None, address: Address, descriptor: str) -> tuple[str, ...]:
    """What stands over a lifeline: who, where, and by which descriptor."""
    if end is None:
        return "?", endpoint(*address)
    lines = [name(end), endpoint(end.address, end.port)]
    if end.fd is not None or end.names:
        names = " ".join(end.names[:2])
        fd = "?" if end.fd is None else str(end.fd)
        lines.append(f"{descriptor} {fd} {names}".rstrip())
    return tuple(harmless(line) for line in lines)


# Lines.


def cut(text: str, room: int) -> str:
    """As much as has room."""
    if width(text) <= room:
        return text
    kept = ""
    for character in text:
        if width(kept + character) > room - 1:
            break
        kept += character
    return kept + DOTS


def wrap(text: str, room: int) -> tuple[str, ...]:
    """In lines of so many columns, between words where that can be."""
    return tuple(_wrapped(text, max(1, room)))


def _wrapped(text: str, room: int) -> Iterator[str]:
    line = ""
    for word in re.split(_BREAKS, text):
        if width(line + word.rstrip()) <= room:
            line += word
            continue
        if line.strip():
            yield line.rstrip()
        line = word
        while width(line.rstrip()) > room:
            at = next(n for n in range(len(line), 0, -1) if n == 1 or width(line[:n]) <= room)
            yield line[:at]
            line = line[at:]
    if line.strip():
        yield line.rstrip()
