"""One host of the namespaces engine, from inside: what the zygote's child does before it is the agent."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from orchestrator import errors
from orchestrator.agent import loop
from orchestrator.daemon import netlink, roots, seccomp, sysc, zygote
from orchestrator.daemon.process import set_sysctl, set_sysctls
from orchestrator.wire import Message

_NAMESPACES = sysc.NEWNET | sysc.NEWUTS | sysc.NEWIPC | sysc.NEWNS | sysc.NEWCGROUP
_NETLINK_SOCK_DIAG = 4
# capabilities(7): chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service,
# net_admin, net_raw, sys_chroot, sys_ptrace, audit_write, setfcap. Not sys_admin: nothing in a host mounts
# or enters.
KEPT = (0, 1, 3, 4, 5, 6, 7, 8, 10, 12, 13, 18, 19, 29, 31)


class Handler:
    """The zygote's handler of `{"do": "host"}`: forks the first process of a new host."""

    def __init__(self) -> None:
        self._own = -1  # opened in the zygote, which starts without any descriptor

    def __call__(self, message: Message, fds: Sequence[int]) -> zygote.Answer:
        if self._own < 0:
            self._own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
            _limit(message["single"])
        sysc.unshare(sysc.NEWPID)  # of children only
        try:
            return zygote.fork_child(message["name"], lambda channel: _live(channel, message)).answer()
        finally:
            sysc.setns(self._own, sysc.NEWPID)


def _live(channel: socket.socket, message: Message) -> NoReturn:
    try:
        sensors = _become(message)
    except OSError as error:
        raise errors.EngineError(f"host {message['name']}: {error}") from error
    index = {link["device"]: netlink.index(link["device"]) for link in message["links"]}
    zygote.say_ready(channel, [s.fileno() for s in sensors], index=index)
    for sensor in sensors:
        sensor.close()
    loop.serve(channel, message["name"])


def _become(message: Message) -> list[socket.socket]:
    """Make the host around this process. The sockets that the daemon gets: sock_diag and route."""
    outside = netlink.Netlink()  # stays in the daemon's network namespace, where the bridges are
    sysc.unshare(_NAMESPACES)
    socket.sethostname(message["name"])
    roots.enter(message["name"])
    inside = netlink.Netlink()
    _sysctls(message)
    _links(message, outside, inside)
    outside.close()
    set_sysctls(message["name"], message["sysctls"])
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    diag = socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG)
    sysc.capset(KEPT)  # and with it the last way out of the host: nothing in it can mount or enter
    return [diag, inside.socket]


def _sysctls(message: Message) -> None:
    """A new namespace takes some values over from the computer (forwarding, rp_filter): say them all."""
    forward, six = ("1" if message[key] else "0" for key in ("forward", "six"))
    set_sysctl("net/ipv4/ip_forward", forward)
    for scope in ("all", "default"):
        set_sysctl(f"net/ipv4/conf/{scope}/rp_filter", "0")
        set_sysctl(f"net/ipv4/conf/{scope}/send_redirects", "0")
    set_sysctl("net/ipv4/ping_group_range", "0 0" if message["single"] else "0 65535")
    if not os.path.isdir("/proc/sys/net/ipv6"):
        return
    set_sysctl("net/ipv6/conf/default/disable_ipv6", "0" if message["six"] else "1")
    if message["six"]:
        for name in ("accept_ra", "accept_dad", "router_solicitations"):
            for scope in ("all", "default"):
                set_sysctl(f"net/ipv6/conf/{scope}/{name}", "0")
        if message["forward"]:
            set_sysctl("net/ipv6/conf/all/forwarding", six)


def _links(message: Message, outside: netlink.Netlink, inside: netlink.Netlink) -> None:
    here = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    links = message["links"]
    outside.do(
        netlink.veth(
            link["port"], link["device"], master=link["bridge"], peer_namespace=here, peer_mac=link["mac"]
        )
        for link in links
    )
    os.close(here)
    for link in links:
        if message["six"] and not link["six"]:
            set_sysctl(f"net/ipv6/conf/{link['device']}/disable_ipv6", "1")
    inside.do(_inside(message))


def _inside(message: Message) -> Iterator[netlink.Request]:
    yield netlink.up(1)
    index = {link["device"]: netlink.index(link["device"]) for link in message["links"]}
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
    """What the zygote is asked for a planned host. `ports`: device → (name of its other end, bridge)."""
    links = [_link(interface, ports[interface["device"]]) for interface in spec["interfaces"]]
    return {
        "do": "host",
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
        "bridge": port[1],
        "addresses": addresses,
        "six": interface["address6"] is not None,
    }
