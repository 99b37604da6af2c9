"""What clients have in hosts beyond one request: it ends with their channels, however those end."""

from __future__ import annotations

import asyncio

from orchestrator import errors
from orchestrator.daemon.hosts import Host
from orchestrator.daemon.pauses import Pauses

_RELEASE_SECONDS = 5.0  # an agent that has not answered by then is stopped, or its host is drowned in work


class Belongings:
    """By a client's number: the hosts in which it has made scoped calls, and those that it has paused."""

    def __init__(self, pauses: Pauses) -> None:
        self._pauses = pauses
        self._hosts: dict[int, dict[Host, None]] = {}

    def enter(self, client: int, host: Host) -> int:
        """This client is about to make a scoped call there; the number of its scope."""
        self._hosts.setdefault(client, {})[host] = None
        return client

    async def release(self, client: int) -> int:
        """Hosts that it paused run on; everything of its scope is closed; how many descriptors that were.

        An agent that is gone has nothing any more; one that does not answer does it when it goes on.
        """
        await self._pauses.release(client)
        hosts = self._hosts.pop(client, {})
        return sum(await asyncio.gather(*(_release(host, client) for host in hosts)))


async def _release(host: Host, scope: int) -> int:
    try:
        answer = await host.link.call("release", _RELEASE_SECONDS, scope=scope)
    except errors.AgentError:
        return 0
    closed = answer.message.get("closed")
    return closed if isinstance(closed, int) else 0
