"""What is impaired in a lab: cuts and links, each with an end, put in force, verified, renewed, taken back.

The daemon keeps what is wanted; what is in force in each host is InForce's, what holds packets Delays'. Work
that blocks is done in a thread, one thing at a time. What can be is kept by the kernel (in_force.py): here
the clock only says when to renew, and when to forget.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from orchestrator import errors
from orchestrator.daemon import verifying
from orchestrator.daemon.answering import Answering
from orchestrator.daemon.cut_rules import ESTABLISHED, Keys, interface_key, neighbour_key
from orchestrator.daemon.delays import Delays
from orchestrator.daemon.hosts import Hosts
from orchestrator.daemon.in_force import BESIDE, RENEW, InForce, Queued
from orchestrator.daemon.probes import Way
from orchestrator.daemon.rooms import Rooms
from orchestrator.daemon.threads import in_thread, shielded
from orchestrator.daemon.wanted import Cut, Place, Setting, ends_of, last_of, links_of, overruled
from orchestrator.daemon.zygote import Zygote

T = TypeVar("T")
_AT_ONCE = 16
FIRST_QUEUE = 0x4C00  # a program in a host may have queues of its own, commonly from 0 on
MOST_EVENTS = 10_000  # that are kept
MOST_KEYS = 200_000  # pairs of addresses of one cut


class Impairments:
    """All of one lab."""

    def __init__(self, hosts: Hosts, zygote: Zygote) -> None:
        self._hosts, self._zygote = hosts, zygote
        self._rooms = Rooms()
        self._cuts: dict[int, Cut] = {}
        self._settings: dict[int, Setting] = {}
        self._answering = Answering(hosts)
        self._delays: Delays | None = None
        self._known: dict[str, dict[Place, int]] = {}  # of each host: the queue's number of each way
        self._numbers = itertools.count(1)
        self._lock = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self.events: deque[dict[str, Any]] = deque(maxlen=MOST_EVENTS)

    @property
    def any(self) -> bool:
        """Whether there is an impairment at all."""
        return bool(self._cuts or self._settings or self._answering.settings)

    def describe(self) -> dict[str, Any]:
        """All that there is, as JSON."""
        now = time.monotonic()
        listed = []
        for one in self._all():
            about: dict[str, Any] = {
                "id": one.number,
                "kind": kind_of(one),
                "text": one.text,
                "left": None if one.until is None else max(0.0, one.until - now),
                "declared": one.declared,
                "failed": one.failed,
                "verified": [word.json() for word in one.verified],
            }
            listed.append(about)
        links = [
            {"host": host, "network": network, **values}
            for (host, network), values in links_of(self._settings.values()).items()
        ]
        return {"impairments": listed, "links": links, "names": self._answering.describe()}

    def _all(self) -> list[Cut | Setting]:
        """In the order in which they were asked for."""
        names = self._answering.settings.values()
        every: list[Cut | Setting] = [*self._cuts.values(), *self._settings.values(), *names]
        return sorted(every, key=lambda one: one.number)

    def since(self, place: int) -> list[dict[str, Any]]:
        """Events from that number on."""
        return [event for event in self.events if event["number"] >= place]

    # What is asked.

    async def cut(self, cut: Cut) -> Cut:
        """Put a cut in force and see that it is. Raises LabError; then nothing of it is left."""
        async with self._lock:
            rooms = await self._enter()
            try:
                await self._in_thread(lambda: self._apply_cut(cut, rooms))
            except BaseException:
                await self._in_thread(lambda: self._withdraw_cut(cut))
                raise
            self._cuts[cut.number] = cut
            self._note("cut", cut.text, cut)
            if not cut.quick:
                cut.verified = await self._in_thread(lambda: self._verified(cut))
        self._keep()
        return cut

    async def set(self, setting: Setting) -> Setting:
        """Set links. Raises LabError; then they are as before."""
        async with self._lock:
            await self._enter()
            self._settings[setting.number] = setting
            try:
                await self._in_thread(self._apply_links)
            except BaseException:
                del self._settings[setting.number]
                with contextlib.suppress(errors.LabError):  # the first is told
                    await self._in_thread(self._apply_links)
                raise
            self._note("link", setting.text, setting)
            ways, expected = self._crossings(setting.places)
            setting.verified = await self._in_thread(lambda: verifying.links(ways, expected))
            for one in overruled(self._settings.values()):
                del self._settings[one.number]
        self._keep()
        return setting

    async def answer(self, setting: Setting) -> Setting:
        """Set how names are answered. Raises EngineError; then it is as before."""
        async with self._lock:
            await self._answering.set(setting)
            self._note("dns", setting.text, setting)
        self._keep()
        return setting

    async def heal(self, wanted: Callable[[Cut | Setting], bool]) -> int:
        """Take these back; how many there were."""
        async with self._lock:
            return await self._heal(wanted)

    async def _heal(self, wanted: Callable[[Cut | Setting], bool]) -> int:
        cuts = [one for one in self._cuts.values() if wanted(one)]
        settings = [one for one in self._settings.values() if wanted(one)]
        names = [one for one in self._answering.settings.values() if wanted(one)]
        for cut in cuts:
            del self._cuts[cut.number]
            await self._in_thread(lambda cut=cut: self._withdraw_cut(cut))  # type: ignore[misc]
        for setting in settings:
            del self._settings[setting.number]
        if settings:
            await self._in_thread(self._apply_links)
        for answer in names:
            del self._answering.settings[answer.number]
        if names:
            await self._answering.apply()
        gone: list[Cut | Setting] = [*cuts, *settings, *names]
        for one in gone:
            over = one.until is not None and one.until <= time.monotonic()
            why = "its time is over" if over else "taken back"
            self._note("heal", f"{one.text}: {why}", one, over=over)
        if not self.any:
            await self._in_thread(self._leave)
        return len(gone)

    async def released(self, client: int) -> None:
        """What belonged to a client that is gone, or asks for it, ends."""
        if any(one.client == client for one in self._all()):
            await shielded(self.heal(lambda one: one.client == client))

    async def refresh(self) -> None:
        """Hosts have come or gone: what is in force is so in those that are there now."""
        if not self.any:
            return
        async with self._lock:
            rooms = await self._enter()
            await self._in_thread(lambda: self._again(rooms))
            await self._answering.apply()

    def learn(self, strangers: Sequence[Mapping[str, Any]]) -> None:
        """Hosts on other machines, as they are planned."""
        self._rooms.strangers.update((str(spec["name"]), spec) for spec in strangers)

    def is_stranger(self, name: str) -> bool:
        """Whether a host is known to be on another machine."""
        return name in self._rooms.strangers

    def number(self) -> int:
        """Of the next impairment."""
        return next(self._numbers)

    async def close(self) -> None:
        """The lab ends."""
        if self._keeper is not None:
            self._keeper.cancel()
        async with self._lock:
            await self._in_thread(self._leave)

    # Time.

    def _keep(self) -> None:
        self._changed.set()
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep_on())

    async def _keep_on(self) -> None:
        """Renew what has no end, forget what is over; nothing is done while nothing is impaired."""
        while self.any:
            now = time.monotonic()
            ends = [o.until for o in self._all() if o.until is not None]
            ends += [cut.again for cut in self._cuts.values() if cut.flap]
            wait = min([RENEW, *(max(0.0, end - now) for end in ends)])
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), wait)
                continue
            except TimeoutError:
                pass
            async with self._lock:
                await self._heal(lambda one: one.until is not None and one.until <= time.monotonic())
                await self._in_thread(self._flap)
                await self._in_thread(self._renew)

    def _flap(self) -> None:
        """Links that are pulled out again; the kernel has put them back in meanwhile."""
        for cut in self._cuts.values():
            if cut.flap and cut.again <= time.monotonic():
                self._withdraw_cut(cut)
                try:
                    self._apply_cut(cut, self._rooms)
                except errors.LabError as error:
                    cut.failed = error.message

    def _renew(self) -> None:
        if self._delays is not None and self._delays.gone:
            self._apply_links()
        for room in self._rooms.values():
            try:
                room.renew()
            except errors.LabError as error:
                for one in self._all():
                    one.failed = one.failed or error.message

    # In force.

    async def _enter(self) -> Rooms:
        """A room for each host that is there; those of hosts that are gone are closed."""
        there = {host.name: host for host in self._hosts if not host.off and host.link.alive}
        for name in [n for n, room in self._rooms.items() if there.get(n) is not room.host]:
            gone = self._rooms.pop(name)
            self._known.pop(name, None)
            await self._in_thread(lambda gone=gone: self._close(gone))  # type: ignore[misc]
        for name, host in there.items():
            if name not in self._rooms:
                self._rooms[name] = InForce(host)
        return self._rooms

    def _close(self, room: InForce) -> None:
        if self._delays is not None:
            try:
                self._delays.ask("forget", host=room.host.name)
            except errors.LabError:
                pass
        room.close()

    def _leave(self) -> None:
        """Nothing is impaired any more: nothing of ours stays in any host."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:  # each waits for the kernel to have taken its hook out
            for _ in pool.map(InForce.close, self._rooms.values()):
                pass
        self._rooms, self._known = Rooms(self._rooms.strangers), {}
        if self._delays is not None:
            self._delays.close()
            self._delays = None

    def _again(self, rooms: Rooms) -> None:
        for cut in self._cuts.values():
            for room in rooms.values():
                room.heal(cut.number)
            try:
                self._apply_cut(cut, rooms)
            except errors.LabError as error:
                cut.failed = error.message
        self._apply_links()

    def _apply_cut(self, cut: Cut, rooms: Rooms) -> None:
        wanted: dict[str, Keys] = {}
        if cut.which.kind == ESTABLISHED and cut.flows is None:
            cut.flows = rooms.flows(cut.ways)
        for sender, receiver in cut.ways:
            for name in rooms.where(sender, receiver, cut.which):
                keys = wanted.setdefault(name, Keys())
                keys.add_pairs(rooms.addresses(sender), rooms.addresses(receiver))
                for flow in (cut.flows or {}).get((sender, receiver), ()):
                    keys.add_flow(flow)
                if sum(map(len, keys.pairs.values())) > MOST_KEYS:
                    raise errors.EngineError("a cut of so many pairs is too much", "cut a link instead")
        _pull_out(cut, rooms, wanted)
        until, now = cut.until, time.monotonic()
        if cut.flap:
            until, cut.again = min(until or now + cut.flap[0], now + cut.flap[0]), now + sum(cut.flap)
        for name, keys in wanted.items():
            if name in rooms:
                rooms[name].open()
                rooms[name].cut(cut.number, cut.which, keys, until)

    def _withdraw_cut(self, cut: Cut) -> None:
        for room in self._rooms.values():
            try:
                room.heal(cut.number)
            except errors.LabError:  # it ends by itself
                continue

    def _apply_links(self) -> None:
        """Every host's queues become what the links are like now."""
        links = links_of(self._settings.values())
        if self._delays is not None and self._delays.gone:
            self._delays.close()
            self._delays = None
            self._note("heal", "the process that delays packets was ended; it is started again")
        if not links and self._delays is None:
            return
        if self._delays is None:
            self._delays = Delays(self._zygote)
            self._known = {}
        lines = {_line(place): values for place, values in links.items()}
        self._delays.ask("lines", lines=lines)
        ends = ends_of(self._settings.values())
        for name, room in self._rooms.items():
            ways = dict(self._rooms.ways_into(name, links))
            if not ways and name not in self._known:
                continue
            self._queue(self._delays, room, ways, ends)

    def _queue(
        self,
        delays: Delays,
        room: InForce,
        ways: Mapping[Place, list[Place]],
        ends: Mapping[Place, float | None],
    ) -> None:
        """Which ways into a host have a queue, and which lines these consist of."""
        name = room.host.name
        if name not in self._known:
            room.open()
            fds = verifying.queue_sockets(room.proc)
            try:
                delays.ask("host", [sock.fileno() for sock in fds], host=name)
            finally:
                for sock in fds:
                    sock.close()
            self._known[name] = {}
        known = self._known[name]
        for way in ways:
            if way not in known:
                known[way] = next(n for n in itertools.count(FIRST_QUEUE) if n not in known.values())
        for way in [way for way in known if way not in ways]:
            del known[way]
        queued, own = [], self._rooms.addresses(name)
        for way, crossed in ways.items():
            until = last_of(ends, crossed)
            index = room.interface(way[1])
            mac = self._rooms.mac(*way) if way[0] else ""
            queued.append((Queued(known[way], index, mac), until))
        if ways:
            numbers = {
                str(known[way] + beside): [_line(p) for p in crossed]
                for way, crossed in ways.items()
                for beside in (0, BESIDE)
            }
            delays.ask("queues", host=name, queues=numbers, beside=FIRST_QUEUE + BESIDE, own=own)
        room.queue(queued)
        if not ways:
            delays.ask("queues", host=name, queues={})

    # Probes.

    def _verified(self, cut: Cut) -> list[verifying.Word]:
        others = [] if cut.links else [(b, a) for a, b in cut.ways if (b, a) not in cut.ways]
        words = verifying.cut(cut.number, self._rooms.ways_of(cut), self._rooms.ways(others))
        looked_at = {word.way for word in words}
        named = [*(f"{a} -> {b}" for a, b in cut.ways), *(f"{host} -> " for host, _ in cut.links)]
        missing = [way for way in named if not any(seen.startswith(way) for seen in looked_at)]
        return [*words, *(verifying.Word(way, None, "no probe can be sent there") for way in missing)]

    def _crossings(self, places: Sequence[Place]) -> tuple[list[Way], list[verifying.Expected]]:
        """Ways over these links, both directions, and what is expected of each."""
        links = links_of(self._settings.values())
        ways: list[Way] = []
        expected: list[verifying.Expected] = []
        for host, network in places:
            on = self._rooms.on(network)
            first = host or next(iter(on), "")
            for name in on:
                for pair in ((first, name), (name, first)) if name != first else ():
                    found = list(self._rooms.way(*pair, network))
                    lines = [links.get((pair[0], network), {}), links.get(("", network), {})]
                    ways += found
                    expected += [verifying.Expected.of(lines)] * len(found)
        return ways, expected

    # The rest.

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await shielded(in_thread(work))

    def _note(self, kind: str, text: str, one: Cut | Setting | None = None, *, over: bool = False) -> None:
        """An event for the timeline; `t` is the monotonic clock. `scoped`: a channel's own."""
        number = self.events[-1]["number"] + 1 if self.events else 0
        now = time.monotonic()
        left = None if one is None or one.until is None else round(one.until - now, 6)
        about = {"scoped": one is not None and one.client is not None, "over": over, "for": left}
        self.events.append({"number": number, "t": now, "kind": kind, "text": text, **about})


def kind_of(one: Cut | Setting) -> str:
    """The word of the step that makes it."""
    return "cut" if isinstance(one, Cut) else "dns" if one.names else "link"


def _line(place: Place) -> str:
    return ":".join(place)


def _pull_out(cut: Cut, rooms: Rooms, wanted: dict[str, Keys]) -> None:
    """Links: what their hosts send is stopped at each receiver, what they are sent at themselves."""
    for host, network in cut.links:
        for name, room in rooms.items():
            room.open()
            if index := room.interface(network):
                keys = wanted.setdefault(name, Keys())
                if name == host:
                    keys.interfaces.append(interface_key(index))
                else:
                    keys.neighbours.append(neighbour_key(index, rooms.mac(host, network)))
