"""Files of packets, byte for byte."""

from __future__ import annotations

from orchestrator.join.packets import Packet
from orchestrator.report import pcapng
from orchestrator.report.pcapng import CapturedInterface

AT = 0x17ABCDEF_12345678
WEB = CapturedInterface(
    host="web",
    device="eth0",
    network="dc",
    mac="02:00:0a:14:02:50",
    addresses=("10.20.2.80/24", "fd20::80/64"),
)


def test_a_section_says_who_wrote_it() -> None:
    assert pcapng.section("lab 1", "x").hex(" ", 4) == (
        "0a0d0d0a 34000000 4d3c2b1a 01000000 ffffffff ffffffff"  # length, order, version 1.0, length unknown
        " 01000100 78000000"  # comment
        " 04000500 6c616220 31000000"  # application
        " 00000000 34000000"
    )


def test_an_interface_has_name_addresses_and_nanoseconds() -> None:
    assert pcapng.interface(WEB, 65535).hex(" ", 4) == (
        "01000000 64000000 01000000 ffff0000"
        " 02000d00 7765623a 65746830 20286463 29000000"  # web:eth0 (dc)
        " 04000800 0a140250 ffffff00"
        " 05001100 fd200000 00000000 00000000 00000080 40000000"
        " 06000600 02000a14 02500000"
        " 09000100 09000000"
        " 00000000 64000000"
    )
    assert CapturedInterface(host="web", device="lo").name == "web:lo"


def test_names_of_addresses() -> None:
    assert pcapng.names([("web", ["10.20.2.80", "fd20::80"])]).hex(" ", 4) == (
        "04000000 34000000"
        " 01000800 0a140250 77656200"
        " 02001400 fd200000 00000000 00000000 00000080 77656200"
        " 00000000 34000000"
    )


def test_a_packet_has_direction_and_comment() -> None:
    packet = Packet(AT, "outgoing", 60, b"abcde")
    assert pcapng.packet(3, packet, ["hi"]).hex(" ", 4) == (
        "06000000 3c000000 03000000 efcdab17 78563412 05000000 3c000000 61626364 65000000"
        " 01000200 68690000 02000400 02000000"
        " 00000000 3c000000"
    )


def test_how_a_packet_came_in() -> None:
    flags = {
        kind: pcapng.packet(0, Packet(0, kind, 0, b""))[-12:-8].hex()
        for kind in ("unicast", "multicast", "broadcast", "other", "outgoing")
    }
    assert flags == {
        "unicast": "05000000",
        "multicast": "09000000",
        "broadcast": "0d000000",
        "other": "11000000",
        "outgoing": "02000000",
    }


def test_statistics_count_what_was_lost() -> None:
    assert pcapng.statistics(1, AT, 7, 2).hex(" ", 4) == (
        "05000000 40000000 01000000 efcdab17 78563412"
        " 04000800 07000000 00000000"
        " 05000800 02000000 00000000"
        " 07000800 02000000 00000000"
        " 00000000 40000000"
    )
