"""A host that answers questions of DNS, on its port 53: from its records, or as it was told to go wrong.

    records  {"shop.lab": ["10.0.0.1", "fd00::1"]}
    ways     {"shop.lab": {"late": 0.3, "answer": "refused"}, "": {…}}: by name; "": all names that have none

`answer` is one of CODES, `silent`, `truncated` (over UDP; over TCP all of it), or a list of addresses.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator import errors
from orchestrator.agent import dns
from orchestrator.agent.poll import Loop
from orchestrator.agent.requests import Request

PORT = 53
_MOST_LATE = 4096  # answers that wait for their time; what is asked beyond that is lost, as in a full queue
_MOST_STREAMS = 256
_IDLE = 30.0  # seconds that a stream may be silent
_AT_ONCE = 64  # questions, before others get their turn
Send = Callable[[bytes], None]


class Nameserver:
    """The sockets, the records, and the ways of answering of one host."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._records: Mapping[str, Sequence[str]] = {}
        self._ways: Mapping[str, Mapping[str, Any]] = {}
        self._open: dict[str, tuple[socket.socket, socket.socket]] = {}
        self._streams: set[_Stream] = set()
        self._late = 0

    def serve(self, request: Request) -> None:
        """Answer at these `addresses` alone (none: nowhere) from these `records`; `{"failed": [...]}`.

        One socket for each address: an answer comes from where the question went to.
        """
        told = request.message
        wanted = [str(address) for address in told.get("addresses") or ()]
        self._records = {
            str(name).lower(): list(found) for name, found in (told.get("records") or {}).items()
        }
        for address in [one for one in self._open if one not in wanted]:
            self._close(*self._open.pop(address))
        if not wanted:
            for stream in list(self._streams):
                stream.close()
        failed = [one for address in wanted if address not in self._open and (one := self._listen(address))]
        request.ok({"failed": failed})

    def answer(self, request: Request) -> None:
        """Answer in these `ways` from now on, in no others."""
        if request.message.get("needed") and not self._open:
            raise errors.AgentError("it is no DNS server", "give it `dns:` in the lab file")
        self._ways = dict(request.message.get("ways") or {})
        request.ok({})

    def _listen(self, address: str) -> dict[str, Any] | None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        pair: list[socket.socket] = []
        try:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
                pair.append(sock)
                if kind == socket.SOCK_STREAM:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((address, PORT))
            pair[1].listen(_MOST_STREAMS)
        except OSError as error:
            for sock in pair:
                sock.close()
            name = errno.errorcode.get(error.errno or 0, os.strerror(error.errno or 0))
            return {"address": address, "port": PORT, "errno": name}
        datagrams, door = pair
        self._open[address] = datagrams, door
        self._loop.reading(datagrams.fileno(), lambda: self._receive(datagrams))
        self._loop.reading(door.fileno(), lambda: self._accept(door))
        return None

    def _close(self, *socks: socket.socket) -> None:
        for sock in socks:
            self._loop.forget(sock.fileno())
            sock.close()

    def _receive(self, sock: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, peer = sock.recvfrom(dns.MOST_TCP)
            except OSError:  # none is left; or one before could not be delivered (udp(7))
                return
            self.ask(data, lambda answer, peer=peer: _send_to(sock, answer, peer), over_udp=True)  # type: ignore[misc]

    def _accept(self, door: socket.socket) -> None:
        try:
            sock, _ = door.accept()
        except OSError:
            return
        if len(self._streams) >= _MOST_STREAMS:
            sock.close()
            return
        self._streams.add(_Stream(self._loop, sock, self.ask, self._streams.discard))

    def ask(self, data: bytes, send: Send, *, over_udp: bool) -> None:
        """Answer a message by `send`: now, later, or not at all."""
        question = dns.read(data)
        if question is None:
            return
        way = {**self._ways.get("", {}), **self._ways.get(question.name, {})}
        answer = self._answer(question, way.get("answer", "usual"), over_udp)
        late = float(way.get("late") or 0.0)
        if answer is None or self._late >= _MOST_LATE:
            return
        if not late:
            return send(answer)
        self._late += 1

        def due() -> None:
            self._late -= 1
            send(answer)

        self._loop.after(late, due)

    def _answer(self, question: dns.Question, how: str | Sequence[str], over_udp: bool) -> bytes | None:
        room = question.room if over_udp else dns.MOST_TCP
        known = self._records.get(question.name)
        if how == "silent":
            return None
        if question.wrong:
            return dns.reply(question, dns.CODES[question.wrong])
        if not isinstance(how, str):
            return dns.reply(question, 0, how, room)
        if how in dns.CODES and how != "usual":
            return dns.reply(question, dns.CODES[how])
        if known is None:
            return dns.reply(question, dns.CODES["nxdomain"])
        return dns.reply(question, 0, known, room, cut=how == "truncated" and over_udp)


class _Stream:
    """Questions over TCP: each message has its length before it (RFC 1035, 4.2.2)."""

    def __init__(
        self, loop: Loop, sock: socket.socket, ask: Callable[..., None], gone: Callable[[_Stream], None]
    ) -> None:
        self._loop, self._sock, self._ask, self._gone = loop, sock, ask, gone
        self._data = bytearray()
        sock.setblocking(False)
        loop.reading(sock.fileno(), self._receive)
        self._idle = loop.after(_IDLE, self.close)

    def _receive(self) -> None:
        try:
            data = self._sock.recv(dns.MOST_TCP)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            return self.close()
        self._idle.cancel()
        self._idle = self._loop.after(_IDLE, self.close)
        self._data += data
        while len(self._data) >= 2 and len(self._data) >= (size := 2 + int.from_bytes(self._data[:2], "big")):
            message = bytes(self._data[2:size])
            del self._data[:size]
            self._ask(message, self._send, over_udp=False)

    def _send(self, answer: bytes) -> None:
        """An answer fits into an empty buffer; who does not read has had enough."""
        whole = len(answer).to_bytes(2, "big") + answer
        try:
            if self._sock.fileno() >= 0 and self._sock.send(whole) < len(whole):
                self.close()
        except OSError:
            self.close()

    def close(self) -> None:
        """It is over, for both."""
        self._idle.cancel()
        if self._sock.fileno() >= 0:
            self._loop.forget(self._sock.fileno())
            self._sock.close()
        self._gone(self)


def _send_to(sock: socket.socket, answer: bytes, peer: Any) -> None:
    """What cannot be sent is lost, as datagrams are."""
    try:
        sock.sendto(answer, peer)
    except OSError:
        return
