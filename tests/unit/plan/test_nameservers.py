"""Who answers questions of DNS, and who asks whom."""

from __future__ import annotations

from orchestrator.model.plan import Plan
from orchestrator.plan import changes
from tests.unit.plan.labs import plan

NETS = (
    "networks:\n  office: {subnet: 10.20.1.0/24}\n"
    "  dc: {subnet: 10.20.2.0/24, subnet6: 'fd20:2::/64'}\n"
    "routers: {edge: {networks: [office, dc]}}\nhosts:\n"
)
NS = (
    "  ns: {role: server, networks: {dc: 10.20.2.53}, "
    "dns: {Shop.Lab.: [Bob, 192.0.2.1], bobs.lab: bob, no.lab: }}\n"
)
BOB = "  bob: {role: server, networks: [dc]}\n"
BOBS = "  bob: {role: server, networks: {dc: }, count: 2}\n"


def done(old: Plan, new: Plan) -> set[tuple[str, str]]:
    """What is done from one to the other."""
    return {(change.action, change.subject) for change in changes(old, new)}


def test_records_are_the_labs_names_and_those_of_the_file() -> None:
    found = plan(NETS + NS + BOB)
    ns, bob = found.host("ns"), found.host("bob")
    assert ns
    assert ns.dns
    assert bob
    own = tuple(address for link in bob.interfaces for address in (link.address, link.address6) if address)
    assert ns.dns.addresses == ("127.0.0.1", "10.20.2.53", ns.interfaces[0].address6)
    assert ns.dns.records["shop.lab"] == (*own, "192.0.2.1")
    assert ns.dns.records["bobs.lab"] == ns.dns.records["bob"] == own
    assert ns.dns.records["no.lab"] == ()
    assert set(ns.dns.records) == {"edge", "ns", "bob", "shop.lab", "bobs.lab", "no.lab"}
    assert bob.dns is None


def test_a_name_that_stands_for_several_hosts_has_all_their_addresses() -> None:
    found = plan(NETS + NS.replace("Bob, ", "") + BOBS)
    ns = found.host("ns")
    assert ns
    assert ns.dns
    assert ns.dns.records["bobs.lab"] == (*ns.dns.records["bob-1"], *ns.dns.records["bob-2"])


def test_a_resolver_is_asked_at_an_address_that_leads_there() -> None:
    text = NETS + NS + BOB + "  eve: {role: client, networks: [office], resolver: [ns, 10.9.9.9, eve]}\n"
    eve = plan(text).host("eve")
    assert eve
    assert eve.resolver == ("10.20.2.53", "10.9.9.9", "127.0.0.1")


def test_what_is_done_when_the_file_changes() -> None:
    asking = "  eve: {role: client, networks: [office], resolver: ns}\n"
    old = plan(NETS + NS + BOB + asking)
    records = plan(NETS + NS.replace("192.0.2.1", "192.0.2.2") + BOB + asking)
    assert done(old, records) == {("dns", "ns")}
    other = plan(NETS + NS + BOB + asking.replace("resolver: ns", "resolver: 10.9.9.9"))
    assert done(old, other) == {("configure", "eve")}
    nobody = plan(NETS + NS + BOB + asking.replace(", resolver: ns", ""))
    assert {("remove-host", "eve"), ("make-host", "eve")} <= done(old, nobody)
    plain = plan(NETS + "  ns: {role: server, networks: {dc: 10.20.2.53}}\n" + BOB + asking)
    assert done(old, plain) == {("dns", "ns")}
