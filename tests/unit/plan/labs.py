"""Labs for the tests of the plan: by text, and at random."""

from __future__ import annotations

from hypothesis import strategies as st

from orchestrator.model.plan import LabKey, Plan
from orchestrator.model.topology import Attachment, ConnectTo, Host, Listen, Network, Router, Topology
from orchestrator.plan import make_plan
from orchestrator.read import read_text

KEY = LabKey(owner="me", name="t")


def lab(text: str) -> Topology:
    """The topology of a lab file without its name."""
    return read_text(b"name: t\n" + text.encode(), "lab.yaml", "/")


def plan(
    text: str, engine: str = "namespaces", running: Plan | None = None, taken: tuple[str, ...] = ()
) -> Plan:
    """The plan of such a text."""
    return make_plan(lab(text), KEY, engine, running, taken)


# Each has room for all hosts and routers that a topology may have here.
SUBNETS = ("10.7.0.0/27", "10.7.0.32/27", "10.20.1.0/24", "192.168.9.0/27")
SUBNETS6 = (None, "auto", "fd07::/64")


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Up to five networks, joined at random by plain and masquerading routers, with hosts on one or two."""
    count = draw(st.integers(1, 5))
    names = [f"n{number}" for number in range(count)]
    networks = tuple(
        Network(
            name=name,
            subnet=SUBNETS[number] if number < len(SUBNETS) and draw(st.booleans()) else None,
            subnet6=draw(st.sampled_from(SUBNETS6 if number == 0 else SUBNETS6[:2])),
            internet=draw(st.sampled_from([False, False, True])),
        )
        for number, name in enumerate(names)
    )
    routers = tuple(_router(draw, f"r{number}", names) for number in range(draw(st.integers(0, 4))))
    hosts = tuple(_host(draw, f"h{number}", names) for number in range(draw(st.integers(1, 5))))
    return Topology(name="t", networks=networks, routers=routers, hosts=hosts)


def _attachments(draw: st.DrawFn, names: list[str], most: int) -> tuple[Attachment, ...]:
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=most, unique=True))
    return tuple(Attachment(network=name) for name in chosen)


def _router(draw: st.DrawFn, name: str, names: list[str]) -> Router:
    attachments = _attachments(draw, names, 3)
    nat = draw(st.sampled_from([None, None, attachments[0].network]))
    return Router(name=name, attachments=attachments, nat=nat)


def _host(draw: st.DrawFn, name: str, names: list[str]) -> Host:
    return Host(
        name=name,
        role="server",
        attachments=_attachments(draw, names, 2),
        count=draw(st.sampled_from([1, 1, 2])),
        listen=(Listen(port=80),),
        connect=(ConnectTo(host="localhost", port=80),),
    )
