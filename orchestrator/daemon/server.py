"""The daemon: serves clients, asks agents, observes. One asyncio loop; what takes long is done in a thread.

At rest it sleeps: nothing here polls. The requests are in docs/architecture.md.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator import errors, wire
from orchestrator.daemon import captures, clock, counters, folders, lookups, nat, observe, power, traces
from orchestrator.daemon.belongings import Belongings
from orchestrator.daemon.clients import Client, ClientRequest
from orchestrator.daemon.history import History
from orchestrator.daemon.hosts import ANSWER_SECONDS, Answers, Host, Hosts, ask_state
from orchestrator.daemon.incarnations import Incarnations
from orchestrator.daemon.maker import Made, Maker
from orchestrator.daemon.pauses import Pauses
from orchestrator.daemon.threads import in_thread, shielded

if TYPE_CHECKING:
    from orchestrator.daemon.impairing import Impairing

T = TypeVar("T")
_STATE_SECONDS = 5.0  # an agent that does not say by then how it is, is shown without
_UP_SECONDS = 30.0  # for the connections of one host
_START_SECONDS = 30.0  # an exec may be slow to begin
_PROGRAM = {"start", "exec"}
_STREAMS = {"exec", "get", "put", "logs"}
_IMPAIRING = ("cut", "heal", "link", "answer", "impair", "impairments")
_RESERVED = {"id", "op", "host", "scoped", "scope"}


@dataclass(frozen=True)
class Info:
    """Which lab this is; `machine` is what its snapshots are labelled with."""

    engine: str
    owner: str
    name: str
    machine: str = "local"


class Server:
    """The requests of a daemon."""

    def __init__(self, maker: Maker, info: Info) -> None:
        self._maker = maker
        self._info = info
        self._hosts = Hosts()
        self._incarnations = Incarnations()
        self._plan: Any = None
        self.committed = False  # until then a lab ends with the channel that it was leased to
        self.ending = asyncio.Event()
        self._making = asyncio.Lock()  # the maker is asked for one thing at a time
        self._observing = asyncio.Lock()  # no host's descriptors are closed while they are read
        self._pauses = Pauses(self._observing)
        self._history = History(self._observing)
        self._belongings = Belongings(self._pauses)
        self._impairing: Impairing | None = None  # until it is first asked for
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ops: dict[str, Callable[[ClientRequest], Awaitable[wire.Message | wire.Frame]]] = {
            "hello": self._hello,
            "clock": clock.answer,
            "plan": self._get_plan,
            "set_plan": self._set_plan,
            "commit": self._commit,
            "make": self._make,
            "adopt": self._adopt,
            "remove": self._remove,
            "stitch": self._stitch,
            "configure": self._configure,
            "hosts": self._list_hosts,
            "snapshot": self._snapshot,
            "counters": self._counters,
            "capture": self._capture,
            "history": self._follow_history,
            "unwatch": self._unwatch,
            "trace": self._trace,
            "remember": self._remember,
            "down": self._down,
            "list": self._list_files,
            "call": self._call,
            "calls": self._calls,
            "release": self._release,
            "pause": self._pause,
            "resume": self._resume,
            "power_off": self._power_off,
            **dict.fromkeys(("listen", "dns", "connect", "start", "stop", "signal", "mkdir"), self._ask),
            **dict.fromkeys(sorted(_STREAMS), self._stream),
            **dict.fromkeys(_IMPAIRING, self._impair),
        }

    async def handle(self, request: ClientRequest) -> wire.Message | wire.Frame:
        """The answer of one request. Raises LabError."""
        op = request.message.get("op")
        work = self._ops.get(op) if isinstance(op, str) else None
        if work is None:
            raise errors.DaemonError(
                f"the daemon knows no request {op!r}", "is it of another version of lab?"
            )
        try:
            return await work(request)
        except (KeyError, TypeError, ValueError) as error:
            raise errors.DaemonError(f"request {op!r}: {type(error).__name__}: {error}") from error

    async def left(self, client: Client) -> None:
        """This client is gone: so is what belonged to it."""
        if self._impairing is not None:
            await self._impairing.all.released(client.number)
        await self._belongings.release(client.number)

    async def close(self) -> None:
        """Everything of the lab that this process owns ends."""
        self.ending.set()
        if self._impairing is not None:
            await self._impairing.all.close()
        for host in self._hosts:
            host.link.cut("the lab has ended")
        self._pauses.continue_all()
        await self._history.close()
        await in_thread(self._maker.close)

    async def _hello(self, request: ClientRequest) -> wire.Message:
        theirs = request.message.get("version")
        if theirs != wire.VERSION:
            text = f"the lab's daemon speaks version {wire.VERSION}, and this lab version {theirs}"
            raise errors.DaemonError(text, "use the lab that made it, or `lab down` and `lab up`")
        info = self._info
        state = "running" if self.committed else "incomplete"
        who = {"engine": info.engine, "owner": info.owner, "name": info.name}
        return {"version": wire.VERSION, **who, "state": state, "pid": os.getpid()}

    async def _get_plan(self, _: ClientRequest) -> wire.Message:
        return {"plan": self._plan}

    async def _set_plan(self, request: ClientRequest) -> wire.Message:
        self._plan = request.message["plan"]
        return {}

    async def _commit(self, _: ClientRequest) -> wire.Message:
        self.committed = True
        return {}

    async def _make(self, request: ClientRequest) -> wire.Message:
        networks, hosts = request.message.get("networks") or [], request.message.get("hosts") or []
        return await self._install(request, lambda: self._maker.make(networks, hosts))

    async def _adopt(self, request: ClientRequest) -> wire.Message:
        hosts, bridges = request.message.get("hosts") or [], request.message.get("bridges") or []
        return await self._install(request, lambda: self._maker.adopt(hosts, bridges))

    async def _stitch(self, request: ClientRequest) -> wire.Message:
        networks = request.message.get("networks") or []
        async with self._making:
            await shielded(in_thread(lambda: self._maker.stitch(networks)))
        return {}

    async def _install(self, request: ClientRequest, work: Callable[[], Iterator[Made]]) -> wire.Message:
        """Take in what the maker yields, also when the client goes meanwhile."""
        ready: asyncio.Queue[str | None] = asyncio.Queue()
        task = self._spawn(self._take_in(work, ready))
        count = 0
        while (name := await ready.get()) is not None:
            await request.part({"host": name})
            count += 1
        await task
        await self._refresh()
        self._history.begin(list(self._hosts))
        return {"made": count}

    async def _take_in(self, work: Callable[[], Iterator[Made]], ready: asyncio.Queue[str | None]) -> None:
        """Everything that the maker yields is taken in, whatever happens to one; then the first failure."""
        loop, made = asyncio.get_running_loop(), asyncio.Queue[Made | None]()

        def run() -> None:
            try:
                for one in work():
                    loop.call_soon_threadsafe(made.put_nowait, one)
            finally:
                loop.call_soon_threadsafe(made.put_nowait, None)

        failures: list[errors.LabError] = []
        try:
            async with self._making:
                thread = asyncio.ensure_future(in_thread(run))
                while (one := await made.get()) is not None:
                    try:
                        async with self._observing:
                            host = await self._hosts.add(one)
                        self._history.renew(host)
                        ready.put_nowait(one.name)
                    except errors.LabError as error:
                        failures.append(error)
                await thread
        finally:
            ready.put_nowait(None)
        for failure in failures:
            raise failure

    async def _remove(self, request: ClientRequest) -> wire.Message:
        hosts, networks = request.message.get("hosts") or [], request.message.get("networks") or []
        async with self._making:
            async with self._observing:
                for name in hosts:
                    self._hosts.pop(name)
            await shielded(in_thread(lambda: self._maker.remove(hosts, networks)))
        await self._refresh()
        return {}

    async def _configure(self, request: ClientRequest) -> wire.Message:
        told = request.message.get("hosts") or []
        specs = [spec for spec in told if not self._hosts.get(spec["name"]).off]  # a restart makes those anew
        hosts = [self._hosts.get(spec["name"]) for spec in specs]
        async with self._making:
            await shielded(in_thread(lambda: self._maker.configure(specs)))
            for host, spec in zip(hosts, specs, strict=True):
                host.spec = spec
            await shielded(in_thread(lambda: _masquerade(hosts)))
        await _all(lookups.write(host, wire.unpacked(request.message.get("names"))) for host in hosts)
        return {}

    async def _list_hosts(self, _: ClientRequest) -> wire.Message:
        return {"hosts": await _all(_describe(host) for host in self._hosts)}

    async def _call(self, request: ClientRequest) -> wire.Frame:
        """A call of an agent, of the client's own scope or of none."""
        host, op, arguments = self._scoped(request)
        return await host.link.call(op, _patience(host, op, arguments), **arguments)

    async def _calls(self, request: ClientRequest) -> wire.Frame:
        """Many calls of an agent; their answers are parts, as they come."""
        host, op, arguments = self._scoped(request)
        seconds = max(_patience(host, "call", {"call": call}) for call in arguments["calls"])
        exchange, answers = host.link.ask(op, **arguments), Answers(len(arguments["calls"]))
        try:
            async with asyncio.timeout(seconds):
                async for part in exchange.parts():
                    await request.part(answers.checked(part), part.data)
                return await exchange.answer()
        except TimeoutError:
            raise host.link.silent() from None
        except errors.ProtocolError as error:
            host.link.cut(f"it was cut off: it sent {error.message}")
            raise host.link.silent() from error
        finally:
            exchange.cancel()

    def _scoped(self, request: ClientRequest) -> tuple[Host, str, wire.Message]:
        host, op, arguments = self._told(request)
        if request.message.get("scoped"):
            arguments["scope"] = self._belongings.enter(request.client.number, host)
        return host, op, arguments

    async def _release(self, request: ClientRequest) -> wire.Message:
        if self._impairing is not None:
            await self._impairing.all.released(request.client.number)
        return {"closed": await self._belongings.release(request.client.number)}

    async def _impair(self, request: ClientRequest) -> wire.Message:
        """Cuts and links: imported when the first is asked for."""
        if self._impairing is None:
            if request.message["op"] == "impairments":  # there were none yet
                nothing: wire.Message = {
                    "impairments": [],
                    "links": [],
                    "names": [],
                    "declared": None,
                    "events": [],
                }
                return {**nothing, "now": time.monotonic()}
            from orchestrator.daemon.impairing import Impairing

            self._impairing = Impairing(self._hosts, self._maker.zygote)
        return await self._impairing.handle(request)

    async def _refresh(self) -> None:
        """Hosts have come or gone."""
        if self._impairing is not None:
            await self._impairing.all.refresh()

    async def _pause(self, request: ClientRequest) -> wire.Message:
        host = self._hosts.get(request.message.get("host"))
        return {"paused": await self._pauses.pause(host, request.client.number)}

    async def _resume(self, request: ClientRequest) -> wire.Message:
        return {"resumed": await self._pauses.resume(self._hosts.get(request.message.get("host")))}

    async def _power_off(self, request: ClientRequest) -> wire.Message:
        host = self._hosts.get(request.message.get("host"))
        async with self._observing:
            for one in self._hosts.followers:  # what its kernel does from now on no such computer would
                one.went(host)
            await power.cut(host)
            self._pauses.forget(host)
        return {}

    async def _ask(self, request: ClientRequest) -> wire.Frame:
        """One question, one answer; both in the agent's words."""
        host, op, arguments = self._told(request)
        if op == "connect":
            await self._history.begun()
        if op == "start" and not arguments.get("argv"):
            arguments["argv"] = list(host.made.start.argv)
            if not arguments["argv"]:
                return wire.Frame({})  # neither the request nor the host's image names a program
        return await host.link.call(op, _patience(host, op, arguments), **arguments)

    async def _stream(self, request: ClientRequest) -> wire.Frame:
        """Parts one way, input the other, each no faster than the slower side."""
        host, op, arguments = self._told(request)
        host.refuse_paused()
        exchange = host.link.ask(op, **arguments)
        feeding = asyncio.create_task(_feed(request, exchange.feed))
        try:
            async for message, data in exchange.parts():
                await request.part(message, data)
            return await exchange.answer()
        finally:
            feeding.cancel()
            exchange.cancel()

    async def _list_files(self, request: ClientRequest) -> wire.Message:
        host, op, arguments = self._told(request)
        host.refuse_paused()
        return {"entries": await folders.entries_of(host, op, arguments)}

    def _told(self, request: ClientRequest) -> tuple[Host, str, wire.Message]:
        host, op = self._hosts.get(request.message.get("host")), str(request.message["op"])
        arguments = {key: value for key, value in request.message.items() if key not in _RESERVED}
        return host, op, host.start(arguments) if op in _PROGRAM else arguments

    async def _snapshot(self, request: ClientRequest) -> wire.Message:
        hosts = self._hosts.some(request.message.get("hosts"))
        want = observe.Want(
            bool(request.message.get("holders", True)), bool(request.message.get("quick", False))
        )
        look = observe.Look(hosts, want, self._incarnations, self._maker.zygote)
        parts: asyncio.Queue[observe.Part | None] = asyncio.Queue()
        reading = self._spawn(self._read(look, parts))
        while (part := await parts.get()) is not None:
            message, sections = part.message()
            await request.part(message, *sections)
        await reading
        times = {"began": look.began, "ended": look.ended}
        seen = {"not_observed": look.not_observed, "unread_processes": look.unread}
        return {"machine": self._info.machine, **times, **seen}

    async def _counters(self, request: ClientRequest) -> wire.Message:
        hosts = self._hosts.some(request.message.get("hosts"))
        return await counters.counters(request, hosts, self._observing)

    async def _capture(self, request: ClientRequest) -> wire.Message:
        hosts = self._hosts.some(request.message.get("hosts"))
        return await captures.capture(request, hosts, self._observing)

    async def _follow_history(self, request: ClientRequest) -> wire.Message:
        return await self._history.follow(request, self._hosts.some(request.message.get("hosts")))

    async def _unwatch(self, _: ClientRequest) -> wire.Message:
        await self._history.close()
        return {}

    async def _trace(self, request: ClientRequest) -> wire.Message:
        return await traces.trace(request, self._hosts)

    async def _read(self, look: observe.Look, parts: asyncio.Queue[observe.Part | None]) -> None:
        """Read on while parts are sent, to a client that may be slow: hosts can come and go meanwhile."""
        loop = asyncio.get_running_loop()

        def run() -> None:
            for part in look.parts():
                loop.call_soon_threadsafe(parts.put_nowait, part)

        try:
            async with self._observing:
                await shielded(in_thread(run))
        finally:
            parts.put_nowait(None)

    async def _remember(self, request: ClientRequest) -> wire.Message:
        return {"known": self._incarnations.remember(request.data)}

    async def _down(self, request: ClientRequest) -> wire.Message:
        request.afterwards = self.ending.set
        return {}

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _all(work: Iterator[Coroutine[Any, Any, T]]) -> list[T]:
    """All at once; the first failure is raised when all have ended."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [r for r in results if not isinstance(r, BaseException)]


async def _feed(request: ClientRequest, feed: Callable[[wire.Message, bytes], Awaitable[None]]) -> None:
    async for message, data in request.inputs():
        await feed(message, data)


def _patience(host: Host, op: str, arguments: wire.Message) -> float:
    """Seconds until an agent that does not answer is given up: what it was told to take, and some more, which
    one that cannot answer does not get."""
    told = arguments.get("call") if op == "call" else arguments
    seconds = told.get("timeout") if isinstance(told, dict) else None
    default = {"connect": _UP_SECONDS, "start": _START_SECONDS}.get(op, ANSWER_SECONDS)
    return (default if seconds is None else float(seconds)) + (0 if host.pause else ANSWER_SECONDS)


def _masquerade(hosts: Sequence[Host]) -> None:
    for host in hosts:
        nat.configure(host)


async def _describe(host: Host) -> wire.Message:
    """As `hosts` shows it; what its agent does not say in time is left out."""
    about = {"name": host.name, "kind": host.spec.get("kind", "host"), "pid": host.made.pid}
    state: wire.Message = {"programs": [], "listening": [], "connected": 0}
    try:
        state |= host.pause.state if host.pause else await ask_state(host, _STATE_SECONDS)
    except errors.AgentError as error:
        state["problem"] = error.message
    how = {"alive": host.link.alive, "paused": host.pause is not None, "off": host.off}
    return {**state, **about, **how}
