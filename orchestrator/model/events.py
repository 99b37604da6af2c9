"""What happened, in order, and what became of each connection: the contract's Event, and what is derived from
them. Times as in `model/recording.py`: seconds since the recording began.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from orchestrator.model.recording import Address, Loss, Recording, Segment

Source = Literal["call", "tracepoint", "packet", "snapshot", "log", "impairment", "exit", "note"]
Side = Literal["client", "server"]
ClosedBy = Literal["FIN", "RST", "timeout"]
UNKNOWN = "unknown"


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that happened at one moment, known to `error_s` seconds. `kind`: of packets `sent`,
    `received`, `forwarded`; of calls the verb; of tracepoints as in Change, but for states; of tables `seen`,
    where they show something new; `state` of any source: an end came into it. `detail`: what its kind has
    beside, which `document` gives as keys of its own."""

    t: float
    error_s: float
    machine: str = ""
    host: str
    source: Source
    connection: str | None = None
    end: Side | None = None
    kind: str
    detail: dict[str, Any] = {}

    def document(self) -> dict[str, Any]:
        """The JSON of the contract: always these keys, null where it is of no connection."""
        return {
            "t": round(self.t, 9),
            "error_s": self.error_s,
            "machine": self.machine,
            "host": self.host,
            "source": self.source,
            "connection": self.connection,
            "end": self.end,
            "kind": self.kind,
            **self.detail,
        }


class Otherwise(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What another source says of the same time."""

    source: Source
    state: str


class Span(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How long an end was in a state: from `began`, known to `error` seconds and by `source`, to `ended`
    (None: it still was, as far as is known). `state` is UNKNOWN where it cannot be known, `why` says why."""

    state: str
    began: float
    ended: float | None
    error: float
    source: Source
    otherwise: tuple[Otherwise, ...] = ()  # sources that disagree, beyond their errors
    why: str = ""


class EndHistory(msgspec.Struct, frozen=True, kw_only=True):
    """One end over time. `host` None: it is no host of the lab, and all that is known of it is by packets."""

    host: str | None
    address: str
    port: int
    spans: tuple[Span, ...] = ()
    cookie: int | None = None
    retransmits: int | None = 0  # segments sent again by this end; None: cannot be known
    fd: int | None = None
    names: tuple[str, ...] = ()  # of the descriptors that steps gave it

    @property
    def states(self) -> tuple[str, ...]:
        """Each state it was in, in order."""
        return tuple(span.state for span in self.spans)


class Crossing(msgspec.Struct, frozen=True, kw_only=True):
    """A segment on its way: seen when it left, when it came, or both. One that has not come although its
    receiver was watched is lost (or held, or dropped): `missing` says so."""

    sender: Side
    sent: Segment | None
    received: Segment | None
    again: bool = False  # a retransmission: its bytes (or its SYN, its FIN) had been sent before
    missing: bool = False

    @property
    def segment(self) -> Segment:
        """Either."""
        found = self.sent or self.received
        assert found is not None
        return found


class Closing(msgspec.Struct, frozen=True, kw_only=True):
    """Who closed first, and by what. None: nobody has, or `why` it cannot be known."""

    first: Side | None = None
    by: ClosedBy | None = None
    at: float | None = None
    error: float = 0.0
    known: bool = True
    why: str = ""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """One incarnation of a connection, from its first sign to its last. `isn`: the first sequence number of
    each side (None: not seen), to which relative numbers count."""

    id: str
    client: EndHistory | None
    server: EndHistory | None
    began: float
    ended: float
    client_address: Address  # as the client has it
    server_address: Address  # as the client has it
    crossings: tuple[Crossing, ...] = ()
    events: tuple[Event, ...] = ()  # of this connection, in order
    closing: Closing = Closing()
    isn_client: int | None = None
    isn_server: int | None = None
    doubts: tuple[str, ...] = ()  # what may be missing here, since records were lost or nobody watched


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """All that happened, in order, and each connection's part."""

    recording: Recording
    events: tuple[Event, ...]
    histories: tuple[History, ...]
    losses: tuple[Loss, ...] = ()
