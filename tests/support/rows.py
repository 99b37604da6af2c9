"""Rows of real sockets: what `lab conns` is made from, for the tests beside this file."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.join.connections import Joined
from orchestrator.model.rows import Connection, Listener
from orchestrator.observe import observe
from tests.support.rig import Rig, eventually


def look(lab: Rig) -> Joined:
    """All rows as they are now."""
    return observe(lab.channel, lab.lab.plan).joined


def row(
    lab: Rig, port: int, when: Callable[[Connection], bool] = lambda _: True, host: str | None = None
) -> Connection:
    """The one connection that has an end with this port (of `host`: another one may have chosen the same
    ephemeral port), as soon as it looks as it should."""

    def found() -> Connection | None:
        rows = of_port(look(lab), port, host)
        assert len(rows) <= 1, rows
        return rows[0] if rows and when(rows[0]) else None

    return eventually(found)  # type: ignore[return-value]


def of_port(joined: Joined, port: int, host: str | None = None) -> list[Connection]:
    """Connections with an end of this port, on any host or on this one."""
    ends = ((one, end) for one in joined.connections for end in (one.client, one.server) if end)
    return list({id(one): one for one, end in ends if end.port == port and host in (None, end.host)}.values())


def listeners(lab: Rig, port: int) -> list[Listener]:
    """Listening sockets of this port."""
    return [one for one in look(lab).listeners if one.port == port]
