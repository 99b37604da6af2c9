"""Networks that span machines: what of a network is on this one is joined with its twins elsewhere, by VXLAN
(RFC 7348).

The VXLAN device sends and receives in the machine's own network namespace, for that is where the device is
made (drivers/net/vxlan, vxlan_newlink()), and stands in the daemon's: there it is a port of a bridge, whose
other port is one end of a veth pair; the pair's other end is a port of Docker's bridge. So the daemon owns
all of it, and the kernel removes it with the daemon's namespace, however the daemon ends. Frames that come
for no known station, and broadcasts, are sent to every peer; who is behind which peer is learned.

Tunnel packets between machines are the kernel's: no process has to run for them.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from orchestrator import errors
from orchestrator.daemon import bridges, netlink, within
from orchestrator.daemon.maker import Spec

T = TypeVar("T")
_GOING_SECONDS = 10.0  # that the kernel may take to remove what a daemon that was killed had
_LINKS = 1  # RTMGRP_LINK, linux/rtnetlink.h


@dataclass(frozen=True, kw_only=True)
class Joined:
    """One network of this machine, as it is to be joined. `local`: where the peers reach this machine."""

    name: str
    bridge: str
    vni: int
    mtu: int
    port: int
    local: str
    peers: frozenset[str]

    @classmethod
    def of(cls, spec: Spec) -> Joined:
        """Checked, for it comes from a client. Raises ValueError."""
        found = cls(
            name=str(spec["name"]),
            bridge=str(spec["bridge"]),
            vni=int(spec["vni"]),
            mtu=int(spec["mtu"]),
            port=int(spec["port"]),
            local=str(spec["local"]),
            peers=frozenset(map(str, spec["peers"])),
        )
        families = {netlink.packed(address)[0] for address in (found.local, *found.peers)}
        if len(families) > 1:
            raise ValueError(f"{found.local} and its peers are of IPv4 and of IPv6")
        return found


class Fabric:
    """What this machine has of a lab's networks across machines. Not for two threads at once."""

    def __init__(self) -> None:
        self._here: netlink.Netlink | None = None
        self._joined: dict[str, Joined] = {}

    def join(self, networks: Iterable[Spec]) -> None:
        """These networks are joined so from now on; one without peers is not any more. Others stay as they
        are. Raises EngineError.
        """
        for network in map(Joined.of, networks):
            try:
                self._become(network)
            except OSError as error:
                self._leave(network.name)
                raise _explained(network, error) from error

    def leave(self, networks: Iterable[str]) -> None:
        """These are not joined any more: their bridges are about to be removed."""
        for name in networks:
            self._leave(name)

    def close(self) -> None:
        """Remove all of it now: the kernel would do it some time after this process has ended."""
        for name in list(self._joined):
            self._leave(name)

    def _become(self, network: Joined) -> None:
        old = self._joined.get(network.name)
        if old == network:
            return
        if old is not None and network.peers and _without_peers(old) == _without_peers(network):
            index = netlink.index(_vxlan(network))
            self._route.do(netlink.flood(index, peer) for peer in network.peers - old.peers)
            gone = old.peers - network.peers
            self._route.do((netlink.stop_flooding(index, peer) for peer in gone), missing_ok=True)
            self._joined[network.name] = network
            return
        self._leave(network.name)
        if network.peers:
            self._joined[network.name] = network
            self._make(network)

    @property
    def _route(self) -> netlink.Netlink:
        if self._here is None:
            self._here = bridges.set_up()
        return self._here

    def _make(self, network: Joined) -> None:
        route, here = self._route, os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _outside(network.bridge, lambda: _make_outside(network, here))
        finally:
            os.close(here)
        route.do([netlink.bridge(_bridge(network))])
        bridge = netlink.index(_bridge(network))
        route.do([netlink.mtu(bridge, network.mtu)])
        route.do(netlink.join(netlink.index(name(network)), bridge) for name in (_vxlan, _inner))
        route.do(netlink.flood(netlink.index(_vxlan(network)), peer) for peer in sorted(network.peers))

    def _leave(self, name: str) -> None:
        network = self._joined.pop(name, None)
        if network is None:
            return
        for device in (_vxlan(network), _inner(network), _bridge(network)):
            try:
                self._route.do([netlink.delete(netlink.index(device))], missing_ok=True)
            except OSError:  # it was not made yet, or has gone with its other end
                continue


def _without_peers(network: Joined) -> tuple[Any, ...]:
    return network.bridge, network.vni, network.mtu, network.port, network.local


def _vxlan(network: Joined) -> str:
    return f"vx-{network.vni:06x}"


def _inner(network: Joined) -> str:
    """The end of the pair that is in the daemon's namespace."""
    return f"in-{network.vni:06x}"


def _bridge(network: Joined) -> str:
    return f"br-{network.vni:06x}"


def _port(network: Joined) -> str:
    """The end of the pair that is a port of Docker's bridge: the only thing of ours among the machine's own
    devices."""
    return f"labx-{network.vni:06x}"


def _outside(bridge: str, work: Callable[[], T]) -> T:
    """In the namespace where Docker's bridges are: that of the Engine's shim, the daemon's parent, or that of
    the first process."""
    failure: OSError | None = None
    for pid in (os.getppid(), 1):
        proc = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            within.network(proc, lambda: netlink.index(bridge))
            return within.network(proc, work)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            failure = failure or error
        finally:
            os.close(proc)
    raise failure or OSError(errno.ENODEV, bridge)


def _make_outside(network: Joined, here: int) -> None:
    """In the machine's namespace: the pair, whose name says whether somebody has this number; the VXLAN."""
    news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    news.bind((0, _LINKS))
    route = netlink.Netlink()
    try:
        pair = netlink.veth(
            _port(network),
            _inner(network),
            master=netlink.index(network.bridge),
            peer_namespace=here,
            size=network.mtu,
        )
        _when_free(lambda: route.do([pair]), news)
        local = network.local if _is_mine(network.local) else None
        device = netlink.vxlan(
            _vxlan(network),
            namespace=here,
            vni=network.vni,
            port=network.port,
            size=network.mtu,
            family=netlink.packed(network.local)[0],
            local=local,
        )
        _when_free(lambda: route.do([device]), news)
    finally:
        route.close()
        news.close()


def _when_free(work: Callable[[], None], news: socket.socket) -> None:
    """Again each time when a device has gone: those of a daemon that has just been killed are going."""
    deadline = time.monotonic() + _GOING_SECONDS
    while True:
        try:
            return work()
        except OSError as error:
            if error.errno != errno.EEXIST or not _some_news(news, deadline):
                raise


def _some_news(news: socket.socket, deadline: float) -> bool:
    poll = select.poll()
    poll.register(news, select.POLLIN)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        return False
    try:
        while news.recv(1 << 16, socket.MSG_DONTWAIT):
            pass
    except OSError:  # all is read; or more came than there was room for, which is news, too
        pass
    return True


def _is_mine(address: str) -> bool:
    """Whether this machine has it; behind an address translator it has not, and sends from what it has."""
    family, _ = netlink.packed(address)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            return False
    return True


_REASONS = {
    errno.EEXIST: (
        "its VXLAN identifier {vni} is in use there",
        "another lab has it; `lab up` with another name",
    ),
    errno.EADDRINUSE: ("a program holds UDP port {port}", "`sudo ss -ulpn` there names it: end it"),
    errno.EOPNOTSUPP: ("the kernel has no VXLAN", "`sudo modprobe vxlan` there"),
    errno.ENODEV: ("Docker's bridge {bridge} is not there", "`lab down` and `lab up` make it anew"),
}


def _explained(network: Joined, error: OSError) -> errors.EngineError:
    reason, cure = _REASONS.get(error.errno or 0, ("{error}", ""))
    said = reason.format(vni=network.vni, port=network.port, bridge=network.bridge, error=error)
    return errors.EngineError(f"network {network.name} cannot be joined with other machines: {said}", cure)
