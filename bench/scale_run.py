"""What a lab of 10,000 hosts on 100 machines costs the orchestrator itself: the machines are the fake
engine's, in this process, and what they take is told apart from what is ours.

    python -m bench.scale_run [HOSTS] [MACHINES]

The fake daemons' part of `up` is the processor time of their answers, which on real machines is spent there,
side by side. Memory is this process's, with all fake hosts in it.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from orchestrator import bringup
from orchestrator.engines import registry, spread_channel
from orchestrator.engines.fake import FakeEngine
from orchestrator.engines.fake_session import Session
from orchestrator.engines.spread import SpreadEngine
from orchestrator.lab import Lab
from orchestrator.model.plan import LabKey, Plan
from orchestrator.owner import owner
from orchestrator.plan import changes, make_plan
from orchestrator.read import read_text

MIB = 1 << 20


class Machines(SpreadEngine):
    """As many as are asked for; each has a network model of its own, for they share no lock."""

    count = 100

    def __init__(self) -> None:
        super().__init__({f"m{n}": FakeEngine(f"m{n}", joined=False) for n in range(self.count)})


class Daemons:
    """How long the fake daemons have been at work, in all threads together."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._lock = threading.Lock()

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Whatever they do in the block."""
        before = Session.sendall

        def sendall(session: Session, data: bytes, /) -> None:
            began = time.thread_time()
            before(session, data)
            with self._lock:
                self.seconds += time.thread_time() - began

        Session.sendall = sendall  # type: ignore[method-assign]
        try:
            yield
        finally:
            Session.sendall = before  # type: ignore[method-assign]


def text(hosts: int, machines: int) -> str:
    """A server and its clients on each machine, on a network of their own; a tenth of the clients connect."""
    each = hosts // machines
    lines = ["name: scale", "networks:"]
    lines += [f"  n{m}: {{subnet: 10.{m // 250}.{m % 250}.0/24}}" for m in range(machines)]
    lines += ["hosts:"]
    for m in range(machines):
        lines.append(f"  s{m}: {{role: server, networks: [n{m}], listen: [80]}}")
        some = each // 10
        lines.append(f"  c{m}: {{role: client, networks: [n{m}], connect: ['s{m}:80'], count: {some}}}")
        lines.append(f"  i{m}: {{role: client, networks: [n{m}], count: {each - some - 1}}}")
    return "\n".join(lines)


def placed(plan: Plan, machines: int) -> Plan:
    """Each on the machine of its network."""
    hosts = tuple(
        msgspec.structs.replace(host, machine=f"m{host.interfaces[0].network[1:]}") for host in plan.hosts
    )
    return msgspec.structs.replace(plan, hosts=hosts)


def memory() -> int:
    """The most that this process has had, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def now() -> int:
    """What it has now, bytes."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@contextmanager
def timed(what: str, found: dict[str, float]) -> Iterator[None]:
    """Wall and processor time of a block."""
    began, processor = time.monotonic(), time.process_time()
    yield
    found[what] = time.monotonic() - began
    print(f"{what}: {found[what]:.2f} s, {time.process_time() - processor:.2f} s of processor", flush=True)


def main(hosts: int = 10_000, machines: int = 100) -> dict[str, Any]:
    """All of it, one after the other."""
    Machines.count = machines
    registry.ENGINES["fake"] = (__name__, "Machines")
    sys.modules.setdefault("bench.scale_run", sys.modules[__name__])
    found: dict[str, float] = {}
    base = now()
    with timed("read", found):
        topology = read_text(text(hosts, machines).encode(), "lab.yaml", "/")
    with timed("plan", found):
        plan = placed(make_plan(topology, LabKey(owner=owner(), name="scale"), "fake"), machines)
        todo = changes(None, plan)
    planned = now()
    print(f"plan: {(planned - base) / MIB:.0f} MiB", flush=True)
    engine, daemons = Machines(), Daemons()
    structure = [change for change in todo if change.action in bringup.STRUCTURE]
    with timed("up", found), daemons.measured():
        channel = engine.apply(plan, structure, lambda _: None)
        failed = bringup.Steps(channel, plan, todo, lambda _: None).carry_out()
        channel.call("commit")
    assert not failed, failed[:3]
    found["daemons"] = daemons.seconds
    print(
        f"  of which the fake daemons: {daemons.seconds:.2f} s; ours: {found['up'] - daemons.seconds:.2f} s"
    )
    print(f"up: {(now() - planned) / MIB:.0f} MiB with the fake hosts, {memory() / MIB:.0f} MiB at most")
    lab = Lab(engine, plan.key, channel, plan)
    try:
        looks(lab, found, machines)
    finally:
        with timed("down", found):
            lab.down()
    return found


def looks(lab: Lab, found: dict[str, float], machines: int) -> None:
    """Everybody asked, one asked, and some that do not answer."""
    with timed("conns", found):
        seen = lab.observe()
    assert not seen.not_observed
    print(f"  {len(seen.joined.connections)} connections, {len(seen.joined.listeners)} listeners")
    with timed("hosts", found):
        assert len(lab.hosts()) == len(lab.plan.hosts)
    name = lab.plan.hosts[-1].name
    with timed("100 calls of one host", found):
        for _ in range(100):
            lab.call(name, {"do": "list"})
    with timed("a call of every host", found):
        from orchestrator.fanout import Request, ask_all

        requests = [Request("call", {"host": host.name, "call": {"do": "list"}}) for host in lab.plan.hosts]
        assert len(ask_all(lab.channel, requests)) == len(requests)
    spread_channel.SILENT = 2.0
    members = [FakeEngine(f"m{n}").machine for n in range(machines)]
    for machine in members[:3]:
        machine.silence()
    for machine in members[3:5]:
        machine.cut_off()
    with timed("conns, 3 machines silent for the 2 s that are allowed, 2 cut off", found):
        seen = lab.observe()
    assert len(seen.away) == 5, seen.away
    with timed("conns again", found):
        seen = lab.observe()
    print(f"  {len(seen.not_observed)} hosts not observed, {len(seen.joined.connections)} connections")
    for machine in members:
        machine.heal()


if __name__ == "__main__":
    main(*(int(one) for one in sys.argv[1:3]))
