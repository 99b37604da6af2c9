"""DNS servers of a lab, asked by clients that are not ours (glibc), their answers read by tshark."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from orchestrator import bringup
from orchestrator.engines.base import Engine
from orchestrator.errors import LabError
from tests.conftest import LabFactory
from tests.e2e.test_capture import capturing
from tests.support.cli import SECONDS, Commands
from tests.support.rig import Rig, eventually, topology

LAB = """
networks: {net: {subnet6: auto}, far: {}}
routers: {r: {networks: [net, far], nat: net}}
hosts:
  ns:
    role: server
    networks: [net]
    dns: {shop.lab: web, Both.Lab: [10.9.9.9, "fd99::9"], none.lab: [], bobs.lab: bob}
  web: {role: server, networks: [net], listen: [80]}
  alice: {role: client, networks: [net], resolver: ns, env: {RES_OPTIONS: "timeout:1 attempts:1"}}
  bob: {role: client, networks: [far], count: 2, resolver: ns, env: {RES_OPTIONS: "timeout:1 attempts:1"}}
"""
pytestmark = pytest.mark.engine("namespaces", "docker")
NOT_FOUND = 2  # of getent(1)
RCODES = {"refused": 5, "servfail": 2, "nxdomain": 3, "empty": 0}
MEASURING = 0.002  # seconds between what tshark reads and what was asked for, at the fastest of several
FIELDS = (
    *("dns.flags.response", "dns.flags.rcode", "dns.flags.truncated", "dns.time", "dns.a", "dns.aaaa"),
    *("udp.srcport", "tcp.srcport", "_ws.malformed"),
)


class Answered(NamedTuple):
    """A message of DNS, as tshark says it."""

    response: bool
    rcode: str
    truncated: str
    seconds: float
    a: str
    aaaa: str
    udp: str
    tcp: str
    malformed: str


@pytest.fixture
def healed(lab: Rig) -> Iterator[Rig]:
    """Whatever a test changes of the answers is taken back."""
    yield lab
    lab.channel.call("heal")


def answer(lab: Rig, name: str = "", **values: Any) -> dict[str, Any]:
    """How the server answers from now on."""
    told = lab.channel.call("answer", places=[["ns", name]], values=values or None, text=f"ns:{name}")
    assert all(word["verified"] for word in told["verified"])
    return told


def found(lab: Rig, name: str, host: str = "alice") -> set[str]:
    """The addresses that getaddrinfo(3) of a host finds; none where it finds nothing."""
    ended = lab.run(host, "getent", "ahosts", name, env={"RES_OPTIONS": "timeout:1 attempts:1"})
    assert ended.code in (0, NOT_FOUND), ended
    return {line.split()[0] for line in ended.out.decode().splitlines()}


def every(lab: Rig, host: str) -> set[str]:
    """All addresses of a host."""
    one = lab.lab.host(host)
    return {address for link in one.interfaces for address in (link.address, link.address6) if address}


def seen(lab: Rig, folder: Path, name: str) -> list[Answered]:
    """Messages about a name, of one look-up of alice's, as they came and went at the server."""
    file = folder / "names.pcapng"
    with capturing(lab, folder, "ns", "-o", str(file)) as capture:
        found(lab, name)
        capture.end()
    fields = [word for field in FIELDS for word in ("-e", field)]
    command = ["tshark", "-n", "-r", str(file), "-Y", f"dns.qry.name == {name}", "-T", "fields", *fields]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    messages = [
        Answered(row[0] in ("1", "True"), row[1], row[2], float(row[3] or 0), *row[4:]) for row in rows
    ]
    assert messages, "nothing was asked"
    assert not any(one.malformed for one in messages)
    return messages


def answers(messages: list[Answered]) -> list[Answered]:
    """Those that are answers."""
    return [one for one in messages if one.response]


def test_names_of_the_file_and_of_the_lab(healed: Rig) -> None:
    assert found(healed, "shop.lab") == every(healed, "web")
    assert found(healed, "both.lab") == {"10.9.9.9", "fd99::9"}
    assert found(healed, "BOTH.lab.") == {"10.9.9.9", "fd99::9"}
    assert found(healed, "none.lab") == found(healed, "nobody.lab") == set()
    assert found(healed, "bobs.lab") == every(healed, "bob-1") | every(healed, "bob-2")


def test_who_is_behind_a_router_asks_too(healed: Rig) -> None:
    assert found(healed, "both.lab", "bob-2") == {"10.9.9.9"}, "it has no IPv6, and asks for none"


def test_a_host_asks_nobody_unless_it_is_told_to(healed: Rig) -> None:
    told = healed.run("alice", "cat", "/etc/resolv.conf").out.decode()
    assert told == f"nameserver {healed.address('ns')}\n"
    assert healed.address("ns") not in healed.run("web", "cat", "/etc/resolv.conf").out.decode()


def test_right_answers_are_read_by_others(healed: Rig, tmp_path: Path) -> None:
    told = answers(seen(healed, tmp_path, "both.lab"))
    assert {(one.a, one.aaaa) for one in told} == {("10.9.9.9", ""), ("", "fd99::9")}
    assert {one.rcode for one in told} == {"0"}


@pytest.mark.parametrize("how", RCODES)
def test_errors_have_their_code(healed: Rig, tmp_path: Path, how: str) -> None:
    answer(healed, "both.lab", answer=how)
    told = answers(seen(healed, tmp_path, "both.lab"))
    assert {(one.rcode, one.a, one.aaaa) for one in told} == {(str(RCODES[how]), "", "")}
    assert found(healed, "shop.lab"), "another name is answered as usual"


def test_late_is_as_late_as_was_asked_for(healed: Rig, tmp_path: Path) -> None:
    answer(healed, "both.lab", late=0.3)
    times = [one.seconds for _ in range(3) for one in answers(seen(healed, tmp_path, "both.lab"))]
    assert len(times) >= 6
    assert all(one > 0.3 - MEASURING for one in times), times
    assert min(times) < 0.3 + MEASURING, times


def test_silence_is_no_answer_at_all(healed: Rig, tmp_path: Path) -> None:
    answer(healed, answer="silent")
    messages = seen(healed, tmp_path, "both.lab")
    assert messages
    assert answers(messages) == []
    began = time.monotonic()
    assert found(healed, "both.lab") == set()
    assert time.monotonic() - began > 0.99, "the client waits for as long as it was told"


def test_what_is_truncated_is_asked_for_by_tcp(healed: Rig, tmp_path: Path) -> None:
    answer(healed, answer="truncated")
    told = answers(seen(healed, tmp_path, "both.lab"))
    assert {one.truncated in ("1", "True") for one in told if one.udp} == {True}
    assert {(one.a, one.aaaa) for one in told if one.tcp} == {("10.9.9.9", ""), ("", "fd99::9")}


def test_wrong_addresses(healed: Rig) -> None:
    answer(healed, "shop.lab", answer=["10.1.2.3"])
    assert found(healed, "shop.lab") == {"10.1.2.3"}
    answer(healed, "nobody.lab", answer=["10.1.2.4"])
    assert found(healed, "nobody.lab") == {"10.1.2.4"}, "a name that there is not"


def test_one_name_all_names_and_back(healed: Rig) -> None:
    answer(healed, late=0.1)
    answer(healed, answer="refused")
    answer(healed, "shop.lab", answer="usual")
    assert healed.channel.call("impairments")["names"] == [
        {"host": "ns", "name": "", "late": 0.1, "answer": "refused"},
        {"host": "ns", "name": "shop.lab", "answer": "usual"},
    ]
    began = time.monotonic()
    assert found(healed, "shop.lab")
    assert time.monotonic() - began > 0.1
    assert not found(healed, "both.lab")
    answer(healed)
    assert healed.channel.call("impairments")["names"] == []
    assert healed.channel.call("impairments")["impairments"] == [], "nothing is kept that says nothing"
    assert found(healed, "both.lab")


def test_it_ends_by_itself_and_with_its_channel(healed: Rig) -> None:
    told: dict[str, Any] = {"places": [["ns", ""]], "values": {"answer": "refused"}, "text": "ns"}
    healed.channel.call("answer", seconds=0.5, **told)
    assert not found(healed, "both.lab")
    assert eventually(lambda: found(healed, "both.lab"))
    with healed.another() as other:
        other.call("answer", scoped=True, **told)
        assert not found(healed, "both.lab")
    assert eventually(lambda: found(healed, "both.lab"))
    kinds = [one["kind"] for one in healed.channel.call("impairments")["events"]]
    assert kinds[-4:] == ["dns", "heal", "dns", "heal"]


def test_what_cannot_be_is_refused(healed: Rig) -> None:
    with pytest.raises(LabError, match="no DNS server"):
        healed.channel.call("answer", places=[["web", ""]], values={"late": 0.1}, text="web")
    with pytest.raises(LabError, match="no 'colour'"):
        healed.channel.call("answer", places=[["ns", ""]], values={"colour": 1}, text="ns")
    assert healed.channel.call("impairments")["impairments"] == []


def test_a_server_made_anew_answers_as_before(lab_factory: LabFactory) -> None:
    lab = lab_factory(LAB)
    answer(lab, "both.lab", answer=["10.1.2.3"])
    assert bringup.restart(lab.lab, "ns") == ()
    assert found(lab, "both.lab") == {"10.1.2.3"}
    assert found(lab, "shop.lab") == every(lab, "web")


def test_a_changed_file_changes_records_and_resolvers_of_a_running_lab(lab_factory: LabFactory) -> None:
    lab = lab_factory(LAB)
    pids = {str(one["name"]): one["pid"] for one in lab.lab.hosts()}
    text = LAB.replace("10.9.9.9", "10.8.8.8").replace(
        "web: {role", "ns2: {role: server, networks: [net]}\n  web: {role"
    )
    text = text.replace(
        "alice: {role: client, networks: [net], resolver: ns",
        "alice: {role: client, networks: [net], resolver: [ns2, ns]",
    )
    outcome = bringup.up(topology(text, lab.lab.key.name), lab.lab.engine.name)
    with outcome.lab.channel:
        assert outcome.failed == ()
        now = {str(one["name"]): one["pid"] for one in outcome.lab.hosts()}
        assert {name: now[name] for name in pids} == pids, "nobody was made anew"
        other = Rig(outcome.lab)
        assert found(other, "both.lab") == {"10.8.8.8", "fd99::9"}, "ns2 is no DNS server: ns is asked"


FILE = """
name: {name}
networks: {lan: {subnet: {net}.1.0/24}}
hosts:
  ns: {role: server, networks: [lan], dns: {shop.lab: 192.0.2.1}}
  alice: {role: client, networks: [lan], resolver: ns, env: {RES_OPTIONS: "timeout:1 attempts:1"}}
"""


def test_by_hand(tmp_path: Path, engine: Engine) -> None:
    commands = Commands(tmp_path, engine.name)
    commands.write(FILE)
    try:
        commands.up()
        assert (
            commands.good("exec", "alice", "--", "getent", "hosts", "shop.lab").out.split()[0] == "192.0.2.1"
        )
        told = commands.good("dns", "ns:shop.lab", "set", "answer=servfail", "late=10ms", "--for", "90s")
        assert "in force" in told.err
        assert commands.run("exec", "alice", "--", "getent", "hosts", "shop.lab").code == NOT_FOUND
        assert commands.good("dns").out == "dns ns:shop.lab: late=10ms answer=servfail\n"
        assert "dns ns:shop.lab: late=10ms" in commands.good("status", commands.name).out
        seen = commands.good("dns", "--json").json["names"]
        assert seen == [{"host": "ns", "name": "shop.lab", "late": 0.01, "answer": "servfail"}]
        wrong = commands.run("dns", "ns", "set", "answer=refuse")
        assert (wrong.code, "did you mean `refused`" in wrong.err) == (2, True), wrong.err
        assert "no DNS server" in commands.run("dns", "alice", "set", "late=1s").err
        assert "1 taken back" in commands.good("heal").err
        assert commands.good("dns").out == ""
        assert commands.good("exec", "alice", "--", "getent", "hosts", "shop.lab").out
    finally:
        commands.run("down")
