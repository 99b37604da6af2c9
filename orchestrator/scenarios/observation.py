"""What was seen of a lab at one moment, as plain values: what expectations are judged by.

Whoever runs a scenario fills one in for each look. What is not in it was not observed: nothing is taken for
granted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import msgspec

from orchestrator.model.events import Timeline
from orchestrator.model.rows import Connection, Listener
from orchestrator.model.runs import Elapsed, Verdict

Name = tuple[str, str]  # a host, and what `as` gave there (or a counter's name)
Address = tuple[str, int]


class Descriptor(msgspec.Struct, frozen=True, kw_only=True):
    """A descriptor of a step, open or closed by now, as the agent's answers told it.

    `peer`: getpeername(2)'s, or where it was to connect to, for a socket in SYN_SENT has no peer.
    `connection`: the id of the row in which it was last seen, if it was: so that the row is known when only
    the other end is left, and behind NAT. `inode`: of the socket, which may outlive this descriptor of it, or
    be outlived by another one at its port.
    """

    fd: int | None = None
    inode: int | None = None
    local: Address | None = None
    peer: Address | None = None
    connection: str | None = None


class StepResult(msgspec.Struct, frozen=True, kw_only=True):
    """A step that has a name. While it runs, `duration` is how long it has so far (seconds). `stalled`: the
    longest time (seconds) during it in which the observer was not running. `lost`: why nothing will be known
    of its end."""

    running: bool = False
    result: Any = None
    errno: str | None = None
    timed_out: bool = False
    duration: float = 0.0
    output: str = ""  # of a program: what it wrote; of a recv: what it received
    stalled: float = 0.0
    lost: str = ""


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """What came in on a descriptor: the first bytes are kept, all are counted."""

    data: bytes = b""
    total: int = 0
    eof: bool | None = None  # None: not known


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """Lines since the scenario began. Not `complete`: some were dropped."""

    lines: tuple[str, ...] = ()
    complete: bool = True


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """What has happened until `until` (seconds of the recording): of that nothing is still under way.
    `began`: when the recording did, on the clock of looks. `stalled`: how long the observer was not running
    at a stretch between two moments of that clock."""

    timeline: Timeline
    until: float
    began: float
    stalled: Callable[[float, float], float] = lambda _began, _ended: 0.0


class Ends:
    """Rows by what a descriptor knows of itself, so that a thousand descriptors are found among a thousand
    rows."""

    def __init__(self, connections: tuple[Connection, ...]) -> None:
        self.by_id = {row.id: row for row in connections}
        self._own: dict[tuple[str, Address], list[Connection]] = {}
        self._whole: dict[tuple[str, Address, Address], list[Connection]] = {}
        self._lone: dict[tuple[Address, Address], list[Connection]] = {}
        for row in connections:
            ends = [end for end in (row.client, row.server) if end is not None]
            for end in ends:
                own, peer = (end.address, end.port), (end.peer_address, end.peer_port)
                self._own.setdefault((end.host, own), []).append(row)
                self._whole.setdefault((end.host, own, peer), []).append(row)
                if len(ends) == 1:
                    self._lone.setdefault((own, peer), []).append(row)

    def of(self, host: str, local: Address, peer: Address | None) -> list[Connection]:
        """Rows with this end, by both its addresses where both are known; and rows that have but the other
        end of it."""
        if peer is None:
            found = self._own.get((host, local), [])
        else:
            found = self._whole.get((host, local, peer), []) + self._lone.get((peer, local), [])
        return list({row.id: row for row in found}.values())


class Observation(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One look. `not_observed`: hosts whose tables could not be read; `translating`: a router masquerades, so
    an end may be listed under another address; `addresses`: all of the lab's hosts. `recorded` None,
    `not_recorded` says why: the past is not known."""

    connections: tuple[Connection, ...] = ()
    listeners: tuple[Listener, ...] = ()
    not_observed: frozenset[str] = frozenset()
    translating: bool = False
    addresses: frozenset[str] = frozenset()
    descriptors: Mapping[Name, Descriptor] = {}
    counters: Mapping[Name, int] = {}  # differences since the scenario began
    steps: Mapping[Name, StepResult] = {}
    received: Mapping[Name, Received] = {}
    logs: Mapping[str, Log] = {}
    recorded: Recorded | None = None
    not_recorded: str = "nothing was recorded"

    @cached_property
    def ends(self) -> Ends:
        """The rows, to be asked for those of a descriptor."""
        return Ends(self.connections)

    @cached_property
    def claimed(self) -> Mapping[tuple[str, str], frozenset[int]]:
        """By host and row: the sockets (inodes) whose row it was seen to be."""
        found: dict[tuple[str, str], frozenset[int]] = {}
        for (host, _), one in self.descriptors.items():
            if one.connection is not None and one.inode is not None:
                key = (host, one.connection)
                found[key] = found.get(key, frozenset()) | {one.inode}
        return found


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What is made of an expectation. `evidence`: rows and lines that show it; `why`: of an unknown.

    `still`: what nothing can bring back once it is over. Two looks that have it in common say what was so
    between them. `since`: when it became so, by the timeline, on the clock of looks and known to
    `since_error` to both sides; `since_clock` of that is since another machine's clock told it.
    """

    verdict: Verdict
    expected: str
    observed: str
    evidence: tuple[str, ...] = ()
    why: str = ""
    still: tuple[object, ...] = ()
    since: float | None = None
    since_error: float = 0.0
    since_clock: float = 0.0
    elapsed: Elapsed | None = None  # of one with `after`, where that is known
