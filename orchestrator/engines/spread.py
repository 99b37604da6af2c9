"""One lab on several machines: an engine made of engines, one on each.

What is to be made is cut up by machine and made side by side; between networks and hosts is the place where
what joins the networks is made (`stitch`). A machine that does not answer holds up nobody for longer than its
engine's own patience: it is said, and the others go on.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec

from orchestrator.engines.base import Check, Engine, Found, Probe, Progress, counted
from orchestrator.engines.spread_answers import AWAY, unpacked
from orchestrator.engines.spread_channel import SpreadChannel, Whereabouts
from orchestrator.engines.spread_line import named
from orchestrator.engines.spread_where import Where
from orchestrator.errors import DaemonError, LabError, MachineUnreachable
from orchestrator.model.plan import Change, LabKey, Plan, PlannedNetwork
from orchestrator.wire import Channel

LOOK_SECONDS = 15.0  # that a machine may take for what only looks; a dead line is noticed within 10
T = TypeVar("T")
NETWORKS = ("remove-host", "remove-network", "make-network")
HOSTS = ("make-host",)

# Joins networks of a lab across machines: called when each machine's part of them is there, before any host
# is. Returns what undoes it with the lab.
Stitch = Callable[[Sequence[PlannedNetwork], Mapping[str, Channel]], None]


class Result(NamedTuple, Generic[T]):
    """What came of something on one machine."""

    value: T | None = None
    error: BaseException | None = None


def side_by_side(
    names: Iterable[str], do: Callable[[str], T], seconds: float | None = None
) -> dict[str, Result[T]]:
    """Do it for each name, in a thread each; those that take longer are left to themselves."""
    wanted = list(names)
    results: dict[str, Result[T]] = {}

    def run(name: str) -> None:
        try:
            results[name] = Result(do(name))
        except BaseException as error:
            results[name] = Result(error=error)

    if len(wanted) == 1 and seconds is None:
        run(wanted[0])
        return results
    threads = {name: threading.Thread(target=run, args=(name,), daemon=True) for name in wanted}
    for thread in threads.values():
        thread.start()
    until = None if seconds is None else time.monotonic() + seconds
    for thread in threads.values():
        thread.join(None if until is None else max(0.0, until - time.monotonic()))
    late = MachineUnreachable(f"it does not answer within {seconds or 0:.0f} s")
    return {name: results.get(name, Result(error=late)) for name in wanted}


def values(results: Mapping[str, Result[T]]) -> dict[str, T]:
    """Of those that went well."""
    return {name: one.value for name, one in results.items() if one.error is None and one.value is not None}


def failures(results: Mapping[str, Result[T]]) -> dict[str, LabError]:
    """LabErrors, with the machine; anything else is raised."""
    found: dict[str, LabError] = {}
    for name, one in results.items():
        if one.error is not None:
            if not isinstance(one.error, LabError):
                raise one.error
            found[name] = named(name, one.error)
    return found


class SpreadEngine:
    """See base.Engine. `members`: by machine, in the order of the file. `unplaced`: the machine of a host for
    which none is planned; else the first."""

    def __init__(
        self,
        members: Mapping[str, Engine],
        stitch: Stitch | None = None,
        unplaced: Callable[[str], str] | None = None,
    ) -> None:
        self.members = dict(members)
        self.name = next(iter(self.members.values())).name
        self._stitch = stitch
        self._unplaced = unplaced
        self._known: dict[LabKey, Whereabouts] = {}

    def probe(self, thorough: bool = False) -> Probe:
        """Does it work on all of them?"""
        found = side_by_side(self.members, lambda m: self.members[m].probe(thorough), LOOK_SECONDS * 2)
        errors, probes = failures(found), values(found)
        bad = {m: p.reason for m, p in probes.items() if not p.works} | {
            m: e.message for m, e in errors.items()
        }
        checks = [
            msgspec.structs.replace(check, what=f"{m}: {check.what}")
            for m, p in probes.items()
            for check in p.checks
        ]
        checks += [Check(what=f"{m}: answers", ok=False, detail=e.message) for m, e in errors.items()]
        cures = [p.cure for p in probes.values() if p.cure] + [e.hint for e in errors.values() if e.hint]
        reason = "; ".join(f"{m}: {why}" for m, why in bad.items())
        return Probe(
            engine=self.name,
            works=not bad,
            reason=reason or f"it works on {counted(self.members, 'machine')}",
            cure="\n  ".join(cures),
            checks=tuple(checks),
        )

    def find(self, owner: str) -> Sequence[Found]:
        """Each lab once: as far as the machine that is least far. What a machine that is away has of it
        nobody knows."""
        results = side_by_side(self.members, lambda m: list(self.members[m].find(owner)), LOOK_SECONDS)
        errors, found = failures(results), values(results)
        if errors and not found:
            raise next(iter(errors.values()))
        away = tuple(f"{m} does not answer" for m in errors)
        keys = sorted({one.key for each in found.values() for one in each})
        return [self._found(key, found, away) for key in keys]

    def _found(self, key: LabKey, found: Mapping[str, list[Found]], away: Sequence[str]) -> Found:
        mine = {m: one for m, each in found.items() for one in each if one.key == key}
        states = {one.state for one in mine.values()}
        state = next((s for s in ("incomplete", "silent") if s in states), next(iter(states)))
        what = [f"{m}: {one.what}" for m, one in mine.items()]
        return Found(key=key, engine=self.name, state=state, what="; ".join([*what, *away]))

    def open(self, key: LabKey) -> Channel | None:
        """A channel to all of its daemons. Those of machines that are away are passed over; where none but
        such is left, that is raised."""
        known = self._known.get(key)
        if known is None:
            results = side_by_side(self.members, lambda m: self.members[m].open(key), LOOK_SECONDS)
            channels = {m: one for m, one in values(results).items() if one is not None}
            errors = failures(results)
            if not channels and errors:
                raise next(iter(errors.values()))
            if not channels:
                return None
            known = self._known[key] = self._learn(channels)
        else:
            channels = self._one(key)
            if not channels:
                del self._known[key]
                return self.open(key)
        return SpreadChannel({**self._openers(key), **channels}, known)

    def _openers(self, key: LabKey) -> dict[str, Callable[[], Channel | None] | Channel]:
        return {m: lambda engine=engine: engine.open(key) for m, engine in self.members.items()}  # type: ignore[misc]

    def _one(self, key: LabKey) -> dict[str, Channel]:
        """The first that opens: the others are opened when they are asked for something."""
        for machine, engine in self.members.items():
            try:
                channel = engine.open(key)
            except LabError as error:
                if isinstance(error, AWAY):
                    continue
                raise
            if channel is not None:
                return {machine: channel}
        return {}

    def _learn(self, channels: Mapping[str, Channel]) -> Whereabouts:
        """Where the hosts are, from the first machine that says it."""
        where = Where(fleet=tuple(self.members), machines=tuple(channels))
        for channel in channels.values():
            try:
                channel.hello()
                plan = unpacked(channel.call("plan").get("plan"))
            except (DaemonError, MachineUnreachable):
                continue
            if plan is not None:
                where = self._where(msgspec.convert(plan, Plan, strict=False))
                break
        return Whereabouts(where, self._unplaced)

    def _where(self, plan: Plan) -> Where:
        return Where.of(plan, self.members, self._unplaced)

    def apply(self, plan: Plan, changes: Sequence[Change], progress: Progress) -> Channel:
        """On all machines side by side: networks, what joins them, hosts. Where one fails the others are
        waited for."""
        known = self._known.get(plan.key)
        before = known.where if known is not None else Where(fleet=tuple(self.members))
        where = self._where(plan)
        cut = Cut(plan, changes, before, where)
        spanning = [n for n in plan.networks if sum(n.name in used for used in cut.networks.values()) > 1]
        if self._stitch is None or not spanning:
            channels = self._carry_out(cut, cut.changes, progress)
        else:
            channels = self._carry_out(cut, cut.only(NETWORKS), progress)
            with all_closed_if_it_fails(channels):
                self._stitch(spanning, channels)
                later = self._carry_out(cut, cut.only(HOSTS), progress)
            for machine, channel in later.items():  # the first is the lease of what is not complete yet
                if channel is not channels.setdefault(machine, channel):
                    channel.close()
        if known is None:
            known = self._known[plan.key] = Whereabouts(where, self._unplaced)
        known.where = where
        return SpreadChannel({**self._openers(plan.key), **channels}, known)

    def _carry_out(
        self, cut: Cut, changes: Mapping[str, Sequence[Change]], progress: Progress
    ) -> dict[str, Channel]:
        """A channel to each of these machines."""

        def one(machine: str) -> Channel:
            def say(line: str) -> None:
                progress(f"{machine}: {line}")

            return self.members[machine].apply(cut.part(machine), changes[machine], say)

        results = side_by_side(changes, one)
        channels, errors = values(results), failures(results)
        if errors:
            for channel in channels.values():
                channel.close()
            raise _together(errors)
        return channels

    def remove(self, key: LabKey, progress: Progress) -> None:
        """From all machines side by side; what could not be reached is said, and raised at the end."""

        def one(machine: str) -> None:
            def say(line: str) -> None:
                progress(f"{machine}: {line}")

            self.members[machine].remove(key, say)

        known = self._known.pop(key, None)
        errors = failures(side_by_side(self.members, one))
        if errors:
            raise _together({m: _left(e, m, known) for m, e in errors.items()})


class Cut:
    """A plan and its changes by machine. `before`, `where`: where hosts were and are."""

    def __init__(self, plan: Plan, changes: Sequence[Change], before: Where, where: Where) -> None:
        self._plan, self._where = plan, where
        hosts = {host.name: host for host in plan.hosts}
        self.hosts = {m: [hosts[name] for name in where.on(m)] for m in where.fleet}
        self.networks = {m: self._networks(m) for m in where.fleet}
        self.changes: dict[str, list[Change]] = {m: [] for m in where.machines if m not in before.machines}
        for change in changes:
            for machine in self._machines(change, before):
                self.changes.setdefault(machine, []).append(change)
        for machine in where.machines:  # one that has hosts on a network for the first time
            there = {c.subject for c in self.changes.get(machine, ()) if c.action == "make-network"}
            for name in sorted(self._new_networks(machine, before) - there):
                new = Change(action="make-network", subject=name, why=f"{machine} has hosts on it")
                self.changes.setdefault(machine, []).insert(0, new)

    def _new_networks(self, machine: str, before: Where) -> set[str]:
        """Of hosts that are to be made on a machine that has had others, or none."""
        making = {c.subject for c in self.changes.get(machine, ()) if c.action == "make-host"}
        stayed = [
            h for h in self.hosts[machine] if h.name not in making and before.hosts.get(h.name) == machine
        ]
        known = {i.network for host in stayed for i in host.interfaces}
        hosts = [host for host in self.hosts[machine] if host.name in making]
        return {i.network for host in hosts for i in host.interfaces} - known

    def only(self, actions: Sequence[str]) -> dict[str, list[Change]]:
        """The changes of these kinds, of the machines that have such; for networks, of all that have any."""
        found = {m: [c for c in some if c.action in actions] for m, some in self.changes.items()}
        return {m: some for m, some in found.items() if some or actions == NETWORKS}

    def _networks(self, machine: str) -> set[str]:
        used = {i.network for host in self.hosts[machine] for i in host.interfaces}
        return used | {n.name for n in self._plan.networks if machine in n.machines}

    def _machines(self, change: Change, before: Where) -> Sequence[str]:
        """A host that is no longer planned is removed where it was, else everywhere."""
        subject, machines = change.subject, self._where.machines
        if change.action == "remove-network":
            return before.machines or machines
        if change.action == "make-network":
            return [m for m in machines if subject in self.networks[m]]
        if change.action == "remove-host":
            was = before.hosts.get(subject) or self._where.hosts.get(subject)
            return (was,) if was else machines
        return (self._where.hosts[subject],) if subject in self._where.hosts else ()

    def part(self, machine: str) -> Plan:
        """What one machine has to make. It knows all names."""
        return msgspec.structs.replace(
            self._plan,
            hosts=tuple(self.hosts[machine]),
            networks=tuple(n for n in self._plan.networks if n.name in self.networks[machine]),
        )


@contextlib.contextmanager
def all_closed_if_it_fails(channels: Mapping[str, Channel]) -> Iterator[None]:
    """Those of machines on which all went well, too."""
    try:
        yield
    except BaseException:
        for channel in channels.values():
            channel.close()
        raise


def _together(errors: Mapping[str, LabError]) -> BaseException:
    found = list(errors.values())
    return found[0] if len(found) == 1 else ExceptionGroup(f"on {counted(found, 'machine')}", found)


def _left(error: LabError, machine: str, known: Whereabouts | None) -> LabError:
    """What is left on a machine that could not be reached."""
    hosts = known.where.on(machine) if known is not None else []
    what = f"{counted(hosts, 'host')} of the lab" if hosts else "what it has of the lab"
    if not isinstance(error, AWAY):
        return error
    return MachineUnreachable(
        f"{error.message}; {what} may be left there", "`lab gc` removes it when the machine is back"
    )
