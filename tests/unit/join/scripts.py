"""Recordings written as short scripts, for tests to be read.

    0.000  alice > web  S    0
    0.001  web > alice  SA   0  1
    0.002  alice > web  A    1  1
    0.003  alice > web  PA   1:6  1  lost

A line is when the segment left, who sent it, its flags, its sequence number (`1:6`: five bytes) and what
it acknowledges, all relative to the first numbers. It leaves one host's tap and comes to the other's 20 µs
later, `late 5ms` later, `lost` never; `unsent` and `lost` are not seen there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from orchestrator.join.timeline import timeline
from orchestrator.model.events import EndHistory, History, Timeline
from orchestrator.model.recording import Address, CallMade, Change, Recording, Segment, Sighting, Watch
from tests.unit.join.worlds import ALICE, PLAN, WEB

ISN = {"alice": 4_294_967_000, "web": 77, "edge": 5}  # alice's numbers go round soon
ENDS: dict[str, Address] = {"alice": (ALICE, 40000), "web": (WEB, 80)}
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16}
ON_THE_WAY = 20e-6


def packets(
    text: str, ends: Mapping[str, Address] = ENDS, isn: Mapping[str, int] = ISN
) -> tuple[Segment, ...]:
    """The segments that the lines of a script say, as they pass both taps."""
    return tuple(
        one for line in text.strip().splitlines() for one in _line(line.split("#")[0].split(), ends, isn)
    )


def _line(words: list[str], ends: Mapping[str, Address], isn: Mapping[str, int]) -> list[Segment]:
    if not words:
        return []
    at, (sender, _, receiver), flags = float(words[0]), words[1:4], sum(FLAGS[letter] for letter in words[4])
    first, _, last = words[5].partition(":")
    numbers = words[6:]
    ack = numbers.pop(0) if numbers and numbers[0].isdigit() else None
    window = 64_000
    late = ON_THE_WAY
    if "late" in numbers:
        late = float(numbers[numbers.index("late") + 1].removesuffix("ms")) / 1000
    if "window" in numbers:
        window = int(numbers[numbers.index("window") + 1])
    segment = Segment(
        t=at,
        host=sender,
        device="eth0",
        outgoing=True,
        source=ends[sender],
        target=ends[receiver],
        flags=flags,
        seq=(isn[sender] + int(first)) & 0xFFFFFFFF,
        ack=0 if ack is None else (isn[receiver] + int(ack)) & 0xFFFFFFFF,
        length=int(last or first) - int(first),
        window=window,
    )
    came = msgspec.structs.replace(segment, t=at + late, host=receiver, outgoing=False)
    return [*([] if "unsent" in numbers else [segment]), *([] if "lost" in numbers else [came])]


def seen(at: float, host: str, state: str, **more: Any) -> Sighting:
    """A row of alice's or web's table, read within 1 ms of that time."""
    other = "web" if host == "alice" else "alice"
    return Sighting(
        began=at - 0.0005,
        ended=at + 0.0005,
        host=host,
        local=ENDS[host],
        peer=ENDS[other],
        state=state,
        **more,
    )


def told(text: str) -> tuple[Change, ...]:
    """What tracepoints said: lines of `0.000  alice  CLOSE  SYN_SENT`, or `0.000  alice  reset-sent`."""
    found = []
    for line in filter(str.strip, text.splitlines()):
        at, host, *words = line.split("#")[0].split()
        other = "web" if host == "alice" else "alice"
        state = len(words) == 2
        found.append(
            Change(
                t=float(at),
                host=host,
                kind="state" if state else words[0],
                cookie={"alice": 11, "web": 12}[host],
                local=ENDS[host],
                peer=ENDS[other],
                old=words[0] if state else None,
                new=words[1] if state else None,
            )
        )
    return tuple(found)


def call(at: float, host: str, verb: str, **more: Any) -> CallMade:
    """A call on alice's or web's end; it took 0.1 ms."""
    other = "web" if host == "alice" else "alice"
    about: dict[str, Any] = {
        "duration": 0.0001,
        "name": "call",
        "fd": 4,
        "inode": 100,
        "text": f"{host}: {verb}",
    }
    if verb in ("connect", "accept"):
        about |= {"local": ENDS[host], "peer": ENDS[other]}
    if verb == "close":
        about["inode"] = None  # a closed descriptor has none
    return CallMade(t=at, host=host, verb=verb, **{**about, **more})


def watched(
    source: Any, *hosts: str, began: float = 0.0, ended: float = 10.0, **more: Any
) -> tuple[Watch, ...]:
    """Watches of a source."""
    return tuple(Watch(source=source, host=host, began=began, ended=ended, **more) for host in hosts)


def recording(text: str = "", *, length: float = 10.0, **more: Any) -> Recording:
    """One in which packets of both hosts were watched all the time."""
    more.setdefault("watches", watched("packet", "alice", "web", ended=length))
    return Recording(
        lab="world", engine="fake", began=0.0, length=length, plan=PLAN, segments=packets(text), **more
    )


def joined(text: str = "", **more: Any) -> Timeline:
    """The timeline of such a recording."""
    return timeline(recording(text, **more))


def history(text: str = "", **more: Any) -> History:
    """Of its only connection."""
    (found,) = joined(text, **more).histories
    return found


def path(end: EndHistory | None) -> str:
    """`SYN_SENT ESTABLISHED`."""
    assert end is not None
    return " ".join(end.states)


def client(text: str = "", **more: Any) -> str:
    """The client's states."""
    return path(history(text, **more).client)


def server(text: str = "", **more: Any) -> str:
    """The server's."""
    return path(history(text, **more).server)
