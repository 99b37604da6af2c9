"""Which tables need not be read, by the kernel's own counts."""

from __future__ import annotations

import pytest

from orchestrator.daemon.sockstat import Tables, tables

FOUR = "sockets: used 9\nTCP: inuse {} orphan 1935 tw {} alloc 1958 mem 1927\nUDP: inuse 0 mem 4\n"
SIX = "TCP6: inuse {}\nUDP6: inuse 0\n"


@pytest.mark.parametrize(
    ("inuse", "waiting", "inuse6", "expected"),
    [
        (0, 0, 0, Tables(tcp=False, tcp6=False)),
        (7, 0, 0, Tables(tcp=True, tcp6=False)),
        (0, 0, 1, Tables(tcp=True, tcp6=True)),  # a dual-stack listener has requests of IPv4
        (0, 3, 0, Tables(tcp=True, tcp6=True)),  # whose they are is not told
        (7, 3, 2, Tables(tcp=True, tcp6=True)),
    ],
)
def test_by_the_counts(inuse: int, waiting: int, inuse6: int, expected: Tables) -> None:
    assert tables(FOUR.format(inuse, waiting).encode(), SIX.format(inuse6).encode()) == expected


def test_a_kernel_without_ipv6() -> None:
    assert tables(FOUR.format(7, 0).encode(), b"") == Tables(tcp=True, tcp6=False)


@pytest.mark.parametrize("text", ["", "TCP: inuse many\n", "TCP: inuse 0 tw 0 orphan 1 \n"])
def test_what_is_not_known_is_read(text: str) -> None:
    assert tables(text.encode(), SIX.format(0).encode()) == Tables()
    assert tables(FOUR.format(0, 0).encode(), b"nonsense") == Tables()
