"""The fake engine: labs in this process's memory, for tests and for machines where no other engine works.

It speaks the same requests and passes the same contract suite as the real ones, so what is built on engines
needs no mock. A lab lives as long as the process; no other process sees it.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.engines.base import Check, Found, Probe, Progress, counted
from orchestrator.engines.fake_daemon import FakeDaemon
from orchestrator.engines.structure import Structure, kept_unless_it_fails, of_changes
from orchestrator.model.plan import Change, LabKey, Plan
from orchestrator.wire import Channel

_LABS: dict[LabKey, FakeDaemon] = {}


class FakeEngine:
    """Implements engines.base.Engine."""

    name = "fake"

    def probe(self, thorough: bool = False) -> Probe:
        """It works everywhere."""
        checks = (Check(what="memory", ok=True),) if thorough else ()
        return Probe(engine=self.name, works=True, reason="it needs nothing", checks=checks)

    def find(self, owner: str) -> Sequence[Found]:
        """The labs of this process."""
        return [
            Found(
                key=key,
                engine=self.name,
                state="running" if daemon.state == "running" else "incomplete",
                what=daemon.what,
            )
            for key, daemon in sorted(_LABS.items())
            if key.owner == owner
        ]

    def open(self, key: LabKey) -> Channel | None:
        """A channel to a lab of this process."""
        daemon = _LABS.get(key)
        return daemon.connect() if daemon else None

    def apply(self, plan: Plan, changes: Sequence[Change], progress: Progress) -> Channel:
        """Carry out the changes on the lab, which begins here if it is not there."""
        if plan.key not in _LABS:
            _LABS[plan.key] = FakeDaemon(plan.key, lambda: _forget(plan.key))
        with kept_unless_it_fails(_LABS[plan.key].connect()) as channel:
            _carry_out(channel, of_changes(plan, changes), progress)
        return channel

    def remove(self, key: LabKey, progress: Progress) -> None:
        """End the lab; nothing where there is none."""
        daemon = _LABS.get(key)
        if daemon:
            progress(f"removing {key.name}")
            daemon.end()


def _forget(key: LabKey) -> None:
    _LABS.pop(key, None)


def _carry_out(channel: Channel, wanted: Structure, progress: Progress) -> None:
    if wanted.old_hosts or wanted.old_networks:
        channel.call("remove", hosts=wanted.old_hosts, networks=wanted.old_networks)
    if wanted.networks or wanted.hosts:
        progress(f"making {counted(wanted.hosts, 'host')} and {counted(wanted.networks, 'network')}")
        channel.call("make", networks=wanted.networks, hosts=wanted.hosts)
