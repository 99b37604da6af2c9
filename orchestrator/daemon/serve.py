"""How a daemon runs: it listens, serves its clients, and ends when the lab does."""

from __future__ import annotations

import asyncio
import signal
import socket

from orchestrator.daemon.clients import Client
from orchestrator.daemon.maker import Maker
from orchestrator.daemon.server import Info, Server


def serve(
    maker: Maker,
    listener: socket.socket,
    lease: socket.socket | None,
    *,
    engine: str,
    owner: str,
    name: str,
    machine: str = "local",
) -> None:
    """Serve until the lab ends: `down`, SIGTERM, or the end of `lease` before `commit`. Blocks.

    `lease` is the channel of the `up` under way that made this daemon; None: it was made to stay, and is
    incomplete until `commit`. When this returns the hosts' channels and the maker are closed; the caller ends
    the process.
    """
    asyncio.run(_serve(maker, listener, lease, Info(engine, owner, name, machine)))


async def _serve(maker: Maker, listener: socket.socket, lease: socket.socket | None, info: Info) -> None:
    server = Server(maker, info)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.ending.set)
    clients: set[asyncio.Task[None]] = set()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        clients.add(task)
        try:
            one = Client(reader, writer, server.handle)
            try:
                await one.run()
            finally:
                await server.left(one)
        finally:
            clients.discard(task)

    async def first(sock: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        await client(reader, writer)
        if not server.committed:
            server.ending.set()

    listening = await asyncio.start_unix_server(client, sock=listener)
    leased = asyncio.create_task(first(lease)) if lease is not None else None
    await server.ending.wait()
    listening.close()
    for task in [*clients, *([leased] if leased else [])]:
        task.cancel()
    await server.close()
