"""What a daemon sees: tables as the kernel wrote them, sock_diag, who holds what, and what was remembered."""

from __future__ import annotations

import struct
import time

import msgspec
import pytest

from orchestrator.engines.base import Engine
from orchestrator.errors import LabError
from orchestrator.join.proc_net_tcp import parse
from orchestrator.model.rows import SocketEntry
from tests.support.rig import Part, Rig

LAB = """
networks: {net: {subnet6: auto}}
hosts:
  a: {role: server, networks: [net]}
  b: {role: client, networks: [net]}
"""
LISTEN, ESTABLISHED, TIME_WAIT = 10, 1, 6
DIAG_STATE, DIAG_LPORT, DIAG_RPORT, DIAG_RQUEUE, DIAG_WQUEUE, DIAG_INODE, DIAG_COOKIE = 1, 2, 3, 6, 7, 8, 9


def rows(table: bytes) -> list[list[str]]:
    """The fields of a table's lines, without Docker's name server."""
    fields = [line.split() for line in table.decode().splitlines()[1:]]
    return [row for row in fields if not row[1].startswith("0B00007F:")]


def of_port(part: Part, port: int, state: int) -> list[tuple[object, ...]]:
    """diag records of one local port."""
    return [record for record in part.diag if record[DIAG_LPORT] == port and record[DIAG_STATE] == state]


def test_each_host_has_a_part_and_when_it_was_read(lab: Rig, engine: Engine) -> None:
    parts, end = lab.snapshot()
    assert set(parts) == {"a", "b"}
    assert end["not_observed"] == []
    taken = end.get("taken") or {end["machine"]: end}  # of several machines, or of one
    assert all(taken)
    whole = min(one["began"] for one in taken.values()), max(one["ended"] for one in taken.values())
    for part in parts.values():
        assert whole[0] <= part.about["began"] <= part.about["ended"] <= whole[1]
    if engine.name != "docker":
        assert abs(time.monotonic() - whole[1]) < 60, "one monotonic clock"
    assert parts["a"].about["netns"] != parts["b"].about["netns"]


def test_only_the_hosts_asked_for(lab: Rig) -> None:
    parts, end = lab.snapshot(["b"])
    assert set(parts) == {"b"}
    assert end["not_observed"] == []
    with pytest.raises(LabError, match="nobody"):
        lab.snapshot(["b", "nobody"])


def test_tables_are_the_kernels_own(lab: Rig) -> None:
    lab.call("a", "listen", port=7001, to="l", backlog=7)
    lab.call("a", "listen", address="::", port=7002, to="six")
    client = lab.call("b", "connect", address=lab.address("a"), port=7001, to="c")
    lab.call("b", "send", fd="c", text="12345")
    parts, _ = lab.snapshot()
    a, b = parts["a"], parts["b"]
    lines = a.tcp.split(b"\n")
    assert lines[-1] == b""
    assert {len(line) for line in lines[:-1]} == {149}, "TMPSZ - 1 and a newline"
    assert lines[0].split()[:3] == [b"sl", b"local_address", b"rem_address"]
    by_state = {row[3]: row for row in rows(a.tcp)}
    assert by_state["0A"][1] == f"00000000:{7001:04X}"
    assert by_state["0A"][4] == "00000000:00000001", "one waits for accept"
    assert by_state["01"][2].endswith(f":{client['local'][1]:04X}")
    assert by_state["01"][4] == "00000000:00000005", "five bytes wait, though nobody has accepted"
    assert by_state["01"][9] == "0", "no inode before accept"
    assert [row[3] for row in rows(a.tcp6)] == ["0A"]
    assert [row[3] for row in rows(b.tcp)] == ["01"]
    assert int(rows(b.tcp)[0][9]) > 0


def test_diag_adds_cookies_and_the_limit(lab: Rig) -> None:
    lab.call("a", "listen", port=7011, to="l", backlog=7)
    lab.call("b", "connect", address=lab.address("a"), port=7011, to="c")
    part = lab.snapshot()[0]["a"]
    (listener,) = of_port(part, 7011, LISTEN)
    assert (listener[DIAG_RQUEUE], listener[DIAG_WQUEUE]) == (1, 7)
    (waiting,) = of_port(part, 7011, ESTABLISHED)
    assert waiting[DIAG_INODE] == 0
    lab.call("a", "accept", fd="l", to="conn")
    part = lab.snapshot()[0]["a"]
    (accepted,) = of_port(part, 7011, ESTABLISHED)
    assert accepted[DIAG_COOKIE] == waiting[DIAG_COOKIE] != 0, "a cookie is for life"
    assert accepted[DIAG_INODE] != 0
    assert len({record[DIAG_COOKIE] for record in part.diag}) == len(part.diag)


def test_holders_are_processes_and_descriptors(lab: Rig) -> None:
    listening = lab.call("a", "listen", port=7021, to="l")
    child = lab.call("a", "fork", fd="l", to="child")
    part = lab.snapshot()[0]["a"]
    (listener,) = of_port(part, 7021, LISTEN)
    processes = part.about["processes"]
    held = [(*processes[index], fd) for inode, index, fd in part.holders if inode == listener[DIAG_INODE]]
    agents = {pid for pid, _, _ in held} - {child["result"]}
    assert len(held) == 2
    assert {name for _, name, _ in held} == {"agent"}
    assert {fd for _, _, fd in held} == {listening["fd"]}
    assert child["result"] in {pid for pid, _, _ in held}
    assert len(agents) == 1


def test_holders_are_left_out_when_not_asked_for(lab: Rig) -> None:
    lab.call("a", "listen", port=7031, to="l")
    part = lab.snapshot(holders=False)[0]["a"]
    assert part.holders == []
    assert of_port(part, 7031, LISTEN)


def test_time_wait_keeps_its_cookie(lab: Rig) -> None:
    lab.call("a", "listen", port=7041, to="l")
    lab.call("b", "connect", address=lab.address("a"), port=7041, to="c")
    lab.call("a", "accept", fd="l", to="conn")
    before = [r for r in lab.snapshot()[0]["b"].diag if r[DIAG_RPORT] == 7041]
    lab.call("b", "close", fd="c")
    assert lab.received("a", "conn", all=True)[1]["eof"]
    lab.call("a", "close", fd="conn")
    after = [r for r in lab.snapshot()[0]["b"].diag if r[DIAG_RPORT] == 7041]
    assert [r[DIAG_STATE] for r in after] == [TIME_WAIT]
    assert after[0][DIAG_COOKIE] == before[0][DIAG_COOKIE]
    assert after[0][DIAG_INODE] == 0


def test_what_is_remembered_comes_back_with_its_socket(lab: Rig) -> None:
    lab.call("a", "listen", port=7051, to="l")
    (listener,) = of_port(lab.snapshot()[0]["a"], 7051, LISTEN)
    machine = lab.snapshot()[0]["a"].about.get(
        "cookies", 0
    )  # of several, whose kernels count each for itself
    record = struct.pack("<QQ", listener[DIAG_COOKIE], 0xFEDC_BA98_7654_3210)
    told = struct.pack("<QQ", listener[DIAG_COOKIE] | machine, 0xFEDC_BA98_7654_3210)
    stranger = struct.pack("<QQ", 1 << 60, 1)
    with lab.another() as other:
        other.call("remember", told + stranger)
    known = lab.snapshot()[0]["a"].known
    assert record in [known[at : at + 16] for at in range(0, len(known), 16)]
    assert stranger not in [known[at : at + 16] for at in range(0, len(known), 16)]


@pytest.mark.engine("namespaces", "docker")
def test_a_quick_look_sees_what_the_tables_say(lab: Rig) -> None:
    """Written from sock_diag, every row in every state is the kernel's own, but for timers that go on."""
    where = lab.address("a")
    lab.call("a", "listen", port=7051, to="l", backlog=3)
    lab.call("a", "listen", address="::", family="dual", port=7052, to="dual", backlog=1)
    for name, port in (("open", 7051), ("mapped", 7052), ("half", 7051), ("closed", 7051)):
        lab.call("b", "connect", address=where, port=port, to=name)
    lab.call("b", "send", fd="open", text="12345")
    for name in ("open", "half", "closed"):
        lab.call("a", "accept", fd="l", to=name)
    lab.call("b", "shutdown", fd="half", how="write")
    lab.call("b", "close", fd="closed")
    lab.call("a", "close", fd="closed")
    lab.call("b", "connect", address=where, port=7052, to="second")
    lab.ask("b", "connect", address=where, port=7052, to="third", timeout=0.1)  # its SYN is dropped
    for host in ("a", "b"):
        plain, quick = (lab.snapshot([host], quick=quick)[0][host] for quick in (False, True))
        assert entries(plain, host) == entries(quick, host)
        assert sorted(plain.diag) == sorted(quick.diag)
    states = {entry.state for host in ("a", "b") for entry in entries(lab.snapshot()[0][host], host)}
    assert states >= {"LISTEN", "ESTABLISHED", "FIN_WAIT2", "CLOSE_WAIT", "TIME_WAIT", "SYN_SENT"}


def entries(part: Part, host: str) -> list[SocketEntry]:
    """Both tables, read, without what changes by itself."""
    found = [*parse(part.tcp, host, 4), *parse(part.tcp6, host, 6)]
    still = [msgspec.structs.replace(one, timer_seconds=0.0, retransmits=0) for one in found]
    return sorted(still, key=repr)
