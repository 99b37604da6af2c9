"""What a daemon keeps of its lab, without taps: order, marks, bounds, who is too slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from orchestrator import wire
from orchestrator.daemon import clock, history
from orchestrator.daemon.header_taps import FRAME, opening
from orchestrator.daemon.history import History


class Request:
    """A client that takes parts one by one."""

    def __init__(self, **arguments: Any) -> None:
        self.message = arguments
        self.parts: list[tuple[wire.Message, int]] = []
        self.taking = asyncio.Event()
        self.taking.set()
        self._inputs: asyncio.Queue[wire.Message] = asyncio.Queue()

    async def part(self, message: wire.Message, *data: bytes) -> None:
        await self.taking.wait()
        self.parts.append((message, sum(map(len, data)) // FRAME))

    def feed(self, **message: Any) -> None:
        self._inputs.put_nowait(message)

    async def inputs(self) -> AsyncIterator[wire.Frame]:
        while True:
            yield wire.Frame(await self._inputs.get())

    def frames(self) -> list[int]:
        """How many came with each part, and 0 for what is no frames."""
        return [count for message, count in self.parts if "dropped" in message]

    def marks(self) -> list[Any]:
        return [message["mark"] for message, _ in self.parts if "mark" in message]


def frames_of(*flags: int) -> bytes:
    """Frames of segments of IPv4 with these flags."""
    found = bytearray(FRAME * len(flags))
    for number, bits in enumerate(flags):
        at = number * FRAME + 66
        found[at + 12 : at + 15] = b"\x08\x00\x45"
        found[at + 14 + 20 + 13] = bits
    return bytes(found)


PIECE = frames_of(*[0x10] * 10)


def come(kept: History, tap: int = 0, data: bytes = PIECE) -> None:
    """Frames of a tap."""
    kept._add({"tap": tap, "dropped": 0, "clock": clock.sample()}, data)


def following(
    work: Callable[[History, Request, asyncio.Task[Any]], Awaitable[None]], **arguments: Any
) -> None:
    """With one follower that has got its first part."""

    async def run() -> None:
        kept, request = History(asyncio.Lock()), Request(**arguments)
        for _ in range(3):
            come(kept)
        task = asyncio.create_task(kept.follow(request, []))  # type: ignore[arg-type]
        while not request.parts:
            await asyncio.sleep(0)
        await work(kept, request, task)
        if not task.done():
            request.feed(eof=True)
            await task

    asyncio.run(asyncio.wait_for(run(), 20))


async def marked(request: Request, number: int) -> None:
    """All that was there has been sent."""
    request.feed(mark=number)
    while number not in request.marks():
        await asyncio.sleep(0)


@pytest.mark.parametrize(("since", "frames"), [(None, [10]), (0, [10] * 4), (1 << 62, [10])])
def test_what_is_kept_and_what_comes(since: int | None, frames: list[int]) -> None:
    async def work(kept: History, request: Request, _: object) -> None:
        come(kept)
        await marked(request, 1)
        assert request.frames() == frames

    following(work, since=since)


def test_a_mark_comes_back_behind_all_that_was_there() -> None:
    async def work(kept: History, request: Request, _: object) -> None:
        for number in range(1, 20):
            come(kept)
            await marked(request, number)
            assert len(request.frames()) == number
        assert request.marks() == list(range(1, 20))

    following(work)


def test_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEPT", 2 * len(PIECE))

    async def work(kept: History, request: Request, _: object) -> None:
        told, _count = request.parts[0]
        assert told["forgotten"][0] == 10
        await marked(request, 1)
        assert request.frames() == [10, 10]

    following(work, since=0)


def test_who_is_slow_is_waited_for_and_then_told_what_it_has_not_got(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEPT", 2 * len(PIECE))
    monkeypatch.setattr(history, "MOST_KEPT", 5 * len(PIECE))

    async def work(kept: History, request: Request, _: object) -> None:
        await marked(request, 1)
        request.taking.clear()
        for tap in (0, 1, 1, 1, 0):
            come(kept, tap)
        for _ in range(10):
            await asyncio.sleep(0)
        assert kept._size == 5 * len(PIECE), "they wait"
        come(kept, 7)
        come(kept, 7)
        request.taking.set()
        await marked(request, 2)
        lost = {message["tap"]: message["lost"] for message, _ in request.parts if "lost" in message}
        assert sum(lost.values()) + sum(request.frames()) == 7 * 10
        assert lost == {1: 10}, "the first was on its way already"
        come(kept)
        assert kept._size == 2 * len(PIECE), "nobody is behind"

    following(work)


def test_a_follower_that_leaves_is_not_waited_for() -> None:
    async def work(kept: History, request: Request, task: asyncio.Task[Any]) -> None:
        task.cancel()
        await asyncio.wait({task})
        assert not kept._followers
        assert not kept._kept, "of a lab that is not always watched nothing is kept"
        come(kept)

    following(work, since=0)


SYN, FIN, RST, ACK, PSH = 0x02, 0x01, 0x04, 0x10, 0x08


def test_what_opened_and_closed_stays_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEPT", 0)
    monkeypatch.setattr(history, "OLDER", 4 * FRAME)

    async def run() -> None:
        kept = History(asyncio.Lock())
        come(kept, 0, frames_of(SYN, SYN | ACK, ACK, PSH | ACK, ACK))
        come(kept, 0, frames_of(FIN | ACK, ACK))
        come(kept, 0, PIECE)
        request = Request(since=0)
        task = asyncio.create_task(kept.follow(request, []))  # type: ignore[arg-type]
        await marked(request, 1)
        assert request.frames() == [2, 1]
        assert request.parts[0][0]["forgotten"][0] == 3 + 1 + 10
        come(kept, 0, frames_of(RST, RST))
        await marked(request, 2)
        come(kept)
        assert [len(piece.data) // FRAME for piece in kept._older] == [1, 2]
        request.feed(eof=True)
        await task

    asyncio.run(asyncio.wait_for(run(), 20))


def test_what_opens_is_told_by_its_flags() -> None:
    assert opening(frames_of(ACK, SYN, PSH | ACK, RST, FIN | ACK)) == frames_of(SYN, RST, FIN | ACK)
    six = bytearray(frames_of(0, 0))
    for number, bits in enumerate((ACK, FIN | ACK)):
        six[number * FRAME + 78 : number * FRAME + 81] = b"\x86\xdd\x60"
        six[number * FRAME + 133] = bits
    assert opening(bytes(six)) == bytes(six)[FRAME:]
    optional = bytearray(frames_of(ACK))
    optional[80] = 0x46
    assert opening(bytes(optional)) == bytes(optional), "not told at a glance"
    assert opening(b"") == b""
