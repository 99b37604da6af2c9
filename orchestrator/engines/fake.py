"""The fake engine: labs in this process's memory, for tests and for machines where no other engine works.

It speaks the same requests and passes the same contract suite as the real ones, so what is built on engines
needs no mock. A lab lives as long as the process; no other process sees it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from orchestrator.engines.base import Check, Found, Probe, Progress
from orchestrator.engines.fake_daemon import FakeDaemon
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
        channel = _LABS[plan.key].connect()
        try:
            _carry_out(channel, plan, changes, progress)
        except BaseException:
            channel.close()
            raise
        return channel

    def remove(self, key: LabKey, progress: Progress) -> None:
        """End the lab; nothing where there is none."""
        daemon = _LABS.get(key)
        if daemon:
            progress(f"removing {key.name}")
            daemon.end()


def _forget(key: LabKey) -> None:
    _LABS.pop(key, None)


def _carry_out(channel: Channel, plan: Plan, changes: Sequence[Change], progress: Progress) -> None:
    subjects = {
        action: [c.subject for c in changes if c.action == action] for action in {c.action for c in changes}
    }
    old_hosts, old_networks = subjects.get("remove-host", []), subjects.get("remove-network", [])
    if old_hosts or old_networks:
        channel.call("remove", hosts=old_hosts, networks=old_networks)
    networks = _chosen(plan.networks, subjects.get("make-network", []))
    hosts = _chosen(plan.hosts, subjects.get("make-host", []))
    if networks or hosts:
        progress(f"making {len(hosts)} hosts and {len(networks)} networks")
        channel.call("make", networks=networks, hosts=hosts)


def _chosen(things: Iterable[msgspec.Struct], names: Iterable[str]) -> list[object]:
    wanted = set(names)
    return [msgspec.to_builtins(thing) for thing in things if getattr(thing, "name", "") in wanted]
