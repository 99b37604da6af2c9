"""`python3 /lab.pyz bridge`: standard streams to the daemon's socket and back, for a client that cannot
reach it.

Started by an exec of the Docker API in the daemon's own container. A half-close goes through in both
directions.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from typing import NoReturn

SOCKET = "/run/lab/daemon.sock"
_PIECE = 1 << 18


def main(path: str = SOCKET) -> NoReturn:
    """Copy until the daemon closes; then end the process."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(path)
    except OSError as error:
        print(f"the daemon does not answer: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    threading.Thread(target=_upwards, args=(sock,), daemon=True).start()
    while piece := sock.recv(_PIECE):
        view = memoryview(piece)
        while view:
            view = view[os.write(1, view) :]
    os._exit(0)


def _upwards(sock: socket.socket) -> None:
    while piece := os.read(0, _PIECE):
        sock.sendall(piece)
    sock.shutdown(socket.SHUT_WR)
