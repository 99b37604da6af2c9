"""Looking at a running lab: a snapshot of its tables, joined; a second look where one row has but one end.

Tables of many hosts are not read at one instant, so an end is called missing only when two looks agree.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import msgspec

from orchestrator.garbage import no_collection
from orchestrator.join import looks
from orchestrator.join.connections import Joined, join
from orchestrator.join.snapshot import HostTables, read_part
from orchestrator.model.plan import Plan
from orchestrator.model.rows import SocketEntry, Taken
from orchestrator.wire import Channel

BETWEEN_LOOKS = 0.03  # seconds: time for a handshake or an accept to be through


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One look: the tables of each host that could be read, and when."""

    tables: tuple[HostTables, ...]
    taken: dict[str, Taken]  # by machine
    not_observed: tuple[str, ...] = ()
    away: dict[str, str] = {}  # machines that did not answer, and why

    @property
    def entries(self) -> Iterator[SocketEntry]:
        """The rows of all hosts."""
        return (entry for one in self.tables for entry in one.entries)


def take(
    channel: Channel, hosts: Sequence[str] | None = None, *, holders: bool = True, quick: bool = False
) -> Seen:
    """One look at these hosts, or at all. `quick`: by sock_diag(7) alone (daemon/listing.py)."""
    tables: list[HostTables] = []
    names = None if hosts is None else list(hosts)
    request = channel.ask("snapshot", hosts=names, holders=holders, quick=quick)
    for message, data in channel.parts(request):
        if "part" in message:
            tables.append(read_part(message["part"], data))
            continue
        end = message["ok"]
        told = end.get("taken") or {str(end.get("machine", "local")): end}  # of several machines, or of one
        return Seen(
            tables=tuple(tables),
            taken={
                machine: Taken(began=float(one.get("began", 0.0)), ended=float(one.get("ended", 0.0)))
                for machine, one in told.items()
            },
            not_observed=tuple(map(str, end.get("not_observed", ()))),
            away=end.get("away") or {},
        )
    raise AssertionError("a channel's parts end with an answer or an error")


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What is seen of a lab: rows, and where and when they were read."""

    joined: Joined
    taken: dict[str, Taken]
    not_observed: tuple[str, ...] = ()
    away: dict[str, str] = {}


def observe(channel: Channel, plan: Plan, *, holders: bool = True, everything: bool = False) -> Observation:
    """Look, join, look again where one look cannot tell, and let the daemon remember the ids.

    `everything`: also what an engine itself opens in hosts (Docker's name server).
    """
    with no_collection():
        seen = take(channel, holders=holders)
        joined = join(seen.tables, plan, everything=everything)
        if looks.needs_second(joined):
            time.sleep(BETWEEN_LOOKS)
            seen = take(channel, holders=holders)
            joined = looks.confirm(joined, join(seen.tables, plan, everything=everything))
        records = looks.remember(joined)
    if records:
        channel.call("remember", records)
    return Observation(joined=joined, taken=seen.taken, not_observed=seen.not_observed, away=seen.away)
