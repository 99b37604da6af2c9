"""What a lab of 10,000 hosts on 100 machines costs the orchestrator itself: the machines are the fake
engine's, in this process, and what they take is told apart from what is ours.

    python -m bench.scale_run [HOSTS] [MACHINES]      (writes docs/benchmarks.md)

The fake daemons' part is the processor time of their answers, which on real machines is spent there, side by
side; the rest of this process's is ours. Memory is this process's, with all fake hosts in it.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bench.side_by_side import machine, write_section
from orchestrator import bringup
from orchestrator.engines import spread_channel
from orchestrator.engines.fake import FakeEngine
from orchestrator.engines.fake_session import Session
from orchestrator.engines.spread import SpreadEngine
from orchestrator.fanout import Request, ask_all
from orchestrator.lab import Lab
from orchestrator.lacking import STRUCTURE
from orchestrator.model.plan import LabKey, Plan
from orchestrator.owner import owner
from orchestrator.plan import changes, make_plan
from orchestrator.read import read_text

ROOT = Path(__file__).resolve().parent.parent


class Machines(SpreadEngine):
    """As many as are asked for; each has a network model of its own, for they share no lock."""

    count = 100

    def __init__(self) -> None:
        super().__init__({f"m{n}": FakeEngine(f"m{n}", joined=False) for n in range(self.count)})


class Daemons:
    """The processor time that the fake daemons have taken, in all threads together."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._lock = threading.Lock()
        for name in ("sendall", "recv"):
            setattr(Session, name, self._measured(getattr(Session, name)))

    def _measured(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*arguments: Any) -> Any:
            began = time.thread_time()
            try:
                return work(*arguments)
            finally:
                with self._lock:
                    self.seconds += time.thread_time() - began

        return measured


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


def now() -> float:
    """The memory that this process has now, MB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


class Lap(NamedTuple):
    """Seconds: by the clock, of our processor time, of the fake daemons'."""

    what: str
    clock: float
    ours: float
    theirs: float

    @property
    def line(self) -> str:
        """Of the table."""
        return f"| {self.what} | {self.clock:.2f} | {self.ours:.2f} | {self.theirs:.2f} |"


class Laps:
    """One after the other."""

    def __init__(self) -> None:
        self.found: list[Lap] = []
        self._daemons = Daemons()

    @contextmanager
    def lap(self, what: str) -> Iterator[None]:
        """A block."""
        began, processor, theirs = time.monotonic(), time.process_time(), self._daemons.seconds
        yield
        theirs = self._daemons.seconds - theirs
        ours = time.process_time() - processor - theirs
        self.found.append(Lap(what, time.monotonic() - began, ours, theirs))
        print(self.found[-1].line, flush=True)


def planned(hosts: int, machines: int, laps: Laps) -> Plan:
    """Read and planned."""
    with laps.lap("read"):
        topology = read_text(text(hosts, machines).encode(), "lab.yaml", "/")
    with laps.lap("plan"):
        return placed(make_plan(topology, LabKey(owner=owner(), name="scale"), "fake"), machines)


def up(plan: Plan, laps: Laps) -> Lab:
    """All that `lab up` does once there is a plan."""
    engine = Machines()
    todo = changes(None, plan)
    structure = [change for change in todo if change.action in STRUCTURE]
    with laps.lap("up"):
        channel = engine.apply(plan, structure, lambda _: None)
        failed = bringup.Steps(channel, plan, todo, lambda _: None).carry_out()
        channel.call("commit")
    assert not failed, failed[:3]
    return Lab(engine, plan.key, channel, plan)


def looks(lab: Lab, laps: Laps) -> None:
    """Everybody asked, one asked, and some that do not answer."""
    with laps.lap("conns"):
        seen = lab.observe()
    assert not seen.not_observed
    print(f"  {len(seen.joined.connections)} connections, {len(seen.joined.listeners)} listeners")
    with laps.lap("hosts"):
        assert len(lab.hosts()) == len(lab.plan.hosts)
    with laps.lap("100 steps of one host"):
        for _ in range(100):
            lab.call(lab.plan.hosts[-1].name, {"do": "list"})
    requests = [Request("call", {"host": host.name, "call": {"do": "list"}}) for host in lab.plan.hosts]
    with laps.lap("a step of every host"):
        assert len(ask_all(lab.channel, requests)) == len(requests)
    away(lab, laps)


def away(lab: Lab, laps: Laps) -> None:
    """Three machines whose daemons are stopped, for which 2 s are waited here, and two that are cut off."""
    spread_channel.SILENT = 2.0
    machines = [FakeEngine(f"m{n}").machine for n in range(5)]
    for one in machines[:3]:
        one.silence()
    for one in machines[3:]:
        one.cut_off()
    with laps.lap("conns, 3 machines silent (2 s are waited), 2 cut off"):
        seen = lab.observe()
    assert len(seen.away) == len(machines), seen.away
    with laps.lap("conns once more"):
        seen = lab.observe()
    with laps.lap("a step of a host of another machine"):
        lab.call(lab.plan.hosts[-1].name, {"do": "list"})
    print(f"  {len(seen.not_observed)} hosts not observed, {len(seen.joined.connections)} connections")
    for one in machines:
        one.heal()


def main(hosts: int = 10_000, machines: int = 100) -> None:
    """All of it, one after the other."""
    Machines.count = machines
    laps = Laps()
    base = now()
    plan = planned(hosts, machines, laps)
    own = now() - base
    lab = up(plan, laps)
    whole = now() - base
    try:
        looks(lab, laps)
    finally:
        with laps.lap("down"):
            lab.down()
    lines = [
        f"## {hosts:,} hosts on {machines} machines, brought up on the fake engine",
        "",
        f"{machine()}; load {os.getloadavg()[0]:.1f}; seconds by the clock, of our processor time, of the "
        f"fake daemons'. Memory: the plan {own:.0f} MB, with all fake hosts {whole:.0f} MB. "
        "Bars: ours of up ≤ 10 s, memory ≤ 500 MB",
        "",
        "| | clock | ours | daemons |",
        "|---|---|---|---|",
        *(lap.line for lap in laps.found),
    ]
    write_section(ROOT / "docs/benchmarks.md", "scale-run", lines)


if __name__ == "__main__":
    main(*(int(one) for one in sys.argv[1:3]))
