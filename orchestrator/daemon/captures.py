"""Packets of hosts as they come, for one client: the request `capture`.

Blocks go to the client as the kernel wrote them: nothing here looks at a packet. While a client does not
take what was sent, blocks stay in the rings, which fill up; then the kernel drops, and counts that.

A ring gives its packets up to some 20 ms late, each at another time. So after each round the client is told
until when it has everything, and can put the packets of all hosts in order.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from orchestrator import errors, wire
from orchestrator.daemon import taps
from orchestrator.daemon.clients import ClientRequest
from orchestrator.daemon.hosts import Host
from orchestrator.daemon.taps import Tap
from orchestrator.daemon.threads import in_thread, shielded

MAX_SNAP = 1 << 18  # bytes, as of tcpdump
_ROUND = taps.RETIRE_MS / 1000
_LATE = 3 * _ROUND  # a timer of the kernel's may see an open block twice before it gives it to us
_THREADS = 64
_DRAIN_SECONDS = 1.0  # after which what is left in a ring counts as lost


async def capture(request: ClientRequest, hosts: Sequence[Host], opening: asyncio.Lock) -> wire.Message:
    """The answer of a request; no host is closed while `opening` is held. Raises EngineError, DaemonError."""
    return await Capture(request, hosts).run(opening)


class Capture:
    """The taps of one request."""

    def __init__(self, request: ClientRequest, hosts: Sequence[Host]) -> None:
        self._request = request
        self._hosts = [host for host in hosts if host.link.alive]
        if request.message.get("hosts"):
            _refuse_ended(hosts)
        self._taps: list[Tap] = []
        self._numbers: dict[Tap, int] = {}  # how the client knows them
        self._snap = int(request.message.get("snap") or MAX_SNAP)
        if not 0 < self._snap <= MAX_SNAP:
            raise errors.DaemonError(f"from 1 to {MAX_SNAP} bytes of a packet can be kept")
        self._awake = asyncio.Event()
        self._deadline = float("inf")

    async def run(self, opening: asyncio.Lock) -> wire.Message:
        """Until the client says `{"eof": true}`, or all hosts are gone: what was seen of each interface."""
        watching: list[asyncio.Task[None]] = []
        try:
            async with opening:
                await shielded(in_thread(self._open))
            self._numbers = {tap: number for number, tap in enumerate(self._taps)}
            about = [{"host": tap.host.name, **tap.interface._asdict()} for tap in self._taps]
            await self._request.part({"interfaces": about, "snap": self._snap})
            watching += [asyncio.create_task(self._until_told())]
            watching += [asyncio.create_task(self._until_gone(host)) for host in self._hosts]
            await self._rounds()
            counts = [{"received": tap.received, "dropped": tap.dropped} for tap in self._taps]
            return {"interfaces": counts}
        finally:
            for task in watching:
                task.cancel()
            await shielded(in_thread(lambda: _close(self._taps)))

    def _open(self) -> None:
        """In a thread: as many blocks for each as there is room."""
        told = self._request.message.get("filter") or None
        count = sum(taps.count_interfaces(host) for host in self._hosts)
        blocks = taps.BUDGET // taps.BLOCK // max(count, 1)
        if blocks < taps.LEAST_BLOCKS:
            most = taps.BUDGET // taps.BLOCK // taps.LEAST_BLOCKS
            text = f"these hosts have {count} interfaces, and {most} can be captured at once"
            raise errors.DaemonError(text, "name some of the hosts")
        most, opened = min(blocks, taps.MOST_BLOCKS), [list[Tap]() for _ in self._hosts]
        try:
            _side_by_side(
                lambda found, host: taps.open_taps(found, host, told, self._snap, most), opened, self._hosts
            )
        finally:
            self._taps += [tap for found in opened for tap in found]

    async def _until_told(self) -> None:
        async for message, _ in self._request.inputs():
            if message.get("eof"):
                break
        self._finish(self._taps)

    async def _until_gone(self, host: Host) -> None:
        """A host that ended must not be kept half alive by our sockets in its network namespace."""
        await host.link.gone.wait()
        self._finish([tap for tap in self._taps if tap.host is host])

    def _finish(self, ended: Sequence[Tap]) -> None:
        for tap in ended:
            if not tap.closed:
                tap.deafen()
        self._deadline = time.monotonic() + _DRAIN_SECONDS
        self._awake.set()

    async def _rounds(self) -> None:
        """All taps at once, as long as one of them is open."""
        loop, left = asyncio.get_running_loop(), list(self._taps)
        with select.epoll() as ready:
            for tap in left:
                ready.register(tap.socket, select.EPOLLIN)
            while left:
                loop.add_reader(ready.fileno(), self._awake.set)
                try:
                    await self._awake.wait()
                finally:  # a ring that has something for us is ready until it is taken
                    loop.remove_reader(ready.fileno())
                self._awake.clear()
                await self._until_quiet(left)
                left = await _without_ended(left, self._deadline)
                if any(tap.deaf for tap in left):
                    self._awake.set()

    async def _until_quiet(self, left: Sequence[Tap]) -> None:
        """Rounds until the client has everything of the last that had something."""
        quiet = time.monotonic() + _LATE
        while time.monotonic() < quiet:
            began = time.time_ns()
            if await self._one_round(left):
                quiet = time.monotonic() + _LATE
            await self._request.part({"until": began - int(_LATE * 1e9)})
            await asyncio.sleep(_ROUND)

    async def _one_round(self, left: Sequence[Tap]) -> int:
        """Pass on what is ready: how many blocks."""
        count = 0
        for tap in left:
            tap.settle()
            for block in tap.taken():
                tap.count()
                count += 1
                await self._request.part({"interface": self._numbers[tap], "dropped": tap.dropped}, block)
        return count


def _refuse_ended(hosts: Sequence[Host]) -> None:
    for host in hosts:
        if not host.link.alive:
            raise errors.AgentError(
                f"host {host.name} does not run", host.link.why_gone or "`lab restart` helps"
            )


async def _without_ended(left: Sequence[Tap], deadline: float) -> list[Tap]:
    """Those that go on; the others are counted and closed."""
    late = time.monotonic() > deadline
    ended = [tap for tap in left if tap.deaf and (late or not tap.holds_some())]
    for tap in ended:
        tap.count()
    if ended:
        await shielded(in_thread(lambda: _close(ended)))
    return [tap for tap in left if tap not in ended]


def _close(ended: Sequence[Tap]) -> None:
    _side_by_side(lambda tap: tap.close(), ended)


def _side_by_side(work: Callable[..., None], *arguments: Sequence[Any]) -> None:
    """For each, in threads: who opens or closes a tap waits some 10 ms for the kernel, and all can wait at
    once. Returns when all are done; then the first failure is raised.
    """
    with ThreadPoolExecutor(_THREADS) as threads:
        under_way = [threads.submit(work, *each) for each in zip(*arguments, strict=True)]
    for one in under_way:
        one.result()
