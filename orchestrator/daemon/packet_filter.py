"""Which packets the kernel hands over: programs of classic BPF (net/core/filter.c, bpf(4) of BSD), pure.

A program runs on each frame of an interface before anything is copied. Offsets are those of an Ethernet
frame, which lo has too.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator import errors

# linux/bpf_common.h: class | size | mode
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30  # at a fixed place of the frame
_LOAD_HALF_BEHIND, _HEADER_LENGTH = 0x48, 0xB1  # at X + a place; X = 4 * (byte & 15)
_JUMP, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x05, 0x15, 0x45, 0x06
_PACKET_TYPE = 0xFFFFF000 + 4  # SKF_AD_OFF + SKF_AD_PKTTYPE, linux/filter.h
_OTHER_HOST, _OUTGOING = 3, 4  # linux/if_packet.h
_ARP, _IPV4, _IPV6 = 0x0806, 0x0800, 0x86DD
_TCP, _UDP = 6, 17
_FRAGMENT = 0x1FFF  # of an IPv4 header: where in its datagram a fragment stands
_PROTOCOLS = {_IPV4: (_TCP, _UDP, 1), _IPV6: (_TCP, _UDP, 58, 44, 0)}  # ICMP; 44: fragments, 0: hop by hop
_PLACES = {_IPV4: (23, 26, 30), _IPV6: (20, 22, 38)}  # of protocol, source, destination
_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter
_MOST = 4096  # BPF_MAXINSNS
_OVER_ONE = "+1"


class _Line(NamedTuple):
    """An instruction, or a label; jumps name labels, "" is the next instruction. Those of a test go at most
    255 instructions forward, `ja` goes anywhere.
    """

    code: int
    value: int = 0
    yes: str = ""
    no: str = ""
    label: str = ""


class Ends(NamedTuple):
    """A connection: any of the client's addresses, any of the server's, the server's port."""

    clients: Sequence[str]
    servers: Sequence[str]
    port: int


def program(told: Mapping[str, Any] | None, snap: int, *, loopback: bool) -> bytes:
    """The program for what a client asks: `{"clients": […], "servers": […], "port": n}`, or all that is TCP,
    UDP, ICMP or ARP. At most `snap` bytes of a packet are kept. On lo a packet goes out and comes in:
    the first is passed over. Raises DaemonError, ValueError.
    """
    lines = _once() if loopback else []
    if told:
        ends = Ends(list(told["clients"]), list(told["servers"]), int(told["port"]))
        lines += _kinds({_IPV4: _of_connection(_IPV4, ends), _IPV6: _of_connection(_IPV6, ends)}, arp=False)
    else:
        lines += _kinds({kind: _of_protocols(kind) for kind in (_IPV4, _IPV6)}, arp=True)
    return assemble([*lines, _label("drop"), _Line(_RETURN, 0), _label("keep"), _Line(_RETURN, snap)])


def tcp_headers(snap: int, *, loopback: bool) -> bytes:
    """The program that keeps the first `snap` bytes of each TCP segment (of fragments, the first's). What has
    a header of IPv6 between the two is not TCP to it; nor is what a bridge floods, for another host."""
    lines = [_Line(_LOAD_BYTE, _PACKET_TYPE), *_when(_OTHER_HOST, "drop")]
    lines += _once() if loopback else []
    lines += _kinds(
        {
            _IPV4: [
                _Line(_LOAD_BYTE, _PLACES[_IPV4][0]),
                *_when(_TCP, "tcp"),
                _Line(_JUMP, yes="drop"),
                _label("tcp"),
                _Line(_LOAD_HALF, 20),
                *_when(_FRAGMENT, "drop", _JUMP_SET),
                _Line(_JUMP, yes="keep"),
            ],
            _IPV6: [_Line(_LOAD_BYTE, _PLACES[_IPV6][0]), *_when(_TCP, "keep"), _Line(_JUMP, yes="drop")],
        },
        arp=False,
    )
    return assemble([*lines, _label("drop"), _Line(_RETURN, 0), _label("keep"), _Line(_RETURN, snap)])


def nothing() -> bytes:
    """The program that keeps no packet."""
    return assemble([_Line(_RETURN, 0)])


def _label(name: str) -> _Line:
    return _Line(0, label=name)


def _when(value: int, goal: str, code: int = _JUMP_EQUAL) -> list[_Line]:
    """To `goal`, however far, where the test is true."""
    return [_Line(code, value, "", _OVER_ONE), _Line(_JUMP, yes=goal)]


def _once() -> list[_Line]:
    return [_Line(_LOAD_BYTE, _PACKET_TYPE), *_when(_OUTGOING, "drop")]


def _kinds(parts: Mapping[int, list[_Line]], *, arp: bool) -> list[_Line]:
    """What is done with each EtherType; each part ends with a jump."""
    lines = [_Line(_LOAD_HALF, 12)]
    lines += _when(_ARP, "keep") if arp else []
    for kind in parts:
        lines += _when(kind, f"is {kind}")
    lines += [_Line(_JUMP, yes="drop")]
    for kind, part in parts.items():
        lines += [_label(f"is {kind}"), *part]
    return lines


def _of_protocols(kind: int) -> list[_Line]:
    tests = [line for number in _PROTOCOLS[kind] for line in _when(number, "keep")]
    return [_Line(_LOAD_BYTE, _PLACES[kind][0]), *tests, _Line(_JUMP, yes="drop")]


def _of_connection(kind: int, ends: Ends) -> list[_Line]:
    """TCP and UDP from a client to the server's port, and from there to a client."""
    clients, servers = ([a for a in found if (":" in a) == (kind == _IPV6)] for found in ends[:2])
    if not clients or not servers:
        return [_Line(_JUMP, yes="drop")]
    protocol, source, destination = _PLACES[kind]
    back, there = f"back {kind}", f"there {kind}"
    return [
        _Line(_LOAD_BYTE, protocol),
        *_when(_TCP, there),
        *_when(_UDP, there),
        _Line(_JUMP, yes="drop"),
        _label(there),
        *_one_of(clients, source, f"c{kind}", back),
        *_one_of(servers, destination, f"s{kind}", back),
        *_port(kind, 2, ends.port, f"p{kind}", back),
        _label(back),
        *_one_of(servers, source, f"t{kind}", "drop"),
        *_one_of(clients, destination, f"d{kind}", "drop"),
        *_port(kind, 0, ends.port, f"q{kind}", "drop"),
    ]


def _one_of(addresses: Sequence[str], at: int, name: str, other: str) -> list[_Line]:
    """Falls through where the address at this place is one of these; else to `other`."""
    lines = []
    for number, text in enumerate(addresses):
        words = struct.iter_unpack("!I", ipaddress.ip_address(text).packed)
        miss = f"{name} {number}"
        for place, (word,) in enumerate(words):
            lines += [_Line(_LOAD_WORD, at + 4 * place), _Line(_JUMP_EQUAL, word, "", miss)]
        lines += [_Line(_JUMP, yes=f"{name} found"), _label(miss)]
    return [*lines, _Line(_JUMP, yes=other), _label(f"{name} found")]


def _port(kind: int, offset: int, port: int, name: str, other: str) -> list[_Line]:
    """Keeps what has this port, and later fragments, which have none; the rest goes to `other`."""
    if kind == _IPV6:
        return [_Line(_LOAD_HALF, 54 + offset), *_when(port, "keep"), _Line(_JUMP, yes=other)]
    return [
        _Line(_LOAD_HALF, 20),
        *_when(_FRAGMENT, "keep", _JUMP_SET),
        _Line(_HEADER_LENGTH, 14),
        _Line(_LOAD_HALF_BEHIND, 14 + offset),
        *_when(port, "keep"),
        _Line(_JUMP, yes=other),
    ]


def assemble(lines: Sequence[_Line]) -> bytes:
    """Struct sock_filter after struct sock_filter. Raises DaemonError for more than the kernel takes."""
    places: dict[str, int] = {}
    real: list[_Line] = []
    for line in lines:
        if line.label:
            places[line.label] = len(real)
        else:
            real.append(line)
    if len(real) > _MOST:
        raise errors.DaemonError("a filter of so many addresses is too long", "name hosts instead")
    return b"".join(_assembled(line, at, places) for at, line in enumerate(real))


def _assembled(line: _Line, at: int, places: Mapping[str, int]) -> bytes:
    yes, no = (_distance(name, at, places) for name in (line.yes, line.no))
    if line.code == _JUMP:
        return _INSTRUCTION.pack(line.code, 0, 0, yes)
    return _INSTRUCTION.pack(line.code, yes, no, line.value)


def _distance(name: str, at: int, places: Mapping[str, int]) -> int:
    return 1 if name == _OVER_ONE else places[name] - at - 1 if name else 0
