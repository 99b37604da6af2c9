"""What a link does to a packet, pure: when it is let go, whether at all, whether twice or damaged.

A packet crosses lines one after the other (the sender's link, the network), each with effects of its own, so
they add up as those of a real path do. Order is kept unless it is asked otherwise: a packet is never let go
before the one that came before it on the same way.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

BACKLOG = 1.0  # seconds of traffic that wait for a line with a rate; what is more is dropped, as by a switch
PARTS = ("loss", "duplicate", "reorder", "corrupt")  # of 1
KEYS = ("delay", "jitter", *PARTS, "rate")


@dataclass
class Line:
    """One line. Seconds, parts of 1, bytes in a second. `free`: when each sender's last packet is through."""

    delay: float = 0.0
    jitter: float = 0.0  # the delay is between delay - jitter and delay + jitter, all alike likely
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0  # this part is not delayed at all, and so overtakes
    corrupt: float = 0.0  # one bit of it is another
    rate: float = 0.0
    free: dict[bytes, float] = field(default_factory=dict)

    def change(self, told: Mapping[str, Any]) -> None:
        """It is to be like this from now on."""
        for key in KEYS:
            setattr(self, key, float(told.get(key) or 0.0))

    @property
    def by_segment(self) -> bool:
        """Whether it makes a difference what the kernel has bundled."""
        return bool(self.loss or self.duplicate or self.reorder or self.corrupt)

    @property
    def changes(self) -> bool:
        """Whether it needs all of a packet."""
        return bool(self.duplicate or self.corrupt)


class Fate(NamedTuple):
    """What becomes of a packet. `due` None: it is lost."""

    due: float | None
    overtakes: bool = False
    twice: bool = False
    damaged: bool = False


LOST = Fate(None)


def fate(
    lines: Sequence[Line], arrived: float, length: int, sender: bytes, chance: random.Random, *, probe: bool
) -> Fate:
    """Of one packet that came at `arrived`. A probe is held as others are, and nothing else happens to it."""
    due, overtakes, twice, damaged = arrived, False, False, False
    for line in lines:
        if not probe and line.by_segment:
            if line.loss and chance.random() < line.loss:
                return LOST
            twice = twice or (line.duplicate > 0 and chance.random() < line.duplicate)
            damaged = damaged or (line.corrupt > 0 and chance.random() < line.corrupt)
            if line.reorder and chance.random() < line.reorder:
                overtakes = True
                continue
        if line.rate:
            begins = max(due, line.free.get(sender, 0.0))
            if begins - due > BACKLOG:
                return LOST
            due = line.free[sender] = begins + length / line.rate
        if line.jitter:
            due += max(0.0, line.delay + chance.uniform(-line.jitter, line.jitter))
        else:
            due += line.delay
    return Fate(due, overtakes, twice, damaged)


def damage(packet: bytes, chance: random.Random) -> bytes:
    """One bit behind the IP header is another: the checksum of what is in it does not fit any more."""
    header = (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40
    if len(packet) <= header:
        return packet
    place = chance.randrange(header, len(packet))
    return packet[:place] + bytes([packet[place] ^ 1 << chance.randrange(8)]) + packet[place + 1 :]
