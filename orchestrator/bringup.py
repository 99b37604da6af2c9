"""How a lab comes up, or is changed while it runs: what is to be done, then each step in order.

Hosts and networks (the engine), files, listeners, programs, connections; then the plan is stored and the lab
is committed. A lab that was not there before is removed again when anything fails; one that ran before stays.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from orchestrator.choosing import as_it_was, chosen, look, supported, taken, told, with_machines
from orchestrator.engines.base import Engine, Progress
from orchestrator.equipping import Steps
from orchestrator.errors import (
    UsageError,
)
from orchestrator.lab import Lab, deployed
from orchestrator.lacking import STRUCTURE, differences
from orchestrator.model.plan import (
    Change,
    LabKey,
    Plan,
)
from orchestrator.model.topology import Topology
from orchestrator.owner import locked, owner
from orchestrator.plan import changes as changes_between
from orchestrator.plan import make_plan
from orchestrator.wire import Channel


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What an `up` would do, and to what."""

    engine: Engine
    reason: str  # which engine and why, one line
    plan: Plan
    changes: tuple[Change, ...]
    running: Lab | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an `up` did. `failed`: a line for each listener or connection that could not be opened."""

    lab: Lab
    changes: tuple[Change, ...]
    failed: tuple[str, ...] = field(default=())


def prepare(topology: Topology, choice: str = "auto", say: Progress = lambda _: None) -> Prepared:
    """Choose the engine, find what runs, look at the machines, and plan. Nothing is changed."""
    key = LabKey(owner=owner(), name=topology.name)
    asked = choice if choice != "auto" else topology.engine
    running = Lab.look_for(key, asked)
    if running is None:
        engine, reason = chosen(topology, asked)
        fleet = look(topology, engine, say)
        plan = supported(
            make_plan(topology, key, engine.name, None, taken(engine, topology, None), fleet=fleet)
        )
        return Prepared(
            engine=engine, reason=reason, plan=plan, changes=changes_between(None, plan), running=None
        )
    running = with_machines(running, topology)
    engine = running.engine
    if asked not in ("auto", engine.name):
        running.close()
        raise UsageError(
            f"lab {key.name} runs on the engine {engine.name}, not {asked}",
            f"`lab down {key.name}` removes it first",
        )
    subnets = taken(engine, topology, running.plan)
    plan = make_plan(topology, key, engine.name, running.plan, subnets, fleet=as_it_was(running.plan))
    if plan.machines and plan != running.plan:
        fleet = look(topology, engine, say)
        plan = supported(make_plan(topology, key, engine.name, running.plan, subnets, fleet=fleet))
    reason = f"engine: {engine.name} (lab {key.name} runs there)"
    return Prepared(
        engine=engine, reason=reason, plan=plan, changes=differences(running, plan), running=running
    )


def plan_alone(topology: Topology, choice: str = "auto") -> tuple[Plan, tuple[Change, ...]]:
    """The plan of a lab on machines as if nothing ran, on machines that nobody has looked at."""
    asked = choice if choice != "auto" else topology.engine
    engine = "docker" if asked == "auto" else asked
    plan = supported(make_plan(topology, LabKey(owner=owner(), name=topology.name), engine))
    return plan, changes_between(None, plan)


def up(topology: Topology, choice: str = "auto", say: Progress = lambda _: None) -> Outcome:
    """Bring the lab up, or change the running one. Raises LabError; then a new lab has been removed again."""
    with locked(topology.name, say, "starting"):
        prepared = prepare(topology, choice, say)
        for line in (prepared.reason, *told(prepared.plan)):
            say(line)
        if prepared.running is not None:
            return _change(prepared, prepared.running, say)
        return _build(prepared, say)


def _build(prepared: Prepared, say: Progress) -> Outcome:
    """A lab that was not there. Whatever ends this early (Ctrl-C too), nothing of it is left."""
    engine, key = prepared.engine, prepared.plan.key
    if any(found.key == key for found in engine.find(key.owner)):
        say(f"removing what an earlier `up` of lab {key.name} left unfinished")
        engine.remove(key, say)
    channel: Channel | None = None
    try:
        structure = [change for change in prepared.changes if change.action in STRUCTURE]
        channel = engine.apply(prepared.plan, structure, say)
        failed = Steps(channel, prepared.plan, prepared.changes, say).carry_out()
        channel.call("commit")
    except BaseException:
        with undisturbed():
            say(f"removing what was made of lab {key.name}")
            if channel is not None:
                channel.close()
            engine.remove(key, say)
        raise
    lab = Lab(engine, key, channel, prepared.plan)
    return Outcome(lab=lab, changes=prepared.changes, failed=failed)


def _change(prepared: Prepared, lab: Lab, say: Progress) -> Outcome:
    """A lab that runs: it is left as far as it got when this ends early, and `up` can be repeated."""
    if not prepared.changes:
        if prepared.plan != lab.plan:
            lab.channel.call("set_plan", plan=msgspec.to_builtins(prepared.plan))
        return Outcome(lab=lab, changes=())
    structure = [change for change in prepared.changes if change.action in STRUCTURE]
    channel = lab.channel
    try:
        if structure:
            channel = lab.engine.apply(prepared.plan, structure, say)
        failed = Steps(channel, prepared.plan, prepared.changes, say).carry_out()
        channel.call("commit")
    except BaseException:
        say(f"lab {lab.key.name} runs on, changed in part; `lab up` goes on with it, `lab down` removes it")
        raise
    if channel is not lab.channel:
        lab.channel.close()
    return Outcome(
        lab=Lab(lab.engine, lab.key, channel, prepared.plan), changes=prepared.changes, failed=failed
    )


def restart(lab: Lab, host: str, say: Progress = lambda _: None) -> tuple[str, ...]:
    """Make one host anew as it is planned; a line for each socket that could not be opened."""
    lab.host(host)
    with locked(lab.key.name, say):
        lab.plan = deployed(lab.channel) or lab.plan  # an `up` may have changed it while we waited
        lab.host(host)
        others = tuple(one for one in lab.plan.hosts if one.name != host)
        found = changes_between(msgspec.structs.replace(lab.plan, hosts=others), lab.plan)
        ended = {str(one.get("name")) for one in lab.hosts() if not one.get("alive")} - {host}
        doable = [
            change for change in found if change.subject not in ended
        ]  # they connect when they are back
        changes = (Change(action="remove-host", subject=host, why="restart"), *doable)
        structure = [change for change in changes if change.action in STRUCTURE]
        with lab.engine.apply(lab.plan, structure, say) as channel:
            failed = Steps(channel, lab.plan, changes, say).carry_out()
            channel.call("commit")
    return failed


def rerun(lab: Lab, hosts: Sequence[str], say: Progress = lambda _: None) -> tuple[str, ...]:
    """Start the programs of these hosts again; a line for each planned connection to them that fails."""
    with locked(lab.key.name, say):
        anew = [Change(action="run", subject=host, why="run again") for host in hosts]
        dependent = [
            Change(action="connect", subject=one.name, why="its server runs again")
            for one in lab.plan.hosts
            if any(connect.host in hosts for connect in one.connect)
        ]
        return Steps(lab.channel, lab.plan, (*anew, *dependent), say).carry_out()


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """A second Ctrl-C does not end the cleaning up after the first."""
    numbers = [
        n for name in ("SIGINT", "SIGTERM", "SIGHUP") if (n := getattr(signal, name, None)) is not None
    ]
    try:
        before = [(number, signal.signal(number, signal.SIG_IGN)) for number in numbers]
    except ValueError:  # not in the main thread: no signal reaches us here
        before = []
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
