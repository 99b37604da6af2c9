"""The states of one end by the tracepoint sock:inet_sock_set_state, and what Linux does not say there.

- TIME_WAIT, and FIN_WAIT2 of an orphan, are of a small socket of their own (net/ipv4/tcp_minisocks.c,
  tcp_time_wait): the tracepoint shows FIN_WAIT2 -> CLOSE, or CLOSING -> CLOSE, while the tables go on.
- A request that has sent its SYN+ACK becomes a socket at the third packet only: LISTEN -> SYN_RECV and
  SYN_RECV -> ESTABLISHED come together then.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.join.paths import RANK
from orchestrator.join.steps import Step
from orchestrator.join.watching import Coverage
from orchestrator.model.events import UNKNOWN, Source
from orchestrator.model.recording import Change

RESET = 0.001  # seconds between a reset and the change that it makes
MINI_SOCKET = "it goes on as a TIME_WAIT socket, of which the tracepoint does not tell"
MISSING = "a change between these is missing"
_SOURCE: Source = "tracepoint"
_GOES_ON = ("FIN_WAIT2", "CLOSING")


def by_kernel(changes: Sequence[Change], coverage: Coverage, length: float) -> list[Step]:
    """The path that the changes of one socket (in order) tell of. A state that it was in before the first has
    an `earliest` of minus infinity: since when is not known."""
    words = [change for change in changes if change.kind == "state" and change.new in RANK]
    if not words:
        return []
    resets = [change.t for change in changes if change.kind in ("reset-sent", "reset-received")]
    steps = _before(words[0])
    state = words[0].old
    for word in words:
        if word.old != state and steps:
            began = steps[-1].latest
            steps.append(Step(UNKNOWN, began, began, source=_SOURCE, why=MISSING))
            if word.old in RANK:
                steps.append(Step(word.old, began, word.t, source=_SOURCE))
        assert word.new is not None
        state = word.new
        ends = state == "CLOSE" and word.old in _GOES_ON
        if ends and not any(abs(reset - word.t) <= RESET for reset in resets):
            steps.append(Step(UNKNOWN, word.t, word.t, source=_SOURCE, why=MINI_SOCKET))
        else:
            since = float("-inf") if word.old == "LISTEN" else word.t
            steps.append(Step(state, since, word.t, source=_SOURCE))
    _unwatched(steps, words[-1].t, coverage, length)
    return steps


def _before(first: Change) -> list[Step]:
    if first.old not in RANK or first.old == "CLOSE":
        return []
    return [Step(first.old, float("-inf"), first.t, source=_SOURCE)]


def _unwatched(steps: list[Step], last: float, coverage: Coverage, length: float) -> None:
    """Behind the last change, what may be missing is not known; between two, the words fit together or do
    not."""
    if steps[-1].state in (UNKNOWN, "CLOSE"):
        return
    for gap in coverage.within(last, length):
        began = max(gap.began, last)
        steps.append(Step(UNKNOWN, began, began, source=_SOURCE, why=gap.why))
        return
