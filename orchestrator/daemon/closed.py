"""Docker's bridges are closed: whatever a host sends to the computer itself is dropped before the computer
sees it.

The bridge device keeps an IPv6 link-local address, and a computer answers on any interface for any of its
addresses (ip-sysctl, arp_ignore). So a program of two instructions that drops everything is put on the
bridge device (generic XDP): it meets what is passed up to the computer (net/bridge/br_input.c,
br_pass_frame_up), not what goes from port to port. Where that is refused, the bridge's own port is taken
out of its VLAN, with the same effect. Neither adds a rule to the computer's tables, and both vanish with
the bridge.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
from collections.abc import Sequence

from orchestrator import errors
from orchestrator.daemon import deny, netlink, within
from orchestrator.daemon.process import set_sysctl

_NEWLINK, _DELLINK, _AF_BRIDGE = 16, 17, 7  # linux/rtnetlink.h
_LINKINFO, _INFO_KIND, _INFO_DATA, _BR_VLAN_FILTERING = 18, 1, 2, 7  # linux/if_link.h
_XDP, _XDP_FD, _XDP_FLAGS, _GENERIC = 43, 1, 3, 2  # linux/if_link.h
_AF_SPEC, _BRIDGE_FLAGS, _BRIDGE_VLAN_INFO, _FLAGS_SELF = 26, 0, 2, 2  # linux/if_bridge.h
_DEFAULT_VLAN = 1  # every port is put into it (vlan_default_pvid)
_PROG_LOAD, _PROG_TYPE_XDP = 5, 6  # linux/bpf.h
_DROP = struct.pack("=BBhi", 0xB7, 0, 0, 1) + struct.pack("=BBhi", 0x95, 0, 0, 0)  # r0 = XDP_DROP; exit


def close(bridges: Sequence[str]) -> None:
    """Take the computer off these bridges; idempotent. Raises EngineError where the kernel cannot."""
    failure: OSError | None = None
    for pid in (os.getppid(), 1) if bridges else ():
        try:
            return _close_seen_by(pid, bridges)
        except OSError as error:
            failure = failure or error
    if failure is not None:
        raise errors.EngineError(
            f"the lab's bridges cannot be closed to the computer: {failure}",
            "the kernel needs CONFIG_BPF_SYSCALL or CONFIG_BRIDGE_VLAN_FILTERING",
        ) from failure


def _close_seen_by(pid: int, bridges: Sequence[str]) -> None:
    """In the network namespace of a process: the daemon's parent is the Engine's shim, which is where
    bridges are.
    """
    proc = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        within.network(proc, lambda: close_here(bridges))
    finally:
        os.close(proc)


def close_here(bridges: Sequence[str]) -> None:
    """As `close`, for bridges of this thread's own network namespace. Raises OSError."""
    route = netlink.Netlink()
    try:
        for name in bridges:
            # no address: then the computer sends no router solicitations and reports into the lab either
            set_sysctl(f"net/ipv6/conf/{name}/disable_ipv6", "1", missing_ok=True)
            _close(route, netlink.index(name), name)
    finally:
        route.close()


def _close(route: netlink.Netlink, index: int, name: str) -> None:
    try:
        program = _load_drop()
    except OSError:
        return _leave_vlan(route, index, name)
    try:
        route.do([_drop_all(index, program, name)])
    except OSError:
        _leave_vlan(route, index, name)
    finally:
        os.close(program)


def _load_drop() -> int:
    """bpf(2), BPF_PROG_LOAD: a descriptor of the program."""
    instructions, licence = ctypes.create_string_buffer(_DROP), ctypes.create_string_buffer(b"Apache-2.0")
    attributes = struct.pack(
        "=IIQQ", _PROG_TYPE_XDP, len(_DROP) // 8, ctypes.addressof(instructions), ctypes.addressof(licence)
    ).ljust(72, b"\0")
    libc = ctypes.CDLL(None, use_errno=True)
    number = ctypes.c_long(deny.number("bpf", platform.machine()))
    fd = libc.syscall(number, ctypes.c_long(_PROG_LOAD), attributes, ctypes.c_long(len(attributes)))
    if fd < 0:
        raise OSError(ctypes.get_errno(), f"bpf: {os.strerror(ctypes.get_errno())}")
    return int(fd)


def _drop_all(index: int, program: int, name: str) -> netlink.Request:
    """`ip link set NAME xdpgeneric …`"""
    what = _attribute(_XDP_FD, struct.pack("=i", program)) + _attribute(
        _XDP_FLAGS, struct.pack("=I", _GENERIC)
    )
    return netlink.Request(_NEWLINK, 0, _link(socket.AF_UNSPEC, index) + _attribute(_XDP, what), name)


def _leave_vlan(route: netlink.Netlink, index: int, name: str) -> None:
    """`ip link set NAME type bridge vlan_filtering 1`, `bridge vlan del dev NAME vid 1 self`"""
    data = _attribute(_INFO_DATA, _attribute(_BR_VLAN_FILTERING, b"\1"))
    info = _attribute(_LINKINFO, _attribute(_INFO_KIND, b"bridge\0") + data)
    route.do([netlink.Request(_NEWLINK, 0, _link(socket.AF_UNSPEC, index) + info, name)])
    vlan = _attribute(_BRIDGE_VLAN_INFO, struct.pack("=HH", 0, _DEFAULT_VLAN))
    spec = _attribute(_AF_SPEC, _attribute(_BRIDGE_FLAGS, struct.pack("=H", _FLAGS_SELF)) + vlan)
    leave = netlink.Request(_DELLINK, 0, _link(_AF_BRIDGE, index) + spec, f"VLAN of {name}")
    route.do([leave], missing_ok=True)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _link(family: int, index: int) -> bytes:
    return struct.pack("=BxHiII", family, 0, index, 0, 0)
