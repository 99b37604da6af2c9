"""send(2), recv(2) and shutdown(2): what moves bytes, through TLS where the descriptor has that."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Generator
from typing import TypeVar

from orchestrator import errors
from orchestrator.agent.call import (
    MAX_KEPT,
    READ,
    READ_LATER,
    WRITE,
    WRITE_LATER,
    Call,
    Pause,
    Steps,
    Wait,
)
from orchestrator.agent.sockets import Descriptor

Result = TypeVar("Result")
Doing = Generator[Wait, None, Result]  # steps that give something in the end
_PIECE = 64 << 10
_ROUNDS = 16  # pieces before others get their turn
_PATTERN = bytes(range(33, 127)) * (_PIECE // 94 + 2)
_HOWS = {"read": socket.SHUT_RD, "write": socket.SHUT_WR, "both": socket.SHUT_RDWR}


def send(call: Call) -> Steps:
    """send(2) until all is with the kernel; the result is how many bytes are. With a port: sendto(2)."""
    ask, descriptor = call.ask, call.existing()
    data = payload(call)
    if "port" in ask:
        return _send_to(call, descriptor, bytes(data))
    if ask.get("pace"):
        return send_paced(call, descriptor, bytes(data), float(ask["pace"]))
    return send_all(call, descriptor, data)


def payload(call: Call) -> bytes | Pattern:
    """What is to be sent."""
    ask = call.ask
    if "size" in ask:
        return Pattern(int(ask["size"]))
    return bytes.fromhex(ask["hex"]) if "hex" in ask else str(ask["text"]).encode()


class Pattern:
    """So many bytes, the printable ones of ASCII over and over; they never have to travel."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        if self._size > MAX_KEPT:
            raise errors.AgentError(f"more than {MAX_KEPT} bytes in one piece, or at a pace")
        return b"".join(self.piece(at) for at in range(0, self._size, _PIECE))

    def piece(self, start: int) -> memoryview:
        """Some of them, from there on."""
        first = start % 94
        return memoryview(_PATTERN)[first : first + min(_PIECE, self._size - start)]


def send_all(call: Call, descriptor: Descriptor, data: bytes | Pattern) -> Steps:
    """All of it; the call's result is how much is with the kernel."""
    call.result = rounds = 0
    while call.result < len(data) or not data:
        piece = data.piece(call.result) if isinstance(data, Pattern) else memoryview(data)[call.result :]
        try:
            call.result += descriptor.send(piece)
            rounds += 1
        except BlockingIOError:
            rounds = 0
            yield WRITE
            continue
        if not data:
            break
        if rounds >= _ROUNDS:
            rounds = 0
            yield WRITE_LATER
    yield from flush(descriptor)


def flush(descriptor: Descriptor) -> Steps:
    """Until nothing of a TLS record is left here."""
    while not descriptor.flushed():
        yield WRITE


def send_paced(call: Call, descriptor: Descriptor, data: bytes, pace: float) -> Steps:
    """One byte each `pace` seconds, each in a call of its own, at moments that are fixed from the beginning;
    `behind` is by how much the latest of them was late.
    """
    call.result = 0
    with Alone(descriptor):
        began, behind = time.monotonic(), 0.0
        for number in range(len(data)):
            due = began + number * pace
            if time.monotonic() < due:
                yield Pause(due, WRITE)
            behind = max(behind, time.monotonic() - due)
            yield from send_byte(descriptor, data[number : number + 1])
            call.result += 1
            call.more["behind"] = behind


def send_byte(descriptor: Descriptor, byte: bytes) -> Steps:
    """One byte; it waits for room where there is none."""
    while True:
        try:
            descriptor.send(byte)
            break
        except BlockingIOError:
            yield WRITE
    yield from flush(descriptor)


class Alone:
    """TCP_NODELAY while bytes go one by one: else Nagle's algorithm (RFC 896) would gather them."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor
        self._before = True

    def __enter__(self) -> None:
        if self._descriptor.is_stream:
            self._before = bool(self._descriptor.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            self._set(True)

    def __exit__(self, *_: object) -> None:
        if not self._before and self._descriptor.sock.fileno() >= 0:
            self._set(False)

    def _set(self, on: bool) -> None:
        self._descriptor.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, on)


def _send_to(call: Call, descriptor: Descriptor, data: bytes) -> Steps:
    """One datagram to that address."""
    where = call.address()
    call.result = 0
    while True:
        try:
            call.result = descriptor.sock.sendto(data, where)
            return
        except BlockingIOError:
            yield WRITE


def recv(call: Call) -> Steps:
    """recv(2): once; until `size` bytes; `until` a text; or `all`, until the end of the stream."""
    descriptor, ask = call.existing(), call.ask
    call.result, call.more["eof"] = 0, False
    if not descriptor.is_stream:
        return _recv_datagram(call, descriptor)
    if "until" in ask:
        return _recv_until(call, descriptor, str(ask["until"]).encode())
    if ask.get("all"):
        return recv_many(call, descriptor, None)
    if ask.get("size") is not None:
        return recv_many(call, descriptor, int(ask["size"]))
    return _recv_once(call, descriptor)


def take(call: Call, descriptor: Descriptor, size: int) -> bytes | None:
    """One recv; what it gave, None where it would block. The end of the stream is noted, and with TLS whether
    it was announced (close_notify).
    """
    try:
        piece = descriptor.recv(size)
    except BlockingIOError:
        return None
    call.result += len(piece)
    call.data += piece[: MAX_KEPT - len(call.data)]
    call.more["eof"] = not piece
    if not piece and descriptor.tls:
        call.more["close_notify"] = descriptor.tls.ended_well
    return piece


def _recv_once(call: Call, descriptor: Descriptor) -> Steps:
    while take(call, descriptor, _PIECE) is None:
        yield READ


def _recv_datagram(call: Call, descriptor: Descriptor) -> Steps:
    """recvfrom(2): one datagram, cut off at `size`; `from` is its sender."""
    if "until" in call.ask or call.ask.get("all"):
        raise errors.AgentError("a datagram has no end to wait for", "`recv` gives the next one")
    size = call.ask.get("size")
    while True:
        try:
            data, sender = descriptor.sock.recvfrom(_PIECE if size is None else min(int(size), _PIECE))
            break
        except BlockingIOError:
            yield READ
    call.result, call.data = len(data), bytearray(data)
    call.more["from"] = list(sender[:2])


def recv_many(call: Call, descriptor: Descriptor, size: int | None) -> Steps:
    """`size` bytes, or all until the end; a few pieces at a time, for others want their turn."""
    start, rounds = call.result, 0
    while size is None or call.result - start < size:
        got = take(call, descriptor, _PIECE if size is None else min(_PIECE, size - call.result + start))
        if got == b"":
            return
        rounds += 1
        if got is None:
            rounds = 0
            yield READ
        elif rounds >= _ROUNDS:
            rounds = 0
            yield READ_LATER


def _recv_until(call: Call, descriptor: Descriptor, mark: bytes) -> Steps:
    if not mark:
        raise errors.AgentError("an empty text is never waited for")
    found = yield from read_until(call, descriptor, mark, MAX_KEPT)
    if len(found) >= MAX_KEPT and not found.endswith(mark):
        raise errors.AgentError(f"{MAX_KEPT} bytes came and not the text that was waited for")


def read_until(call: Call, descriptor: Descriptor, mark: bytes, most: int) -> Doing[bytes]:
    """Not a byte more than up to `mark`: what follows stays in the kernel's queue (MSG_PEEK looks first).
    Without the mark what came before the end of the stream, or `most` bytes.
    """
    found = bytearray()
    while len(found) < most:
        try:
            seen = descriptor.peek(min(_PIECE, most - len(found)))
        except BlockingIOError:
            yield READ
            continue
        tail = len(mark) - 1
        before = bytes(found[-tail:]) if tail else b""
        at = (before + seen).find(mark)
        got = take(call, descriptor, at + len(mark) - len(before) if at >= 0 else max(1, len(seen)))
        found += got or b""
        if at >= 0 or not seen:
            break
    return bytes(found)


def shutdown(call: Call) -> Steps:
    """shutdown(2). Of the writing half of TLS: close_notify goes before the FIN (RFC 8446, 6.1)."""
    how = str(call.ask.get("how", "both"))
    if how not in _HOWS:
        raise errors.AgentError(f"shutdown of {how!r}", "it is read, write or both")
    return _shutdown(call.existing(), how)


def _shutdown(descriptor: Descriptor, how: str) -> Steps:
    if descriptor.tls and how != "read":
        descriptor.tls.close_notify()
        yield from flush(descriptor)
    descriptor.sock.shutdown(_HOWS[how])


def broken(error: OSError) -> bool:
    """Has the other end gone while something was sent?"""
    return error.errno in (errno.EPIPE, errno.ECONNRESET)
