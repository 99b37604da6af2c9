"""A folder of a host, listed by its agent page by page, and given whole: within bounds, for an agent is not
trusted."""

from __future__ import annotations

from typing import Any

from orchestrator import errors, wire
from orchestrator.agent.files import MAX_ENTRIES
from orchestrator.daemon.hosts import Host

_MAX_LISTED = 40 << 20  # ASCII characters of one folder's entries: its answer is one frame


async def entries_of(host: Host, op: str, arguments: wire.Message) -> list[Any]:
    """All entries. Raises AgentError for more than one answer can have."""
    exchange = host.link.ask(op, **arguments)
    entries: list[Any] = []
    said = 0
    try:
        async for message, _ in exchange.parts():
            entries += message["entries"]
            said += len(ascii(message))
            if not message["entries"] or len(entries) > MAX_ENTRIES:
                raise errors.AgentError(f"{host.name} lists more than {MAX_ENTRIES} entries, or none")
            if said > _MAX_LISTED:
                raise errors.AgentError(f"{host.name} lists more than {_MAX_LISTED} characters of names")
        await exchange.answer()
    finally:
        exchange.cancel()
    return entries
