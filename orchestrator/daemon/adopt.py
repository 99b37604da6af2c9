"""The docker engine's part of a daemon: hosts are containers that are there; each gets an agent."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator import errors
from orchestrator.daemon import (
    bridge,
    closed,
    delays,
    enter,
    netlink,
    process,
    settle,
    sysc,
    vxlan,
    walkers,
    within,
    zygote,
)
from orchestrator.daemon.maker import Made, Spec, Start

_PATIENCE = 60.0  # seconds without any host becoming ready


@dataclass
class _Host:
    spec: Spec
    pid: int  # the container's first process
    pidfd: int
    start: Start
    agent: int = 0
    agent_fd: int = -1
    channel: socket.socket | None = None  # until the server has it


class DockerMaker:
    """See maker.Maker."""

    def __init__(self, fork: zygote.Zygote) -> None:
        self.zygote = fork
        self._hosts: dict[str, _Host] = {}
        self._fabric = vxlan.Fabric()

    def make(self, networks: Sequence[Spec], hosts: Sequence[Spec]) -> Iterator[Made]:
        """Not of this engine: its hosts are containers, which the client has Docker make."""
        raise errors.DaemonError("the docker engine's hosts are adopted, not made")

    def adopt(self, hosts: Sequence[Spec], bridges: Sequence[str]) -> Iterator[Made]:
        """See maker.Maker."""
        closed.close(bridges)
        entered = []
        failure: errors.LabError | None = None
        for told in hosts:
            try:
                if not self._is_here(told):
                    entered.append(self._enter(told))
            except errors.LabError as error:
                failure = failure or error
        for host in _as_readable(entered):
            try:
                yield self._ready(host)
            except errors.LabError as error:
                failure = failure or error
                self._forget(str(host.spec["name"]))
        if failure is not None:
            raise failure

    def _is_here(self, told: Mapping[str, Any]) -> bool:
        """Whether this very container has a live agent already."""
        host = self._hosts.get(told["spec"]["name"])
        return host is not None and host.pid == told["pid"] and _lives(host.pidfd) and _lives(host.agent_fd)

    def _enter(self, told: Mapping[str, Any]) -> _Host:
        spec, pid = told["spec"], int(told["pid"])
        name, start = str(spec["name"]), told.get("start") or {}
        self._forget(name)
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            raise _ended(name) from error
        try:
            message = enter.rights(pid)
            if not _lives(pidfd):  # then what was read may be of another process with that number
                raise _ended(name)
            message |= {"do": "enter", "name": name, "spec": spec, "macs": told.get("macs") or {}}
            answer, fds = self.zygote.request(message, [pidfd])
        except OSError as error:
            os.close(pidfd)
            raise errors.EngineError(f"host {name} cannot be entered: {error}") from error
        except BaseException:
            os.close(pidfd)
            raise
        known = {key: start[key] for key in ("env", "user", "cwd", "argv") if start.get(key)}
        host = _Host(spec, pid, pidfd, Start(**known), answer["pid"], fds[1], socket.socket(fileno=fds[0]))
        self._hosts[name] = host
        return host

    def _ready(self, host: _Host) -> Made:
        channel, name = host.channel, str(host.spec["name"])
        assert channel is not None
        host.channel = None
        try:
            _, fds = zygote.await_ready(channel)
        except errors.AgentError as error:
            channel.close()
            raise _ended(name) from error
        except errors.LabError:
            channel.close()
            raise
        return Made(
            name=name,
            spec=host.spec,
            pid=host.pid,
            agent=host.agent,
            channel=channel,
            diag=socket.socket(fileno=fds[0]),
            start=host.start,
        )

    def stitch(self, networks: Sequence[Spec]) -> None:
        """See maker.Maker."""
        self._fabric.join(networks)

    def configure(self, hosts: Sequence[Spec]) -> None:
        """See maker.Maker."""
        for spec in hosts:
            host = self._hosts.get(spec["name"])
            if host is None or not _lives(host.pidfd):
                continue
            try:
                _in_network(host.pid, spec)
            except OSError as error:
                raise errors.EngineError(f"host {spec['name']}: {error}") from error
            host.spec = spec

    def remove(self, hosts: Sequence[str], networks: Sequence[str]) -> None:
        """See maker.Maker: the containers are the client's to remove, their agents end here."""
        for name in hosts:
            self._forget(name)
        self._fabric.leave(networks)

    def _forget(self, name: str) -> None:
        host = self._hosts.pop(name, None)
        if host is None:
            return
        try:
            signal.pidfd_send_signal(host.agent_fd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        for fd in (host.pidfd, host.agent_fd):
            os.close(fd)
        if host.channel is not None:
            host.channel.close()

    def close(self) -> None:
        """See maker.Maker: an agent ends with its channel."""
        for name in list(self._hosts):
            self._forget(name)
        self._fabric.close()
        self.zygote.close()


def _ended(name: str) -> errors.EngineError:
    return errors.EngineError(f"the container of host {name} has ended", "`docker ps -a` may say why")


def _in_network(pid: int, spec: Spec) -> None:
    """Routes of a running host."""

    def work() -> None:
        route = netlink.Netlink()
        try:
            settle.set_routes(spec, route)
        finally:
            route.close()

    proc = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        within.network(proc, work)
    finally:
        os.close(proc)


def _lives(pidfd: int) -> bool:
    """A pidfd is readable when its process has ended (pidfd_open(2))."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)


def _as_readable(hosts: Sequence[_Host]) -> Iterator[_Host]:
    """Each host when its first frame (or its end) can be read."""
    waiting = {host.channel.fileno(): host for host in hosts if host.channel is not None}
    while waiting:
        poll = select.poll()
        for fd in waiting:
            poll.register(fd, select.POLLIN)
        found = poll.poll(_PATIENCE * 1000)
        if not found:
            raise errors.EngineError(f"hosts did not answer within {_PATIENCE:.0f} s")
        for fd, _ in found:
            yield waiting.pop(fd)


def serve(owner: str, name: str, uid: str, gid: str) -> int:
    """Be the daemon of this lab, listening where `bridge.SOCKET` says, for this user; returns when the lab
    ends.
    """
    from orchestrator.daemon import serve

    process.raise_file_limit()
    fork = zygote.start_zygote({"enter": enter.Handler(), "walk": walkers.handle, "delay": delays.handle})
    listener = _listen(int(uid), int(gid))
    # a host can open its agent's /proc/PID/exe: what is behind that must not be writable
    sysc.mount(None, "/", None, sysc.MS_REMOUNT | sysc.MS_BIND | sysc.MS_RDONLY)
    serve.serve(DockerMaker(fork), listener, None, engine="docker", owner=owner, name=name)
    return 0


def _listen(uid: int, gid: int) -> socket.socket:
    """The socket appears under its name when it is the user's already, and no one else's."""
    listener = socket.socket(socket.AF_UNIX)
    new = f"{bridge.SOCKET}.new"
    os.makedirs(os.path.dirname(new), mode=0o700, exist_ok=True)
    if os.path.lexists(new):
        os.unlink(new)
    before = os.umask(0o177)
    listener.bind(new)
    os.umask(before)
    os.chown(new, uid, gid, follow_symlinks=False)
    listener.listen(64)
    os.rename(new, bridge.SOCKET)
    return listener
