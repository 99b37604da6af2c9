"""Counters from recorded texts of a kernel, against what nstat(8) said of the same moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import ObservationError
from orchestrator.join.counters import PIECES, parse, read_part
from tests.support.counters import UNSHOWN, nstat

GOLDEN = Path(__file__).parents[2] / "golden" / "counters"
TEXTS = [(GOLDEN / f"{name}.txt").read_bytes() for name in PIECES]


def test_every_counter_is_as_nstat_has_it() -> None:
    values = parse(*TEXTS)
    said = nstat((GOLDEN / "nstat.txt").read_text())
    assert {name: values[name] for name in values if name not in UNSHOWN} == said


def test_what_was_done_has_been_counted() -> None:
    values = parse(*TEXTS)
    assert values["TcpActiveOpens"] == 4
    assert (values["TcpExtListenOverflows"], values["TcpExtListenDrops"]) == (1, 1)
    assert (values["TcpAttemptFails"], values["TcpOutRsts"]) == (1, 1)
    assert (values["UdpInDatagrams"], values["Udp6NoPorts"]) == (3, 1)
    assert values["Ip6InReceives"] > 0
    assert values["IpInReceives"] > 0
    assert values["TcpMaxConn"] == -1


def test_a_kernel_without_ipv6_and_one_that_says_nothing() -> None:
    values = parse(TEXTS[0], TEXTS[1])
    assert "IpInReceives" in values
    assert "Ip6InReceives" not in values
    assert parse(b"", b"") == {}


@pytest.mark.parametrize(
    "texts",
    [
        (b"TcpExt: One\n", b"", b""),
        (b"TcpExt: One Two\nTcpExt: 1\n", b"", b""),
        (b"TcpExt: One\nIpExt: 1\n", b"", b""),
        (b"", b"Tcp: One\nTcp: x\n", b""),
        (b"", b"Tcp: One\nTcp: 99999999999999999999999\n", b""),
        (b"", b"", b"Ip6InReceives\n"),
        (b"", b"", b"Ip6InReceives 1 2\n"),
        (b"\xff\n\xff\n", b"", b""),
    ],
)
def test_what_is_no_counter_is_refused(texts: tuple[bytes, bytes, bytes]) -> None:
    with pytest.raises(ObservationError):
        parse(*texts)


def test_a_part_of_the_daemons_answer() -> None:
    sizes = dict(zip(PIECES, map(len, TEXTS), strict=True))
    part = {"host": "web", "at": 7.5, "sizes": sizes}
    read = read_part(part, b"".join(TEXTS))
    assert (read.host, read.at, read.values) == ("web", 7.5, parse(*TEXTS))
    wrongs: list[dict[str, object]] = [{"host": 7}, {"at": None}, {"sizes": []}, {"sizes": {}}]
    wrongs.append({"sizes": {**sizes, "snmp": -1}})
    for wrong in wrongs:
        with pytest.raises(ObservationError):
            read_part({**part, **wrong}, b"".join(TEXTS))
    with pytest.raises(ObservationError, match="announced"):
        read_part(part, b"".join(TEXTS)[:-1])
