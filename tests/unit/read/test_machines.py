"""Machines and who is placed on which, as the model has them."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import TopologyError
from orchestrator.model.machines import Group, Machine, Naming, PlaceRule, SshUrl, ssh_url
from orchestrator.read import read_text

LAB = """
name: t
networks: {dc: {fabric: swarm}, b: }
hosts:
  web: {role: server, networks: [dc]}
  Bob: {role: client, networks: [dc], count: 3}
machines:
  m1: {url: "ssh://student@10.0.0.11", address: 10.9.0.1, labels: [big, 1, big]}
  m2: local
place: {web: m2, "bob-*": {label: big}}
keep together: [[web, bob-2]]
keep apart: [[bob]]
fabric: wireguard
"""


def test_what_is_written_is_in_the_model() -> None:
    topology = read_text(LAB.encode(), "lab.yaml", "/")
    assert topology.machines == (
        Machine(
            name="m1",
            url="ssh://student@10.0.0.11",
            address="10.9.0.1",
            labels=("big", "1"),
            at="lab.yaml:8:3",
        ),
        Machine(name="m2", url="local", at="lab.yaml:9:3"),
    )
    assert topology.placing.rules == (
        PlaceRule(who="web", machine="m2", at="lab.yaml:10:9"),
        PlaceRule(who="bob-*", label="big", at="lab.yaml:10:18"),
    )
    assert topology.placing.groups == (
        Group(kind="together", who=("web", "bob-2"), at="lab.yaml:11:17"),
        Group(kind="apart", who=("bob",), at="lab.yaml:12:14"),
    )
    assert (topology.fabric, [network.fabric for network in topology.networks]) == (
        "wireguard",
        ["swarm", None],
    )


def test_urls_of_machines() -> None:
    assert ssh_url("ssh://10.0.0.11") == SshUrl("10.0.0.11")
    assert ssh_url("ssh://me@big-one.example:2222/") == SshUrl("big-one.example", "me", 2222)
    assert ssh_url("ssh://me@[fd00::11]:22") == SshUrl("fd00::11", "me", 22)
    for wrong in ("local", "ssh://", "ssh://a:b@c", "ssh://c:0", "ssh://c:70000", "ssh://c/path", "ssh://-"):
        assert ssh_url(wrong) is None or wrong == "ssh://-"


NAMES = {"web": ("web",), "Bob": ("Bob-1", "Bob-2", "Bob-3"), "edge": ("edge",)}


def test_whom_an_entry_stands_for() -> None:
    naming = Naming(NAMES)
    assert naming.members("bob") == ("Bob-1", "Bob-2", "Bob-3")
    assert naming.members("BOB-2") == ("Bob-2",)
    assert naming.members("*b*") == ("web", "Bob-1", "Bob-2", "Bob-3")
    assert naming.members("alice") == ()
    assert (
        naming.rank("web") > naming.rank("bob") > naming.rank("bob-*") > naming.rank("b*") > naming.rank("*")
    )


@given(st.text("ab*", max_size=8).filter(lambda text: "*" in text), st.text("abc", min_size=1, max_size=8))
def test_patterns_are_those_of_a_shell(pattern: str, name: str) -> None:
    assert bool(Naming({name: (name,)}).members(pattern)) == fnmatch.fnmatchcase(name, pattern)


@pytest.mark.parametrize(
    "url", ["ssh://me:qwe rtz@h", "ssh://me:geheim@10.0.0.1", "me:geheim@h", "ssh://me:ge/h@eim@[::1]:22"]
)
def test_no_password_is_said_again(url: str) -> None:
    text = "name: t\nnetworks: {dc: }\nhosts: {a: {role: client, networks: [dc]}}\n"
    text += f'machines: {{m1: "{url}"}}\n'
    with pytest.raises(TopologyError) as caught:
        read_text(text.encode(), "lab.yaml", "/")
    said = str(caught.value)
    assert not any(secret in said for secret in ("geheim", "eim@", "ge/h", "qwe", "rtz@"))
