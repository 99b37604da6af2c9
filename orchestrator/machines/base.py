"""What a machine is: a computer with an engine on it, this one or one that is reached over SSH.

An engine needs little of it: an address that a Docker client takes, unix sockets of it opened from here, and
now and then a program's output. `local.py` and `ssh.py` are the two kinds; `open_machine` makes one of a URL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from orchestrator.errors import UsageError
from orchestrator.model.machines import LOCAL, ssh_url
from orchestrator.wire import Stream

Asked = Callable[[str], str | None]  # a question whose answer is secret; None where nobody can be asked


class Ended(NamedTuple):
    """A program's end and what it wrote. `code` 127: there is no such program."""

    code: int
    out: bytes
    err: bytes


class Facts(NamedTuple):
    """What a machine says of itself, asked once."""

    uid: int  # of the user that we are there
    gid: int
    address: str | None  # its own, at which we have reached it; None for this computer


class Machine(Protocol):
    """A computer. Every function may raise MachineError; nothing is connected before it is needed. All may be
    called by several threads.
    """

    name: str  # as the file calls it
    url: str  # "local" or "ssh://…", without a secret

    @property
    def is_local(self) -> bool:
        """Whether it is this computer."""

    def facts(self) -> Facts:
        """See Facts."""

    def docker_url(self) -> str | None:
        """What docker-py takes as base_url: for an SSH machine a unix socket here that leads there; None: its
        own choice. Raises EngineUnavailable where there is no Engine that this user may talk to.
        """

    def open_socket(self, path: str) -> Stream:
        """A stream to a unix socket on the machine. OSError where nobody listens there; MachineUnreachable,
        also from the stream, where the line is dead.
        """

    def run(self, argv: Sequence[str], stdin: bytes = b"", seconds: float = 20.0) -> Ended:
        """Run a program there and wait for its end."""

    def check(self) -> None:
        """Raise MachineUnreachable with the reason where the line to it is known to be dead; asks nothing."""

    def close(self) -> None:
        """Give up the line and all that goes over it."""


def open_machine(name: str, url: str, asked: Asked = lambda _: None) -> Machine:
    """The machine at a URL: `local`, or `ssh://[user@]host[:port]`. Connects to nothing yet. `asked` asks the
    user for a password.
    """
    if url == LOCAL:
        from orchestrator.machines.local import LocalMachine

        return LocalMachine(name)
    parts = ssh_url(url)
    if parts is None:  # it may hold a password: it is not shown
        raise UsageError(
            f"the url of machine {name} is none of a machine",
            "write `local`, `ssh://user@host` or `ssh://user@host:port`; a password belongs in no url",
        )
    from orchestrator.machines.ssh import SshMachine

    return SshMachine(name, url, parts, asked)
