"""Whether an impairment is there: seen by probes, each way, and what could not be seen is not known."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from orchestrator.daemon import trains, within
from orchestrator.daemon.effects import PARTS
from orchestrator.daemon.probes import Probes, Seen, Way

PATIENCE = (
    1.0  # seconds that a probe may take longer than it should, before it is given up; a few ms are usual
)
_TIMES = 3  # probes of a link, of which the fastest counts
_SLACK = 0.002  # seconds that the fastest may be off: a busy computer
_MORE = 0.25  # that it may be slower and still be what was asked for
_TOGETHER = 400  # ways that are looked at at once
MOST_PROBES = 6000  # of all trains of one verification
MOST_BURSTING = 300  # of bursts that go on together
_CARRIED = 0.5  # seconds that a line with a rate may be busy with a train
_TRYING = 3.0  # seconds after which no further line is tried
_NO_TIME = "there are more lines than there is time to try"
_UNSURE = "the end of a train of probes did not come"
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
    """What a probe should take, what happens to which part of a train, and how fast a burst may be."""

    least: float
    most: float
    parts: Mapping[str, float] = field(default_factory=dict)  # of PARTS
    rate: float = 0.0  # bytes in a second
    held: float = 0.0  # seconds at most, without what a rate adds

    @classmethod
    def of(cls, lines: Sequence[Mapping[str, float]]) -> Expected:
        """Of lines one after the other."""
        least = sum(max(0.0, one.get("delay", 0.0) - one.get("jitter", 0.0)) for one in lines)
        most = sum(one.get("delay", 0.0) + one.get("jitter", 0.0) for one in lines)
        rate = min((one["rate"] for one in lines if one.get("rate")), default=0.0)
        kept = {key: math.prod(1 - one.get(key, 0.0) for one in lines) for key in PARTS}
        parts = {key: 1 - part for key, part in kept.items() if part < 1}
        return cls(least, most + (1500 / rate + 1.0 if rate else 0.0), parts, rate, most)


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
    words = [_link_word(one, what) for one, what in zip(seen, expected, strict=True)]
    for find in (_with_parts, _with_rates):
        find(ways, expected, words)
    return words


def _chosen(
    ways: Sequence[Way], words: Sequence[Word], counts: Sequence[int], most: int
) -> Iterator[list[int]]:
    """One way of each link that trains are sent on, as many at once as `most` probes are: a line does the
    same to all its ways."""
    wanted = [at for at, count in enumerate(counts) if words[at].verified and count]
    firsts = sorted({_link_of(ways[at]): at for at in reversed(wanted)}.values())
    while firsts:
        together, room = [firsts[0]], most - counts[firsts.pop(0)]
        while firsts and counts[firsts[0]] <= room:
            room -= counts[firsts[0]]
            together.append(firsts.pop(0))
        yield together


def _link_of(way: Way) -> tuple[str, str]:
    """Its sender, and the network on which that is at this address."""
    host = way.sender.host
    on = (
        i["network"] for i in host.spec["interfaces"] if way.source in (i.get("address"), i.get("address6"))
    )
    return host.name, str(next(on, way.source))


def _with_parts(ways: Sequence[Way], expected: Sequence[Expected], words: list[Word]) -> None:
    """What happens to a part of the packets, as trains of probes see it."""
    needed = [trains.needed(one.parts) if one.parts else 0 for one in expected]
    for at, count in enumerate(needed):
        if count > _affordable(expected[at]):
            why = "it happens too rarely to be seen in the time that there is"
            words[at] = words[at]._replace(verified=None, why=why) if words[at].verified else words[at]
    until = time.monotonic() + _TRYING
    for chosen in _chosen(ways, list(words), needed, MOST_PROBES):
        if time.monotonic() > until:
            for at in chosen:
                words[at] = words[at]._replace(verified=None, why=_NO_TIME)
            continue
        for at, one in zip(chosen, _lossy(chosen, ways, expected, needed), strict=True):
            why = trains.missing(expected[at].parts, one, held=expected[at].held > 0) if one.sure else _UNSURE
            if why:
                words[at] = words[at]._replace(verified=None, why=why)


def _lossy(
    chosen: Sequence[int], ways: Sequence[Way], expected: Sequence[Expected], needed: Sequence[int]
) -> list[trains.Passed]:
    probes = trains.Trains([ways[at] for at in chosen])
    try:
        seconds = max(expected[at].most for at in chosen) + PATIENCE + 1.0
        return probes.lossy([needed[at] for at in chosen], seconds)
    finally:
        probes.close()


def _affordable(expected: Expected) -> int:
    """How many probes a line may be asked to carry: all that there is time for."""
    return min(trains.MOST, int(expected.rate * _CARRIED / 50)) if expected.rate else trains.MOST


def _bursts(
    chosen: Sequence[int], ways: Sequence[Way], expected: Sequence[Expected], wanted: Sequence[trains.Burst]
) -> list[tuple[trains.Passed, bool | None]]:
    """What came, and whether it was as slow as it should be; side by side, for each sender has a clock."""
    probes = trains.Trains([ways[at] for at in chosen])
    try:
        passed = probes.bursts(wanted, max(expected[at].most for at in chosen) + PATIENCE)
    finally:
        probes.close()
    held = [(expected[at].least, expected[at].held) for at in chosen]
    return [(p, trains.slow_enough(p, w, h)) for p, w, h in zip(passed, wanted, held, strict=True)]


def _with_rates(ways: Sequence[Way], expected: Sequence[Expected], words: list[Word]) -> None:
    """How much gets through in a second, as bursts of probes see it."""
    bursts = [trains.burst(one.rate) if one.rate else None for one in expected]
    for at, one in enumerate(expected):
        if one.rate and bursts[at] is None and words[at].verified:
            words[at] = words[at]._replace(verified=None, why="the rate is too high to be seen by a burst")
    counts = [one.count if one else 0 for one in bursts]
    until = time.monotonic() + _TRYING
    for chosen in _chosen(ways, list(words), counts, MOST_BURSTING):
        left, tries = chosen, 0
        while left and tries < _TIMES and time.monotonic() < until:
            wanted = [burst for at in left if (burst := bursts[at]) is not None]
            seen = dict(zip(left, _bursts(left, ways, expected, wanted), strict=True))
            left, tries = [at for at, (_, right) in seen.items() if right is None], tries + 1
            for at, (passed, right) in seen.items():
                words[at] = words[at]._replace(verified=right, why=_slow(passed, bursts[at], right))
        for at in left if not tries else ():
            words[at] = words[at]._replace(verified=None, why=_NO_TIME)


def _slow(passed: trains.Passed, wanted: trains.Burst | None, right: bool | None) -> str:
    if right or wanted is None:
        return ""
    took = f"a burst took {passed.seconds * 1000:.1f} ms instead of {wanted.seconds * 1000:.1f}"
    return took if passed.sure else _UNSURE


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
