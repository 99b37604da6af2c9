"""Socket options by their C names: the kernel's numbers, and what they read as."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from orchestrator.agent.options import OPTIONS, get_option, set_option, tcp_info
from orchestrator.read.vocabulary import SOCKET_OPTIONS, TEXT_OPTIONS

HEADERS = [
    Path("/usr/include", name)
    for name in ("asm-generic/socket.h", "linux/tcp.h", "linux/in.h", "linux/in6.h", "linux/udp.h")
]


def test_a_file_may_name_what_the_agent_knows_and_nothing_else() -> None:
    assert set(OPTIONS) == SOCKET_OPTIONS
    assert TEXT_OPTIONS <= SOCKET_OPTIONS


@pytest.mark.skipif(not all(path.exists() for path in HEADERS), reason="no kernel headers here")
def test_the_numbers_are_the_kernels() -> None:
    text = "".join(path.read_text() for path in HEADERS)
    defined = {m[1]: int(m[2], 0) for m in re.finditer(r"#\s*define\s+(\w+)\s+(0x[0-9a-f]+|\d+)\b", text)}
    wrong = {name: number for name, number in OPTIONS.items() if defined.get(name, number) != number}
    assert not wrong


def test_tcp_info_is_its_fields() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        assert get_option(client, "TCP_INFO")["state"] == "CLOSE"
        client.connect(listener.getsockname())
        client.send(b"12345")
        found = get_option(client, "TCP_INFO")
    assert (found["state"], found["ca_state"]) == ("ESTABLISHED", "Open")
    assert found["bytes_sent"] == 5
    assert found["rto"] >= 200_000
    assert found["snd_mss"] > 500
    assert 0 <= found["snd_wscale"] <= 14
    assert set(found["options"]) >= {"sack", "wscale"}


def test_an_older_kernel_gives_fewer_fields() -> None:
    short = tcp_info(bytes([1]) + bytes(103))  # as Linux 2.6 had it
    assert short["state"] == "ESTABLISHED"
    assert "total_retrans" in short
    assert "pacing_rate" not in short
    assert tcp_info(b"")["state"] == "?"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("SO_KEEPALIVE", 1), ("SO_REUSEPORT", 1), ("SO_PRIORITY", 3), ("SO_MAX_PACING_RATE", 1_000_000)),
        *(("SO_LINGER", [1, 0]), ("SO_LINGER", [0, 0]), ("SO_RCVLOWAT", 100)),
        *(("TCP_USER_TIMEOUT", 3000), ("TCP_FASTOPEN_CONNECT", 1), ("TCP_CORK", 1), ("TCP_SYNCNT", 2)),
        *(("TCP_KEEPIDLE", 7), ("TCP_KEEPINTVL", 8), ("TCP_KEEPCNT", 9), ("TCP_NOTSENT_LOWAT", 4096)),
        *(("TCP_CONGESTION", "reno"), ("TCP_LINGER2", 5), ("TCP_SAVE_SYN", 1)),
        *(("IP_TTL", 3), ("IP_TOS", 16), ("IP_MTU_DISCOVER", 2), ("IP_MINTTL", 250), ("IP_FREEBIND", 1)),
    ],
)
def test_what_was_set_is_what_is_got(name: str, value: object) -> None:
    with socket.socket() as sock:
        set_option(sock, name, value)
        assert get_option(sock, name) == value


def test_options_of_a_listener_and_of_ipv6() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        set_option(listener, "TCP_FASTOPEN", 16)
        assert get_option(listener, "TCP_FASTOPEN") == 16
        set_option(listener, "TCP_DEFER_ACCEPT", 1)
        assert get_option(listener, "TCP_DEFER_ACCEPT") >= 1
        assert get_option(listener, "SO_ACCEPTCONN") == 1
    with socket.socket(socket.AF_INET6) as six:
        set_option(six, "IPV6_UNICAST_HOPS", 9)
        set_option(six, "IPV6_TCLASS", 16)
        assert (get_option(six, "IPV6_UNICAST_HOPS"), get_option(six, "IPV6_TCLASS")) == (9, 16)
        assert len(get_option(six, "SO_MEMINFO")) >= 8
        assert get_option(six, "SO_COOKIE") > 0
