"""What `lab capture` asks for and what it writes, without a lab."""

from __future__ import annotations

import io

import msgspec
import pytest

from orchestrator import capturing
from orchestrator.errors import UsageError
from orchestrator.join.packets import Packet
from orchestrator.model.plan import Interface, LabKey, Plan, PlannedHost
from orchestrator.report import pcapng
from tests.unit.join.test_packets import block

ALICE, WEB = "02:00:00:00:00:01", "02:00:00:00:00:02"
PLAN = Plan(
    key=LabKey(owner="me", name="shop"),
    engine="fake",
    hosts=(
        PlannedHost(
            name="edge",
            kind="router",
            nat="dc",
            interfaces=(
                Interface(device="eth0", network="office", mac="02:00:00:00:00:03", address="10.0.1.1"),
                Interface(device="eth1", network="dc", mac="02:00:00:00:00:04", address="10.0.2.1"),
            ),
        ),
        PlannedHost(name="spare", interfaces=()),
        PlannedHost(
            name="alice",
            interfaces=(Interface(device="eth0", network="office", mac=ALICE, address="10.0.1.2"),),
        ),
        PlannedHost(
            name="web",
            interfaces=(
                Interface(device="eth0", network="dc", mac=WEB, address="10.0.2.80", address6="fd00::80"),
            ),
        ),
    ),
)
TOLD = {
    "interfaces": [
        {"host": "alice", "device": "eth0", "mac": ALICE, "mtu": 1500},
        {"host": "web", "device": "eth5", "mac": WEB, "mtu": 1500},
        {"host": "web", "device": "lo", "mac": "00:00:00:00:00:00", "mtu": 65536},
    ],
    "snap": 65535,
}


def recorder(size: int = 1 << 20) -> tuple[capturing.Recorder, io.BytesIO, bytes]:
    """One that has begun, where it writes, and the head of the file."""
    out = io.BytesIO()
    one = capturing.Recorder(out, PLAN, size)
    one.begin(TOLD, "a test")
    return one, out, out.getvalue()


def packet(at: int, size: int = 60) -> Packet:
    return Packet(at, "outgoing", size, b"x" * min(size, 100))


def test_all_hosts_unless_some_are_named() -> None:
    assert capturing.request_of(PLAN, capturing.Wanted()) == {"hosts": None}
    some = capturing.Wanted(hosts=("web",), snap=96)
    assert capturing.request_of(PLAN, some) == {"hosts": ["web"], "snap": 96}


def test_a_connection_is_both_ends_the_routers_between_and_their_translations() -> None:
    wanted = capturing.Wanted(connection="alice->web:80")
    assert capturing.request_of(PLAN, wanted) == {
        "filter": {
            "clients": ["10.0.1.2", "10.0.1.1", "10.0.2.1"],
            "servers": ["10.0.2.80", "fd00::80"],
            "port": 80,
        },
        "hosts": ["alice", "web", "edge"],
    }
    named = msgspec.structs.replace(wanted, hosts=("web",))
    assert capturing.request_of(PLAN, named)["hosts"] == ["web"]


@pytest.mark.parametrize("text", ["", "alice", "alice -> web", "alice -> web:0", "alice -> web:70000", "a b"])
def test_what_is_no_connection_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no connection"):
        capturing.ends_of(PLAN, text)


def test_a_host_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="no host wob"):
        capturing.ends_of(PLAN, "alice -> wob:80")


def test_an_interface_is_the_plans_by_its_mac() -> None:
    names = [capturing.interface_of(PLAN, one).name for one in TOLD["interfaces"]]  # type: ignore[attr-defined]
    assert names == ["alice:eth0 (office)", "web:eth5 (dc)", "web:lo"]
    web = capturing.interface_of(PLAN, TOLD["interfaces"][1])  # type: ignore[index]
    assert web.addresses == ("10.0.2.80/24", "fd00::80/64")


def test_packets_of_all_hosts_are_written_in_order() -> None:
    one, out, head = recorder()
    one.add(0, 0, block(packet(10), packet(40)))
    one.add(1, 0, block(packet(20), packet(30)))
    one.write_until(25)
    first = head + pcapng.packet(0, packet(10)) + pcapng.packet(1, packet(20))
    assert out.getvalue() == first
    one.write_until(None)
    assert out.getvalue() == first + pcapng.packet(1, packet(30)) + pcapng.packet(0, packet(40))


def test_comments_say_what_was_lost_and_what_is_not_cut_yet() -> None:
    one, out, head = recorder()
    one.add(0, 7, block(packet(10), packet(20, 1514)))
    one.add(0, 7, block(packet(30, 3014)))
    one.write_until(None)
    lost = "lab: 7 packets of alice:eth0 (office) were lost so far"
    long = "lab: 3000 bytes in one piece, to be cut into segments: the MTU is 1500"
    written = pcapng.packet(0, packet(10), [lost]) + pcapng.packet(0, packet(20, 1514))
    assert out.getvalue() == head + written + pcapng.packet(0, packet(30, 3014), [long])


def test_the_file_is_no_larger_than_it_may_be() -> None:
    _, _, head = recorder()
    size = len(head) + 3 * len(pcapng.statistics(0, 0, 0, 0)) + 2 * len(pcapng.packet(0, packet(1)))
    for limit, written in ((size, 2), (size - 1, 1)):
        one, out, _ = recorder(limit)
        one.add(0, 0, block(*map(packet, range(5))))
        one.end([{"received": 5, "dropped": 0}, {"received": 0, "dropped": 0}, {"received": 0, "dropped": 0}])
        assert one.full
        assert (one.seen[0].written, one.seen[0].left_out, one.seen[0].lost) == (written, 5 - written, 0)
        assert len(out.getvalue()) <= limit


def test_what_is_missing_was_lost() -> None:
    one, _, _ = recorder()
    one.add(0, 2, block(packet(1)))
    assert one.seen[0].lost == 2
    one.end([{"received": 9, "dropped": 3}, {"received": 0, "dropped": 0}, {"received": 0, "dropped": 0}])
    assert one.seen[0].lost == 8
