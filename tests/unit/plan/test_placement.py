"""Each host is on one machine, what the file says holds, the rest is even, and what runs stays."""

from __future__ import annotations

import itertools
from collections import Counter

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrator.errors import PlanError
from orchestrator.model.machines import Capacity, Fleet, Group, Machine, PlaceRule, Placing
from orchestrator.model.plan import LabKey, Plan
from orchestrator.model.topology import Attachment, Host, Network, Resources, Router, Topology
from orchestrator.plan import changes, make_plan, place
from orchestrator.plan.constraints import Constraint
from orchestrator.plan.expand import expand, names
from orchestrator.plan.solving import conflict, solve
from orchestrator.plan.spreading import PORTS, USUAL_CPUS, USUAL_MEMORY
from tests.unit.plan.labs import KEY, lab

GIB = 1 << 30
THREE = "machines: {m1: {url: local, labels: [big]}, m2: ssh://a@10.0.0.2, m3: ssh://a@10.0.0.3}\n"


def on_machines(text: str) -> Topology:
    """A lab on three machines."""
    return lab(THREE + text)


def where(text: str, running: Plan | None = None, **capacities: Capacity) -> dict[str, str]:
    """Who is where."""
    return place(on_machines(text), capacities, running)


def plan(text: str, running: Plan | None = None, machines: str = THREE) -> Plan:
    """The whole plan."""
    return make_plan(lab(machines + text), KEY, "docker", running)


def hosts(*written: str) -> str:
    """Hosts of one network."""
    lines = [f"  {one}: {{role: client, networks: [dc]}}" for one in written]
    return "networks: {dc: }\nhosts:\n" + "\n".join(lines) + "\n"


def many(name: str, count: int, network: str = "dc") -> str:
    """A line of so many hosts."""
    return f"  {name}: {{role: client, networks: [{network}], count: {count}}}\n"


# What is drawn at random


@st.composite
def spread_labs(draw: st.DrawFn) -> tuple[Topology, dict[str, Capacity]]:
    """Hosts on a few networks, machines of different size, and rules that may contradict each other."""
    networks = [f"n{number}" for number in range(draw(st.integers(1, 3)))]
    machines = tuple(
        Machine(
            name=f"m{n}", url=f"ssh://m{n}", labels=tuple(draw(st.sets(st.sampled_from("ab")))), at=f"f:{n}:1"
        )
        for n in range(draw(st.integers(1, 4)))
    )
    found = []
    for number in range(draw(st.integers(1, 6))):
        chosen = draw(st.lists(st.sampled_from(networks), min_size=1, max_size=2, unique=True))
        attachments = tuple(Attachment(network=one) for one in chosen)
        memory = draw(st.sampled_from([None, None, 64 << 20, GIB]))
        count = draw(st.integers(1, 3))
        found.append(
            Host(
                name=f"h{number}",
                role="client",
                attachments=attachments,
                count=count,
                resources=Resources(memory=memory),
            )
        )
    routers: tuple[Router, ...] = ()
    if len(networks) > 1:
        routers = (Router(name="r", attachments=tuple(Attachment(network=one) for one in networks)),)
    written = [one.name for one in found]
    every = [*written, *(name for one in found for name in names(one)), "h*"]
    rules = [
        PlaceRule(who=who, machine=draw(st.sampled_from(machines)).name, at="f:2:1")
        if draw(st.booleans())
        else PlaceRule(who=who, label=draw(st.sampled_from("ab")), at="f:3:1")
        for who in draw(st.lists(st.sampled_from(every), max_size=2, unique=True))
    ]
    groups = tuple(
        Group(
            kind=draw(st.sampled_from(["together", "apart"])),
            who=tuple(draw(st.lists(st.sampled_from(written), min_size=1, max_size=3, unique=True))),
            at="f:4:1",
        )
        for _ in range(draw(st.integers(0, 2)))
    )
    topology = Topology(
        name="t",
        networks=tuple(Network(name=name) for name in networks),
        hosts=tuple(found),
        routers=routers,
        machines=machines,
        placing=Placing(rules=tuple(rules), groups=groups),
    )
    sizes = {
        one.name: Capacity(memory_free=draw(st.integers(1, 8)) * GIB, cpus=draw(st.integers(1, 8)))
        for one in machines
        if draw(st.booleans())
    }
    return topology, sizes


def holds(topology: Topology, placed: dict[str, str]) -> bool:
    """Whether all rules do, in the plainest words: the model that the solver is held against."""
    who = {one.name: names(one) for one in topology.hosts}
    labels = {machine.name: machine.labels for machine in topology.machines}
    for name, machine in placed.items():
        written = next((one for one, all_ in who.items() if name in all_), name)
        closest = [r for r in topology.placing.rules if r.who in (name, written, "h*") and written != "r"]
        closest.sort(key=lambda r: ["h*", written, name].index(r.who) if name != written else r.who != "h*")
        if closest and closest[-1].machine not in (None, machine):
            return False
        if closest and closest[-1].label is not None and closest[-1].label not in labels[machine]:
            return False
    for group in topology.placing.groups:
        parts = [{placed[name] for name in who[one]} for one in group.who]
        if group.kind == "together" and len(set().union(*parts)) > 1:
            return False
        if group.kind == "apart" and any(a & b for a, b in itertools.combinations(parts, 2)):
            return False
        alone = group.kind == "apart" and len(parts) == 1
        if alone and len(parts[0]) < len(who[group.who[0]]):
            return False
    return True


@settings(max_examples=300, deadline=None)
@given(spread_labs())
def test_every_host_is_placed_once_and_every_rule_holds(drawn: tuple[Topology, dict[str, Capacity]]) -> None:
    topology, sizes = drawn
    try:
        placed = place(topology, sizes)
    except PlanError as error:
        assume("has room" not in error.message and "no machine" not in error.message)
        assert not any(holds(topology, one) for one in all_ways(topology))
        return
    assert list(placed) == [member.name for member in expand(topology)]
    assert set(placed.values()) <= {machine.name for machine in topology.machines}
    assert holds(topology, placed)
    assert place(topology, sizes) == placed
    for name, size in sizes.items():
        resources = {member.name: member.host for member in expand(topology)}
        taken = [h.resources.memory if h else None for n, h in resources.items() if placed[n] == name]
        assert sum(one or USUAL_MEMORY for one in taken) <= (size.memory_free or 0)


def all_ways(topology: Topology) -> list[dict[str, str]]:
    """Every placement; few enough are looked at to be sure of what was refused."""
    everyone = [member.name for member in expand(topology)]
    machines = [machine.name for machine in topology.machines]
    assume(len(machines) ** len(everyone) <= 5_000)
    return [
        dict(zip(everyone, one, strict=True)) for one in itertools.product(machines, repeat=len(everyone))
    ]


@settings(max_examples=150, deadline=None)
@given(
    count=st.integers(1, 120),
    sizes=st.lists(st.tuples(st.integers(4, 64), st.integers(1, 64)), min_size=1, max_size=6),
)
def test_alike_hosts_are_even_to_one(count: int, sizes: list[tuple[int, int]]) -> None:
    """No machine is fuller than any other would be with one more."""
    machines = ", ".join(f"m{number}: ssh://m{number}" for number in range(len(sizes)))
    topology = lab(f"machines: {{{machines}}}\nnetworks: {{dc: }}\nhosts:\n" + many("h", count))
    room = {f"m{n}": Capacity(memory_free=mem * GIB, cpus=cpus) for n, (mem, cpus) in enumerate(sizes)}
    have = Counter(place(topology, room).values())

    def full(name: str, hosts: int) -> float:
        size = room[name]
        return max(hosts * USUAL_MEMORY / (size.memory_free or 1), hosts * USUAL_CPUS / (size.cpus or 1))

    fullest = max(full(name, have[name]) for name in room)
    assert all(fullest <= full(name, have[name] + 1) + 1e-9 for name in room)


@settings(max_examples=100, deadline=None)
@given(spread_labs(), st.integers(0, 5))
def test_what_runs_does_not_move(drawn: tuple[Topology, dict[str, Capacity]], fewer: int) -> None:
    topology, sizes = drawn
    free = msgspec.structs.replace(topology, placing=Placing())
    before = msgspec.structs.replace(free, hosts=free.hosts[: 1 + fewer])
    grown = msgspec.structs.replace(free, machines=(*free.machines, Machine(name="new", url="ssh://new")))
    try:
        running = make_plan(before, KEY, "docker", fleet=Fleet(capacities=sizes))
        after = make_plan(grown, KEY, "docker", running, fleet=Fleet(capacities=sizes))
    except PlanError as error:
        assume("room" not in error.message)
        raise
    for host in running.hosts:
        now = after.host(host.name)
        assert now is not None
        assert now.machine == host.machine
    assert {change.action for change in changes(running, after)} <= {
        *("make-host", "make-network", "span-network", "configure")
    }
    assert sorted(host.name for part in after.machines for host in after.part(part.name).hosts) == sorted(
        host.name for host in after.hosts
    )


@settings(max_examples=200, deadline=None)
@given(spread_labs())
def test_a_conflict_is_whole_and_least(drawn: tuple[Topology, dict[str, Capacity]]) -> None:
    from orchestrator.plan.constraints import constraints

    topology, _ = drawn
    members = expand(topology)
    everyone = [member.name for member in members]
    speeds = [1.0] * len(topology.machines)

    def possible(some: object) -> bool:
        return solve(everyone, some, speeds) is not None  # type: ignore[arg-type]

    wanted = constraints(topology, members, None)
    assume(not possible(wanted))
    found = conflict(wanted, possible)
    assert found
    assert not possible(found)
    for one in found:
        assert possible([other for other in found if other is not one])


# One by one


def test_the_rest_is_even_and_a_network_is_on_few_machines() -> None:
    text = "networks: {a: , b: , c: }\nhosts:\n"
    placed = where(text + many("x", 5, "a") + many("y", 5, "b") + many("z", 5, "c"))
    assert Counter(placed.values()) == {"m1": 5, "m2": 5, "m3": 5}
    assert [len({placed[f"{one}-{n}"] for n in range(1, 6)}) for one in "xyz"] == [1, 1, 1]


def test_a_router_is_beside_its_hosts() -> None:
    text = "networks: {a: , b: , c: , d: }\nrouters: {one: {networks: [c, d]}, two: {networks: [a, b]}}\n"
    text += (
        "place: {x: m1, z: m2, t: m3}\nhosts:\n" + many("x", 3, "a") + many("z", 3, "c") + many("t", 4, "d")
    )
    placed = where(text)
    assert (placed["one"], placed["two"]) == ("m2", "m1")


def test_what_other_labs_have_there_counts() -> None:
    placed = where(hosts(*"abcdef"), m1=Capacity(hosts=100, cpus=2), m2=Capacity(cpus=2), m3=Capacity(cpus=2))
    assert Counter(placed.values()) == {"m2": 3, "m3": 3}


def test_more_memory_takes_more_hosts() -> None:
    text = "networks: {dc: }\nhosts:\n" + many("h", 30)
    sizes = {f"m{n}": Capacity(memory_free=n * GIB, cpus=64) for n in (1, 2, 3)}
    assert Counter(place(on_machines(text), sizes).values()) == {"m1": 5, "m2": 10, "m3": 15}


def test_groups_that_shun_each_other_share_the_machines_fairly() -> None:
    text = "networks: {dc: }\nkeep apart: [[c, s]]\nhosts:\n" + many("c", 20) + many("s", 10)
    placed = where(text)
    clients, servers = ({placed[name] for name in placed if name.startswith(one)} for one in "cs")
    assert not clients & servers
    assert (len(clients), len(servers)) == (2, 1)


def test_twenty_apart_on_nineteen_machines_are_refused_at_once() -> None:
    machines = "machines: {" + ", ".join(f"m{n}: ssh://m{n}" for n in range(19)) + "}\n"
    text = machines + "networks: {dc: }\nkeep apart: [[h]]\nhosts:\n"
    with pytest.raises(PlanError, match=r"^lab.yaml:4:14: `keep apart: \[h\]` cannot hold on 19 machines\n"):
        place(lab(text + many("h", 20)), {})
    assert len(set(place(lab(text + many("h", 19)), {}).values())) == 19


def test_the_closest_rule_holds() -> None:
    placed = where(
        "place: {'*': m3, b: m2, b-2: m1}\nnetworks: {dc: }\nhosts:\n" + many("a", 2) + many("b", 3)
    )
    assert placed == {"a-1": "m3", "a-2": "m3", "b-1": "m2", "b-2": "m1", "b-3": "m2"}


def test_hosts_that_reach_the_internet_share_a_machine() -> None:
    text = (
        "networks: {out: {internet: true}, dc: }\nrouters: {nat: {networks: [out, dc], nat: out}}\nhosts:\n"
    )
    planned = plan(text + many("a", 3, "out") + many("b", 8))
    out, dc = planned.networks
    assert (out.spans, out.fabric, out.vni) == (False, None, None)
    assert dc.spans
    assert {host.machine for host in planned.hosts if host.name[0] in "an"} == set(out.machines)


def test_a_bridge_has_no_more_ports_than_it_has() -> None:
    two = "machines: {m1: local, m2: ssh://a@b}\nnetworks: {dc: , b: }\nhosts:\n"
    placed = place(lab(two + many("a", 2 * PORTS) + many("x", 100, "b")), {})
    assert Counter(placed[name] for name in placed if name[0] == "a") == {"m1": PORTS, "m2": PORTS}
    with pytest.raises(PlanError, match="a bridge takes 1,023"):
        place(lab(two + many("a", 2 * PORTS + 1) + many("x", 100, "b")), {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "place: {a: m1, b: m2}\nkeep together: [[a, b]]\n",
            "lab.yaml:3:9: `place: {a: m1}` cannot hold on 3 machines together with "
            "`place: {b: m2}` (lab.yaml:3:16), `keep together: [a, b]` (lab.yaml:4:17)",
        ),
        (
            "keep together: [[a, b], [b, c]]\nkeep apart: [[a, c], [d, a]]\n",
            "lab.yaml:3:17: `keep together: [a, b]` cannot hold on 3 machines together with "
            "`keep together: [b, c]` (lab.yaml:3:25), `keep apart: [a, c]` (lab.yaml:4:14)",
        ),
        (
            "place: {a: {label: big}, b: m1}\nkeep apart: [[a, b]]\n",
            "lab.yaml:3:9: `place: {a: {label: big}}` cannot hold on 3 machines together with "
            "`place: {b: m1}` (lab.yaml:3:26), `keep apart: [a, b]` (lab.yaml:4:14)",
        ),
        (
            "keep apart: [[a, b, c, d]]\n",
            "lab.yaml:3:14: `keep apart: [a, b, c, d]` cannot hold on 3 machines",
        ),
    ],
)
def test_what_cannot_hold_is_named_with_its_places(text: str, said: str) -> None:
    with pytest.raises(PlanError) as caught:
        where(text + hosts(*"abcd"))
    assert caught.value.message == said


def test_a_machine_without_room() -> None:
    text = (
        "networks: {dc: }\nhosts:\n  db: {role: server, networks: [dc], count: 3, resources: {memory: 2g}}\n"
    )
    small, large = Capacity(memory_free=GIB), Capacity(memory_free=5 * GIB)
    assert set(where(text[: text.index(", count")] + "}\n", m1=small, m2=small, m3=large)) == {"db"}
    with pytest.raises(PlanError, match="no machine has room for `db-3`, 2 GiB; free: m3 5 GiB"):
        where(text, m1=small, m2=small, m3=large)
    with pytest.raises(PlanError, match=r"`place: {db: m1}` cannot hold .* that `db-1` has 2 GiB of memory"):
        where("place: {db: m1}\n" + text, m1=small, m2=small, m3=large)


# While the lab runs


def test_a_rule_that_would_move_a_running_host_is_refused() -> None:
    running = plan("place: {a: m1}\n" + hosts(*"ab"))
    with pytest.raises(PlanError) as caught:
        plan("place: {a: m2}\n" + hosts(*"ab"), running)
    assert caught.value.message == (
        "lab.yaml:3:9: `place: {a: m2}` cannot hold on 3 machines together with that `a` runs on m1"
    )
    assert "a host that runs does not move" in caught.value.hint


def test_one_machine_more_gets_what_is_new() -> None:
    two = THREE.replace(", m3: ssh://a@10.0.0.3", "")
    running = plan(hosts(*"abcd"), machines=two)
    assert changes(running, plan(hosts(*"abcd"), running)) == ()
    wanted = plan(hosts(*"abcdef"), running)
    assert {host.machine for host in wanted.hosts if host.name in "ef"} == {"m3"}
    found = [(change.action, change.subject, change.why) for change in changes(running, wanted)]
    assert found[:3] == [
        ("span-network", "dc", "also on m3"),
        ("make-host", "e", "new"),
        ("make-host", "f", "new"),
    ]


def test_one_machine_fewer() -> None:
    two = THREE.replace(", m3: ssh://a@10.0.0.3", "")
    running = plan("place: {c: m3}\n" + hosts(*"abc"))
    with pytest.raises(PlanError, match="machine m3 is no longer in the file, and there run c"):
        plan(hosts(*"abc"), running, machines=two)
    found = [(c.action, c.subject) for c in changes(running, plan(hosts(*"ab"), running, machines=two))]
    assert found[:2] == [("remove-host", "c"), ("span-network", "dc")]
    moved = THREE.replace("10.0.0.3", "10.0.0.4")
    with pytest.raises(
        PlanError, match=r"^lab.yaml:2:67: machine m3 was ssh://a@10.0.0.3, and there run c\n"
    ):
        plan(hosts(*"abc"), running, machines=moved)


def test_a_lab_of_this_computer_does_not_become_one_on_machines() -> None:
    alone = make_plan(lab(hosts("a")), KEY, "docker")
    with pytest.raises(PlanError, match="lab t runs on this computer, not on machines"):
        plan(hosts("a"), alone)
    with pytest.raises(PlanError, match="lab t runs on machines"):
        make_plan(lab(hosts("a")), KEY, "docker", plan(hosts("a")))
    with pytest.raises(PlanError, match="makes hosts on this computer only"):
        make_plan(on_machines(hosts("a")), KEY, "namespaces")


# What networks have


def fleet(**values: object) -> Fleet:
    """Machines of which m2 is seen like this."""
    return Fleet(capacities={"m1": Capacity(), "m2": Capacity(**values)})  # type: ignore[arg-type]


def test_a_network_that_spans_is_smaller_by_what_is_put_around_it() -> None:
    text = "networks: {a: , b: {fabric: wireguard}}\nhosts:\n" + many("x", 3, "a") + many("y", 3, "b")
    topology = on_machines(text)
    planned = make_plan(topology, KEY, "docker", fleet=fleet(mtu=1450))
    assert [network.mtu for network in planned.networks] == [1400, 1340]
    six = make_plan(topology, KEY, "docker", fleet=fleet(mtu=1500, address="fd00::2"))
    assert [network.mtu for network in six.networks] == [1500 - 70, 1500 - 70 - 80]
    again = make_plan(topology, KEY, "docker", planned, fleet=fleet(mtu=9000))
    assert [network.mtu for network in again.networks] == [1400, 1340]
    with pytest.raises(PlanError, match="packets of 1300 bytes pass"):
        make_plan(topology, KEY, "docker", fleet=fleet(mtu=1300))


def test_identifiers_are_the_same_again_and_nobody_elses() -> None:
    topology = on_machines("networks: {a: , b: }\nhosts:\n" + many("x", 3, "a") + many("y", 3, "b"))
    first = make_plan(topology, KEY, "docker")
    assert make_plan(topology, KEY, "docker") == first
    a, b = (network.vni or 0 for network in first.networks)
    assert 0 < a < 1 << 24
    assert a != b
    other = make_plan(topology, LabKey(owner="you", name="t"), "docker")
    assert {network.vni for network in other.networks}.isdisjoint({a, b})
    apart = make_plan(topology, KEY, "docker", fleet=fleet(vnis=(a,)))
    assert apart.networks[0].vni not in (a, b)
    assert apart.networks[1].vni == b
    assert make_plan(topology, KEY, "docker", first, fleet=fleet(vnis=(a, b))).networks == first.networks


def test_a_swarm_carries_no_ipv6() -> None:
    text = "networks: {dc: {subnet6: auto}}\nhosts:\n" + many("x", 3)
    with pytest.raises(PlanError, match="an overlay of a swarm carries IPv4 only"):
        plan("fabric: swarm\n" + text)
    alone = plan("fabric: swarm\nplace: {x: m1}\n" + text).networks[0]
    assert (alone.fabric, alone.machines) == (None, ("m1",))
    topology = on_machines("networks: {dc: }\nhosts:\n" + many("x", 3))
    assert make_plan(topology, KEY, "docker", fleet=Fleet(swarm=True)).networks[0].fabric == "swarm"


def test_a_part_has_what_its_machine_makes() -> None:
    text = (
        "networks: {a: , b: }\nrouters: {edge: {networks: [a, b]}}\nplace: {x: m1, y: m2, edge: m1}\nhosts:\n"
    )
    planned = plan(text + many("x", 1, "a") + many("y", 1, "b"))
    one, two = planned.part("m1"), planned.part("m2")
    assert [host.name for host in one.hosts] == ["edge", "x"]
    assert [network.name for network in one.networks] == ["a", "b"]
    assert [host.name for host in two.hosts] == ["y"]
    assert [network.name for network in two.networks] == ["b"]
    assert one.names == two.names == planned.names
    assert one.machines == two.machines == planned.machines
    assert two.hosts[0].routes == (planned.hosts[2].routes)
    assert planned.part("m3").hosts == ()
    assert msgspec.json.decode(msgspec.json.encode(planned), type=Plan) == planned


def test_a_plan_of_before_is_read() -> None:
    """What daemons have stored that run since before there were machines."""
    planned = make_plan(lab(hosts("a")), KEY, "docker")
    stored = msgspec.to_builtins(planned)
    del stored["machines"]
    for host in stored["hosts"]:
        del host["machine"]
    for network in stored["networks"]:
        for key in ("machines", "fabric", "vni", "mtu"):
            del network[key]
    assert msgspec.convert(stored, Plan) == planned


def test_a_search_that_finds_no_way_ends() -> None:
    everyone = [f"h{number}" for number in range(40)]
    apart = [
        Constraint("apart", f"{a} {b}", ((a,), (b,))) for a, b in itertools.combinations(everyone[:12], 2)
    ]
    assert solve(everyone, apart, [1.0] * 11) is None
    assert solve(everyone, apart, [1.0] * 12) is not None
