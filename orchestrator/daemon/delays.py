"""The daemon's side of the process that holds packets (delay_line.py): started when first needed."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Sequence
from typing import Any, NoReturn

from orchestrator import errors, wire
from orchestrator.daemon import zygote
from orchestrator.wire import Message

_SECONDS = 5.0


def handle(_: Message, __: Sequence[int]) -> zygote.Answer:
    """The zygote's handler of `{"do": "delay"}`. Only the child imports what it needs."""
    child = zygote.fork_child(zygote.Child("", _serve, "delay-line"))
    os.close(child.pidfd)
    return {"pid": child.pid}, [child.channel]


def _serve(channel: socket.socket) -> NoReturn:
    from orchestrator.daemon import delay_line

    delay_line.serve(channel)


class Delays:
    """Asks it. Every method blocks; called by one thread at a time."""

    def __init__(self, fork: zygote.Zygote) -> None:
        answer, (channel,) = fork.request({"do": "delay"})
        self.pid = int(answer["pid"])
        self._channel = socket.socket(fileno=channel)
        self._channel.settimeout(_SECONDS)

    def ask(self, do: str, fds: Sequence[int] = (), **arguments: Any) -> Any:
        """Raises EngineError where the kernel refuses, DaemonError where the process is gone."""
        try:
            frame = wire.encode({"do": do, **arguments})
            sent = socket.send_fds(self._channel, [frame], list(fds))
            self._channel.sendall(frame[sent:])
            header = wire.read_exactly(self._channel, wire.HEADER.size)
            length, _ = wire.lengths(header, wire.MAX_JSON, 0)
            answer = wire.decode(wire.read_exactly(self._channel, length)).message
        except (OSError, errors.DaemonError) as error:
            raise errors.DaemonError(f"the process that delays packets is gone: {error}") from error
        if "error" in answer:
            raise errors.EngineError(str(answer["error"]), "the kernel needs NFQUEUE (nfnetlink_queue)")
        return answer["ok"]

    @property
    def gone(self) -> bool:
        """Whether it has ended: its channel is at its end."""
        return bool(select.select([self._channel], [], [], 0)[0])

    def close(self) -> None:
        """It ends."""
        self._channel.close()
