"""The states of one end, from the segments that it has sent and received: RFC 9293's machine (3.3.2, 3.10),
as Linux runs it (net/ipv4/tcp_input.c, tcp_output.c).

What an end sends shows what its kernel had done by then. What it receives may still have been dropped behind
the tap (netfilter, a full accept queue): a retransmission shows that it was, and takes the step back.
"""

from __future__ import annotations

from orchestrator.join.steps import HIDDEN, STUCK, Step
from orchestrator.model.events import UNKNOWN
from orchestrator.model.recording import ACK, FIN, RST, SYN, Segment

_MASK = 0xFFFFFFFF
_HALF = 0x80000000
RACE = 0.001  # seconds in which a segment may be on its way out while one comes in that makes it needless
AT_ONCE = 0.0002  # seconds within which a kernel answers what it answers at once; longer: held behind the tap
SMALL = 2048  # bytes: what waits is not sent into a window of less than a segment (RFC 9293, 3.8.6.2.1)
BURST = 10  # segments that may always be under way without a loss (RFC 6928)
_UNACKNOWLEDGED = ("FIN_WAIT1", "CLOSING", "LAST_ACK")


def behind(a: int, b: int) -> bool:
    """Whether the sequence number `a` is before `b` (RFC 9293, 3.4: numbers go round)."""
    return (a - b) & _MASK >= _HALF


class Machine:
    """`steps`: the states so far. `again`: places (among what was sent) of segments that had been sent
    before. `whole`: it is shown every segment, also those with payload, so that it knows what is in order."""

    __slots__ = (
        "_acked_at",
        "_answers",
        "_asked_at",
        "_fin_in_at",
        "_flight_at",
        "_hidden",
        "_in_flight",
        "_offered",
        "_opening",
        "_reset",
        "_shift",
        "_was_full",
        "_window",
        "again",
        "ended_at",
        "fin_in",
        "fin_out",
        "irs",
        "iss",
        "lag",
        "out_at",
        "rcv_nxt",
        "retry",
        "snd_nxt",
        "snd_una",
        "state",
        "steps",
        "stuck",
        "tampered",
        "whole",
    )

    def __init__(self, *, whole: bool = True, tampered: float = float("inf")) -> None:
        self.whole = whole
        self.tampered = tampered  # since when something acts behind the tap, as far as is known
        self.state: str | None = None
        self.steps: list[Step] = []
        self.again: list[int] = []
        self.iss: int | None = None
        self.irs: int | None = None
        self.snd_nxt: int | None = None
        self.snd_una: int | None = None
        self.rcv_nxt: int | None = None
        self.fin_out: int | None = None  # the number behind our FIN
        self.fin_in: int | None = None  # the number behind theirs
        self.out_at = 0.0  # when it last sent something that is to be acknowledged
        self.retry = 0.0  # seconds that it had waited before it sent that again
        self.stuck: float | None = None  # since when a FIN would have to wait behind data
        self.lag = 0.0  # seconds that what comes is held behind the tap
        self.ended_at = 0.0  # when the other end's FIN came last
        self._fin_in_at = 0.0
        self._flight_at = 0.0
        self._in_flight = 0
        self._acked_at = 0.0  # when all that it had sent was acknowledged
        self._was_full = False  # and whether more could not have been sent before that
        self._window = 1 << 16  # bytes that the other end takes, at least
        self._offered = 0  # by its SYN, which is never scaled (RFC 7323)
        self._shift: int | None = None
        self._asked_at: float | None = None
        self._answers = False  # it has sent a SYN+ACK
        self._opening = False  # a SYN+ACK came, and its ACK has not been sent
        self._reset = False
        self._hidden: tuple[float, float] | None = None  # when their FIN was taken, with ours perhaps waiting

    def _go(self, state: str, earliest: float, latest: float, *, received: bool = False) -> None:
        self.state = state
        self.steps.append(Step(state, earliest, latest, received=received))

    def know(self, state: str, began: float, ended: float) -> None:
        """Another source has seen it in this state between these times, where segments say nothing."""
        self.state = state
        self.steps.append(Step(state, began, ended, source="snapshot"))

    def _back(self, *states: str) -> None:
        """To the last of these states: the steps behind it were not made."""
        while self.steps and self.steps[-1].state not in states and self.steps[-1].received:
            self.tampered = min(self.tampered, self.steps.pop().earliest)
        self.state = self.steps[-1].state if self.steps else None

    @property
    def answers(self) -> bool:
        """Whether it has answered a SYN."""
        return self._answers

    @property
    def closed_window(self) -> bool:
        """Whether the other end takes no more data now."""
        return self._window == 0

    @property
    def outstanding(self) -> bool:
        """Whether it waits for an ACK, and would send again."""
        return self.snd_nxt is not None and self.snd_una is not None and behind(self.snd_una, self.snd_nxt)

    # What it sends.

    def sent(self, segment: Segment, place: int) -> None:
        """A segment went out."""
        flags, at = segment.flags, segment.t
        if self._hidden is not None:
            self.settle(at)
        if flags & SYN:
            self._sent_syn(segment, place)
            return
        if flags & RST:
            self._sent_reset(segment)
            return
        steps = self.steps
        if not steps:
            self._go(UNKNOWN, at, at)
        elif not steps[-1].sure:
            if self._reset and at - steps[-1].earliest > RACE:
                self._not_reset()
            self._sure(at)
        if flags & ACK:
            if (
                self.fin_in is not None
                and self.rcv_nxt != self.fin_in
                and not behind(segment.ack, self.fin_in)
            ):
                self._take_fin(self._fin_in_at, at)
            if self.rcv_nxt is None or behind(self.rcv_nxt, segment.ack):
                self.rcv_nxt = segment.ack
        if segment.length or flags & FIN:
            self._sent_bytes(segment, place)
        elif self.snd_nxt is None:
            self.snd_nxt = self.snd_una = segment.seq

    def _sent_bytes(self, segment: Segment, place: int) -> None:
        seq, at = segment.seq, segment.t
        end = (seq + segment.length + (segment.flags & FIN)) & _MASK
        if self.snd_una is None:
            self.snd_una = seq
        if self.snd_nxt is not None and behind(seq, self.snd_nxt):
            self.again.append(place)
            self.retry = max(self.retry, at - self.out_at)
            if self.stuck is None:
                self.stuck = self._flight_at
            if segment.flags & FIN and self.fin_out == end:
                self._fin_again(segment)
        if segment.flags & FIN and self.fin_out is None:
            self._sent_fin(segment, end)
        if self.snd_una == seq and not self._goes_on(at):
            self._flight_at, self._in_flight = at, 0
        self._in_flight += 1
        if self.snd_nxt is None or behind(self.snd_nxt, end):
            self.snd_nxt = end
        self.out_at = at

    def _sent_syn(self, segment: Segment, place: int) -> None:
        at, answers = segment.t, bool(segment.flags & ACK)
        if self.iss == segment.seq and answers == self._answers:
            self.again.append(place)
            self.retry = at - self.out_at
            self._back("SYN_RECV" if answers else "SYN_SENT")
        elif self.iss != segment.seq:
            self.iss = self.snd_una = segment.seq
            self.snd_nxt = (segment.seq + 1 + segment.length) & _MASK
            self._go("SYN_RECV" if answers else "SYN_SENT", at, at)
            if answers and self._asked_at is not None:
                self.lag = at - self._asked_at
        elif self.state == "SYN_SENT":
            self._go("SYN_RECV", at, at)
        if answers:
            self.rcv_nxt, self.irs = segment.ack, (segment.ack - 1) & _MASK
        self._answers = answers
        self.out_at = at

    def _sent_fin(self, segment: Segment, end: int) -> None:
        """It may have been waiting behind data since the program closed."""
        at = earliest = segment.t
        if self.stuck is not None:
            earliest = self.stuck
        elif (self.outstanding and (segment.length or not self.has_room(segment.seq, at))) or self._goes_on(
            at
        ):
            earliest = self._flight_at
        self.fin_out = end
        if self.state == "CLOSE_WAIT" and self.fin_in is not None and behind(segment.ack, self.fin_in):
            self._back("ESTABLISHED")  # it had come, and was not taken yet: both close at once
            self.rcv_nxt = (self.fin_in - 1) & _MASK
        if self.state == "CLOSE_WAIT":
            self._go("LAST_ACK", max(earliest, self.steps[-1].earliest), at)
        elif self.state in ("ESTABLISHED", "SYN_RECV"):
            self._go("FIN_WAIT1", max(earliest, self.steps[-1].earliest), at)
        elif self.state == "SYN_SENT":
            self._go(UNKNOWN, at, at)
        self._fin_in_at = max(self._fin_in_at, at)

    def _fin_again(self, segment: Segment) -> None:
        """Its ACK, if one had come, was not taken."""
        if self.state in _UNACKNOWLEDGED or self.state in (None, UNKNOWN):
            return
        if segment.t - self.steps[-1].earliest <= RACE:
            return
        self._back(*_UNACKNOWLEDGED)
        if self.fin_in is not None and not behind(segment.ack, self.fin_in):
            self._take_fin(self._fin_in_at, segment.t)

    def _sent_reset(self, segment: Segment) -> None:
        """Of its own accord, or as the answer to what fits no connection (RFC 9293, 3.10.7)."""
        if self.state in (None, "CLOSE"):
            return
        if self.state in ("SYN_SENT", "SYN_RECV") and not segment.flags & ACK:
            return  # it refused an answer to an older SYN, or to none, and waits on
        if segment.flags & ACK and self.fin_in is not None and behind(segment.ack, self.fin_in):
            self._back(
                "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2"
            )  # it was not taken yet
        self.wait_unseen(self.steps, segment.t)
        self._go("CLOSE", segment.t, segment.t)

    def _sure(self, at: float) -> None:
        """What it has received was taken by now, for it has answered since."""
        for step in reversed(self.steps):
            if step.sure:
                return
            step.sure = True
            passed = at - step.earliest
            at_once = self._opening if step.state == "ESTABLISHED" else step.state == "TIME_WAIT"
            if at_once and AT_ONCE < passed < 1.0:
                step.earliest = step.latest = at
                self.lag = max(self.lag, passed)
            elif step.earliest >= self.tampered:
                step.latest = max(step.latest, at)
            elif self.lag > AT_ONCE:
                step.latest = max(step.latest, min(at, step.earliest + 2 * self.lag))
        self._opening = False

    def _not_reset(self) -> None:
        self._reset = False
        self.steps.pop()
        self.state = self.steps[-1].state if self.steps else None

    # What it receives.

    def received(self, segment: Segment) -> None:
        """A segment came in."""
        flags = segment.flags
        if self._hidden is not None:
            self.settle(segment.t)
        if flags & RST:
            self._received_reset(segment)
            return
        if flags & SYN:
            self._offered = self._window = segment.window
            self._received_syn(segment)
            return
        if self.state is None and self.irs is None:
            self._go(UNKNOWN, segment.t, segment.t)
        if flags & ACK:
            self._acknowledged(segment)
        if segment.length or flags & FIN:
            self._received_bytes(segment)

    def _received_bytes(self, segment: Segment) -> None:
        end = (segment.seq + segment.length) & _MASK
        known = self.rcv_nxt
        if known is None or (not behind(known, segment.seq) and behind(known, end)):
            self.rcv_nxt = end
        if segment.flags & FIN:
            self.ended_at = segment.t
            if self.fin_in is None:
                self.fin_in = (end + 1) & _MASK
                self._fin_in_at = segment.t
            elif not self.steps[-1].sure:  # nothing has acknowledged it: the first was not taken
                self.tampered = min(self.tampered, self.steps[-1].earliest)
                self.steps[-1].latest = segment.t
        if self.fin_in is not None and self.rcv_nxt == (self.fin_in - 1) & _MASK:
            self._take_fin(segment.t, segment.t)

    def _received_syn(self, segment: Segment) -> None:
        at = segment.t
        if not segment.flags & ACK:
            self._asked_at = at
            if self.irs is None:
                self.irs = segment.seq
                self.rcv_nxt = (segment.seq + 1) & _MASK
                if self.state == "SYN_SENT":
                    self._go("SYN_RECV", at, at, received=True)  # both opened at once
        elif self.state == "SYN_SENT" and self.iss is not None and segment.ack == (self.iss + 1) & _MASK:
            self.irs, self.snd_una = segment.seq, segment.ack
            self.rcv_nxt = (segment.seq + 1) & _MASK
            self._opening = True
            self._go("ESTABLISHED", at, at, received=True)
        elif self.state == "SYN_RECV" and self.irs == segment.seq:
            self._acknowledged(segment)

    def _acknowledged(self, segment: Segment) -> None:
        ack, at = segment.ack, segment.t
        if self.snd_nxt is not None and behind(self.snd_nxt, ack):
            if self.whole and self.iss is not None:
                return  # of what was never sent
            self.snd_nxt = ack
        full = not self.has_room(self.snd_nxt, at)
        if not segment.flags & SYN:
            self._take_window(segment)
        if self.snd_una is None or behind(self.snd_una, ack):
            self.snd_una, self.retry = ack, 0.0
            if ack == self.snd_nxt:
                self._acked_at, self._was_full = at, full
        if self.snd_una == self.snd_nxt and self._window:
            self._all_acknowledged(at, full)
        if self.state == "SYN_RECV" and self.iss is not None and behind(self.iss, ack):
            self._go("ESTABLISHED", at, at, received=True)
        if ack == self.fin_out:
            self._fin_acknowledged(at)

    def _fin_acknowledged(self, at: float) -> None:
        """Its own. The other end's, if that came first and could not be taken yet, is taken first."""
        if (
            self.state == "FIN_WAIT1"
            and self.fin_in is not None
            and self.rcv_nxt == (self.fin_in - 1) & _MASK
        ):
            self._take_fin(self._fin_in_at, at)
        if self.state == "FIN_WAIT1":
            self._go("FIN_WAIT2", at, at, received=True)
        elif self.state == "CLOSING":
            self._go("TIME_WAIT", at, at, received=True)
        elif self.state == "LAST_ACK":
            self._go("CLOSE", at, at, received=True)

    def _take_window(self, segment: Segment) -> None:
        """The scale is not in the headers: what was offered first, and what is now, tell it about."""
        window = segment.window
        if self._shift is None and window:
            self._shift = max(0, (self._offered // window).bit_length() - 1)
        self._window = window << (self._shift or 0)
        if window == 0 and self.stuck is None:
            self.stuck = self._flight_at if self.outstanding else segment.t

    def _goes_on(self, at: float) -> bool:
        """Whether what is sent now had been waiting: the ACK that makes room for it has just come."""
        return self._was_full and at - self._acked_at <= RACE

    def has_room(self, seq: int | None, at: float) -> bool:
        """Whether a FIN with this number would have gone out at once, by the window and by RFC 6928."""
        if self.stuck is not None or self._goes_on(at):
            return False
        if self.snd_una is None or seq is None or not behind(self.snd_una, seq):
            return True
        return (seq - self.snd_una) & _MASK < self._window and self._in_flight < BURST

    def _take_fin(self, earliest: float, latest: float) -> None:
        """The other end's FIN is in order, and was taken between these times."""
        if self.state == "SYN_RECV":
            self._go("ESTABLISHED", earliest, latest, received=True)
        if self.state == "ESTABLISHED":
            self.wait_unseen(self.steps, latest, HIDDEN)
            if self.state == UNKNOWN:
                self._hidden = earliest, latest
            else:
                self._go("CLOSE_WAIT", earliest, latest, received=True)
        elif self.state == "FIN_WAIT1":
            self._go("CLOSING", earliest, latest, received=True)
        elif self.state == "FIN_WAIT2":
            self._go("TIME_WAIT", max(earliest, self.steps[-1].earliest), latest, received=True)
        self.rcv_nxt = self.fin_in

    def _all_acknowledged(self, at: float, full: bool) -> None:
        """All that was sent is. `full`: more could not have been sent before that."""
        if full and self._window < SMALL:
            self.stuck = self._flight_at if self.stuck is None else self.stuck
            return
        if self.stuck is not None:
            self._flight_at, self._acked_at, self._was_full = self.stuck, at, True
            self.stuck = None

    def settle(self, at: float) -> None:
        """If all data is through, and for some time nothing came behind it, no FIN did either: the other end
        was the first to close."""
        hidden = self._hidden
        through = self.stuck is None and not self.outstanding and not self._goes_on(at)
        if hidden is not None and through and self.fin_out is None and self.steps[-1].state == UNKNOWN:
            self._hidden = None
            self.steps.pop()
            self._go("CLOSE_WAIT", *hidden, received=True)

    def wait_unseen(self, steps: list[Step], at: float, why: str = STUCK) -> None:
        """At that time a FIN may have been waiting behind data: since when, is added to these."""
        if (
            self.state not in ("ESTABLISHED", "CLOSE_WAIT")
            or self.fin_out is not None
            or self.snd_nxt is None
        ):
            return
        if not self.has_room(self.snd_nxt, at):
            since = self._flight_at if self.stuck is None else self.stuck
            since = max(since, steps[-1].latest)
            self.state = UNKNOWN
            steps.append(Step(UNKNOWN, since, since, why=why, received=True))

    def _received_reset(self, segment: Segment) -> None:
        if self.state in (None, "CLOSE"):
            return
        if self.state == "SYN_SENT":
            taken = bool(segment.flags & ACK) and segment.ack == self.snd_nxt
        elif self.rcv_nxt is None:
            taken = True
        else:  # RFC 5961, 3.2: only the very next number closes; any other is challenged
            ahead = (segment.seq - self.rcv_nxt) & _MASK
            taken = ahead == 0 or (not self.whole and ahead < _HALF)
        if taken:
            self.wait_unseen(self.steps, segment.t)
            self._go("CLOSE", segment.t, segment.t, received=True)
            self._reset = True
