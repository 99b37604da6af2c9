"""The agent's loop: one thread, one channel, many operations under way."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import NoReturn


def serve(sock: socket.socket, name: str, before_exec: Callable[[], None] | None = None) -> NoReturn:
    """Be the agent of host `name`: answer what comes over `sock` (a blocking stream socket) until it closes.

    Called by a forked child that is in the host already and holds no descriptor but `sock` and 0–2 (/dev/null). As
    pid 1 it reaps. `before_exec` is called in the child before each program's exec (drop capabilities, seccomp).
    Ends the process.
    """
    raise NotImplementedError
