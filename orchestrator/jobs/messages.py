"""What the parent of `lab run --jobs` and its workers say to each other, over a pipe each way.

A message is its length (4 bytes, big-endian) and so much MessagePack. Both ends are processes of ours, of
one version; the parent trusts what its child says.
"""

from __future__ import annotations

import os
import struct

import msgspec

from orchestrator.report.layout import Style
from orchestrator.report.run_timeline import Asked, Paper

_LENGTH = struct.Struct("!I")


class Telling(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker is to write what its parent prints of a scenario."""

    style: Style
    paper: Paper
    quiet: bool = False
    timeline: Asked = "no"


class Begin(msgspec.Struct, frozen=True, kw_only=True, tag="begin"):
    """The first that a worker hears: a lab, and the name of its copy. `topology`: JSON, with those scenarios
    that are run. `began`: when the run did, on time.monotonic(), which all processes of a computer share."""

    topology: bytes
    engine: str
    name: str
    began: float
    telling: Telling


class Perform(msgspec.Struct, frozen=True, kw_only=True, tag="perform"):
    """Perform the scenario at this place of the topology's. `room`: bytes that its recording may have."""

    at: int
    room: int


class Leave(msgspec.Struct, frozen=True, kw_only=True, tag="leave"):
    """Nothing more is to be done: remove the lab, and end."""


class Interrupt(msgspec.Struct, frozen=True, kw_only=True, tag="interrupt"):
    """The user has ended the run: clean up the scenario that is under way, then as `Leave`."""


class Up(msgspec.Struct, frozen=True, kw_only=True, tag="up"):
    """The lab is up."""


class Performed(msgspec.Struct, frozen=True, kw_only=True, tag="performed"):
    """`record`: JSON of a ScenarioRecord. `told`: what is to be printed of it. `spent`: the lab is not to be
    used any more, since something of it failed; the worker ends."""

    record: bytes
    recording: bytes = b""
    told: str = ""
    spent: bool = False


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """What the lab failed with, as wire.error_message writes it; the worker ends."""

    kind: str
    message: str
    hint: str = ""


class Said(msgspec.Struct, frozen=True, kw_only=True, tag="said"):
    """A line for the user."""

    line: str


ToWorker = Begin | Perform | Leave | Interrupt
ToParent = Up | Performed | Failed | Said
_ENCODER = msgspec.msgpack.Encoder()
TO_WORKER: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
TO_PARENT: msgspec.msgpack.Decoder[ToParent] = msgspec.msgpack.Decoder(ToParent)


def send(fd: int, message: ToWorker | ToParent) -> None:
    """Write it whole. Raises OSError where nobody reads any more."""
    body = _ENCODER.encode(message)
    left = memoryview(_LENGTH.pack(len(body)) + body)
    while left:
        left = left[os.write(fd, left) :]


def receive(fd: int) -> bytes | None:
    """The next message's bytes, for TO_WORKER or TO_PARENT; None at the end, also amid a message."""
    head = _exactly(fd, _LENGTH.size)
    return None if head is None else _exactly(fd, *_LENGTH.unpack(head))


def _exactly(fd: int, size: int) -> bytes | None:
    pieces = bytearray()
    while len(pieces) < size:
        piece = os.read(fd, size - len(pieces))
        if not piece:
            return None
        pieces += piece
    return bytes(pieces)
