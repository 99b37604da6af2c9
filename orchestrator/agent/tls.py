"""TLS on a connected socket, without the socket being another: its number, its name and its close(2) stay.

Records are read from the kernel one by one, as a program does that gives OpenSSL the descriptor: what was not
asked for stays in the receive queue, where it can be seen.
"""

from __future__ import annotations

import os
import socket
import ssl
from functools import cache
from typing import Any

from orchestrator import errors
from orchestrator.agent import certificates, sockets
from orchestrator.agent.call import READ, WRITE, Call, Steps
from orchestrator.agent.sockets import Descriptor

UNEXPECTED_END = "UNEXPECTED_EOF_WHILE_READING"  # OpenSSL's reason
_HEADER = 5  # bytes before each record: kind, version, length (RFC 8446, 5.1)
_RECORD = 16 << 10  # bytes of text in one record, at most
_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_ANSWERS = ("version", "cipher", "certificate", "verified", "server_name", "alpn")


class Tls:
    """One end of a TLS connection: text on this side, records of the socket on the other."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server: bool, name: str | None) -> None:
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        asked = None if name is None else name.encode("ascii")  # a str needs the idna codec, and that a file
        self.object = context.wrap_bio(self._in, self._out, server_side=server, server_hostname=asked)
        self._unsent = bytearray()  # records on their way into the kernel
        self._text = bytearray()  # decrypted, and not asked for yet
        self._missing = 0  # bytes of the record at hand that are not here yet
        self._header = b""  # of that record, as far as it is here
        self.ended_well = False  # the other end has sent close_notify

    @property
    def version(self) -> str | None:
        """As agreed on: `TLSv1.3`."""
        return self.object.version()

    @property
    def buffered(self) -> bool:
        """Is there text that can be read without the kernel?"""
        return bool(self._text or self.object.pending())

    def handshake(self) -> bool:
        """Go on with it: True at its end. Raises SSLWantReadError while the other end has to say something,
        BlockingIOError while there is no room to send.
        """
        while True:
            try:
                self.object.do_handshake()
            except ssl.SSLWantReadError:
                if not self.flush():
                    raise BlockingIOError from None
                self._read_some()
                continue
            except ssl.SSLError:
                self.flush()  # the alert that tells the other end
                raise
            return self.flush()

    def send(self, data: bytes | memoryview) -> int:
        """One record, at most; BlockingIOError while the last one is not with the kernel."""
        if not self.flush():
            raise BlockingIOError
        count = self.object.write(memoryview(data)[:_RECORD]) if data else 0
        self.flush()
        return count

    def flush(self) -> bool:
        """Give the kernel what it takes of the records; True when none is left."""
        if self._out.pending:
            self._unsent += self._out.read()
        while self._unsent:
            try:
                del self._unsent[: self._sock.send(self._unsent)]
            except BlockingIOError:
                return False
        return True

    def recv(self, size: int) -> bytes:
        """Text; b"" at the end of the stream, whether it was announced or not."""
        if not self._text and size:
            self._decrypt(size)
        piece = bytes(self._text[:size])
        del self._text[: len(piece)]
        return piece

    def peek(self, size: int) -> bytes:
        """The same, to be read again."""
        if not self._text:
            self._decrypt(size)
        return bytes(self._text[:size])

    def close_notify(self) -> None:
        """Say that no more text will come. What is here of the other end's is decrypted before."""
        try:
            while piece := self.object.read(_RECORD):
                self._text += piece
        except ssl.SSLError:
            pass  # nothing more is here, or the end
        try:
            self.object.unwrap()
        except ssl.SSLError:
            pass  # it is said, and the other end has not said it yet
        self.flush()

    def _decrypt(self, size: int) -> None:
        """More text, as much as is here; none at the end of the stream. Raises BlockingIOError."""
        while True:
            try:
                piece = self.object.read(min(size, _RECORD))
                self.ended_well |= not piece
            except ssl.SSLWantReadError:
                self._read_some()
                continue
            except ssl.SSLZeroReturnError:
                piece, self.ended_well = b"", True
            except ssl.SSLError as error:
                if not ends(error):
                    raise
                piece = b""
            finally:
                self.flush()  # an answer to a change of keys
            self._text += piece
            return

    def _read_some(self) -> None:
        """The rest of a record, or the header of the next. Raises BlockingIOError."""
        wanted = self._missing or _HEADER - len(self._header)
        data = self._sock.recv(wanted)
        if not data:
            self._in.write_eof()
            return
        self._in.write(data)
        if self._missing:
            self._missing -= len(data)
            return
        self._header += data
        if len(self._header) == _HEADER:
            self._missing = int.from_bytes(self._header[3:], "big")
            self._header = b""


def ends(error: ssl.SSLError) -> bool:
    """Whether the stream has ended without a close_notify; older Pythons have no class for it."""
    return isinstance(error, ssl.SSLEOFError) or error.reason == UNEXPECTED_END


def handshake(call: Call) -> Steps:
    """A TLS handshake on a connected socket; the result is the version agreed on."""
    descriptor, ask = call.existing(), call.ask
    if descriptor.tls:
        raise errors.AgentError(f"{descriptor.name!r} has TLS already")
    server = ask.get("side") == "server"
    name = ask.get("server_name")
    context = _context(call, descriptor, server)
    tls = Tls(descriptor.sock, context, server, None if server or name is None else str(name))
    return _shake(call, descriptor, tls)


def _shake(call: Call, descriptor: Descriptor, tls: Tls) -> Steps:
    while True:
        try:
            if tls.handshake():
                break
            yield WRITE
        except BlockingIOError:
            yield READ if tls.flush() else WRITE
        except ssl.SSLCertVerificationError as error:
            call.more["problem"] = error.verify_message
            raise
        except ssl.SSLError as error:
            call.more["problem"] = str(error)
            raise
    descriptor.tls = tls
    call.result = tls.version
    call.more |= _agreed(call, tls)


def _agreed(call: Call, tls: Tls) -> dict[str, Any]:
    """What came of the handshake. Of the other end's certificate whom it is about; that it is true is known
    where it was verified alone.
    """
    certificate = tls.object.getpeercert(binary_form=True)
    cipher = tls.object.cipher()
    values = (
        tls.version,
        cipher[0] if cipher else None,
        certificates.subject(certificate) if certificate else None,
        tls.object.context.verify_mode == ssl.CERT_REQUIRED,
        call.ask.get("server_name"),
        tls.object.selected_alpn_protocol(),
    )
    return dict(zip(_ANSWERS, values, strict=True))


def _context(call: Call, descriptor: Descriptor, server: bool) -> ssl.SSLContext:
    """What this end is ready to agree on, and what it checks."""
    ask = call.ask
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    # Older Pythons (3.11.2) take an end without close_notify for one with it (CPython gh-95494).
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version := ask.get("version"):
        if version not in _VERSIONS:
            raise errors.AgentError(f"no version {version!r} of TLS", f"there are {', '.join(_VERSIONS)}")
        context.minimum_version = context.maximum_version = _VERSIONS[version]
    if protocols := ask.get("alpn"):
        context.set_alpn_protocols(str(protocols).split(","))
    if ask.get("verify") or ask.get("ca"):
        context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = not server and ask.get("server_name") is not None
        _trust(context, ask.get("ca"))
    if ask.get("cert"):
        context.load_cert_chain(str(ask["cert"]), ask.get("key"))
    elif server:
        context.num_tickets = 0  # else a client has bytes in its queue that nobody sent
        _load_own(context, _names(call, descriptor))
    return context


def _names(call: Call, descriptor: Descriptor) -> tuple[str, ...]:
    """Whose certificate a server shows: the one that the step names, else its host's."""
    if call.ask.get("server_name"):
        return (str(call.ask["server_name"]),)
    address = (sockets.local(descriptor.sock) or ["127.0.0.1"])[0].removeprefix("::ffff:")
    return socket.gethostname(), "localhost", address


def _trust(context: ssl.SSLContext, path: Any) -> None:
    if path:
        context.load_verify_locations(cafile=str(path))
    else:
        context.load_verify_locations(cadata=certificates.authority())


@cache
def _own(names: tuple[str, ...]) -> bytes:
    return (certificates.pem(certificates.server(names)) + certificates.TEACHING_SERVER_KEY).encode()


def _load_own(context: ssl.SSLContext, names: tuple[str, ...]) -> None:
    """The teaching key and a certificate for it. OpenSSL takes files only: one that is nowhere on a disk."""
    file = os.memfd_create("certificate")
    try:
        os.write(file, _own(names))
        context.load_cert_chain(f"/proc/self/fd/{file}")
    finally:
        os.close(file)


def warm() -> None:
    """Let OpenSSL read now what it reads when it is first used: its own files may not be seen later."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
