"""Filters, run on frames by the few instructions that they are made of."""

from __future__ import annotations

import ipaddress
import struct

import pytest

from orchestrator import errors
from orchestrator.daemon import packet_filter

SNAP = 96
TCP, UDP, ICMP, ICMP6, OSPF = 6, 17, 1, 58, 89
PAIR = {"clients": ["10.0.1.2", "fd00:1::2"], "servers": ["10.0.2.80", "10.0.2.81", "fd00:2::80"], "port": 80}


def run(program: bytes, frame: bytes, kind: int = 0) -> int:
    """What the kernel would return: bytes to keep. Loads beyond the frame end it with 0 (bpf(4))."""
    code = list(struct.iter_unpack("=HBBI", program))
    at = accumulator = index = 0
    while True:
        operation, yes, no, value = code[at]
        at += 1
        try:
            match operation:
                case 0x20:
                    accumulator = struct.unpack_from("!I", frame, value)[0]
                case 0x28:
                    accumulator = struct.unpack_from("!H", frame, value)[0]
                case 0x30:
                    accumulator = kind if value == 0xFFFFF004 else frame[value]
                case 0x48:
                    accumulator = struct.unpack_from("!H", frame, index + value)[0]
                case 0xB1:
                    index = 4 * (frame[value] & 15)
                case 0x05:
                    at += value
                case 0x15:
                    at += yes if accumulator == value else no
                case 0x45:
                    at += yes if accumulator & value else no
                case 0x06:
                    return int(value)
                case _:
                    raise AssertionError(hex(operation))
        except (IndexError, struct.error):
            return 0


def frame(
    source: str, target: str, protocol: int = TCP, ports: tuple[int, int] = (4000, 80), **more: int
) -> bytes:
    """An Ethernet frame; `options`: words of IPv4 options; `fragment`: its offset."""
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed
    if ":" in source:
        return (
            bytes(12)
            + b"\x86\xdd"
            + struct.pack("!IHBB", 6 << 28, 20, protocol, 64)
            + ends
            + struct.pack("!HH", *ports)
        )
    options = more.get("options", 0)
    head = struct.pack("!BBHHHBBH", 0x45 + options, 0, 40, 1, more.get("fragment", 0), 64, protocol, 0)
    return bytes(12) + b"\x08\x00" + head + ends + bytes(4 * options) + struct.pack("!HH", *ports)


def kept(told: dict[str, object] | None, data: bytes) -> bool:
    found = run(packet_filter.program(told, SNAP, loopback=False), data)
    assert found in (0, SNAP)
    return bool(found)


@pytest.mark.parametrize("protocol", [TCP, UDP, ICMP])
def test_by_default_what_a_lab_is_about(protocol: int) -> None:
    assert kept(None, frame("10.0.1.2", "10.0.2.80", protocol))
    assert not kept(None, frame("10.0.1.2", "10.0.2.80", OSPF))


def test_by_default_also_ipv6_and_arp() -> None:
    assert kept(None, frame("fd00:1::2", "fd00:2::80"))
    assert kept(None, frame("fd00:1::2", "fd00:2::80", ICMP6))
    assert not kept(None, frame("fd00:1::2", "fd00:2::80", OSPF))
    assert kept(None, bytes(12) + b"\x08\x06" + bytes(28))
    assert not kept(None, bytes(12) + b"\x88\xcc" + bytes(50))  # LLDP
    assert not kept(None, b"")


@pytest.mark.parametrize(
    ("client", "servers"), [("10.0.1.2", ("10.0.2.80", "10.0.2.81")), ("fd00:1::2", ("fd00:2::80",))]
)
def test_of_one_connection_both_directions(client: str, servers: tuple[str, ...]) -> None:
    for server in servers:
        assert kept(PAIR, frame(client, server, ports=(4000, 80)))
        assert kept(PAIR, frame(server, client, ports=(80, 4000)))
        assert kept(PAIR, frame(server, client, UDP, ports=(80, 4000)))
        assert not kept(PAIR, frame(client, server, ports=(80, 4000)))
        assert not kept(PAIR, frame(server, client, ports=(4000, 80)))
        assert not kept(PAIR, frame(client, server, ports=(4000, 443)))
        assert not kept(PAIR, frame(client, server, ICMP, ports=(4000, 80)))
    stranger = "10.0.1.3" if "." in client else "fd00:1::3"
    assert not kept(PAIR, frame(stranger, servers[0]))
    assert not kept(PAIR, frame(servers[0], stranger, ports=(80, 4000)))


def test_ports_stand_behind_options_and_later_fragments_have_none() -> None:
    assert kept(PAIR, frame("10.0.1.2", "10.0.2.80", options=3))
    assert not kept(PAIR, frame("10.0.1.2", "10.0.2.80", ports=(4000, 81), options=3))
    assert kept(PAIR, frame("10.0.1.2", "10.0.2.80", ports=(7, 7), fragment=100))
    assert not kept(PAIR, frame("10.0.1.3", "10.0.2.80", ports=(7, 7), fragment=100))


def test_a_host_that_speaks_to_itself() -> None:
    pair = {"clients": ["10.0.1.2"], "servers": ["10.0.1.2"], "port": 80}
    assert kept(pair, frame("10.0.1.2", "10.0.1.2", ports=(4000, 80)))
    assert kept(pair, frame("10.0.1.2", "10.0.1.2", ports=(80, 4000)))
    assert not kept(pair, frame("10.0.1.2", "10.0.1.2", ports=(81, 4000)))


def test_on_lo_a_packet_is_taken_once() -> None:
    program = packet_filter.program(None, SNAP, loopback=True)
    data = frame("10.0.1.2", "10.0.1.2")
    assert run(program, data, kind=0) == SNAP
    assert run(program, data, kind=4) == 0


def test_a_filter_that_is_too_long_is_refused() -> None:
    many = [f"10.0.{n >> 8}.{n & 255}" for n in range(400)]
    with pytest.raises(errors.DaemonError, match="too long"):
        packet_filter.program({"clients": many, "servers": many, "port": 80}, SNAP, loopback=False)
    few = {"clients": many[:30], "servers": many[30:60], "port": 80}
    assert kept(few, frame(many[29], many[59]))
    assert kept(few, frame(many[30], many[0], ports=(80, 4000)))
    assert not kept(few, frame(many[60], many[30]))


def headers(data: bytes, kind: int = 0, *, loopback: bool = False) -> bool:
    found = run(packet_filter.tcp_headers(SNAP, loopback=loopback), data, kind)
    assert found in (0, SNAP)
    return bool(found)


def test_headers_are_those_of_tcp() -> None:
    assert headers(frame("10.0.1.2", "10.0.2.80"))
    assert headers(frame("10.0.1.2", "10.0.2.80", options=3))
    assert headers(frame("fd00:1::2", "fd00:2::80"))
    for protocol in (UDP, ICMP, OSPF):
        assert not headers(frame("10.0.1.2", "10.0.2.80", protocol))
        assert not headers(frame("fd00:1::2", "fd00:2::80", protocol))
    assert not headers(bytes(12) + b"\x08\x06" + bytes(28))
    assert not headers(frame("10.0.1.2", "10.0.2.80", fragment=100)), "it has no header of TCP"
    assert headers(frame("10.0.1.2", "10.0.2.80", fragment=0x2000)), "the first has"


def test_headers_for_another_host_are_passed_over() -> None:
    data = frame("10.0.1.2", "10.0.2.80")
    assert [headers(data, kind) for kind in (0, 3, 4)] == [True, False, True]
    assert [headers(data, kind, loopback=True) for kind in (0, 3, 4)] == [True, False, False]
