"""What has happened to the connections of a lab: headers of all TCP segments, kept for a while and followed.

While a lab is small its taps are open all the time; of a large lab they are opened for whoever follows. At
rest nothing runs. Frames are kept and sent as the kernel wrote them: nothing here looks at a packet. What is
kept is bounded; what a follower has not taken by the time it must go is counted, and the follower told.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from orchestrator import wire
from orchestrator.daemon import clock, header_taps, taps, within
from orchestrator.daemon.clients import ClientRequest
from orchestrator.daemon.header_taps import HeaderTap
from orchestrator.daemon.hosts import Host
from orchestrator.daemon.threads import in_thread, shielded

ALWAYS = 64  # taps, up to which they are open for as long as the lab lives: hosts have one for lo, too
MOST = 512  # taps at once
BUDGET = 8 << 20  # bytes of all rings together, as far as each has its least
KEPT = 32 << 20  # bytes of frames: some 200,000 segments
OLDER = 8 << 20  # bytes of what opened and closed connections before that
MOST_KEPT = 64 << 20  # bytes, while a follower is behind
_ROUND = 0.01  # seconds between two looks at the rings while packets come
_THREADS = 64


class Piece(NamedTuple):
    """Frames of a tap, or what became of one; `number` counts up by one."""

    number: int
    message: wire.Message
    data: bytes = b""


class _Follower:
    """One request. `at`: the number of the piece that it gets next."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.lost: dict[int, int] = {}  # frames by tap, which it was too slow for
        self.marks: list[Any] = []
        self.over = False
        self.stir = asyncio.Event()


class History:
    """Of one lab. `opening` is held while hosts must not be closed."""

    def __init__(self, opening: asyncio.Lock) -> None:
        self._opening = opening
        self._always = self._closed = False
        self._beginning: asyncio.Task[None] | None = None
        self._numbers: dict[HeaderTap, int] = {}  # of those that are open
        self._about: dict[int, wire.Message] = {}  # every tap that there was
        self._why: dict[str, str] = {}  # hosts that are not watched
        self._kept: deque[Piece] = deque()
        self._older: deque[Piece] = deque()  # of these only what opened or closed a connection
        self._size = self._older_size = self._next = 0
        self._forgotten: list[Any] | None = None  # how many frames, and the clocks when the last were taken
        self._followers: set[_Follower] = set()
        self._ready: select.epoll | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, hosts: Sequence[Host]) -> None:
        """All hosts are made: watch them from now on, if they are few enough."""
        if self._beginning is None:
            self._always = _taps_of(hosts) <= ALWAYS
            self._beginning = self._spawn(self._watch(hosts if self._always else ()))

    async def begun(self) -> None:
        """Returns when what `begin` has begun is done."""
        if self._beginning is not None:
            await asyncio.wait({self._beginning})

    def renew(self, host: Host) -> None:
        """A host was made anew, or came: it is watched like the others."""
        if self._followers or (self._always and len(self._numbers) + _taps_of([host]) <= ALWAYS):
            self._spawn(self._watch([host]))

    async def close(self) -> None:
        """The lab ends: nothing is watched any more."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        open_taps = list(self._numbers)
        self._numbers.clear()
        await shielded(in_thread(lambda: _close(open_taps)))

    async def follow(self, request: ClientRequest, hosts: Sequence[Host]) -> wire.Message:
        """The answer of a request: what is kept since a moment, then all that comes, until it says
        `{"eof": true}`. Each `{"mark": n}` is answered when all that had happened then is sent."""
        follower = _Follower(self._next)
        self._followers.add(follower)
        reading = asyncio.create_task(self._listen(request, follower))
        try:
            if request.message.get("open", True):
                first = set(request.message.get("first") or ())
                await self._watch(sorted(hosts, key=lambda host: host.name not in first))
            self.drain()
            older: list[Piece] = []
            since = request.message.get("since")
            if since is not None:
                follower.at = self._first_since(int(since))
                older = [piece for piece in self._older if piece.message["clock"][0] >= int(since)]
            await request.part(self._described(hosts))
            for piece in older:
                await request.part(piece.message, piece.data)
            while not follower.over:
                await follower.stir.wait()
                follower.stir.clear()
                await self._serve(request, follower)
            return {}
        finally:
            reading.cancel()
            self._followers.discard(follower)
            await self._rest()

    async def _listen(self, request: ClientRequest, follower: _Follower) -> None:
        follower.stir.set()
        async for message, _ in request.inputs():
            if "mark" in message:
                follower.marks.append(message["mark"])
            follower.over = follower.over or bool(message.get("eof"))
            follower.stir.set()

    async def _serve(self, request: ClientRequest, follower: _Follower) -> None:
        """All that there is by now; then the marks that were set before."""
        marks, follower.marks = follower.marks, []
        self.drain()
        until = self._next
        while follower.at < until:
            for tap, count in follower.lost.items():
                await request.part({"tap": tap, "lost": count, "clock": clock.sample()})
            follower.lost = {}
            piece = self._kept[follower.at - self._kept[0].number]
            follower.at += 1
            await request.part(piece.message, piece.data)
        for mark in marks:
            await request.part({"mark": mark, "clock": clock.sample()})

    def _described(self, hosts: Sequence[Host]) -> wire.Message:
        """Which taps there are and were, and which hosts have none."""
        names = {host.name for host in hosts}
        watched = {tap.host.name for tap in self._numbers}
        default = "a lab of so many hosts is watched only while a scenario runs"
        why = {name: self._why.get(name, default) for name in sorted(names - watched)}
        return {"taps": list(self._about.values()), "unwatched": why, "boot": clock.boot_id()} | {
            "clock": clock.sample(),
            "forgotten": self._forgotten,
        }

    def _first_since(self, moment: int) -> int:
        """The number of the first piece that was taken at this moment (monotonic ns) or later."""
        for piece in self._kept:
            if piece.message["clock"][0] >= moment:
                return piece.number
        return self._next

    # Taps.

    async def _watch(self, hosts: Sequence[Host]) -> None:
        """Open taps for those that have none, as many as there may be. What does not work is kept as why."""
        async with self._opening:
            watched = {tap.host for tap in self._numbers}
            wanted = [host for host in hosts if host.link.alive and host not in watched]
            self._why |= {host.name: "it does not run" for host in hosts if not host.link.alive}
            room = MOST - len(self._numbers)
            chosen = list(_as_many(wanted, room))
            for host in wanted[len(chosen) :]:
                self._why[host.name] = f"no more than {MOST} interfaces are watched at once"
            if not chosen or self._closed:
                return
            blocks = BUDGET // header_taps.BLOCK // max(1, _taps_of(chosen) // 2)
            opened = await shielded(in_thread(lambda: _open(chosen, blocks)))
            if self._closed:
                _close([tap for _, found in opened if isinstance(found, list) for tap in found])
                return
            for host, found in opened:
                self._take_in(host, found)

    def _take_in(self, host: Host, found: list[HeaderTap] | str) -> None:
        if isinstance(found, str):
            self._why[host.name] = found
            return
        if self._ready is None:
            self._ready = select.epoll()
            self._spawn(self._rounds(self._ready))
        self._why.pop(host.name, None)
        for tap in found:
            number = self._numbers[tap] = len(self._about)
            self._ready.register(tap.socket, select.EPOLLIN)
            about = {"tap": number, "host": host.name, "device": tap.interface.device}
            self._about[number] = {**about, "clock": clock.sample(), "ended": None, "why": ""}
            self._add({"opened": self._about[number], "clock": clock.sample()})
        self._spawn(self._until_gone(host, found))

    async def _until_gone(self, host: Host, theirs: Sequence[HeaderTap]) -> None:
        """A host that ended must not be kept half alive by our sockets in its network namespace."""
        await host.link.gone.wait()
        self.drain()
        await self._end(theirs, host.link.why_gone or f"{host.name} ended")

    async def _end(self, ended: Sequence[HeaderTap], why: str) -> None:
        now = clock.sample()  # one for all interfaces of a host: that they end together
        for tap in ended:
            number = self._numbers.pop(tap, None)
            if number is not None and self._ready is not None:
                self._ready.unregister(tap.socket)
                self._about[number] |= {"ended": now, "why": why}
                self._why[tap.host.name] = why
                self._add({"ended": number, "clock": now, "why": why})
        await shielded(in_thread(lambda: _close(ended)))

    async def _rest(self) -> None:
        """Nobody follows any more: taps that are not always open are closed."""
        if not self._followers and not self._always and not self._closed:
            self._kept.clear()
            self._older.clear()
            self._size, self._older_size, self._forgotten = 0, 0, None
            await self._end(list(self._numbers), "nobody watched")

    # What comes.

    async def _rounds(self, ready: select.epoll) -> None:
        loop, awake = asyncio.get_running_loop(), asyncio.Event()
        while True:
            loop.add_reader(ready.fileno(), awake.set)
            try:
                await awake.wait()
            finally:  # what has something for us is ready until it is taken
                loop.remove_reader(ready.fileno())
            awake.clear()
            self.drain()
            await asyncio.sleep(_ROUND)

    def drain(self) -> None:
        """Take what is in the rings."""
        if self._ready is None or self._closed:
            return
        ready = {number for number, _ in self._ready.poll(0)}
        for tap, number in list(self._numbers.items()) if ready else ():
            if tap.socket.fileno() not in ready:
                continue
            tap.settle()
            if data := tap.taken():
                tap.count()
                self._add({"tap": number, "dropped": tap.dropped, "clock": clock.sample()}, data)

    def _add(self, message: wire.Message, data: bytes = b"") -> None:
        self._kept.append(Piece(self._next, message, data))
        self._next += 1
        self._size += len(data)
        behind = min((one.at for one in self._followers), default=self._next)
        while self._size > MOST_KEPT or (self._size > KEPT and self._kept[0].number < behind):
            self._forget()
        for one in self._followers:
            one.stir.set()

    def _forget(self) -> None:
        piece = self._kept.popleft()
        self._size -= len(piece.data)
        if piece.data:
            self._age(piece)
        for one in self._followers:
            if one.at <= piece.number:
                one.at = piece.number + 1
                if piece.data:
                    tap = piece.message["tap"]
                    one.lost[tap] = one.lost.get(tap, 0) + len(piece.data) // header_taps.FRAME

    def _age(self, piece: Piece) -> None:
        """Of its frames those stay that say how a connection began and ended, for a while."""
        older = piece._replace(data=header_taps.opening(piece.data))
        gone = len(piece.data) - len(older.data)
        if older.data:
            self._older.append(older)
            self._older_size += len(older.data)
        while self._older_size > OLDER:
            size = len(self._older.popleft().data)
            self._older_size -= size
            gone += size
        before = self._forgotten[0] if self._forgotten else 0
        self._forgotten = [before + gone // header_taps.FRAME, piece.message["clock"]]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _taps_of(hosts: Iterable[Host]) -> int:
    """How many taps these take: one for each interface, and lo's."""
    return sum(1 + len(host.spec.get("interfaces") or ()) for host in hosts)


def _as_many(hosts: Iterable[Host], room: int) -> Iterator[Host]:
    for host in hosts:
        room -= _taps_of([host])
        if room < 0:
            return
        yield host


def _open(hosts: Sequence[Host], blocks: int) -> list[tuple[Host, list[HeaderTap] | str]]:
    """Taps of each, or why there are none: who opens one waits some 10 ms for the kernel."""
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(zip(hosts, threads.map(lambda host: _of_host(host, blocks), hosts), strict=True))


def _of_host(host: Host, blocks: int) -> list[HeaderTap] | str:
    found: list[HeaderTap] = []

    def tap(interface: taps.Interface) -> None:
        share = blocks // 4 if interface.device == "lo" else blocks
        bounded = max(header_taps.LEAST_BLOCKS, min(share, header_taps.MOST_BLOCKS))
        found.append(HeaderTap(host, interface, bounded))

    def work() -> None:
        interfaces = list(taps.interfaces())
        with ThreadPoolExecutor(
            max(1, len(interfaces))
        ) as threads:  # in the namespace of this one (clone(2))
            list(threads.map(tap, interfaces))

    try:
        within.network(host.proc, work)
    except (OSError, RuntimeError) as error:  # RuntimeError: no more threads
        _close(found)
        return f"its packets cannot be seen: {error}"
    return found


def _close(ended: Sequence[HeaderTap]) -> None:
    """Side by side, for each waits."""
    if not ended:
        return
    with ThreadPoolExecutor(_THREADS) as threads:
        for tap in ended:
            threads.submit(_close_one, tap)


def _close_one(tap: HeaderTap) -> None:
    with contextlib.suppress(OSError, BufferError, ValueError):
        tap.close()
