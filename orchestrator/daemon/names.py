"""The names of a lab in its hosts: /etc/hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from orchestrator import errors
from orchestrator.daemon.hosts import ANSWER_SECONDS, Host


async def write(host: Host, path: str, text: bytes) -> None:
    """A file of the host, as `put` does it."""
    host.refuse_paused()
    exchange = host.link.ask("put", path=path, mode=0o644)
    try:
        await asyncio.wait_for(exchange.feed({"eof": True}, text), ANSWER_SECONDS)
        await asyncio.wait_for(exchange.answer(), ANSWER_SECONDS)
    except TimeoutError:
        raise errors.AgentError(f"the agent of {host.name} does not answer") from None
    finally:
        exchange.cancel()


def hosts_file(names: Sequence[Sequence[Any]]) -> bytes:
    """/etc/hosts (hosts(5)) of every host of the lab: `names` is Plan.names."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    lines += [f"{address} {name}" for name, addresses in names for address in addresses]
    return "\n".join([*lines, ""]).encode()
