"""Strategies: sockets as tables may hold them."""

from __future__ import annotations

from socket import AF_INET, AF_INET6, inet_ntop

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from orchestrator.model.rows import SocketEntry
from tests.unit.join.worlds import NUMBERS, TIMER_NUMBERS

# How fast the computer is says nothing about the code.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
PORTS = st.integers(0, 0xFFFF)
V4 = st.binary(min_size=4, max_size=4).map(lambda raw: inet_ntop(AF_INET, raw))
V6 = (
    st.binary(min_size=16, max_size=16)
    .filter(lambda raw: not raw.startswith(bytes(10) + b"\xff\xff"))
    .map(lambda raw: inet_ntop(AF_INET6, raw))
)
WORDS = st.integers(0, 0xFFFFFFFF)


@st.composite
def any_entry(draw: st.DrawFn, host: str) -> SocketEntry:
    """Any row at all that a kernel could print."""
    family = draw(st.sampled_from([4, 6]))
    mapped = family == 6 and draw(st.booleans())
    addresses = V4 if family == 4 or mapped else V6
    timer = draw(st.sampled_from(list(TIMER_NUMBERS)))
    return SocketEntry(
        host=host,
        family=4 if family == 4 else 6,
        mapped=mapped,
        address=draw(addresses),
        port=draw(PORTS),
        peer_address=draw(addresses),
        peer_port=draw(PORTS),
        state=draw(st.sampled_from(list(NUMBERS))),
        rx_queue=draw(WORDS),
        tx_queue=draw(WORDS),
        timer=timer,
        timer_seconds=draw(WORDS) / 100 if timer else 0.0,
        retransmits=draw(WORDS),
        uid=draw(WORDS),
        inode=draw(st.integers(0, (1 << 32) - 1)),
    )
