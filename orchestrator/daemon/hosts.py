"""The hosts of a lab and the channels to their agents.

What comes from an agent is hostile: its frames are bounded, a stream never has more under way than its
window, and an agent that breaks a rule is cut off; its host then counts as dead.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator import errors, wire
from orchestrator.agent.requests import WINDOW
from orchestrator.daemon import processes
from orchestrator.daemon.maker import Made, Spec

ANSWER_SECONDS = 10.0  # how much longer than it was told to an agent may take to answer
_MAX_UNSENT = 16 << 20  # bytes that an agent has not read; it is stuck then
_FRAME_COST = 256  # bytes that any frame counts for, however short it is
_MAX_PARTS = 20_000  # parts of one answer that wait to be passed on
_MAX_SAID = 16 << 20  # characters of those parts, their bytes apart
_STATED = {"programs": list, "listening": list, "connected": int, "accepted": int, "faults": list}


class Exchange:
    """One request to an agent: its parts, its input, its answer. Whoever leaves before the answer cancels."""

    def __init__(self, link: AgentLink, number: int, single: bool) -> None:
        self._link = link
        self._single = single  # this request's answer has no parts
        self._id = number
        self._parts: deque[tuple[wire.Frame, int]] = deque()  # each with its message's length
        self._said = 0  # the sum of those lengths
        self._arrived = asyncio.Event()
        self._answer: wire.Frame | errors.LabError | None = None
        self._unread = 0  # bytes that are here or on their way to the client
        self._room = asyncio.Event()
        self._sent = 0  # bytes of input that the agent has not taken
        self._room.set()

    async def parts(self) -> AsyncIterator[wire.Frame]:
        """Each part; the next is asked for when the one before has been passed on."""
        while True:
            await self._arrived.wait()
            while self._parts:
                frame, said = self._parts.popleft()
                self._said -= said
                yield frame
                self._credit(len(frame.data))
            if self._answer is not None:
                return
            self._arrived.clear()

    def _credit(self, size: int) -> None:
        self._unread -= size
        if size and self._answer is None:
            self._link.send({"id": self._id, "credit": size})

    async def answer(self) -> wire.Frame:
        """The answer's value and bytes; parts that nobody read are passed over. Raises AgentError."""
        async for _ in self.parts():
            pass
        if isinstance(self._answer, errors.LabError):
            raise self._answer
        assert self._answer is not None
        return self._answer

    async def feed(self, message: wire.Message, data: bytes = b"") -> None:
        """Pass input on, no more at once than the agent has room for."""
        pieces = [data[i : i + wire.CHUNK] for i in range(0, len(data), wire.CHUNK)] or [b""]
        for number, piece in enumerate(pieces):
            while self._sent + len(piece) > WINDOW and self._answer is None:
                self._room.clear()
                await self._room.wait()
            if self._answer is not None:
                return
            self._sent += len(piece)
            last = number == len(pieces) - 1
            self._link.send({"id": self._id, "in": message if last else _stream_only(message)}, piece)

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        if self._answer is None:
            self._link.expect_late()
            self._link.send({"id": self._id, "cancel": True})
            self.settle(errors.AgentError("cancelled"))

    def receive(self, message: wire.Message, data: bytes) -> None:
        """A frame of the agent for this request. Raises ProtocolError where it breaks a rule."""
        if isinstance(part := message.get("part"), dict):
            self._add(wire.Frame(part, data))
        elif isinstance(taken := message.get("taken"), int):
            self._sent = max(0, self._sent - max(0, taken))
            self._room.set()
        elif isinstance(value := message.get("ok"), dict):
            self.settle(wire.Frame(value, data))
        elif isinstance(error := message.get("error"), dict):
            self.settle(_agents_error(error))
        else:
            raise errors.ProtocolError("a frame that is no answer")

    def _add(self, frame: wire.Frame) -> None:
        said = len(repr(frame.message))
        self._unread += len(frame.data)
        self._said += said
        many = len(self._parts) >= _MAX_PARTS or self._said > _MAX_SAID
        if self._single or many or self._unread > WINDOW:
            raise errors.ProtocolError("more than was asked for")
        self._parts.append((frame, said))
        self._arrived.set()

    def settle(self, answer: wire.Frame | errors.LabError) -> None:
        """This is the end."""
        if self._answer is None:
            self._answer = answer
            self._arrived.set()
            self._room.set()
            self._link.forget(self._id)


def stated(said: wire.Message) -> wire.Message:
    """What an agent says of its own state, as far as it has the form that clients rely on."""
    found = {key: said[key] for key, form in _STATED.items() if isinstance(said.get(key), form)}
    for key, inner, form in (("programs", "argv", list), ("listening", "port", int)):
        rows = [one for one in found.get(key, ()) if isinstance(one, dict)]
        found[key] = [one for one in rows if isinstance(one.get(inner), form)]
    return found


async def ask_state(host: Host, seconds: float) -> wire.Message:
    """What a host's agent says of its own state. Raises AgentError."""
    return stated((await host.link.call("state", seconds)).message)


class Answers:
    """The answers of many calls (agent/many.py), each of the form that clients rely on, and each once."""

    def __init__(self, count: int) -> None:
        self._left = set(range(count))

    def checked(self, part: wire.Frame) -> wire.Message:
        """The part's message. Raises ProtocolError."""
        try:
            sizes = [size for _, _, size in part.message["answers"]]
            if any(type(size) is not int or size < 0 for size in sizes) or sum(sizes) != len(part.data):
                raise ValueError
            return {"answers": [self._entry(*entry) for entry in part.message["answers"]]}
        except (KeyError, TypeError, ValueError, AttributeError):
            raise errors.ProtocolError("answers that cannot be read") from None

    def _entry(self, place: int, answer: wire.Message, size: int) -> list[Any]:
        self._left.remove(place)
        if "error" in answer:
            return [place, {"error": wire.error_message(_agents_error(answer["error"]))}, size]
        if not isinstance(answer["ok"], dict):
            raise TypeError
        return [place, {"ok": answer["ok"]}, size]


def _stream_only(message: wire.Message) -> wire.Message:
    return {"stream": message["stream"]} if "stream" in message else {}


def _agents_error(message: wire.Message) -> errors.LabError:
    """What an agent says is wrong is an AgentError (or that of a path), whatever else it calls it."""
    kind = errors.PathError if message.get("kind") == errors.PathError.__name__ else errors.AgentError
    return kind(str(message.get("message", ""))[:4000], str(message.get("hint", ""))[:4000])


class AgentLink(asyncio.Protocol):
    """The daemon's end of one agent's channel."""

    def __init__(self, name: str, on_gone: Callable[[], None]) -> None:
        self._name = name
        self._on_gone = on_gone
        self._decoder = wire.Decoder(wire.AGENT_MAX_JSON, wire.AGENT_MAX_BYTES)
        self._exchanges: dict[int, Exchange] = {}
        self._last = 0
        self._transport: asyncio.Transport | None = None
        self.why_gone = ""
        self.gone = asyncio.Event()
        self.why_silent = ""  # not gone, and yet it will not answer
        self._late = 0  # bytes that may still come for requests that were cancelled

    @property
    def alive(self) -> bool:
        """Can it still be asked?"""
        return self._transport is not None

    def ask(self, op: str, single: bool = False, **arguments: Any) -> Exchange:
        """Send a request; `single`: its answer has no parts."""
        if self._transport is None:
            raise errors.AgentGone(
                f"the agent of {self._name} is gone", self.why_gone or "`lab restart` helps"
            )
        if self._transport.get_write_buffer_size() > _MAX_UNSENT:
            raise errors.AgentGone(f"the agent of {self._name} does not read what it is told")
        self._last += 1
        exchange = Exchange(self, self._last, single)
        self.send({**arguments, "id": self._last, "op": op})
        self._exchanges[self._last] = exchange
        return exchange

    async def call(self, op: str, seconds: float = ANSWER_SECONDS, **arguments: Any) -> wire.Frame:
        """A request that has one answer, within `seconds`."""
        exchange = self.ask(op, single=True, **arguments)
        try:
            return await asyncio.wait_for(exchange.answer(), seconds)
        except TimeoutError:
            raise self.silent() from None
        finally:
            exchange.cancel()

    def silent(self) -> errors.AgentGone:
        """That it has not answered in time."""
        why = f": {self.why_silent}" if self.why_silent else ""
        return errors.AgentGone(f"the agent of {self._name} does not answer{why}")

    def send(self, message: wire.Message, data: bytes = b"") -> None:
        """Send a frame, if there is still someone to read it. Raises AgentError for one beyond its bounds."""
        frame = wire.encode(message, data)
        if len(frame) - len(data) > wire.AGENT_MAX_JSON:
            raise errors.AgentError(f"more than {wire.AGENT_MAX_JSON} bytes in one request to {self._name}")
        if self._transport is not None:
            self._transport.write(frame)

    def forget(self, number: int) -> None:
        """Frames for this request are of no interest any more."""
        self._exchanges.pop(number, None)

    def expect_late(self) -> None:
        """A request is cancelled; what its agent sent before it knew is no offence."""
        self._late += 2 * WINDOW

    def cut(self, why: str) -> None:
        """End the channel, and with it the agent."""
        self.why_gone = why
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Of asyncio.Protocol."""
        try:
            for frame in self._decoder.feed(data):
                self._handle(frame)
        except errors.ProtocolError as error:
            self.cut(f"it was cut off: it sent {error.message}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Of asyncio.Protocol."""
        self._transport = None
        self.gone.set()
        hint = self.why_gone or "`lab restart` helps"
        for exchange in list(self._exchanges.values()):
            exchange.settle(errors.AgentGone(f"the agent of {self._name} is gone", hint))
        self._on_gone()

    def _handle(self, frame: wire.Frame) -> None:
        number = frame.message.get("id")
        if not isinstance(number, int) or not 0 < number <= self._last:
            raise errors.ProtocolError("an answer that nobody asked for")
        if exchange := self._exchanges.get(number):
            return exchange.receive(*frame)
        self._late -= len(frame.data) + _FRAME_COST
        if self._late < 0:
            raise errors.ProtocolError("more after the end of an answer")


@dataclass
class Pause:
    """A host of which no process runs. `state`: what its agent said last; `clients`: who wants it so."""

    state: wire.Message
    clients: set[int]
    stopped: dict[processes.Process, None] = field(default_factory=dict)


class Host:
    """What was made, its agent's link, and /proc/PID held open so that its number cannot be another's."""

    def __init__(self, made: Made, link: AgentLink) -> None:
        self.made = made
        self.link = link
        self.spec: Spec = made.spec
        self.proc = os.open(f"/proc/{made.pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.netns = os.stat("ns/net", dir_fd=self.proc).st_ino
        self.masquerades = False
        self.pause: Pause | None = None
        self.off = False  # its power was cut: it is known that nothing of it is left

    @property
    def name(self) -> str:
        """Its name in the lab."""
        return self.made.name

    def set_pause(self, pause: Pause | None) -> None:
        """It is paused from now on, or runs again."""
        self.pause = pause
        self.link.why_silent = "the host is paused" if pause else ""

    def refuse_paused(self) -> None:
        """For requests that may take as long as they like: they would wait without end. Raises AgentError."""
        if self.pause:
            raise errors.AgentError(f"host {self.name} is paused", "it answers when it is resumed")

    def start(self, ask: wire.Message) -> wire.Message:
        """The request of a program, with what the file and the image say where the request says nothing."""
        default = self.made.start
        env = {**default.env, **(self.spec.get("env") or {}), **(ask.get("env") or {})}
        return {
            **ask,
            "env": env,
            "user": ask.get("user") or default.user,
            "cwd": ask.get("cwd") or default.cwd,
        }

    def close(self) -> None:
        """End its channel and give its descriptors back. Not while a snapshot is taken."""
        self.link.cut("it was removed")
        os.close(self.proc)
        if self.made.diag is not None:
            self.made.diag.close()


class HostsFollower(Protocol):
    """Who is told at once which hosts there are; neither function may raise."""

    def came(self, host: Host) -> None: ...
    def went(self, host: Host) -> None: ...


class Hosts:
    """All hosts by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, Host] = {}
        self.followers: set[HostsFollower] = set()

    def __iter__(self) -> Iterator[Host]:
        return iter(list(self._by_name.values()))

    def __len__(self) -> int:
        return len(self._by_name)

    async def add(self, made: Made) -> Host:
        """A host that has just been made; one of its name that was there before goes."""
        loop = asyncio.get_running_loop()
        made.channel.setblocking(False)
        link = AgentLink(made.name, lambda: None)
        await loop.connect_accepted_socket(lambda: link, made.channel)
        try:
            host = Host(made, link)
        except OSError as error:
            link.cut("its host ended at once")
            raise errors.EngineError(f"host {made.name} ended as soon as it was made") from error
        self.pop(made.name)
        self._by_name[made.name] = host
        for one in self.followers:
            one.came(host)
        return host

    def get(self, name: object) -> Host:
        """The host of that name. Raises AgentError."""
        if isinstance(name, str) and name in self._by_name:
            return self._by_name[name]
        names = ", ".join(list(self._by_name)[:20])
        raise errors.AgentError(f"the lab has no host {name!r}", f"hosts: {names}" if names else "")

    def some(self, names: Sequence[str] | None) -> list[Host]:
        """These hosts, or all."""
        return list(self) if names is None else [self.get(name) for name in names]

    def pop(self, name: str) -> None:
        """Forget and close a host, if it is there."""
        if host := self._by_name.pop(name, None):
            for one in self.followers:
                one.went(host)
            host.close()
