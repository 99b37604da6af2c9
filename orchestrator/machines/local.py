"""This computer as a machine."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Sequence

from orchestrator.errors import CommandFailed
from orchestrator.machines.base import Ended, Facts
from orchestrator.model.machines import LOCAL
from orchestrator.wire import Stream


class LocalMachine:
    """See Machine. There is no line that could be dead."""

    url = LOCAL
    is_local = True

    def __init__(self, name: str = LOCAL) -> None:
        self.name = name

    def facts(self) -> Facts:
        """See Machine."""
        uid, gid = (os.geteuid(), os.getegid()) if sys.platform != "win32" else (0, 0)
        return Facts(uid=uid, gid=gid, address=None)

    def docker_url(self) -> str | None:
        """DOCKER_HOST, else the current context of the docker command, else its usual socket."""
        if os.environ.get("DOCKER_HOST"):
            return os.environ["DOCKER_HOST"]
        with contextlib.suppress(Exception):  # a broken ~/.docker is the docker command's to complain about
            from docker.context import ContextAPI

            context = ContextAPI.get_current_context()
            if context is not None and context.Host and not str(context.Host).startswith("http+"):
                return str(context.Host)
        return None if sys.platform == "win32" else "unix:///var/run/docker.sock"

    def open_socket(self, path: str) -> Stream:
        """See Machine."""
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(path)
        except OSError:
            sock.close()
            raise
        return sock

    def run(self, argv: Sequence[str], stdin: bytes = b"", seconds: float = 20.0) -> Ended:
        """See Machine."""
        try:
            done = subprocess.run(list(argv), input=stdin, capture_output=True, timeout=seconds)
        except FileNotFoundError:
            return Ended(127, b"", f"{argv[0]}: not found".encode())
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(f"`{argv[0]}` did not end within {seconds:.0f} s") from error
        return Ended(done.returncode, done.stdout, done.stderr)

    def check(self) -> None:
        """See Machine."""

    def close(self) -> None:
        """See Machine."""
