"""HTTP/1.1 messages (RFC 9112): the bytes of a request, and what a response says. No sockets here: who reads
for `response` is told how much to read, and so reads not a byte too many.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from typing import Any

from orchestrator import errors

MAX_HEAD = 32 << 10  # bytes of a response's lines before its body
MAX_SHOWN = 32 << 10  # bytes of a body that are shown in an answer
_STATUS = re.compile(rb"HTTP/([0-9]\.[0-9]) ([1-9][0-9]{2})(?: ([^\r\n]*))?\r?\n?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*?)[ \t]*\r?\n")
_LENGTH = re.compile("[0-9]{1,18}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_LINE = b"\n"
Wanted = bytes | int | None  # up to this text, so many bytes, or all; b"" and less come at the end alone
Reading = Generator[Wanted, bytes, None]


class MalformedError(Exception):
    """What came is no response as RFC 9112 has it."""


def request(ask: Mapping[str, Any], host: str) -> bytes:
    """A request as a client writes it: Host first, what the step adds, a length where there is a body."""
    given = {str(name): str(value) for name, value in dict(ask.get("headers") or {}).items()}
    names = {name.lower() for name in given}
    method, body = str(ask["method"]), str(ask.get("body") or "").encode()
    lines = [f"{method} {ask['path']} HTTP/1.1"]
    if "host" not in names:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in given.items()]
    told = {"content-length", "transfer-encoding"} & names
    if not told and (body or method in ("POST", "PUT", "PATCH")):
        lines.append(f"Content-Length: {len(body)}")
    if any({"\r", "\n"} & set(line) for line in lines):
        raise errors.AgentError("a line's end inside a line of the header", "`send` sends any text")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Response:
    """What has come of a response so far. No dataclass: an agent is spared what the import of that takes."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.version = ""
        self.reason = ""
        self.headers: list[tuple[str, str]] = []
        self.body = bytearray()  # without its chunks' frames; as much as is shown
        self.body_size = 0
        self.complete = False

    def header(self, name: str) -> list[str]:
        """The values of one, in their order."""
        return [value for one, value in self.headers if one.lower() == name]

    def describe(self) -> dict[str, Any]:
        """As an answer has it."""
        return {
            "version": self.version,
            "reason": self.reason,
            "headers": [list(one) for one in self.headers],
            "body": bytes(self.body).decode("utf-8", "replace"),
            "body_size": self.body_size,
            "complete": self.complete,
        }


def response(found: Response, method: str) -> Reading:
    """Read one response; MalformedError where it is none, or ends too early. `found` fills up meanwhile."""
    while found.status is None or (found.status < 200 and found.status != 101):
        found.headers.clear()
        yield from _head(found)
    if method == "HEAD" or found.status in (101, 204, 304) or (method == "CONNECT" and found.status < 300):
        pass
    elif "chunked" in ",".join(found.header("transfer-encoding")).lower():
        yield from _chunks(found)
    elif lengths := found.header("content-length"):
        yield from _sized(found, lengths)
    else:
        yield from _piece(found, None)
    found.complete = True


def _head(found: Response) -> Reading:
    """The status line and the header."""
    line = yield _LINE
    match = _STATUS.fullmatch(line)
    if not line:
        raise MalformedError("the stream ended before a response began")
    if match is None or not line.endswith(_LINE):
        raise MalformedError(f"{_shown(line)} is no status line")
    found.version = f"HTTP/{match[1].decode()}"
    found.status, found.reason = int(match[2]), (match[3] or b"").decode("latin-1")
    found.headers.extend((yield from _fields(MAX_HEAD - len(line))))


def _fields(most: int) -> Generator[Wanted, bytes, list[tuple[str, str]]]:
    """Header lines up to the empty one."""
    fields = []
    while (line := (yield _LINE)) not in (b"\r\n", b"\n"):
        most -= len(line)
        if not line.endswith(_LINE):
            raise MalformedError("the stream ended inside the header")
        match = _FIELD.fullmatch(line)
        if match is None:
            raise MalformedError(f"{_shown(line)} is no header line")
        if most < 0:
            raise MalformedError(f"a header of more than {MAX_HEAD} bytes")
        fields.append((match[1].decode(), match[2].decode("latin-1")))
    return fields


def _sized(found: Response, lengths: list[str]) -> Reading:
    given = set(",".join(lengths).replace(" ", "").split(","))
    length = given.pop()
    if given or not _LENGTH.fullmatch(length):
        raise MalformedError(f"{', '.join(lengths)!r} is no Content-Length")
    yield from _piece(found, int(length))


def _piece(found: Response, size: int | None) -> Reading:
    """So many bytes of the body, or all that come."""
    wanted = size
    while wanted is None or wanted > 0:
        data = yield wanted
        if not data:
            break
        found.body += data[: MAX_SHOWN - len(found.body)]
        found.body_size += len(data)
        wanted = None if wanted is None else wanted - len(data)
    if wanted:
        raise MalformedError(f"the stream ended {wanted} bytes before the body's end")


def _chunks(found: Response) -> Reading:
    """The chunked coding (RFC 9112, 7.1)."""
    size = None
    while size != 0:
        line = yield _LINE
        match = _CHUNK.fullmatch(line)
        if match is None:
            text = f"{_shown(line)} is no size of a chunk" if line else "the stream ended between two chunks"
            raise MalformedError(text)
        size = int(match[1], 16)
        yield from _piece(found, size)
        if size and (end := (yield _LINE)) not in (b"\r\n", b"\n"):
            raise MalformedError(f"{_shown(end)} stands where a chunk ends")
    yield from _fields(MAX_HEAD)  # trailers


def _shown(line: bytes) -> str:
    text = line[:60].decode("utf-8", "backslashreplace")
    return repr(text) + (" …" if len(line) > 60 else "")
