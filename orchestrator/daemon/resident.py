"""One host of the namespaces engine, from inside: what the zygote's child does before it is the agent."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, NoReturn

from orchestrator import errors, wire
from orchestrator.agent import loop
from orchestrator.daemon import netlink, roots, seccomp, sysc, zygote
from orchestrator.daemon.process import Sysctl, set_sysctl, set_sysctls
from orchestrator.wire import Message

_NAMESPACES = sysc.NEWNET | sysc.NEWUTS | sysc.NEWIPC | sysc.NEWNS | sysc.NEWCGROUP
_NETLINK_SOCK_DIAG = 4
# capabilities(7): chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service,
# net_admin, net_raw, sys_chroot, sys_ptrace, audit_write, setfcap. Not sys_admin: nothing in a host mounts
# or enters.
KEPT = (0, 1, 3, 4, 5, 6, 7, 8, 10, 12, 13, 18, 19, 29, 31)


FIRST_INDEX = 11  # of a host's own links: lo is 1, and some kernels give each namespace up to nine tunnels
_HERE = 10  # the descriptor of the host's network namespace, in messages that are made before it exists


class Handler:
    """The zygote's handler of `{"do": "hosts", "hosts": […]}`: forks the first processes of new hosts.

    It answers `{"pids", "failed": error or null}`: those before the one that could not be forked exist.
    Whatever can be made for a host before it is forked is: what the child touches is copied page by page.
    """

    def __init__(self) -> None:
        self._own = -1  # opened in the zygote, which starts without any descriptor
        self._agent = loop.Agent()

    def __call__(self, message: Message, fds: Sequence[int]) -> zygote.Answer:
        if self._own < 0:
            self._own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
            _limit(message["single"])
        found, failure = zygote.fork_children(
            [
                zygote.Child(host["name"], partial(_live, _prepared(host), self._agent))
                for host in message["hosts"]
            ],
            before=lambda: sysc.unshare(sysc.NEWPID),  # of children only
            after=lambda: sysc.setns(self._own, sysc.NEWPID),
        )
        failed = None if failure is None else wire.error_message(failure)
        ends = [fd for child in found for fd in (child.channel, child.pidfd)]
        return {"pids": [child.pid for child in found], "failed": failed}, ends


class _Prepared(NamedTuple):
    """A host to be. The messages to the kernel know the numbers that its links and `_HERE` will have."""

    name: str
    sysctls: Sequence[Sysctl]
    outside: Sequence[netlink.Batch]  # makes its links, from the daemon's network namespace
    link_sysctls: Sequence[Sysctl]
    inside: Sequence[netlink.Batch]  # addresses, routes, neighbours
    wanted_sysctls: Mapping[str, str]  # of the lab file


def _prepared(message: Message) -> _Prepared:
    links = message["links"]
    outside = [
        netlink.veth(
            link["port"],
            link["device"],
            master=link["bridge"],
            peer_namespace=_HERE,
            peer_mac=link["mac"],
            numbers=(link["number"], FIRST_INDEX + place),
        )
        for place, link in enumerate(links)
    ]
    without = [link["device"] for link in links if message["six"] and not link["six"]]
    return _Prepared(
        message["name"],
        list(_sysctls(message)),
        netlink.batches(outside),
        [Sysctl(f"net/ipv6/conf/{device}/disable_ipv6", "1") for device in without],
        netlink.batches(_inside(message)),
        message["sysctls"],
    )


def _live(host: _Prepared, agent: loop.Agent, channel: socket.socket) -> NoReturn:
    try:
        sensors = _become(host)
    except OSError as error:
        raise errors.EngineError(f"host {host.name}: {error}") from error
    zygote.say_ready(channel, [s.fileno() for s in sensors])
    for sensor in sensors:
        sensor.close()
    loop.serve(channel, agent)


def _become(host: _Prepared) -> list[socket.socket]:
    """Make the host around this process. The sockets that the daemon gets: sock_diag and route."""
    outside = netlink.Netlink()  # stays in the daemon's network namespace, where the bridges are
    sysc.unshare(_NAMESPACES)
    socket.sethostname(host.name)
    roots.enter(host.name)
    inside = netlink.Netlink()
    for sysctl in host.sysctls:
        set_sysctl(*sysctl)
    here = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(here, _HERE, inheritable=False)
    outside.carry_out(host.outside)
    os.close(here)
    os.close(_HERE)
    outside.close()
    for sysctl in host.link_sysctls:
        set_sysctl(*sysctl)
    inside.carry_out(host.inside)
    set_sysctls(host.name, host.wanted_sysctls)
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    diag = socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG)
    sysc.capset(KEPT)  # and with it the last way out of the host: nothing in it can mount or enter
    return [diag, inside.socket]


def _sysctls(message: Message) -> Iterator[Sysctl]:
    """A new namespace takes some values over from the computer (forwarding, rp_filter): say them all."""
    forward, six = ("1" if message[key] else "0" for key in ("forward", "six"))
    # Of links that are made from now on. `ip_forward` itself is said by `configure`: it wants the lock of
    # all links, and while other hosts are made a writer of it spins for that (devinet_sysctl_forward()).
    yield Sysctl("net/ipv4/conf/default/forwarding", forward)
    for scope in ("all", "default"):
        yield Sysctl(f"net/ipv4/conf/{scope}/rp_filter", "0")
        yield Sysctl(f"net/ipv4/conf/{scope}/send_redirects", "0")
    yield Sysctl("net/ipv4/ping_group_range", "0 0" if message["single"] else "0 65535")
    if not os.path.isdir("/proc/sys/net/ipv6"):
        return
    yield Sysctl("net/ipv6/conf/default/disable_ipv6", "0" if message["six"] else "1")
    if message["six"]:
        for name in ("accept_ra", "accept_dad", "router_solicitations"):
            for scope in ("all", "default"):
                yield Sysctl(f"net/ipv6/conf/{scope}/{name}", "0")
        if message["forward"]:
            yield Sysctl("net/ipv6/conf/all/forwarding", six)


def _inside(message: Message) -> Iterator[netlink.Request]:
    yield netlink.up(1)
    index = {link["device"]: FIRST_INDEX + place for place, link in enumerate(message["links"])}
    for link in message["links"]:
        yield netlink.up(index[link["device"]])
        for text, prefix in link["addresses"]:
            yield netlink.address(index[link["device"]], text, prefix)
    for destination, via in message["routes"]:
        yield netlink.route(destination, via)
    for device, text, mac in message["neighbours"]:
        yield netlink.neighbour(index[device], text, mac)


def _limit(single: bool) -> None:
    """Once, in the zygote: what no program in a host can have. The zygote itself keeps what it has, as it
    executes nothing; each host's first process drops that by `capset`."""
    if single:
        seccomp.fake_ids()
    sysc.drop_bounding(KEPT, sysc.last_capability())
    sysc.prctl(sysc.PR_CAP_AMBIENT, sysc.PR_CAP_AMBIENT_CLEAR_ALL)


def request(
    spec: Mapping[str, Any],
    ports: Mapping[str, tuple[str, int]],
    neighbours: Mapping[tuple[str, str], str],
    single: bool,
) -> Message:
    """What the handler is told of a planned host. `ports`: device → (name of its other end, bridge)."""
    links = [_link(interface, ports[interface["device"]]) for interface in spec["interfaces"]]
    return {
        "name": spec["name"],
        "links": links,
        "routes": [[route["destination"], route["via"]] for route in spec["routes"]],
        "neighbours": [[device, address, mac] for (device, address), mac in neighbours.items()],
        "forward": spec["kind"] == "router",
        "six": any(link["six"] for link in links),
        "single": single,
        "sysctls": spec.get("sysctls") or {},
    }


def _link(interface: Mapping[str, Any], port: tuple[str, int]) -> dict[str, Any]:
    pairs = ((interface["address"], interface["prefix"]), (interface["address6"], interface["prefix6"]))
    addresses = [[text, prefix] for text, prefix in pairs if text]
    return {
        "device": interface["device"],
        "mac": interface["mac"],
        "port": port[0],
        "number": netlink.number(port[0]),
        "bridge": port[1],
        "addresses": addresses,
        "six": interface["address6"] is not None,
    }
