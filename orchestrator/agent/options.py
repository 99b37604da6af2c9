"""Socket options by their C names, with the kernel's numbers: asm-generic/socket.h, linux/{tcp,in,in6,udp}.h.

Kept as a table, for a Python knows the names of its own time only; where it does know one, its number counts.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

from orchestrator import errors

Value = Any
_LEVELS = {
    "SO_": socket.SOL_SOCKET,
    "TCP_": socket.IPPROTO_TCP,
    "IP_": socket.IPPROTO_IP,
    "IPV6_": socket.IPPROTO_IPV6,
    "UDP_": socket.IPPROTO_UDP,
}
_TABLE = """
SO_DEBUG=1 SO_REUSEADDR=2 SO_TYPE=3 SO_ERROR=4 SO_DONTROUTE=5 SO_BROADCAST=6 SO_SNDBUF=7 SO_RCVBUF=8
SO_KEEPALIVE=9 SO_OOBINLINE=10 SO_NO_CHECK=11 SO_PRIORITY=12 SO_LINGER=13 SO_REUSEPORT=15 SO_RCVLOWAT=18
SO_SNDLOWAT=19 SO_BINDTODEVICE=25 SO_TIMESTAMP=29 SO_ACCEPTCONN=30 SO_SNDBUFFORCE=32 SO_RCVBUFFORCE=33
SO_TIMESTAMPNS=35 SO_MARK=36 SO_PROTOCOL=38 SO_DOMAIN=39 SO_RXQ_OVFL=40 SO_PEEK_OFF=42 SO_LOCK_FILTER=44
SO_SELECT_ERR_QUEUE=45 SO_BUSY_POLL=46 SO_MAX_PACING_RATE=47 SO_INCOMING_CPU=49 SO_MEMINFO=55
SO_INCOMING_NAPI_ID=56 SO_COOKIE=57 SO_ZEROCOPY=60 SO_TXTIME=61 SO_BINDTOIFINDEX=62 SO_PREFER_BUSY_POLL=69
SO_BUSY_POLL_BUDGET=70 SO_NETNS_COOKIE=71 SO_BUF_LOCK=72 SO_RESERVE_MEM=73 SO_TXREHASH=74 SO_RCVMARK=75
TCP_NODELAY=1 TCP_MAXSEG=2 TCP_CORK=3 TCP_KEEPIDLE=4 TCP_KEEPINTVL=5 TCP_KEEPCNT=6 TCP_SYNCNT=7
TCP_LINGER2=8 TCP_DEFER_ACCEPT=9 TCP_WINDOW_CLAMP=10 TCP_INFO=11 TCP_QUICKACK=12 TCP_CONGESTION=13
TCP_THIN_LINEAR_TIMEOUTS=16 TCP_THIN_DUPACK=17 TCP_USER_TIMEOUT=18 TCP_REPAIR=19 TCP_REPAIR_QUEUE=20
TCP_QUEUE_SEQ=21 TCP_FASTOPEN=23 TCP_TIMESTAMP=24 TCP_NOTSENT_LOWAT=25 TCP_SAVE_SYN=27 TCP_SAVED_SYN=28
TCP_FASTOPEN_CONNECT=30 TCP_ULP=31 TCP_FASTOPEN_NO_COOKIE=34 TCP_INQ=36 TCP_TX_DELAY=37 TCP_RTO_MAX_MS=44
TCP_RTO_MIN_US=45 TCP_DELACK_MAX_US=46
IP_TOS=1 IP_TTL=2 IP_PKTINFO=8 IP_MTU_DISCOVER=10 IP_RECVERR=11 IP_RECVTTL=12 IP_RECVTOS=13 IP_MTU=14
IP_FREEBIND=15 IP_TRANSPARENT=19 IP_RECVORIGDSTADDR=20 IP_MINTTL=21 IP_NODEFRAG=22 IP_CHECKSUM=23
IP_BIND_ADDRESS_NO_PORT=24 IP_RECVFRAGSIZE=25 IP_RECVERR_RFC4884=26 IP_MULTICAST_TTL=33 IP_MULTICAST_LOOP=34
IP_MULTICAST_ALL=49 IP_UNICAST_IF=50 IP_LOCAL_PORT_RANGE=51
IPV6_UNICAST_HOPS=16 IPV6_MULTICAST_IF=17 IPV6_MULTICAST_HOPS=18 IPV6_MULTICAST_LOOP=19 IPV6_MTU_DISCOVER=23
IPV6_MTU=24 IPV6_RECVERR=25 IPV6_V6ONLY=26 IPV6_MULTICAST_ALL=29 IPV6_RECVERR_RFC4884=31 IPV6_RECVPKTINFO=49
IPV6_RECVHOPLIMIT=51 IPV6_RECVPATHMTU=60 IPV6_DONTFRAG=62 IPV6_USE_MIN_MTU=63 IPV6_RECVTCLASS=66
IPV6_TCLASS=67 IPV6_AUTOFLOWLABEL=70 IPV6_ADDR_PREFERENCES=72 IPV6_MINHOPCOUNT=73 IPV6_TRANSPARENT=75
IPV6_UNICAST_IF=76 IPV6_RECVFRAGSIZE=77 IPV6_FREEBIND=78
UDP_CORK=1 UDP_NO_CHECK6_TX=101 UDP_NO_CHECK6_RX=102 UDP_SEGMENT=103 UDP_GRO=104
"""


def _number(name: str, number: str) -> int:
    known = getattr(socket, name, None)
    return known if isinstance(known, int) else int(number)


OPTIONS = {name: _number(name, number) for name, _, number in (one.partition("=") for one in _TABLE.split())}
_TEXT = {"TCP_CONGESTION", "TCP_ULP", "SO_BINDTODEVICE"}
_LINGER = struct.Struct("ii")

# struct tcp_info, linux/tcp.h: a kernel gives as much of it as it has. Times are in µs, but the four "last_…"
# and `total_rto_time`, which are in ms.
_INFO = (
    ("B", "state ca_state retransmits probes backoff options wscale app_limited"),
    ("I", "rto ato snd_mss rcv_mss unacked sacked lost retrans fackets last_data_sent last_ack_sent"),
    (
        "I",
        "last_data_recv last_ack_recv pmtu rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd advmss reordering",
    ),
    ("I", "rcv_rtt rcv_space total_retrans"),
    ("Q", "pacing_rate max_pacing_rate bytes_acked bytes_received"),
    ("I", "segs_out segs_in notsent_bytes min_rtt data_segs_in data_segs_out"),
    ("Q", "delivery_rate busy_time rwnd_limited sndbuf_limited"),
    ("I", "delivered delivered_ce"),
    ("Q", "bytes_sent bytes_retrans"),
    ("I", "dsack_dups reord_seen rcv_ooopack snd_wnd rcv_wnd rehash"),
    ("H", "total_rto total_rto_recoveries"),
    ("I", "total_rto_time"),
)
_FIELDS = [(kind, name) for kind, names in _INFO for name in names.split()]
_STATES = (
    *("?", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE"),
    *("CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "SYN_RECV"),
)  # include/net/tcp_states.h; 12 is a SYN_RECV that has no full socket yet
_CA_STATES = ("Open", "Disorder", "CWR", "Recovery", "Loss")  # enum tcp_ca_state
_FLAGS = ("timestamps", "sack", "wscale", "ecn", "ecn_seen", "syn_data", "usec_ts", "tfo_child")  # TCPI_OPT_…


def option(name: str) -> tuple[int, int]:
    """(level, number) of a socket option by its C name."""
    number = OPTIONS.get(name)
    if number is None:
        raise errors.AgentError(
            f"no socket option {name!r} is known", "options have their C names, as SO_RCVBUF"
        )
    return next(level for prefix, level in _LEVELS.items() if name.startswith(prefix)), number


def set_option(sock: socket.socket, name: str, value: Value) -> None:
    """setsockopt(2): a number; text for a few; SO_LINGER as [on, seconds]."""
    level, number = option(name)
    if name == "SO_LINGER" and isinstance(value, list):
        sock.setsockopt(level, number, _LINGER.pack(int(value[0]), int(value[1])))
    elif name in _TEXT:
        sock.setsockopt(level, number, str(value).encode())
    else:
        whole = int(value) & 0xFFFFFFFF  # some are unsigned, and all have 32 bits
        sock.setsockopt(level, number, struct.pack("=I", whole))


def get_option(sock: socket.socket, name: str) -> Value:
    """getsockopt(2), as `set_option` takes it; TCP_INFO as its fields, a saved SYN in hexadecimal."""
    level, number = option(name)
    if name not in _READERS:
        return sock.getsockopt(level, number)
    size, read = _READERS[name]
    return read(sock.getsockopt(level, number, size))


def tcp_info(found: bytes) -> dict[str, Value]:
    """struct tcp_info as far as the kernel has filled it in, field by field."""
    fields: dict[str, Value] = {}
    at = 0
    for kind, name in _FIELDS:
        size = struct.calcsize("=" + kind)
        at += -at % size
        if at + size > len(found):
            break
        fields[name] = struct.unpack_from("=" + kind, found, at)[0]
        at += size
    return _read(fields)


def _read(fields: dict[str, Value]) -> dict[str, Value]:
    """Numbers that stand for something by its name; halves of a byte apart."""
    for name, names in (("state", _STATES), ("ca_state", _CA_STATES)):
        number = fields.get(name, 0)
        fields[name] = names[number] if number < len(names) else str(number)
    shifts, flags = fields.pop("wscale", 0), fields.get("options", 0)
    fields["options"] = [name for bit, name in enumerate(_FLAGS) if flags >> bit & 1]
    low_first = sys.byteorder == "little"  # bit-fields fill a byte from its low end then
    snd, rcv = (shifts & 15, shifts >> 4) if low_first else (shifts >> 4, shifts & 15)
    fields |= {"snd_wscale": snd, "rcv_wscale": rcv}
    limited = fields.pop("app_limited", 0)
    fields["app_limited"] = bool(limited & 1 if low_first else limited >> 7)
    return fields


def _text(found: bytes) -> str:
    return found.split(b"\0")[0].decode("ascii", "replace")


def _large(found: bytes) -> int:
    return int.from_bytes(found, sys.byteorder)


# Of what is no int: how many bytes at most, and what they mean.
_READERS: dict[str, tuple[int, Callable[[bytes], Value]]] = {
    **dict.fromkeys(_TEXT, (64, _text)),
    "SO_LINGER": (_LINGER.size, lambda found: list(_LINGER.unpack(found))),
    "SO_COOKIE": (8, _large),
    "SO_NETNS_COOKIE": (8, _large),
    "SO_MAX_PACING_RATE": (8, _large),
    "SO_MEMINFO": (64, lambda found: [one[0] for one in struct.iter_unpack("=I", found)]),
    "TCP_INFO": (512, tcp_info),
    "TCP_SAVED_SYN": (512, bytes.hex),
}
