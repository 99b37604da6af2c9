"""The states of one end, from the segments that it has sent and received: RFC 9293's machine (3.3.2, 3.10),
as Linux runs it (net/ipv4/tcp_input.c).

What an end sends shows what its kernel had done by then. What it receives may still have been dropped behind
the tap (netfilter, a full accept queue): a retransmission shows that it was, and takes the step back.
"""

from __future__ import annotations

from orchestrator.model.events import UNKNOWN
from orchestrator.model.recording import ACK, FIN, RST, SYN, Segment

_MASK = 0xFFFFFFFF
_HALF = 0x80000000
RACE = 0.001  # seconds in which a segment may be on its way out while one comes in that makes it needless
NO_SIGN = "the last ACK of the handshake came, and nothing shows yet that it was taken"
_FIN_UNACKNOWLEDGED = ("FIN_WAIT1", "CLOSING", "LAST_ACK")


class Step:
    """An end has come into a state, between `earliest` and `latest`. `received`: by what it received, which
    may be taken back; `sure`: something since shows that it was."""

    __slots__ = ("earliest", "latest", "received", "state", "sure")

    def __init__(self, state: str, earliest: float, latest: float, received: bool) -> None:
        self.state, self.earliest, self.latest = state, earliest, latest
        self.received = received
        self.sure = not received


def behind(a: int, b: int) -> bool:
    """Whether the sequence number `a` is before `b` (RFC 9293, 3.4: numbers go round)."""
    return (a - b) & _MASK >= _HALF


class Machine:
    """`steps`: the states so far. `again`: places of segments that were sent before. `whole`: every segment
    is shown to it, so that it knows what has arrived in order."""

    __slots__ = (
        "again",
        "blocked",
        "closed_by_reset",
        "fin_in",
        "fin_in_at",
        "fin_out",
        "irs",
        "iss",
        "rcv_nxt",
        "snd_nxt",
        "snd_una",
        "state",
        "steps",
        "whole",
    )

    def __init__(self, state: str | None = None, at: float = 0.0, *, whole: bool = True) -> None:
        self.state: str | None = state
        self.steps: list[Step] = []
        self.again: list[int] = []
        self.whole = whole
        self.iss: int | None = None
        self.irs: int | None = None
        self.snd_nxt: int | None = None
        self.snd_una: int | None = None
        self.rcv_nxt: int | None = None
        self.fin_out: int | None = None  # the number behind our FIN
        self.fin_in: int | None = None  # the number behind theirs
        self.fin_in_at = 0.0
        self.blocked: float | None = None  # since when the other end's window is closed
        self.closed_by_reset = False
        if state is not None:
            self._go(state, at)

    def _go(self, state: str, at: float, *, latest: float | None = None, received: bool = False) -> None:
        self.state = state
        self.steps.append(Step(state, at, at if latest is None else latest, received))

    def _back(self, *states: str) -> None:
        """To the last of these states: the steps behind it were not made."""
        while self.steps and self.steps[-1].state not in states and self.steps[-1].received:
            self.steps.pop()
        self.state = self.steps[-1].state if self.steps else None

    # What it sends.

    def sent(self, segment: Segment, place: int) -> None:
        """A segment went out."""
        flags = segment.flags
        if flags & RST:
            self._sent_reset(segment)
            return
        if flags & SYN:
            self._sent_syn(segment, place)
            return
        seq, at = segment.seq, segment.t
        if self.closed_by_reset and at - self.steps[-1].earliest > RACE:
            self._not_reset()
        if self.state is None:
            self._go(UNKNOWN, at)
        if self.steps and not self.steps[-1].sure:
            self._sure()
        if self.fin_in is not None and flags & ACK and not behind(segment.ack, self.fin_in):
            self._take_fin(self.fin_in_at, at)
        if segment.length or flags & FIN:
            end = (seq + segment.length + (flags & FIN)) & _MASK
            if self.snd_nxt is not None and behind(seq, self.snd_nxt):
                self.again.append(place)
            if self.snd_nxt is None or behind(self.snd_nxt, end):
                self.snd_nxt = end
            if flags & FIN:
                self._sent_fin(segment, end)
        elif self.snd_nxt is None:
            self.snd_nxt = seq
        if flags & ACK and (self.rcv_nxt is None or behind(self.rcv_nxt, segment.ack)):
            self.rcv_nxt = segment.ack

    def _sent_syn(self, segment: Segment, place: int) -> None:
        if self.iss == segment.seq:
            self.again.append(place)
            self._back("SYN_RECV" if segment.flags & ACK else "SYN_SENT")
            if segment.flags & ACK and self.state == "SYN_SENT":
                self._go("SYN_RECV", segment.t)
            return
        self.iss = segment.seq
        self.snd_una = segment.seq
        self.snd_nxt = (segment.seq + 1 + segment.length) & _MASK
        if segment.flags & ACK:
            self.rcv_nxt = segment.ack
            self.irs = (segment.ack - 1) & _MASK
        self._go("SYN_RECV" if segment.flags & ACK else "SYN_SENT", segment.t)

    def _sent_fin(self, segment: Segment, end: int) -> None:
        at = segment.t
        if self.fin_out == end:
            self._fin_again(segment)
            return
        self.fin_out = end
        if self.state == "CLOSE_WAIT" and self.fin_in is not None and behind(segment.ack, self.fin_in):
            self._back("ESTABLISHED")  # it had come, and was not taken yet: both close at once
        if self.state == "CLOSE_WAIT":
            self._go("LAST_ACK", at)
        elif self.state in ("ESTABLISHED", "SYN_RECV"):
            self._go("FIN_WAIT1", at)
        elif self.state == "SYN_SENT":
            self._go(UNKNOWN, at)
        if self.state == "FIN_WAIT1" and self.fin_in is not None and not self.whole:
            self.fin_in_at = max(self.fin_in_at, at)

    def _fin_again(self, segment: Segment) -> None:
        """Its ACK, if one had come, was not taken."""
        if self.state in _FIN_UNACKNOWLEDGED or self.state in (None, UNKNOWN):
            return
        last = self.steps[-1]
        if segment.t - last.earliest <= RACE:
            return
        self._back(*_FIN_UNACKNOWLEDGED)
        if self.fin_in is not None and not behind(segment.ack, self.fin_in):
            self._take_fin(self.fin_in_at, segment.t)

    def _sent_reset(self, segment: Segment) -> None:
        """Of its own accord, or as the answer to what fits no connection (RFC 9293, 3.10.7)."""
        if self.state == "SYN_SENT" and not segment.flags & ACK:
            return  # it refused an answer to an older SYN and waits on
        if self.state not in (None, "CLOSE"):
            self._go("CLOSE", segment.t)

    def _sure(self) -> None:
        for step in reversed(self.steps):
            if step.sure:
                return
            step.sure = True

    def _not_reset(self) -> None:
        self.closed_by_reset = False
        self.steps.pop()
        self.state = self.steps[-1].state if self.steps else None

    # What it receives.

    def received(self, segment: Segment) -> None:
        """A segment came in."""
        flags = segment.flags
        if flags & RST:
            self._received_reset(segment)
            return
        if flags & SYN:
            self._received_syn(segment)
            return
        at = segment.t
        if self.state is None:
            self._go(UNKNOWN, at)
        if flags & ACK:
            self._acknowledged(segment)
        if segment.length or flags & FIN:
            self._received_bytes(segment)

    def _received_bytes(self, segment: Segment) -> None:
        end = (segment.seq + segment.length) & _MASK
        in_order = self.rcv_nxt is None or not behind(self.rcv_nxt, segment.seq)
        if in_order and (self.rcv_nxt is None or behind(self.rcv_nxt, end)):
            self.rcv_nxt = end
        if segment.flags & FIN and self.fin_in is None:
            self.fin_in = (end + 1) & _MASK
            self.fin_in_at = segment.t
        if self.fin_in is not None and self.rcv_nxt == (self.fin_in - 1) & _MASK:
            self._take_fin(segment.t, segment.t)

    def _received_syn(self, segment: Segment) -> None:
        if not segment.flags & ACK:
            if self.irs is None:
                self.irs = segment.seq
                self.rcv_nxt = (segment.seq + 1) & _MASK
                if self.state == "SYN_SENT":
                    self._go("SYN_RECV", segment.t, received=True)  # both opened at once
            return
        if self.state == "SYN_SENT" and self.iss is not None and segment.ack == (self.iss + 1) & _MASK:
            self.irs, self.snd_una = segment.seq, segment.ack
            self.rcv_nxt = (segment.seq + 1) & _MASK
            self._go("ESTABLISHED", segment.t, received=True)
        elif self.state == "SYN_RECV" and self.irs == segment.seq:
            self._acknowledged(segment)

    def _acknowledged(self, segment: Segment) -> None:
        ack, at = segment.ack, segment.t
        if self.snd_nxt is not None and behind(self.snd_nxt, ack):
            if self.iss is not None:
                return  # of what was never sent
            self.snd_nxt = ack
        if self.snd_una is None or behind(self.snd_una, ack):
            self.snd_una = ack
        if self.state == "SYN_RECV" and self.iss is not None and behind(self.iss, ack):
            self._go("ESTABLISHED", at, received=True)
        if self.fin_out is not None and ack == self.fin_out:
            if self.state == "FIN_WAIT1":
                self._go("FIN_WAIT2", at, received=True)
            elif self.state == "CLOSING":
                self._go("TIME_WAIT", at, received=True)
            elif self.state == "LAST_ACK":
                self._go("CLOSE", at, received=True)

    def _take_fin(self, earliest: float, latest: float) -> None:
        """The other end's FIN is in order, and was processed between these."""
        assert self.fin_in is not None
        if self.state in ("ESTABLISHED", "SYN_RECV"):
            if self.state == "SYN_RECV":
                self._go("ESTABLISHED", earliest, latest=latest, received=True)
            self._go("CLOSE_WAIT", earliest, latest=latest, received=True)
        elif self.state == "FIN_WAIT1":
            self._go("CLOSING", earliest, latest=latest, received=True)
        elif self.state == "FIN_WAIT2":
            self._go("TIME_WAIT", earliest, latest=latest, received=True)
        self.rcv_nxt = self.fin_in

    def _received_reset(self, segment: Segment) -> None:
        if self.state in (None, "CLOSE"):
            return
        if self.state == "SYN_SENT":
            taken = bool(segment.flags & ACK) and segment.ack == self.snd_nxt
        elif self.rcv_nxt is None:
            taken = True
        else:
            ahead = (segment.seq - self.rcv_nxt) & _MASK
            taken = ahead == 0 or (not self.whole and ahead < _HALF >> 1)
        if taken:
            self._go("CLOSE", segment.t, received=True)
            self.closed_by_reset = True
