"""One SSH line to a machine: what is opened on it, and a heart that notices when it is dead.

TCP does not notice for a quarter of an hour, and paramiko not at all. Every BEAT seconds sshd is asked for an
answer; when not one byte has come from it for SILENCE seconds the line is closed, and all that waits on it
ends. What counts are turns of waiting, not the clock: a laptop that has slept is not a line that was cut.
"""

from __future__ import annotations

import contextlib
import errno
import shlex
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from orchestrator.errors import CommandFailed, MachineError, MachineUnreachable
from orchestrator.machines import transport as inside
from orchestrator.machines.base import Ended

BEAT, SILENCE = 2.0, 6.0  # a dead line is noticed after at most 8 s
_TURN = 0.25
_OPEN_SECONDS = 15.0
_CLOSED_SECONDS = 2.0  # for the other side to close a session, too
# At once. A stock sshd allows 10 (sshd_config(5), MaxSessions), and one that was closed counts until its next
# turn: it may find all of ours closed, and as many new ones asked for.
_SESSIONS = 5


class Line:
    """A line that is logged in. `clients` are its SSHClients, the last one leads to the machine."""

    def __init__(self, where: str, clients: Sequence[Any]) -> None:
        self._where, self._clients = where, clients
        self._transport = clients[-1].get_transport()
        self._sessions = threading.Semaphore(_SESSIONS)
        self._why = ""
        self._closed = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._heart.start()

    def check(self) -> None:
        """Raise MachineUnreachable where the line is dead."""
        if self._why or not self._transport.is_active():
            raise self._dead()

    def open_socket(self, path: str) -> LineStream:
        """See Machine."""
        with self._watched():
            return LineStream(self, inside.open_unix_socket(self._transport, path, _OPEN_SECONDS))

    def run(self, argv: Sequence[str], stdin: bytes, seconds: float) -> Ended:
        """See Machine. A program that writes more than a window to stderr before it ends is a late one."""
        with self._sessions, self._watched():
            channel = self._transport.open_session(timeout=_OPEN_SECONDS)
            try:
                channel.settimeout(seconds)
                channel.exec_command(shlex.join(argv))
                channel.sendall(stdin)
                channel.shutdown_write()
                out = b"".join(iter(lambda: channel.recv(1 << 20), b""))
                err = b"".join(iter(lambda: channel.recv_stderr(1 << 20), b""))
                ended = channel.status_event.wait(seconds)
                self.check()
                if not ended:
                    raise TimeoutError
                return Ended(channel.recv_exit_status(), out, err)
            except TimeoutError as error:
                raise CommandFailed(
                    f"{self._where}: `{argv[0]}` did not end within {seconds:.0f} s"
                ) from error
            finally:
                channel.close()
                inside.wait_until_closed(channel, _CLOSED_SECONDS)

    def close(self) -> None:
        """Leave it."""
        self._why = self._why or "it was closed"
        self._closed.set()
        for client in reversed(self._clients):
            with contextlib.suppress(Exception):
                client.close()

    @contextlib.contextmanager
    def _watched(self) -> Any:
        """What fails on a dead line is the line's."""
        from paramiko import ChannelException, SSHException

        self.check()
        try:
            yield
        except (ConnectionRefusedError, MachineError):
            raise
        except ChannelException as error:
            raise MachineError(
                f"{self._where}: its sshd refuses: {error}",
                "sshd_config(5): AllowStreamLocalForwarding, MaxSessions",
            ) from error
        except (SSHException, OSError, EOFError) as error:
            if self._why or not self._transport.is_active():
                raise self._dead() from error
            raise MachineUnreachable(f"{self._where}: {error or type(error).__name__}") from error

    def _dead(self) -> MachineUnreachable:
        why = self._why or "the other side has closed it"
        return MachineUnreachable(
            f"{self._where} is not reached any more: {why}",
            "is it on, and the network between? `lab machines` looks",
        )

    def _beat(self) -> None:
        while not self._closed.wait(BEAT) and self._transport.is_active():
            if not self._answered():
                if not self._closed.is_set():
                    self._why = f"it has not answered for {SILENCE:.0f} s"
                break
        for client in reversed(self._clients):
            with contextlib.suppress(Exception):
                client.close()

    def _answered(self) -> bool:
        """Whether anything has come since it was asked: a line full of data carries an answer late."""
        before = _received(self._transport)
        asked = threading.Event()
        answer: list[threading.Event] = []

        def ask() -> None:  # a full send buffer of a dead line would hold us
            with contextlib.suppress(Exception):
                answer.append(inside.ask_whether_alive(self._transport))
            asked.set()

        threading.Thread(target=ask, name="heartbeat", daemon=True).start()
        for _ in range(round(SILENCE / _TURN)):
            if (answer and answer[0].is_set()) or _received(self._transport) != before:
                return True
            if self._closed.is_set() or not self._transport.is_active():
                return False
            time.sleep(_TURN)
        return False


def _received(transport: Any) -> int:
    return int(transport.sock.received) if isinstance(transport.sock, Counted) else 0


class Counted:
    """A socket, or a jump's channel, that counts what has come through it."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.received = 0

    def recv(self, size: int) -> bytes:
        """As of a socket."""
        piece: bytes = self._sock.recv(size)
        self.received += len(piece)
        return piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class LineStream:
    """A wire.Stream of a channel. Its end on a dead line is MachineUnreachable, not the end of the data."""

    def __init__(self, line: Line, channel: Any) -> None:
        self._line, self._channel = line, channel

    def settimeout(self, seconds: float | None, /) -> None:
        """Seconds that recv and sendall may wait."""
        self._channel.settimeout(seconds)

    def sendall(self, data: bytes, /) -> None:
        """Raises BrokenPipeError where the other side has closed it."""
        try:
            self._channel.sendall(data)
        except TimeoutError:
            raise
        except OSError as error:
            self._line.check()
            raise BrokenPipeError(str(error)) from error

    def recv(self, size: int, /) -> bytes:
        """b"" at the end."""
        piece: bytes = self._channel.recv(size)
        if not piece:
            self._line.check()
        return piece

    def shutdown(self, how: int, /) -> None:
        """As of a socket; wakes who reads. OSError where the line has ended (Paramiko says EOFError)."""
        try:
            if how in (socket.SHUT_WR, socket.SHUT_RDWR):
                self._channel.shutdown_write()
            if how in (socket.SHUT_RD, socket.SHUT_RDWR):
                self._channel.shutdown_read()
                self._channel.close()
        except EOFError:
            raise OSError(errno.ENOTCONN, "the line has ended") from None

    def close(self) -> None:
        """Leave it; the line stays."""
        self._channel.close()
