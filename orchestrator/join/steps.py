"""A path: the states that an end came into, one after the other, each between two times."""

from __future__ import annotations

from orchestrator.model.events import Source

NO_SIGN = "the last ACK of the handshake came, and nothing shows that it was taken"
STUCK = "data waits, and behind it a FIN would wait too"

HIDDEN = "the other end's FIN came while data waited, and one here perhaps behind it"
SILENT = "it may have been given up since, which no packet shows"


class Step:
    """An end has come into a state, between `earliest` and `latest`. `received`: by what it received, which
    may be taken back; `sure`: something since shows that it was. `why`: of a state that cannot be known."""

    __slots__ = ("earliest", "latest", "received", "source", "state", "sure", "why")

    def __init__(
        self,
        state: str,
        earliest: float,
        latest: float,
        *,
        source: Source = "packet",
        received: bool = False,
        why: str = "",
    ) -> None:
        self.state, self.earliest, self.latest = state, earliest, latest
        self.source: Source = source
        self.received = received
        self.sure = not received
        self.why = why

    def __repr__(self) -> str:
        return f"{self.state}@{self.earliest:.6f}..{self.latest:.6f} {self.source}"
