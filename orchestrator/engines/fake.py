"""The fake engine: labs in this process's memory, for tests and for machines where no other engine works.

It speaks the same requests and passes the same contract suite as the real ones, so what is built on engines
needs no mock. A lab lives as long as the process; no other process sees it.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.engines.base import Check, Found, Probe, Progress, counted
from orchestrator.engines.fake_daemon import FakeDaemon
from orchestrator.engines.fake_machine import FakeMachine
from orchestrator.engines.fake_world import World
from orchestrator.engines.structure import Structure, kept_unless_it_fails, of_changes
from orchestrator.model.plan import Change, LabKey, Plan
from orchestrator.wire import Channel

_LABS: dict[tuple[str, LabKey], FakeDaemon] = {}  # by machine
_MACHINES: dict[str, FakeMachine] = {}
_WORLDS: dict[LabKey, World] = {}  # of labs on several machines, whose networks are joined


def machine(name: str) -> FakeMachine:
    """The one of that name."""
    return _MACHINES.setdefault(name, FakeMachine(name))


class FakeEngine:
    """Implements engines.base.Engine, on one of the computers that it plays. `joined`: a lab's networks are
    the same on all of its machines, as if a fabric joined them.
    """

    name = "fake"

    def __init__(self, machine_name: str = "fake", *, joined: bool = True) -> None:
        self.machine = machine(machine_name)
        self._joined = joined

    def probe(self, thorough: bool = False) -> Probe:
        """It works everywhere."""
        checks = (Check(what="memory", ok=True),) if thorough else ()
        return Probe(engine=self.name, works=True, reason="it needs nothing", checks=checks)

    def find(self, owner: str) -> Sequence[Found]:
        """The labs of this process."""
        self.machine.reach()
        return [
            Found(
                key=key,
                engine=self.name,
                state="running" if daemon.state == "running" else "incomplete",
                what=daemon.what,
            )
            for (machine_name, key), daemon in sorted(_LABS.items())
            if key.owner == owner and machine_name == self.machine.name
        ]

    def open(self, key: LabKey) -> Channel | None:
        """A channel to a lab of this process."""
        self.machine.reach()
        daemon = _LABS.get((self.machine.name, key))
        return daemon.connect() if daemon else None

    def apply(self, plan: Plan, changes: Sequence[Change], progress: Progress) -> Channel:
        """Carry out the changes on the lab, which begins here if it is not there."""
        self.machine.reach()
        with kept_unless_it_fails(self._daemon(plan.key).connect()) as channel:
            _carry_out(channel, of_changes(plan, changes), progress)
        return channel

    def _daemon(self, key: LabKey) -> FakeDaemon:
        place = self.machine.name, key
        if place not in _LABS:
            world = _WORLDS.setdefault(key, World()) if self._joined else World()
            _LABS[place] = FakeDaemon(key, lambda: _forget(place), self.machine, world)
        return _LABS[place]

    def remove(self, key: LabKey, progress: Progress) -> None:
        """End the lab; nothing where there is none."""
        self.machine.reach()
        daemon = _LABS.get((self.machine.name, key))
        if daemon:
            progress(f"removing {key.name}")
            daemon.end()


def _forget(place: tuple[str, LabKey]) -> None:
    _LABS.pop(place, None)
    if not any(key == place[1] for _, key in _LABS):
        _WORLDS.pop(place[1], None)


def _carry_out(channel: Channel, wanted: Structure, progress: Progress) -> None:
    if wanted.old_hosts or wanted.old_networks:
        channel.call("remove", hosts=wanted.old_hosts, networks=wanted.old_networks)
    if wanted.networks or wanted.hosts:
        progress(f"making {counted(wanted.hosts, 'host')} and {counted(wanted.networks, 'network')}")
        channel.call("make", networks=wanted.networks, hosts=wanted.hosts)
