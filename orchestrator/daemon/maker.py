"""What an engine's own part offers to the daemon's server: hosts, each with a live agent in it.

Each engine has one `Maker`: namespaces makes hosts, docker enters hosts that are there. The server
(`server.py`) does everything else in the same way for both. What is called here may block: the server calls
it in a worker thread, never twice at once.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.daemon.zygote import Zygote

Spec = Mapping[str, Any]  # a PlannedHost or PlannedNetwork as JSON: msgspec.to_builtins of model/plan.py


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a program of this host gets unless it is told otherwise: the image's own choice (docker)."""

    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""  # "33", "33:33", "www-data"; "": root. Names are looked up inside the host
    cwd: str = ""  # "": the user's home, else /
    argv: Sequence[str] = ()  # the image's own program, for a `start` that names none


@dataclass(frozen=True, kw_only=True)
class Made:
    """A host that is ready: its interfaces are up and its agent runs `agent.loop.serve`.

    `pid` is a process that lives as long as the host, and `agent` the agent, both as the daemon's own /proc
    names them; they are the same in a namespaces host. `channel` is the daemon's end of a stream socketpair,
    whose other end only the agent holds: its end of file says that the agent is gone. `diag` is a
    NETLINK_SOCK_DIAG socket (SOCK_RAW, SOCK_CLOEXEC) that was opened inside the host's network namespace, or
    None where that failed; it is never to be held by a process inside the host. The server owns and closes
    both.
    """

    name: str
    spec: Spec
    pid: int
    agent: int
    channel: socket.socket
    diag: socket.socket | None = None
    start: Start = field(default_factory=Start)


class Maker(Protocol):
    """Makes, enters and removes hosts. Raises EngineError, which goes to the client as it is.

    `zygote` forks for it, and for snapshots of many sockets (walkers.py).
    """

    zygote: Zygote

    def make(self, networks: Sequence[Spec], hosts: Sequence[Spec]) -> Iterator[Made]:
        """Make what is not there yet; yield each host as soon as it is ready, in any order.

        What exists (by name) is left alone and not yielded. A failure raises after the hosts that were made
        have been yielded; nothing is undone (the client asks for `remove`, or ends the lab).
        """

    def adopt(self, hosts: Sequence[Spec], bridges: Sequence[str]) -> Iterator[Made]:
        """Enter hosts that are there: `[{"spec", "pid", "start": {env, user, cwd}}]`; put an agent into each.

        Sets also what the engine could not: IPv6 addresses, routes, sysctls, and silences the engine's
        `bridges`. A host with a live agent and the same pid is left alone; with another it is entered anew.
        """

    def stitch(self, networks: Sequence[Spec]) -> None:
        """Join what is here of these networks with other machines: `[{"name", "bridge", "vni", "mtu", "port",
        "local", "peers"}]`; without peers, no longer.
        """

    def configure(self, hosts: Sequence[Spec]) -> None:
        """Routes (addresses, sysctls where missing) of running hosts become what the specs say; idempotent.

        NAT and /etc/hosts are the server's.
        """

    def remove(self, hosts: Sequence[str], networks: Sequence[str]) -> None:
        """End these hosts with all that runs in them, and these networks; unknown names are passed over.

        The server has closed the hosts' channels before.
        """

    def close(self) -> None:
        """The daemon is about to end: end the zygote and whatever would outlive the daemon.

        Alone of all it may come while another call is under way, whose outcome nobody waits for any more.
        """
