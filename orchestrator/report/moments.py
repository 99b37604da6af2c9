"""What a ladder is laid out from: moments, with the segments that fly between the lifelines. Values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from orchestrator.model.events import Crossing, Side
from orchestrator.model.recording import FIN, RST, SYN

TELLING = SYN | FIN | RST
Role = Literal["call", "failed", "state", "unknown"]
Part = Literal["whole", "leaves", "comes"]
Kind = Literal["begin", "across", "leaves", "whole", "comes", "state", "end"]


class Word(NamedTuple):
    """What stands beside a lifeline."""

    text: str
    role: Role


@dataclass(frozen=True, eq=False)
class Flight:
    """A segment under way, from `leaves` to `comes`. Where nobody saw the one or the other, both are the
    time that is known. `whole`: it has one rung."""

    crossing: Crossing
    leaves: float
    comes: float
    whole: bool

    @property
    def sender(self) -> Side:
        """Which end's it is."""
        return self.crossing.sender

    @property
    def plain(self) -> bool:
        """Whether it is data or an acknowledgement as they are by the thousand."""
        one, segment = self.crossing, self.crossing.segment
        told = not one.again and not one.missing
        return told and not segment.flags & TELLING and segment.window != 0

    @property
    def seen(self) -> tuple[bool, bool]:
        """Whether it was seen to leave, and to come."""
        return self.crossing.sent is not None, self.crossing.received is not None


@dataclass(frozen=True, eq=False)
class Bundle:
    """Plain segments of one direction as one arrow. `size`: bytes of payload, also of segments in between
    that are not recorded (`more`). `last`: the last of them. `seen`: as a flight's."""

    sender: Side
    segments: int
    size: int
    last: Crossing
    after: int | None = None  # the sequence number behind its data
    seen: tuple[bool, bool] = (True, True)
    more: bool = False


@dataclass(eq=False)
class Moment:
    """One rung to be. `verb`, `size`: of a call that may be folded, and the bytes that it passed."""

    t: float
    kind: Kind
    flight: Flight | Bundle | None = None
    part: Part = "whole"
    left: list[Word] = field(default_factory=list)
    right: list[Word] = field(default_factory=list)
    across: str = ""
    verb: str = ""
    size: int = 0

    def beside(self, side: Side) -> list[Word]:
        """The words at the lifeline of an end."""
        return self.left if side == "client" else self.right
