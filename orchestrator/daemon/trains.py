"""Many probes in a row: what a line does to some of its packets, or how many it lets through in a second.

How many are needed is arithmetic: so many that the chance to see nothing of the effect is under one in a
million. Where that is more than a verification may take, the effect is not known to be there; so it is said.
"""

from __future__ import annotations

import math
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from orchestrator.daemon import cut_rules
from orchestrator.daemon.probes import Probes, Trial, Way

UNLIKELY = 1e-6
MOST = 2000  # probes of one way: a tenth of a second here
LEAST = 20
SIGMAS = 5.0
_TOGETHER = 100  # that are sent before what has come is looked at: a raw socket holds 270 small packets
_PAUSE = 0.003  # seconds between these
_HEADERS = {4: 34, 6: 54}  # bytes on the wire before a probe's own
_BURST = 0.05  # seconds that a burst takes at the rate that is asked for
_SHORTEST = 0.01  # what is over in less says nothing of a rate: a busy computer takes as long
_RATE_OFF, _LATER = 0.1, 0.02  # of 1; seconds that a computer may be busy beside
_BODY = struct.Struct(">4sI")


class Passed(NamedTuple):
    """What came of a train. `whole`: the number of each probe that came undamaged, in the order in which they
    came; `sure` False: even what nothing stops did not come behind it."""

    sent: int
    whole: Sequence[int]
    damaged: int
    seconds: float  # from when the first was sent to when the last came
    sure: bool


def needed(parts: Mapping[str, float]) -> int:
    """How many probes show all of these effects."""
    counts = [LEAST]
    for part in parts.values():
        for rare in (part, 1 - part):
            if 0 < rare < 1:
                counts.append(math.ceil(math.log(UNLIKELY) / math.log1p(-rare)))
    return max(counts)


def missing(parts: Mapping[str, float], passed: Passed, *, held: bool) -> str:
    """What of the effects was not seen as it should be; nothing where all was. `held`: there is a delay,
    without which nothing can be overtaken."""
    return next(_missing(parts, passed, held), "")


def _missing(parts: Mapping[str, float], passed: Passed, held: bool) -> Iterator[str]:
    seen = Counter(passed.whole)
    whole, twice = len(seen), sum(1 for times in seen.values() if times > 1)
    lost, came = passed.sent - whole, whole + passed.damaged
    part = parts.get("loss", 0.0)
    if part and not _likely(
        passed.sent, part, lost - passed.damaged, lost
    ):  # damaged ones may be among these
        yield f"{lost} of {passed.sent} probes were lost, at a loss of {part:.3%}"
    if part == 1:
        return
    part = parts.get("corrupt", 0.0)
    if part and not _likely(came, part, passed.damaged, passed.damaged):
        yield f"{passed.damaged} of {came} probes were damaged, at {part:.3%}"
    part = parts.get("duplicate", 0.0)
    if part and whole and not _likely(whole, part, twice, twice):
        yield f"{twice} of {whole} probes came twice, at {part:.3%}"
    part = parts.get("reorder", 0.0)
    if part and (not held or part == 1):
        yield "nothing is overtaken where all take the same time"
    elif part and not any(a > b for a, b in zip(passed.whole, passed.whole[1:], strict=False)):
        yield f"none of {whole} probes overtook another, at {part:.3%}"


def _likely(number: int, part: float, least: int, most: int) -> bool:
    """Whether so many of `number` can be what a chance of `part` gives: a count between least and most."""
    middle, spread = number * part, SIGMAS * math.sqrt(number * part * (1 - part))
    low, high = math.ceil(middle - spread), math.floor(middle + spread)
    if part < 1:
        low, high = max(low, 1), min(high, number - 1)
    return most >= low and least <= high


@dataclass(frozen=True)
class Burst:
    """Probes of a size (bytes on the wire), sent at once, and the seconds until all are through."""

    count: int
    size: int
    seconds: float


def burst(rate: float) -> Burst | None:
    """What shows a rate (bytes in a second); None: it is too fast to be seen."""
    size = int(min(1414, max(_HEADERS[6] + 16, rate * _BURST)))
    count = min(MOST // 4, max(2, math.ceil(rate * _BURST / size)))
    seconds = count * size / rate
    return Burst(count, size, seconds) if seconds >= _SHORTEST else None


def slow_enough(passed: Passed, wanted: Burst, held: tuple[float, float]) -> bool | None:
    """Whether a burst took as long as it should, held for so long besides. None: longer, as where a computer
    is busy."""
    if len(set(passed.whole)) < wanted.count:
        return None
    least = held[0] + wanted.seconds * (1 - _RATE_OFF)
    most = held[1] + wanted.seconds * (1 + _RATE_OFF) + _LATER
    return False if passed.seconds < least else True if passed.seconds <= most else None


@dataclass
class _Train:
    trial: Trial
    count: int
    size: int = 16  # bytes of a probe's own
    kind: int = cut_rules.TRAIN_PROBE
    whole: list[int] = field(default_factory=list)
    damaged: int = 0
    began: float = 0.0
    last: float = 0.0

    def body(self, number: int) -> bytes:
        """The same twice, the second time turned over: so what is damaged is known, wherever it is."""
        told = _BODY.pack(cut_rules.probe(self.kind, number), self.trial.token)
        return (told + _turned(told)).ljust(self.size, b"\0")


class Trains(Probes):
    """The sockets of some hosts, for as long as trains run. Blocks; raises EngineError."""

    def __init__(self, ways: Sequence[Way]) -> None:
        super().__init__(ways)
        self._trains: dict[int, _Train] = {}
        self._between: dict[tuple[str, str], _Train] = {}  # by receiver and source: of a damaged one
        for sock in self._sockets.values():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)

    def lossy(self, counts: Sequence[int], seconds: float) -> list[Passed]:
        """So many probes on each way, which all that there is may happen to."""
        return self._run(
            [_Train(trial, n) for trial, n in zip(self._trials.values(), counts, strict=True)], seconds
        )

    def bursts(self, wanted: Sequence[Burst], seconds: float) -> list[Passed]:
        """Probes that are held and nothing else, all at once."""
        kind = cut_rules.DELAY_PROBE
        pairs = zip(self._trials.values(), wanted, strict=True)
        trains = [_Train(t, b.count, b.size - _HEADERS[t.way.version], kind) for t, b in pairs]
        return self._run(trains, seconds)

    def _run(self, trains: Sequence[_Train], seconds: float) -> list[Passed]:
        self._trains = {one.trial.token: one for one in trains}
        self._between = {(t.trial.way.receiver.host.name, t.trial.way.source): t for t in trains}
        for one in trains:
            one.began = time.monotonic()
        for start in range(0, max(one.count for one in trains), _TOGETHER):
            for one in trains:
                for number in range(start, min(one.count, start + _TOGETHER)):
                    self._send_body(one.trial, one.body(number + 1))
            self._receive(time.monotonic() + _PAUSE)
        for one in trains:  # what nothing happens to, and which overtakes nothing: all is there when it is
            self._send(one.trial, cut_rules.probe(cut_rules.DELAY_PROBE, 0))
        self._receive(time.monotonic() + seconds)
        return [Passed(t.count, t.whole, t.damaged, t.last - t.began, t.trial.control) for t in trains]

    def _arrived(self, data: bytes, source: str, name: str, now: float) -> None:
        if len(data) < 2 * _BODY.size:
            return super()._arrived(data, source, name, now)
        told, turned = data[: _BODY.size], data[_BODY.size : 2 * _BODY.size]
        head, token = _BODY.unpack(told)
        train = self._trains.get(token)
        if turned != _turned(told) or train is None:
            if found := self._between.get((name, source)):
                found.damaged += 1
            return
        train.last = now
        train.whole.append(int.from_bytes(head[1:], "big"))


def _turned(data: bytes) -> bytes:
    return bytes(byte ^ 0xFF for byte in data)
