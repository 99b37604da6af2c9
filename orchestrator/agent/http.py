"""`http`: one request on a connected socket, at a pace, and the response to it."""

from __future__ import annotations

import errno
import time

from orchestrator.agent import messages, streams
from orchestrator.agent.call import READ, Call, Pause, Steps
from orchestrator.agent.messages import MalformedError, Response
from orchestrator.agent.sockets import Descriptor, peer
from orchestrator.agent.streams import Doing

_PIECE = 64 << 10


def http(call: Call) -> Steps:
    """Send a request and read the response; the result is its status. One that is malformed or cut off fails
    with EPROTO and says what is wrong; the answer's bytes are what came, as it came.
    """
    descriptor = call.existing()
    data = messages.request(call.ask, _host(call, descriptor))
    return _exchange(call, descriptor, data, float(call.ask.get("pace") or 0))


def _host(call: Call, descriptor: Descriptor) -> str:
    """What the Host field says: what `connect` was told, else the other end's address."""
    if descriptor.host:
        name, _, port = descriptor.host.rpartition(":")
        return name if port == ("443" if descriptor.tls else "80") else descriptor.host
    address, number = peer(descriptor.sock) or ("", 0)
    return f"[{address}]:{number}" if ":" in address else f"{address}:{number}"


def _exchange(call: Call, descriptor: Descriptor, data: bytes, pace: float) -> Steps:
    failed: OSError | None = None
    call.more |= {"request": len(data), "sent": 0}
    try:
        if pace:
            yield from _send_paced(call, descriptor, data, pace)
        else:
            yield from streams.send_all(call, descriptor, data)
    except OSError as error:
        if not streams.broken(error):
            raise
        failed = error  # the other end may have answered before it closed
    finally:
        call.more["sent"], call.result = call.result or 0, None
    yield from _receive(call, descriptor, failed)


def _send_paced(call: Call, descriptor: Descriptor, data: bytes, pace: float) -> Steps:
    """As `streams.send_paced`; an answer that comes before the request is whole ends it."""
    with streams.Alone(descriptor):
        began, behind = time.monotonic(), 0.0
        for number in range(len(data)):
            due = began + number * pace
            while time.monotonic() < due:
                yield Pause(due, READ, ready=True)
                if _answers(descriptor):
                    return
            behind = max(behind, time.monotonic() - due)
            yield from streams.send_byte(descriptor, data[number : number + 1])
            call.result, call.more["behind"] = number + 1, behind


def _answers(descriptor: Descriptor) -> bool:
    """Is there something to read, or the end?"""
    try:
        descriptor.peek(1)
    except BlockingIOError:
        return False
    return True


def _receive(call: Call, descriptor: Descriptor, failed: OSError | None) -> Steps:
    """The response. `failed`: how sending did, which is the call's end where no response comes."""
    found = Response()
    call.result = 0
    try:
        yield from _read(call, descriptor, found)
    except MalformedError as error:
        if failed and not call.data:
            raise failed from None
        call.more["problem"] = str(error)
        raise OSError(errno.EPROTO, str(error)) from None
    finally:
        call.more |= {"received": call.result, **found.describe()}
        call.result = found.status


def _read(call: Call, descriptor: Descriptor, found: Response) -> Steps:
    """Do the reading that the message asks for."""
    reading = messages.response(found, str(call.ask["method"]))
    wanted = next(reading)
    while True:
        if isinstance(wanted, bytes):
            data = yield from streams.read_until(call, descriptor, wanted, messages.MAX_HEAD)
        else:
            data = yield from _some(call, descriptor, wanted)
        if data and "first_byte" not in call.more:
            call.more["first_byte"] = time.monotonic() - call.began
        try:
            wanted = reading.send(data)
        except StopIteration:
            return


def _some(call: Call, descriptor: Descriptor, most: int | None) -> Doing[bytes]:
    """What there is of so many bytes."""
    while True:
        data = streams.take(call, descriptor, _PIECE if most is None else min(_PIECE, most))
        if data is not None:
            return data
        yield READ
