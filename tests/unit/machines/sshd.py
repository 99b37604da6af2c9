"""An SSH server in this process: to log in to, with unix sockets to be forwarded; it can fall silent."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paramiko
from paramiko import common

KEY = paramiko.RSAKey.generate(2048)


class Server(paramiko.ServerInterface):
    """Lets everybody in who has the password or the key, and forwards to whatever `paths` has."""

    def __init__(self, password: str | None, key: paramiko.PKey | None) -> None:
        self._password, self._key = password, key
        self.asked: list[str] = []

    def check_auth_password(self, username: str, password: str) -> int:
        return self._verdict(password == self._password)

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return self._verdict(key == self._key)

    def _verdict(self, right: bool) -> int:
        return common.AUTH_SUCCESSFUL if right else common.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "password,publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        self.asked.append(kind)
        known = kind == "direct-streamlocal@openssh.com"
        return common.OPEN_SUCCEEDED if known else common.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED


class Running:
    """The server, on a port of this computer. `hold()` leaves everything unanswered from then on."""

    def __init__(self, host_key: paramiko.PKey, password: str | None, key: paramiko.PKey | None) -> None:
        self.host_key, self.server = host_key, Server(password, key)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.transports: list[Any] = []
        self._mute = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def known_hosts(self, folder: Path) -> Path:
        file = folder / "known_hosts"
        file.write_text(f"[127.0.0.1]:{self.port} {self.host_key.get_name()} {self.host_key.get_base64()}\n")
        return file

    def hold(self) -> None:
        """Take no byte any more: what came before a cut is there, and nothing after."""
        for transport in self.transports:
            transport.sock.mute.set()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(_Mutable(sock))  # type: ignore[arg-type]
            transport.add_server_key(self.host_key)
            self.transports.append(transport)
            with contextlib.suppress(
                EOFError, OSError, paramiko.SSHException
            ):  # a client that has seen enough
                transport.start_server(server=self.server)
            threading.Thread(target=self._echo, args=(transport,), daemon=True).start()

    def _echo(self, transport: Any) -> None:
        while transport.is_active():
            channel = transport.accept(0.2)
            if channel is not None:
                threading.Thread(target=_echo, args=(channel,), daemon=True).start()

    def close(self) -> None:
        self.listener.close()
        for transport in self.transports:
            transport.close()


def _echo(channel: Any) -> None:
    with contextlib.suppress(OSError, EOFError):  # the client has gone
        while piece := channel.recv(1 << 16):
            channel.sendall(piece)
        channel.shutdown_write()


class _Mutable:
    """A socket that can be told to hear and say nothing any more, without an end."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self.mute = sock, threading.Event()

    def recv(self, size: int) -> bytes:
        piece = self._sock.recv(size)
        if self.mute.is_set() and piece:
            raise TimeoutError
        return piece

    def send(self, data: bytes) -> int:
        if self.mute.is_set():
            return len(data)
        return self._sock.send(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


@contextmanager
def running(password: str | None = None, key: paramiko.PKey | None = None) -> Iterator[Running]:
    """For the length of a block."""
    server = Running(KEY, password, key)
    try:
        yield server
    finally:
        server.close()
