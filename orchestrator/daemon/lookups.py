"""Where a host looks names up: /etc/hosts has those of the lab, /etc/resolv.conf who is asked for others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from orchestrator import errors
from orchestrator.daemon.hosts import ANSWER_SECONDS, Host

Names = Sequence[Sequence[Any]]  # Plan.names


async def write(host: Host, names: Names | None) -> None:
    """Both files, as the host's spec and the lab's names (None: they are as before) say. Raises LabError."""
    if names is not None:
        await _write(host, "/etc/hosts", hosts_file(names))
    if servers := host.spec.get("resolver"):  # else it stays what the engine has made it
        await _write(host, "/etc/resolv.conf", resolv_conf(servers))


async def _write(host: Host, path: str, text: bytes) -> None:
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


def hosts_file(names: Names) -> bytes:
    """/etc/hosts (hosts(5)) of every host of the lab."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    lines += [f"{address} {name}" for name, addresses in names for address in addresses]
    return "\n".join([*lines, ""]).encode()


def resolv_conf(servers: Sequence[str]) -> bytes:
    """/etc/resolv.conf (resolv.conf(5)): who is asked for names that are not in /etc/hosts."""
    return "".join(f"nameserver {address}\n" for address in servers).encode()
