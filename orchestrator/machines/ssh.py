"""A machine that is reached over SSH: one line to it, whatever is asked of it (decision 0023)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from orchestrator.errors import EngineUnavailable, LabError, MachineError
from orchestrator.machines.base import Asked, Ended, Facts
from orchestrator.machines.forward import Forwarder
from orchestrator.machines.line import Line, LineStream
from orchestrator.machines.settings import Target, target
from orchestrator.model.machines import SshUrl

# Each line of it is marked: a shell's start-up files may write, too. Whoever may write to a socket may
# connect to it, unix(7).
_ABOUT = rb"""
uid=$(id -u)
echo "lab: user $uid $(id -g)"
echo "lab: connection $SSH_CONNECTION"
own=${XDG_RUNTIME_DIR:-/run/user/$uid}/docker.sock
for path in ${DOCKER_HOST:+"${DOCKER_HOST#unix://}"} /var/run/docker.sock "$own"; do
    [ -S "$path" ] || continue
    if [ -w "$path" ]; then echo "lab: open $path"; else echo "lab: shut $path"; fi
done
"""


class SshMachine:
    """See Machine."""

    is_local = False

    def __init__(self, name: str, url: str, parts: SshUrl, asked: Asked) -> None:
        self.name, self.url = name, url
        self._parts, self._asked = parts, asked
        self._lock = threading.RLock()
        self._line: Line | None = None
        self._failed: LabError | None = None
        self._forwarder: Forwarder | None = None

    def facts(self) -> Facts:
        """See Machine."""
        user, connection = self._about["user"][0].split(), (self._about.get("connection") or [""])[0].split()
        address = connection[2] if len(connection) == 4 else None  # sshd(8), SSH_CONNECTION: client, server
        return Facts(uid=int(user[0]), gid=int(user[1]), address=address)

    def docker_url(self) -> str:
        """See Machine."""
        with self._lock:
            if self._forwarder is None:
                path = self._engine()
                self._forwarder = Forwarder(lambda: self.open_socket(path))
            return f"unix://{self._forwarder.path}"

    def open_socket(self, path: str) -> LineStream:
        """See Machine."""
        return self._connected().open_socket(path)

    def run(self, argv: Sequence[str], stdin: bytes = b"", seconds: float = 20.0) -> Ended:
        """See Machine. Its shell finds the program."""
        return self._connected().run(argv, stdin, seconds)

    def check(self) -> None:
        """See Machine."""
        with self._lock:
            line, failed = self._line, self._failed
        if failed is not None:
            raise failed
        if line is not None:
            line.check()

    def close(self) -> None:
        """See Machine."""
        with self._lock:
            forwarder, line = self._forwarder, self._line
            self._forwarder = None
        if forwarder is not None:
            forwarder.close()
        if line is not None:
            line.close()

    def _connected(self) -> Line:
        """The line, made once: a machine that could not be reached, or whose line has died, stays so."""
        with self._lock:
            if self._failed is not None:
                raise self._failed
            if self._line is None:
                try:
                    self._line = self._log_in(target(self._parts))
                except LabError as error:
                    self._failed = error
                    raise
            return self._line

    def _log_in(self, to: Target) -> Line:
        from orchestrator.machines.login import log_in

        clients: list[Any] = []
        try:
            for hop in (*(target(jump, jumped=True) for jump in to.jumps), to):
                via = clients[-1].get_transport() if clients else None
                clients.append(log_in(self.name, hop, via, self._asked))
        except BaseException:
            for client in reversed(clients):
                with contextlib.suppress(Exception):
                    client.close()
            raise
        return Line(f"machine {self.name} ({to.place})", clients)

    @cached_property
    def _about(self) -> dict[str, list[str]]:
        """What it says of itself: the lines of _ABOUT by their first words."""
        ended = self.run(["sh", "-s"], _ABOUT)
        found: dict[str, list[str]] = {}
        for line in ended.out.decode(errors="replace").splitlines():
            if line.startswith("lab: "):
                _, word, rest = (*line.split(" ", 2), "")[:3]
                found.setdefault(word, []).append(rest)
        if "user" not in found:
            said = (ended.err or ended.out).decode(errors="replace").strip()[:200]
            raise MachineError(
                f"machine {self.name} runs no POSIX shell for us: {said or f'exit {ended.code}'}",
                "a machine is a Linux computer whose user has a shell",
            )
        return found

    def _engine(self) -> str:
        """The path of the Engine's socket. Raises EngineUnavailable where there is none that answers."""
        on = f"on machine {self.name}"
        if paths := self._about.get("open"):
            try:
                self.open_socket(paths[0]).close()
            except ConnectionRefusedError as error:
                raise EngineUnavailable(
                    f"the Docker Engine {on} does not run, or its sshd forwards no unix sockets",
                    "`sudo systemctl start docker` there; sshd_config(5): AllowStreamLocalForwarding",
                ) from error
            return paths[0]
        if self._about.get("shut"):
            raise EngineUnavailable(
                f"this user may not talk to the Docker Engine {on}",
                "`sudo usermod -aG docker $USER` there",
            )
        raise EngineUnavailable(
            f"there is no Docker Engine {on}", "install and start it: `sudo apt-get install docker.io` there"
        )
