"""Whether an impairment is there: seen by probes, each way, and what could not be seen is not known."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from orchestrator.daemon import within
from orchestrator.daemon.probes import Probes, Seen, Way

PATIENCE = (
    1.0  # seconds that a probe may take longer than it should, before it is given up; a few ms are usual
)
_TIMES = 3  # probes of a link, of which the fastest counts
_SLACK = 0.002  # seconds that the fastest may be off: a busy computer
_MORE = 0.25  # that it may be slower and still be what was asked for
_TOGETHER = 400  # ways that are looked at at once
_NETFILTER = 12
_IPV6_HDRINCL = 36  # linux/in6.h


class Word(NamedTuple):
    """What was seen of one way. `verified` None: nothing could be."""

    way: str
    verified: bool | None
    why: str = ""
    seconds: float | None = None

    def json(self) -> dict[str, Any]:
        """For the client."""
        return {"way": self.way, "verified": self.verified, "why": self.why, "seconds": self.seconds}


@dataclass(frozen=True)
class Expected:
    """What a probe should take. `sure` False: it may not come at all, or earlier, as packets do there."""

    least: float
    most: float
    sure: bool

    @classmethod
    def of(cls, lines: Sequence[Mapping[str, float]]) -> Expected:
        """Of lines one after the other."""
        least = sum(max(0.0, one.get("delay", 0.0) - one.get("jitter", 0.0)) for one in lines)
        most = sum(one.get("delay", 0.0) + one.get("jitter", 0.0) for one in lines)
        rate = min((one["rate"] for one in lines if one.get("rate")), default=0.0)
        return cls(least, most + (1500 / rate + 1.0 if rate else 0.0), True)


def cut(number: int, ways: Sequence[Way], open_ways: Sequence[Way]) -> list[Word]:
    """A cut stops its probes on these ways, and not on those. Raises EngineError."""
    seen: list[Seen] = []
    for some in _parts([*ways, *open_ways]):
        probes = Probes(some)
        try:
            seen += probes.cut(number, PATIENCE)
        finally:
            probes.close()
    return [_cut_word(one, stopped=at < len(ways)) for at, one in enumerate(seen)]


def _parts(ways: Sequence[Way]) -> Iterator[Sequence[Way]]:
    for start in range(0, len(ways), _TOGETHER):
        yield ways[start : start + _TOGETHER]


def _cut_word(seen: Seen, *, stopped: bool) -> Word:
    if seen.through is None:
        return Word(str(seen.way), None, "no probe came through, not even what nothing stops")
    if seen.through == stopped:
        why = "a probe came through" if stopped else "it is cut too"
        return Word(str(seen.way), False, why)
    return Word(str(seen.way), True, "cut" if stopped else "open")


def links(ways: Sequence[Way], expected: Sequence[Expected]) -> list[Word]:
    """Probes take as long as they should, each way. Raises EngineError."""
    seen: list[Seen] = []
    for some in _parts(ways):
        probes = Probes(some)
        try:
            seen += probes.time(max(one.most for one in expected) + PATIENCE, _TIMES)
        finally:
            probes.close()
    return [_link_word(one, what) for one, what in zip(seen, expected, strict=True)]


def _link_word(seen: Seen, expected: Expected) -> Word:
    way, took = str(seen.way), seen.seconds
    if seen.through is None:
        return Word(way, None, "no probe came through")
    if took < expected.least - _SLACK:
        return Word(way, False, f"{took * 1000:.2f} ms instead of {expected.least * 1000:.2f}", took)
    if took > expected.most + _MORE:
        return Word(way, None, f"{took * 1000:.2f} ms: more than was asked for", took)
    return Word(way, True, "", took)


def queue_sockets(proc: int) -> list[socket.socket]:
    """Of a host: for its queues, and for packets that are sent once more, IPv4 and IPv6."""
    return within.network(proc, _open)


def _open() -> list[socket.socket]:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    queue = socket.socket(socket.AF_NETLINK, kind, _NETFILTER)
    queue.bind((0, 0))
    for option in (33, socket.SO_RCVBUF):  # SO_RCVBUFFORCE, for whom it is allowed
        try:
            queue.setsockopt(socket.SOL_SOCKET, option, 64 << 20)
            break
        except OSError:
            continue
    found = [queue, socket.socket(socket.AF_INET, kind, socket.IPPROTO_RAW)]
    try:
        six = socket.socket(socket.AF_INET6, kind, socket.IPPROTO_RAW)
        six.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
        found.append(six)
    except OSError:  # no IPv6 in this kernel
        pass
    return found
