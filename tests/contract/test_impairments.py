"""Cuts and links: what does not pass, what is held, seen by sockets; and that nothing stays."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.engines.base import Engine
from orchestrator.errors import LabError
from tests.conftest import LabFactory
from tests.support.rig import Rig, eventually
from tests.support.rows import look

LAB = """
networks: {net: {subnet6: auto}, far: {}}
routers: {r: {networks: [net, far], nat: net}}
hosts:
  web: {role: server, networks: [net], listen: [80, 8080]}
  alice: {role: client, networks: [net]}
  bob: {role: client, networks: [far]}
"""
pytestmark = pytest.mark.engine("namespaces", "docker")
BLOCKED = 0.4  # seconds that a connect that cannot succeed is given
TABLE = "lab_impairments"


@pytest.fixture
def healed(lab: Rig) -> Iterator[Rig]:
    """Whatever a test impairs is taken back."""
    yield lab
    lab.channel.call("heal")


def connect(lab: Rig, host: str, *, port: int = 80, family: int = 4, timeout: float = 5.0) -> dict[str, Any]:
    """A connect from a host to web, whatever comes of it."""
    address = lab.address("web", family)
    return lab.ask(host, "connect", address=address, port=port, timeout=timeout, to=f"c{time.monotonic_ns()}")


def fastest(lab: Rig, host: str) -> float:
    """Seconds of the fastest of five connects: a busy computer makes some slow, and none fast."""
    answers = [connect(lab, host) for _ in range(5)]
    assert all(one["errno"] is None for one in answers), answers
    return min(float(one["duration"]) for one in answers)


def passes(lab: Rig, host: str, **arguments: Any) -> bool:
    """Whether a connect succeeds."""
    return connect(lab, host, **{"timeout": BLOCKED, **arguments})["errno"] is None


def cut(lab: Rig, one: str, other: str, **arguments: Any) -> dict[str, Any]:
    """A cut that must be verified."""
    answer = lab.channel.call("cut", **{"from": [one], "to": [other], "text": f"{one} {other}", **arguments})
    assert answer["verified"], "nothing was looked at"
    assert all(word["verified"] for word in answer["verified"]), answer["verified"]
    return answer


def link(lab: Rig, host: str, network: str, **values: float) -> dict[str, Any]:
    """Links set, and seen to be so."""
    answer = lab.channel.call("link", places=[[host, network]], values=values or None)
    assert answer["verified"]
    assert all(word["verified"] for word in answer["verified"]), answer["verified"]
    return answer


def rules(lab: Rig, host: str) -> str:
    """All rules of a host's network namespace, as root of it sees them."""
    if lab.lab.engine.name == "docker":
        return ""
    return lab.run(host, "nft", "list", "ruleset").out.decode()


@pytest.mark.parametrize("family", [4, 6])
def test_a_cut_lets_nothing_pass_and_ends_by_itself(healed: Rig, family: int) -> None:
    began = time.monotonic()
    answer = cut(healed, "alice", "web", seconds=1.2)
    assert {word["way"] for word in answer["verified"]} == {"alice -> web", "web -> alice"}
    assert passes(healed, "bob"), "another pair"
    assert connect(healed, "alice", family=family)["errno"] is None, "the second SYN, or the third"
    assert time.monotonic() - began >= 1.2
    assert eventually(lambda: not healed.channel.call("impairments")["impairments"])
    assert TABLE not in rules(healed, "web")


def test_a_cut_is_healed(healed: Rig) -> None:
    cut(healed, "alice", "web")
    assert not passes(healed, "alice")
    assert healed.channel.call("heal") == {"healed": 1}
    assert passes(healed, "alice")
    assert TABLE not in rules(healed, "web")


def test_a_cut_behind_translated_addresses(healed: Rig) -> None:
    cut(healed, "bob", "web")
    assert not passes(healed, "bob")
    assert passes(healed, "alice")


def test_a_cut_one_way_is_verified_as_such(healed: Rig) -> None:
    answer = cut(healed, "web", "alice", both=False)
    assert {word["way"]: word["why"] for word in answer["verified"]} == {
        "web -> alice": "cut",
        "alice -> web": "open",
    }
    assert not passes(healed, "alice"), "the SYN comes, its answer does not"
    sent = healed.call("web", "socket", kind="udp", family=4, to="out")
    assert sent["fd"]


def test_a_cut_of_a_port(healed: Rig) -> None:
    cut(healed, "alice", "web", port=80)
    assert not passes(healed, "alice")
    assert passes(healed, "alice", port=8080)
    assert not passes(healed, "alice", family=6)


@pytest.mark.parametrize(("answer", "errno"), [("rst", "ECONNREFUSED"), ("icmp", "EHOSTUNREACH")])
@pytest.mark.parametrize("host", ["alice", "bob"])
def test_a_cut_that_is_answered(healed: Rig, host: str, answer: str, errno: str) -> None:
    cut(healed, host, "web", both=False, answer=answer)
    assert connect(healed, host)["errno"] == errno


@pytest.mark.parametrize("host", ["alice", "bob"])
def test_one_packet_of_a_kind(healed: Rig, host: str) -> None:
    cut(healed, host, "web", both=False, kind="syn", packets=1)
    took = connect(healed, host)
    assert took["errno"] is None
    assert 0.9 < took["duration"] < 4.5, "the SYN is sent again after a second, and that one comes"
    assert fastest(healed, host) < 0.9


@pytest.mark.parametrize("answer", ["", "rst", "icmp"])
def test_packets_are_counted_together_whatever_rule_they_are_of(healed: Rig, answer: str) -> None:
    """IPv4 and IPv6, by the port that they come from and by that which they go to: three of all these."""
    port = 7010
    for family in (4, 6):
        for host in ("web", "alice"):
            healed.call(host, "socket", kind="udp", family=family, to=f"u{family}")
            own = healed.address(host, family)
            healed.call(host, "bind", fd=f"u{family}", address=own, port=port + (host == "alice"))
    cut(healed, "alice", "web", both=False, port=port, packets=3, answer=answer)
    for number in range(4):
        for family in (4, 6):
            to = {"address": healed.address("web", family), "port": port}
            healed.call("alice", "send", fd=f"u{family}", text=f"{number}", **to)
    came = []
    for family in (4, 6):
        while (got := healed.ask("web", "recv", fd=f"u{family}", timeout=0.3))["errno"] is None:
            came.append((family, got["result"]))
    assert len(came) == 8 - 3, came


@pytest.mark.parametrize(("host", "family"), [("alice", 4), ("alice", 6), ("bob", 4)])
def test_connections_that_there_are_or_new_ones(healed: Rig, host: str, family: int) -> None:
    address, name = healed.address("web", family), f"kept-{host}-{family}"
    healed.call(host, "connect", address=address, port=80, to=name)

    def unacknowledged() -> bool:
        seen = look(healed).connections
        return any(one.client and one.client.host == host and one.client.tx_queue for one in seen)

    cut(healed, host, "web", kind="established")
    assert passes(healed, host, family=family), "a new one"
    healed.call(host, "send", fd=name, text="not heard")
    assert eventually(unacknowledged)
    healed.channel.call("heal")
    assert eventually(lambda: not unacknowledged())
    cut(healed, host, "web", kind="syn")
    assert not passes(healed, host, family=family)
    healed.call(host, "send", fd=name, text="heard")
    assert healed.call(host, "get", fd=name, option="TCP_INFO")["errno"] is None


def test_the_last_acknowledgement_of_a_handshake_is_lost(healed: Rig) -> None:
    cut(healed, "alice", "web", both=False, kind="ack", packets=1)
    assert connect(healed, "alice")["errno"] is None, "the client has all that it needs"


def test_a_delay_holds_what_a_host_sends_at_every_receiver(healed: Rig) -> None:
    link(healed, "alice", "net", delay=0.05)
    assert 0.049 < fastest(healed, "alice") < 0.09, "one way of the round trip"
    assert fastest(healed, "bob") < 0.04, "others are as before"


def test_a_networks_delay_holds_each_crossing_once(healed: Rig) -> None:
    link(healed, "", "net", delay=0.03)
    for host in ("alice", "bob"):
        assert 0.059 < fastest(healed, host) < 0.1


def test_two_impairments_on_one_path_add_up(healed: Rig) -> None:
    link(healed, "", "net", delay=0.02)
    link(healed, "alice", "net", delay=0.03)
    link(healed, "web", "net", delay=0.01)
    assert 0.079 < fastest(healed, "alice") < 0.12, "30 + 20 there, 10 + 20 back"


def test_setting_one_leaves_the_others_and_clear_removes_all(healed: Rig) -> None:
    link(healed, "alice", "net", delay=0.03)
    link(healed, "alice", "net", loss=0.01)
    seen = healed.channel.call("impairments")["links"]
    assert seen == [{"host": "alice", "network": "net", "delay": 0.03, "loss": 0.01}]
    link(healed, "alice", "net")
    assert healed.channel.call("impairments")["links"] == []
    assert fastest(healed, "alice") < 0.02


def test_all_is_lost(healed: Rig) -> None:
    link(healed, "alice", "net", loss=1.0)
    assert not passes(healed, "alice")
    assert passes(healed, "bob")


def test_what_is_damaged_is_sent_again(healed: Rig) -> None:
    """A checksum that does not fit: the segment is dropped by the receiver, and counted."""
    link(healed, "alice", "net", corrupt=1.0)
    assert not passes(healed, "alice")
    link(healed, "alice", "net", corrupt=0.0)
    assert passes(healed, "alice", timeout=5.0)


@pytest.mark.parametrize("family", [4, 6])
def test_what_comes_twice_is_received_twice(healed: Rig, family: int) -> None:
    own = healed.address("web", family)
    healed.call("web", "socket", kind="udp", family=family, to="in")
    healed.call("web", "bind", fd="in", address=own, port=7000 + family)
    healed.call("alice", "socket", kind="udp", family=family, to="out")
    link(healed, "alice", "net", duplicate=1.0)
    healed.call("alice", "send", fd="out", text="once", address=own, port=7000 + family)
    assert healed.received("web", "in")[0] == b"once"
    assert healed.received("web", "in")[0] == b"once"


@pytest.mark.parametrize(
    "values",
    [
        {"loss": 0.02},
        {"duplicate": 0.05},
        {"corrupt": 0.05},
        {"reorder": 0.2, "delay": 0.01},
        {"rate": 1e6},
        {"loss": 0.1, "duplicate": 0.1, "rate": 1e6, "delay": 0.01},
    ],
    ids="+".join,
)
def test_what_happens_to_some_is_seen_before_it_is_believed(healed: Rig, values: dict[str, float]) -> None:
    link(healed, "alice", "net", **values)


@pytest.mark.parametrize(
    ("values", "why"),
    [({"loss": 0.0001}, "too rarely"), ({"rate": 1e9}, "too high"), ({"reorder": 0.2}, "overtaken")],
)
def test_what_cannot_be_seen_is_not_believed(healed: Rig, values: dict[str, float], why: str) -> None:
    told = healed.channel.call("link", places=[["alice", "net"]], values=values)
    doubted = [word for word in told["verified"] if word["verified"] is not True]
    assert doubted
    assert all(word["verified"] is None and why in word["why"] for word in doubted), doubted
    assert all(word["way"].startswith("alice -> ") for word in doubted), (
        "nothing else happens to what comes back"
    )


def test_a_link_that_is_pulled_out(healed: Rig) -> None:
    answer = healed.channel.call("cut", links=[["web", "net"]], text="web down", seconds=1.0)
    assert all(word["verified"] for word in answer["verified"]), answer["verified"]
    assert not passes(healed, "alice")
    assert not passes(healed, "bob")
    assert connect(healed, "alice")["errno"] is None


def test_a_link_that_flaps(healed: Rig) -> None:
    healed.channel.call("cut", links=[["alice", "net"]], text="alice flap", flap=[0.5, 0.5])
    for expected in (False, True, False):
        eventually(lambda expected=expected: passes(healed, "alice", timeout=0.1) is expected)  # type: ignore[misc]
    assert healed.channel.call("heal", links=[["alice", "net"]]) == {"healed": 1}
    assert passes(healed, "alice")


def test_what_a_client_impairs_ends_with_its_channel(healed: Rig) -> None:
    with healed.another() as other:
        ends: dict[str, Any] = {"from": ["alice"], "to": ["web"]}
        other.call("cut", scoped=True, text="mine", **ends)
        other.call("link", scoped=True, places=[["bob", "far"]], values={"delay": 0.05})
        assert not passes(healed, "alice")
    assert eventually(lambda: not healed.channel.call("impairments")["impairments"])
    assert passes(healed, "alice")
    assert fastest(healed, "bob") < 0.04


def test_probes_do_not_show_in_tables(healed: Rig) -> None:
    link(healed, "alice", "net", delay=0.01)
    cut(healed, "bob", "web")
    observation = healed.lab.observe(everything=True)
    assert [
        one for one in observation.joined.connections if one.client and one.client.state != "LISTEN"
    ] == []


def test_what_cannot_be_is_refused(healed: Rig) -> None:
    with pytest.raises(LabError, match="no host"):
        cut(healed, "alice", "nobody")
    with pytest.raises(LabError, match="no 'weight'"):
        healed.channel.call("link", places=[["alice", "net"]], values={"weight": 1})
    assert not healed.channel.call("impairments")["impairments"]


def test_a_host_that_is_made_anew_is_impaired_as_before(lab_factory: LabFactory, engine: Engine) -> None:
    from orchestrator import bringup

    lab = lab_factory(LAB)
    link(lab, "", "net", delay=0.03)
    cut(lab, "bob", "web")
    bringup.restart(lab.lab, "web")
    assert engine.name
    assert 0.059 < fastest(lab, "alice") < 0.1
    assert not passes(lab, "bob")


def test_the_file_declares(lab_factory: LabFactory) -> None:
    text = LAB.replace("net: {subnet6: auto}", "net: {delay: 20ms}")
    text = text.replace("networks: [far]}", "networks: [far], links: {far: {delay: 10ms}}}")
    lab = lab_factory(f"{text}cuts: [alice web port=8080]\n")
    assert 0.039 < fastest(lab, "alice") < 0.08
    assert 0.049 < fastest(lab, "bob") < 0.09
    assert not passes(lab, "alice", port=8080)
