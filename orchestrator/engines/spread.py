"""One lab on several machines: an engine made of engines, one on each.

What is to be made is cut up by machine and made side by side; between networks and hosts is the place where
what joins the networks is made (`stitch`). A machine that does not answer holds up nobody for longer than its
engine's own patience: it is said, and the others go on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from orchestrator.engines.base import Check, Engine, Found, Probe, Progress, State, counted
from orchestrator.engines.side_by_side import failures, side_by_side, values
from orchestrator.engines.spread_answers import AWAY
from orchestrator.engines.spread_channel import SpreadChannel, Whereabouts
from orchestrator.engines.spread_cut import HOSTS, NETWORKS, Cut
from orchestrator.engines.spread_where import Where
from orchestrator.errors import DaemonError, LabError, MachineUnreachable
from orchestrator.model.plan import Change, LabKey, Plan, PlannedNetwork
from orchestrator.wire import Channel, unpacked

LOOK_SECONDS = 15.0  # that a machine may take for what only looks; a dead line is noticed within 10
_WORST: tuple[State, ...] = ("incomplete", "silent", "starting", "changing", "removing")

# Which machines have something of a lab, or may have, and whether its removal has begun: to be kept.
Noted = Callable[[LabKey, Sequence[str], bool], None]
# Joins networks of a lab across machines: called when each machine's part of them is there, before any host
# is. What it makes goes with the daemons.
Stitch = Callable[[Plan, Sequence[PlannedNetwork], Mapping[str, Channel]], None]


class SpreadEngine:
    """See base.Engine. `members`: by machine, in the order of the file. `unplaced`: the machine of a host for
    which none is planned; else the first. `expected`: machines that have something of the lab; `ending`: its
    removal has begun."""

    def __init__(
        self,
        members: Mapping[str, Engine],
        stitch: Stitch | None = None,
        unplaced: Callable[[str], str] | None = None,
        *,
        noted: Noted = lambda *_: None,
        expected: Iterable[str] = (),
        ending: bool = False,
    ) -> None:
        self.members = dict(members)
        self.name = next(iter(self.members.values())).name
        self._stitch = stitch
        self._unplaced = unplaced
        self._noted, self._expected, self._ending = noted, tuple(expected), ending
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
        states: set[State] = {one.state for one in mine.values()}
        if self._ending or any(m in found and m not in mine for m in self._expected):
            states.add("incomplete")
        state: State = next((s for s in _WORST if s in states), "running")
        what = [
            f"{m}: {mine[m].what if m in mine else 'nothing'}"
            for m in {**mine, **dict.fromkeys(self._expected)}
            if m in found
        ]
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
        self._noted(plan.key, [m for m in where.fleet if m in {*where.machines, *before.machines}], False)
        spanning = cut.spanning()
        if self._stitch is None or not spanning:
            channels = self._carry_out(cut, cut.changes, progress)
            with all_closed_if_it_fails(channels):
                self._still_joined(plan, channels)
        else:
            channels = self._carry_out(cut, cut.only(NETWORKS), progress)
            with all_closed_if_it_fails(channels):
                with self._all_of(plan.key, spanning, cut, channels) as whole:
                    self._stitch(plan, spanning, whole)
                self._still_joined(plan, channels)
                later = self._carry_out(cut, cut.only(HOSTS), progress)
            for machine, channel in later.items():  # the first is the lease of what is not complete yet
                if channel is not channels.setdefault(machine, channel):
                    channel.close()
        self._leave(plan.key, where, [m for m in before.machines if m not in where.machines], progress)
        if known is None:
            known = self._known[plan.key] = Whereabouts(where, self._unplaced)
        known.where = where
        return SpreadChannel({**self._openers(plan.key), **channels}, known)

    def _leave(self, key: LabKey, where: Where, machines: Sequence[str], progress: Progress) -> None:
        """Nothing of the lab is to stay on machines where it has no hosts any more; those that cannot be
        asked are kept in mind."""
        if not machines:
            return
        results = side_by_side(machines, lambda m: self.members[m].remove(key, lambda _: None), LOOK_SECONDS)
        errors = failures(results)
        for machine in machines:
            progress(errors[machine].message if machine in errors else f"{machine}: the lab has left it")
        self._noted(key, [m for m in where.fleet if m in {*where.machines, *errors}], False)

    def _still_joined(self, plan: Plan, channels: Mapping[str, Channel]) -> None:
        """A daemon that was started anew has nothing of what its predecessor had joined; others are told what
        they know."""
        here = [one for one in plan.networks if one.spans and not channels.keys().isdisjoint(one.machines)]
        if self._stitch is not None and here:
            self._stitch(plan, here, channels)

    @contextlib.contextmanager
    def _all_of(
        self, key: LabKey, networks: Sequence[PlannedNetwork], cut: Cut, channels: Mapping[str, Channel]
    ) -> Iterator[Mapping[str, Channel]]:
        """A channel to each machine that these networks are on, also where nothing else is to be changed."""
        names = {network.name for network in networks}
        others = [m for m, used in cut.networks.items() if used & names and m not in channels]
        results = side_by_side(others, lambda m: self.members[m].open(key), LOOK_SECONDS)
        opened = {m: one for m, one in values(results).items() if one is not None}
        try:
            if missing := [m for m in others if m not in opened]:
                raise failures(results).get(missing[0]) or DaemonError(f"{missing[0]}: no daemon is there")
            yield {**channels, **opened}
        finally:
            for channel in opened.values():
                channel.close()

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
        self._noted(key, list(self.members), True)
        errors = failures(side_by_side(self.members, one))
        self._noted(key, list(errors), True)
        if errors:
            raise _together({m: _left(e, m, known) for m, e in errors.items()})


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
