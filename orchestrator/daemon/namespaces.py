"""The namespaces engine's part of a daemon: hosts are forked, networks are bridges."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator import errors, wire
from orchestrator.daemon import neighbours, netlink, resident, within, zygote
from orchestrator.daemon.bridges import Bridges
from orchestrator.daemon.maker import Made, Spec
from orchestrator.daemon.process import set_sysctl
from orchestrator.wire import Message

_IN_MESSAGE = 500  # neighbours that a host is told at its birth; more are added from here
# Hosts under way: more only wait for the kernel's lock of all links, and spin for it in sysctls.
AT_ONCE = 16
TOGETHER = 8  # of these are forked one right after the other
_IN_REQUEST = 1000  # neighbours of theirs that the request tells: it is one message of some 100 KB at most
_PATIENCE = 60.0  # seconds without any host becoming ready


@dataclass
class _Host:
    spec: Spec
    ports: dict[str, tuple[str, int]]  # device: (name of its other end, bridge)
    pid: int = 0
    pidfd: int = -1
    channel: socket.socket | None = None  # until the server has it
    route: netlink.Netlink | None = None  # a route socket inside the host's network namespace
    index: dict[str, int] = field(default_factory=dict)  # of each device, inside
    routes: set[tuple[str, str]] = field(default_factory=set)
    known: dict[tuple[str, str], str] = field(default_factory=dict)  # permanent neighbours
    forwarding_said: bool = False

    @property
    def channel_fd(self) -> int:
        """The descriptor on which its agent is heard first."""
        return -1 if self.channel is None else self.channel.fileno()


class NamespacesMaker:
    """See maker.Maker. `single`: the lab has one id only."""

    def __init__(self, fork: zygote.Zygote, route: netlink.Netlink, single: bool) -> None:
        self.zygote = fork
        self._bridges = Bridges(route)
        self._route = route
        self._single = single
        self._hosts: dict[str, _Host] = {}

    def make(self, networks: Sequence[Spec], hosts: Sequence[Spec]) -> Iterator[Made]:
        """See maker.Maker."""
        try:
            for network in networks:
                self._bridges.make(network["name"])
        except OSError as error:
            raise errors.EngineError(f"a network cannot be made: {error}") from error
        new = [spec for spec in hosts if spec["name"] not in self._hosts]
        if not new:
            return
        there = [host.spec for host in self._hosts.values()]
        size = _table_size(len(there) + len(new))
        set_sysctl("net/ipv4/tcp_child_ehash_entries", str(size), missing_ok=True)
        tables = neighbours.desired([*there, *new])
        self._introduce(tables)
        yield from self._make(new, tables)

    def _make(self, new: Sequence[Spec], tables: Mapping[str, neighbours.Table]) -> Iterator[Made]:
        """Each host as it becomes ready, AT_ONCE under way; at the end the first failure, if any."""
        todo, waiting = deque(new), dict[int, _Host]()
        failure: errors.LabError | None = None
        while todo or waiting:
            if todo and len(waiting) <= AT_ONCE - TOGETHER:
                started, failed = self._start(_some(todo, tables), tables)
                waiting.update((host.channel_fd, host) for host in started)
                if failed is not None:
                    failure = failure or failed
                    todo.clear()
            for fd in _readable(waiting):
                host = waiting.pop(fd)
                try:
                    yield self._ready(host, tables)
                except errors.LabError as error:
                    failure = failure or error
                    self._forget([host])
        if failure is not None:
            raise failure

    def _start(
        self, specs: Sequence[Spec], tables: Mapping[str, neighbours.Table]
    ) -> tuple[list[_Host], errors.LabError | None]:
        """Have these forked; those that are under way now, and why the others are not."""
        asked: list[_Host] = []
        failure: errors.LabError | None = None
        try:
            for spec in specs:
                asked.append(self._asked(spec, tables))
            message = {"do": "hosts", "hosts": [self._told(host) for host in asked], "single": self._single}
            answer, fds = self.zygote.request(message)
        except errors.LabError as error:
            self._release(asked)
            return [], error
        if answer["failed"] is not None:
            failure = wire.to_error(answer["failed"])
        forked = asked[: len(answer["pids"])]
        for host, pid, channel, pidfd in zip(forked, answer["pids"], fds[::2], fds[1::2], strict=True):
            host.pid, host.pidfd, host.channel = pid, pidfd, socket.socket(fileno=channel)
            self._hosts[host.spec["name"]] = host
        self._release(asked[len(forked) :])
        return forked, failure

    def _asked(self, spec: Spec, tables: Mapping[str, neighbours.Table]) -> _Host:
        """A host as it is to be, with its ports on its networks."""
        try:
            ports = {
                i["device"]: (self._bridges.name(), self._bridges.port(i["network"]))
                for i in spec["interfaces"]
            }
        except (OSError, KeyError) as error:
            raise errors.EngineError(f"host {spec['name']}: no port on its network: {error}") from error
        known = dict(list(tables.get(spec["name"], {}).items())[:_IN_MESSAGE])
        routes = {(route["destination"], route["via"]) for route in spec["routes"]}
        index = {i["device"]: resident.FIRST_INDEX + at for at, i in enumerate(spec["interfaces"])}
        return _Host(spec, ports, index=index, routes=routes, known=known)

    def _told(self, host: _Host) -> Message:
        return resident.request(host.spec, host.ports, host.known, self._single)

    def _ready(self, host: _Host, tables: Mapping[str, neighbours.Table]) -> Made:
        channel, name = host.channel, str(host.spec["name"])
        assert channel is not None
        host.channel = None
        try:
            _, fds = zygote.await_ready(channel)
        except errors.LabError:
            channel.close()
            raise
        diag = socket.socket(fileno=fds[0])
        host.route = netlink.Netlink(socket.socket(fileno=fds[1]))
        self._teach(host, tables.get(name, {}))
        return Made(name=name, spec=host.spec, pid=host.pid, agent=host.pid, channel=channel, diag=diag)

    def _introduce(self, tables: Mapping[str, neighbours.Table]) -> None:
        for name, host in self._hosts.items():
            self._teach(host, tables.get(name, {}))

    def _teach(self, host: _Host, table: neighbours.Table) -> None:
        """The permanent neighbours of a running host become these."""
        if host.route is None or host.known == table:
            return
        gone = [key for key in host.known if key not in table]
        new = [(*key, mac) for key, mac in table.items() if host.known.get(key) != mac]
        numbers = host.index
        try:
            host.route.do((netlink.delete_neighbour(numbers[d], a) for d, a in gone), missing_ok=True)
            host.route.do(netlink.neighbour(numbers[d], a, mac) for d, a, mac in new)
        except OSError as error:
            raise errors.EngineError(f"host {host.spec['name']}: {error}") from error
        host.known = dict(table)

    def adopt(self, hosts: Sequence[Spec], bridges: Sequence[str]) -> Iterator[Made]:
        """Not of this engine: its hosts are made."""
        raise errors.DaemonError("the namespaces engine makes its hosts; there is none to adopt")

    def stitch(self, networks: Sequence[Spec]) -> None:
        """Not of this engine: its labs are on this computer."""
        raise errors.DaemonError("the namespaces engine's networks are on one machine")

    def configure(self, hosts: Sequence[Spec]) -> None:
        """See maker.Maker."""
        for spec in hosts:
            host = self._hosts.get(spec["name"])
            if host is None or host.route is None:
                continue
            wanted = {(route["destination"], route["via"]) for route in spec["routes"]}
            same = {destination for destination, _ in wanted}
            try:
                host.route.do(
                    (netlink.delete_route(*r) for r in host.routes - wanted if r[0] not in same), True
                )
                host.route.do(netlink.route(*r) for r in wanted - host.routes)
            except OSError as error:
                raise errors.EngineError(f"host {spec['name']}: {error}") from error
            host.spec, host.routes = spec, wanted
            _say_forwarding(host)
        self._introduce(neighbours.desired([host.spec for host in self._hosts.values()]))

    def remove(self, hosts: Sequence[str], networks: Sequence[str]) -> None:
        """See maker.Maker."""
        self._forget([self._hosts[name] for name in hosts if name in self._hosts])
        for name in networks:
            self._bridges.remove(name)
        if hosts:
            self._introduce(neighbours.desired([host.spec for host in self._hosts.values()]))

    def _forget(self, hosts: Sequence[_Host]) -> None:
        """End these and wait until they are gone; the kernel ends all that runs in them."""
        for host in hosts:
            self._hosts.pop(host.spec["name"], None)
            _kill(host.pidfd)
        for host in hosts:
            _readable([host.pidfd])  # its sockets are closed now, and their peers have been told
            for port, _ in host.ports.values():
                self._bridges.unplug(port)
            os.close(host.pidfd)
            for end in (host.route, host.channel):
                if end is not None:
                    end.close()
        self._release(hosts)

    def _release(self, hosts: Iterable[_Host]) -> None:
        """Give their ports back."""
        for host in hosts:
            for interface in host.spec["interfaces"]:
                self._bridges.release(interface["network"], host.ports[interface["device"]][1])

    def close(self) -> None:
        """See maker.Maker. This process is pid 1 of all that it made: with it everything ends, at once."""
        os._exit(0)


def _some(todo: deque[Spec], tables: Mapping[str, neighbours.Table]) -> list[Spec]:
    """The next hosts to be forked together."""
    found: list[Spec] = []
    told = 0
    while todo and len(found) < TOGETHER and told <= _IN_REQUEST:
        found.append(todo.popleft())
        told += min(_IN_MESSAGE, len(tables.get(found[-1]["name"], ())))
    return found


def _table_size(hosts: int) -> int:
    """Buckets of each host's own table of connections: reading a table passes over all of them.

    By default all namespaces share the computer's, and reading an empty table takes 1.75 ms instead of 0.08.
    """
    return 65_536 if hosts <= 16 else 16_384 if hosts <= 128 else 4096


def _kill(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _readable(fds: Collection[int]) -> list[int]:
    """Those that can be read, as soon as any can; EngineError after a minute without."""
    poll = select.poll()  # not select(): descriptors go beyond 1,024
    for fd in fds:
        poll.register(fd, select.POLLIN)
    found = poll.poll(_PATIENCE * 1000) if fds else []
    if fds and not found:
        raise errors.EngineError(f"a host did not answer within {_PATIENCE:.0f} s")
    return [fd for fd, _ in found]


def _say_forwarding(host: _Host) -> None:
    """`ip_forward` of a new host as it is: its links forward, or not, since they were made (resident.py)."""
    if host.forwarding_said:
        return
    proc = os.open(f"/proc/{host.pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        forward = "1" if host.spec["kind"] == "router" else "0"
        within.network(proc, lambda: set_sysctl("net/ipv4/ip_forward", forward))
    finally:
        os.close(proc)
    host.forwarding_said = True
