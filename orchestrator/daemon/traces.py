"""What tracepoints say of the lab's sockets, for one client: the request `trace`.

Records go to the client as a program of BPF wrote them (tracing/programs.py): nothing here looks at them.
While a client does not take what was sent they stay in the ring, which fills up; what then finds no room is
counted. At rest nothing runs. Where nothing can be traced the client is told why, and which hosts there are:
if it is root on this computer it can trace them itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import TYPE_CHECKING

from orchestrator import wire
from orchestrator.daemon import within
from orchestrator.daemon.clients import ClientRequest
from orchestrator.daemon.hosts import Host, Hosts
from orchestrator.daemon.threads import in_thread, shielded

if TYPE_CHECKING:
    from orchestrator.daemon.tracing.tracer import Tracer

_ROUND = 0.02  # seconds between two looks at a ring into which something comes


async def trace(request: ClientRequest, hosts: Hosts) -> wire.Message:
    """The answer of a request: until the client says `{"eof": true}`, how many records were lost."""
    return await Trace(request, hosts).run()


class Trace:
    """One request. `self._said` are parts that wait to be sent."""

    def __init__(self, request: ClientRequest, hosts: Hosts) -> None:
        self._request, self._hosts = request, hosts
        self._tracer: Tracer | None = None
        self._cookies: dict[Host, int] = {}  # of their network namespaces
        self._lost: dict[
            int, int
        ] = {}  # records, by the network namespace's cookie; 0: it is not known whose
        self._checked = time.monotonic_ns()  # what was lost until then is known
        self._said: list[wire.Message] = []
        self._marks: list[wire.Message] = []
        self._over = False
        self._stir = asyncio.Event()

    async def run(self) -> wire.Message:
        """See `trace`."""
        said = await shielded(in_thread(self._open))
        self._hosts.followers.add(self)
        listening = asyncio.create_task(self._listen())
        try:
            for host in self._hosts:
                self.came(host)
            await self._request.part(said)
            while not self._over:
                await self._until_stirred()
                await self._serve()
                with contextlib.suppress(TimeoutError):  # at a mark, nobody waits
                    await asyncio.wait_for(self._stir.wait(), _ROUND)
            return {"lost": sum(self._lost.values())}
        finally:
            listening.cancel()
            self._hosts.followers.discard(self)
            if self._tracer is not None:
                await shielded(in_thread(self._tracer.close))

    def came(self, host: Host) -> None:
        """There is one more host: its sockets are recorded from now on."""
        about: wire.Message = {"came": host.name}
        try:
            cookie = _cookie_of(host)
            if self._tracer is not None:
                self._tracer.watch(cookie)
            self._cookies[host] = cookie
            about["netns"] = cookie
        except OSError as error:
            about["why"] = f"its network namespace cannot be watched: {error.strerror or error}"
        self._say(about)

    def went(self, host: Host) -> None:
        """There is one host less."""
        cookie = self._cookies.pop(host, None)
        if cookie is None:
            return
        if self._tracer is not None:
            with contextlib.suppress(OSError):
                self._count(host.name, cookie, self._tracer.unwatch(cookie))
        self._say({"went": host.name, "netns": cookie})

    def _open(self) -> wire.Message:
        """In a thread: it takes some 0.1 s."""
        from orchestrator.daemon.tracing.tracer import Refused, Tracer

        try:
            self._tracer = Tracer()
        except Refused as refused:
            return {"tracing": False, "why": str(refused)}
        return {"tracing": True, "missing": self._tracer.missing, "reasons": self._tracer.reasons}

    def _say(self, about: wire.Message) -> None:
        self._said.append({**about, "at": time.monotonic_ns()})
        self._stir.set()

    async def _listen(self) -> None:
        async for message, _ in self._request.inputs():
            if "mark" in message:
                self._marks.append({"mark": message["mark"], "at": time.monotonic_ns()})
            self._over = self._over or bool(message.get("eof"))
            self._stir.set()

    async def _until_stirred(self) -> None:
        loop = asyncio.get_running_loop()
        if self._tracer is not None:
            loop.add_reader(self._tracer.ring.fd, self._stir.set)
        try:
            await self._stir.wait()
        finally:
            if self._tracer is not None:
                loop.remove_reader(self._tracer.ring.fd)
        self._stir.clear()

    async def _serve(self) -> None:
        """Hosts before their records; marks behind all that was there when they came."""
        marks, self._marks = self._marks, []
        await self._tell()
        if self._tracer is not None:
            await self._drain(self._tracer, thorough=bool(marks) or self._over)
        for mark in marks:
            await self._request.part(mark)

    async def _drain(self, tracer: Tracer, *, thorough: bool) -> None:
        now = time.monotonic_ns()
        ring, left = tracer.ring, tracer.ring.fill
        while left > 0 and (taken := ring.take()):
            left -= len(taken)
            await self._request.part({"records": len(taken)}, taken)
        if thorough or ring.was_full:
            ring.was_full = False
            names = {cookie: host.name for host, cookie in self._cookies.items()}
            for cookie, count in tracer.lost().items():
                self._count(names[cookie], cookie, count)
        self._count(None, 0, tracer.not_run())
        self._checked = now
        await self._tell()

    async def _tell(self) -> None:
        said, self._said = self._said, []
        for about in said:
            await self._request.part(about)

    def _count(self, name: str | None, cookie: int, lost: int) -> None:
        if lost > self._lost.get(cookie, 0):
            about = {"host": name, "lost": lost - self._lost.get(cookie, 0), "since": self._checked}
            self._say(about)
            self._lost[cookie] = lost


def _cookie_of(host: Host) -> int:
    from orchestrator.daemon.tracing.tracer import cookie_of

    if host.made.diag is not None:
        return cookie_of(host.made.diag)

    def work() -> int:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            return cookie_of(sock)

    return within.network(host.proc, work)
