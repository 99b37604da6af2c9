"""A host whose power is cut: it is gone, and nothing of it has said goodbye.

When a process ends, the kernel closes its sockets with FIN or RST, which is not what a computer does that has
lost its power. So the host's interfaces go down first: its peers never hear of it, and their connections stay
as they are until something of theirs times out.
"""

from __future__ import annotations

import asyncio
import socket

from orchestrator import errors
from orchestrator.daemon import netlink, processes, within
from orchestrator.daemon.hosts import Host
from orchestrator.daemon.threads import in_thread, shielded

_GONE_SECONDS = 5.0  # between an agent's end and the end of its channel


async def cut(host: Host) -> None:
    """Returns when nothing of the host is left. Raises EngineError; then it may be silent and not ended."""
    if host.off:
        return
    host.off, host.link.why_gone = True, f"its power was cut; `lab restart {host.name}` brings it back"
    try:
        await shielded(in_thread(lambda: _end(host)))
    except BaseException:
        if host.link.alive:
            host.off, host.link.why_gone = False, ""
        raise
    try:
        await asyncio.wait_for(host.link.gone.wait(), _GONE_SECONDS)
    except TimeoutError:
        host.link.cut(host.link.why_gone)


def _end(host: Host) -> None:
    try:
        processes.namespace_of(host.proc, host.name)
        within.network(host.proc, _silence)
        processes.kill_first(host.proc, host.made.pid, host.name)
    except OSError as error:
        raise errors.EngineError(f"the power of host {host.name} cannot be cut: {error}") from error


def _silence() -> None:
    """Every interface of this thread's network namespace goes down, but the one that leads nowhere."""
    route = netlink.Netlink()
    try:
        route.do(netlink.down(index) for index, name in socket.if_nameindex() if name != "lo")
    finally:
        route.close()
