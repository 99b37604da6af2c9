"""Paused hosts: not a process of theirs runs, until who paused them says so, or is gone."""

from __future__ import annotations

import asyncio
from functools import partial

from orchestrator import errors, wire
from orchestrator.daemon import processes
from orchestrator.daemon.hosts import Host, Pause, ask_state
from orchestrator.daemon.threads import in_thread, shielded

_STATE_SECONDS = 1.0  # for its agent to say what it holds, which `hosts` shows while it cannot


class Pauses:
    """`busy` is held while processes are looked at: no host is removed meanwhile."""

    def __init__(self, busy: asyncio.Lock) -> None:
        self._busy = busy
        self._paused: dict[Host, None] = {}

    async def pause(self, host: Host, client: int) -> int:
        """Stop every process of the host, for this client; how many are stopped."""
        state = {} if host.pause else await _state(host)
        async with self._busy:
            if host.pause is None:
                await self._stop(host, Pause(state, {client}))
            assert host.pause
            host.pause.clients.add(client)
            return len(host.pause.stopped)

    async def _stop(self, host: Host, pause: Pause) -> None:
        """A client that goes meanwhile has paused it, and its end is what ends the pause."""
        self._paused[host] = None
        host.set_pause(pause)
        try:
            await shielded(in_thread(partial(processes.stop_all, host.proc, host.name, pause.stopped)))
            if not pause.stopped:
                raise errors.AgentError(f"nothing runs in host {host.name}")
        except errors.LabError:
            del self._paused[host]
            host.set_pause(None)
            raise

    async def resume(self, host: Host) -> int:
        """Let it run on, whoever paused it; how many processes that are."""
        async with self._busy:
            return await self._continue(host)

    async def _continue(self, host: Host) -> int:
        self._paused.pop(host, None)
        pause = host.pause
        host.set_pause(None)
        return await shielded(in_thread(partial(processes.continue_all, pause.stopped))) if pause else 0

    async def release(self, client: int) -> None:
        """What only this client holds paused runs on."""
        for host in list(self._paused):
            async with self._busy:
                if host.pause and client in host.pause.clients:
                    host.pause.clients.remove(client)
                    if not host.pause.clients:
                        await self._continue(host)

    def forget(self, host: Host) -> None:
        """It has ended, and needs not run on for that."""
        self._paused.pop(host, None)
        host.set_pause(None)

    def continue_all(self) -> None:
        """The daemon ends: nothing stays stopped."""
        for host in self._paused:
            if host.pause:
                processes.continue_all(host.pause.stopped)


async def _state(host: Host) -> wire.Message:
    try:
        return await ask_state(host, _STATE_SECONDS)
    except errors.AgentError as error:
        return {"problem": error.message}
