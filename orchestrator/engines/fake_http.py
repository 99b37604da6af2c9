"""`http` of the fake engine: the agent's own messages (agent/messages.py) on the model's sockets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestrator.agent import messages
from orchestrator.engines.fake_agent import FakeAgent, Steps
from orchestrator.engines.fake_tcp import Socket

if TYPE_CHECKING:
    from orchestrator.engines.fake_calls import Call

MAX_KEPT = 256 << 10


def request(call: Call, socket: Socket) -> bytes:
    """What is to be sent."""
    address, port = socket.peer or ("", 0)
    host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return messages.request(call.ask, host)


def exchange(agent: FakeAgent, call: Call, socket: Socket, sending: Steps) -> Steps:
    """Send it, and read what comes; as agent/http.py answers."""
    for _ in sending:
        if socket.inbox or socket.fin:
            break  # an answer before the request is whole
        yield
    call.more["sent"], call.result = call.result, None
    if call.more.get("timed_out") or (call.errno and not socket.inbox):
        return
    found = messages.Response()
    call.errno, call.more["eof"], call.more["received"] = None, False, 0
    try:
        yield from _read(agent, call, socket, messages.response(found, str(call.ask["method"])))
    except messages.MalformedError as error:
        call.errno, call.more["problem"] = "EPROTO", str(error)
    call.result = found.status
    call.more |= found.describe()


def _read(agent: FakeAgent, call: Call, socket: Socket, reading: messages.Reading) -> Iterator[None]:
    wanted = next(reading)
    while True:
        got = agent.tcp.receive(socket, _size(wanted, socket))
        if isinstance(got, str):
            call.errno = got
            return
        if got is None or (isinstance(wanted, bytes) and not _whole(wanted, socket, got)):
            if got:
                socket.inbox[:0] = got  # not a whole line yet
            if call.late:
                return
            yield
            continue
        call.more.setdefault("first_byte", time.monotonic() - call.began)
        call.more["eof"] = not got
        call.more["received"] += len(got)
        call.data += got[: MAX_KEPT - len(call.data)]
        try:
            wanted = reading.send(got)
        except StopIteration:
            return


def _size(wanted: messages.Wanted, socket: Socket) -> int:
    """How much to take: a line, a piece, what there is."""
    if isinstance(wanted, bytes):
        at = socket.inbox.find(wanted)
        return min(messages.MAX_HEAD, at + len(wanted) if at >= 0 else len(socket.inbox) or 1)
    return 64 << 10 if wanted is None else min(64 << 10, wanted)


def _whole(mark: bytes, socket: Socket, got: bytes) -> bool:
    """A line to its end, or all that will ever come of it."""
    return got.endswith(mark) or socket.fin or socket.state == "CLOSE" or len(got) >= messages.MAX_HEAD
