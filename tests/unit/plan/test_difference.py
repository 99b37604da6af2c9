"""What is done to a running lab is what differs, in an order in which it can be done."""

from __future__ import annotations

from pathlib import Path

import msgspec
from hypothesis import given, settings

from orchestrator.model.plan import Change, Plan
from orchestrator.model.topology import Topology
from orchestrator.plan import changes, describe, make_plan
from orchestrator.read import read_text
from tests.unit.plan.labs import KEY, plan, topologies

BASE = (
    "networks: {office: {subnet: 10.20.1.0/24}, dc: {subnet: 10.20.2.0/24}}\n"
    "routers: {edge: {networks: [office, dc]}}\nhosts:\n"
    "  web: {role: server, networks: [dc], listen: [80]}\n"
    "  alice: {role: client, networks: [office], connect: [web:80]}\n"
)
PHASES = (
    *("remove-host", "remove-network", "make-network", "make-host", "configure"),
    *("files", "listen", "run", "connect"),
)


def steps(running: Plan | None, wanted: Plan) -> list[str]:
    """`action subject`, in order."""
    found = changes(running, wanted)
    assert [PHASES.index(change.action) for change in found] == sorted(PHASES.index(c.action) for c in found)
    return [f"{change.action} {change.subject}" for change in found]


def after(old: str, new: str, text: str = BASE) -> list[str]:
    """The steps after a change of the text."""
    assert old in text
    running = plan(text)
    return steps(running, plan(text.replace(old, new), running=running))


def test_a_new_lab_is_made_whole() -> None:
    assert steps(None, plan(BASE)) == [
        *("make-network office", "make-network dc"),
        *("make-host edge", "make-host web", "make-host alice"),
        *("configure edge", "configure web", "configure alice"),
        *("listen web", "connect alice"),
    ]


def test_a_plan_survives_json() -> None:
    planned = plan(BASE)
    again = msgspec.json.decode(msgspec.json.encode(planned), type=Plan)
    assert again == planned
    assert changes(again, planned) == ()


def test_another_port_is_told_to_the_agents_alone() -> None:
    assert after("listen: [80]", "listen: [80, 81]") == ["listen web", "connect alice"]
    assert after("connect: [web:80]", "connect: ['web:80 x2']") == ["connect alice"]
    assert after(", connect: [web:80]", "") == ["connect alice"]


def test_a_new_host_is_made_and_named_to_all() -> None:
    found = after("  alice", "  bob: {role: client, networks: [office]}\n  alice")
    assert found == ["make-host bob", "configure edge", "configure web", "configure bob", "configure alice"]


def test_a_host_that_is_gone() -> None:
    found = after("  alice: {role: client, networks: [office], connect: [web:80]}\n", "")
    assert found == ["remove-host alice", "configure edge", "configure web"]


def test_another_image_makes_a_host_anew_and_its_clients_connect_again() -> None:
    found = after("[dc], listen", "[dc], image: x, listen")
    assert found == ["remove-host web", "make-host web", "configure web", "listen web", "connect alice"]
    assert found == after("[dc], listen", "[dc], sysctls: {net.ipv4.tcp_syncookies: 2}, listen")


def test_the_program_of_an_image_is_a_step_where_hosts_are_of_an_image() -> None:
    """What the file names goes before it; the namespaces engine has no images."""
    text = BASE.replace("web: {role: server", "web: {role: server, image: any/thing")
    docker = plan(text, "docker")
    assert [c.subject for c in changes(None, docker) if c.action == "run"] == ["web"]
    assert [c.subject for c in changes(docker, docker)] == []
    assert not [c for c in changes(None, plan(text)) if c.action == "run"]
    named = plan(text.replace("image: any/thing", "image: any/thing, run: nginx"), "docker")
    assert [c.why for c in changes(None, named) if c.action == "run"] == ["new"]


def test_another_subnet_makes_its_network_and_hosts_anew() -> None:
    found = after("10.20.2.0/24", "10.20.9.0/24")
    assert found[:7] == [
        *("remove-host edge", "remove-host web", "remove-network dc"),
        *("make-network dc", "make-host edge", "make-host web", "configure edge"),
    ]
    assert found[-1] == "connect alice"


def test_nat_is_configured() -> None:
    assert after("[office, dc]}", "[office, dc], nat: dc}")[0] == "configure edge"


def test_a_changed_source_is_copied_again_and_its_program_started_again(tmp_path: Path) -> None:
    host = b"{role: server, networks: [dc], run: cat, files: {a: /a, b: /b}}"
    text = b"name: t\nnetworks: {dc: {}}\nhosts:\n  web: " + host + b"\n"
    (tmp_path / "a").write_text("one")
    (tmp_path / "b").write_text("two")
    topology = read_text(text, "lab.yaml", str(tmp_path))
    running = make_plan(topology, KEY, "fake")
    (tmp_path / "b").write_text("three")
    wanted = make_plan(topology, KEY, "fake", running)
    assert changes(running, wanted) == (
        Change(action="files", subject="web", why="/b"),
        Change(action="run", subject="web", why="its files changed"),
    )
    (tmp_path / "b").chmod(0o755)
    planned = make_plan(topology, KEY, "fake").hosts[0]
    assert [file.mode for file in planned.files] == [0o644, 0o755]


def test_a_file_that_is_no_longer_copied_goes_with_its_host(tmp_path: Path) -> None:
    text = "name: t\nnetworks: {dc: {}}\nhosts:\n  web: {role: server, networks: [dc], files: {a: /a}}\n"
    (tmp_path / "a").write_text("one")
    running = make_plan(read_text(text.encode(), "lab.yaml", str(tmp_path)), KEY, "fake")
    text = text.replace(", files: {a: /a}", "")
    wanted = make_plan(read_text(text.encode(), "lab.yaml", str(tmp_path)), KEY, "fake", running)
    assert steps(running, wanted)[:2] == ["remove-host web", "make-host web"]


@settings(max_examples=100, deadline=None)
@given(topologies(), topologies())
def test_the_steps_lead_from_any_lab_to_any_other(one: Topology, two: Topology) -> None:
    running = make_plan(one, KEY, "namespaces")
    wanted = make_plan(two, KEY, "namespaces")
    networks = {net.name: net for net in running.networks}
    hosts = {host.name: host for host in running.hosts}
    for change in changes(running, wanted):
        if change.action == "remove-host":
            del hosts[change.subject]
        elif change.action == "remove-network":
            del networks[change.subject]
            assert not any(link.network == change.subject for h in hosts.values() for link in h.interfaces)
        elif change.action == "make-network":
            assert change.subject not in networks
            networks[change.subject] = next(n for n in wanted.networks if n.name == change.subject)
        elif change.action == "make-host":
            made = wanted.host(change.subject)
            assert made is not None
            assert change.subject not in hosts
            assert all(link.network in networks for link in made.interfaces)
            hosts[change.subject] = made
    assert {name: host.interfaces for name, host in hosts.items()} == {
        h.name: h.interfaces for h in wanted.hosts
    }
    assert {n: (v.subnet, v.subnet6) for n, v in networks.items()} == {
        n.name: (n.subnet, n.subnet6) for n in wanted.networks
    }


def test_the_description_names_everything() -> None:
    planned = plan(BASE)
    text = describe(planned, changes(None, planned))
    assert "  office  10.20.1.0/24\n" in text
    assert "  edge   office 10.20.1.1, dc 10.20.2.1\n" in text
    assert "  alice  office 10.20.1.2; routes default via 10.20.1.1; connects web 10.20.2.2:80\n" in text
    assert "  + make host web\n" in text
    assert describe(planned, ()).endswith("\nnothing to change\n")
    tuned = plan(BASE.replace("listen:", "sysctls: {net.ipv4.tcp_syncookies: 2}, listen:"))
    assert "; sysctls net.ipv4.tcp_syncookies=2; listens 0.0.0.0:80\n" in describe(tuned, ())
