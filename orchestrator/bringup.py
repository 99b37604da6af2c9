"""How a lab comes up, or is changed while it runs: what is to be done, then each step in order.

Hosts and networks (the engine), files, listeners, programs, connections; then the plan is stored and the lab
is committed. A lab that was not there before is removed again when anything fails; one that ran before stays.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from orchestrator.choosing import as_it_was, chosen, look, supported, taken, told, with_machines
from orchestrator.engines.base import Engine, Progress, counted
from orchestrator.errors import (
    DaemonError,
    DaemonGone,
    EngineError,
    UsageError,
)
from orchestrator.fanout import Answer, Request, ask_all, raise_first, until
from orchestrator.lab import Lab, deployed
from orchestrator.lacking import STRUCTURE, differences
from orchestrator.model.plan import (
    Change,
    LabKey,
    Plan,
    PlannedConnect,
    PlannedFile,
    PlannedHost,
)
from orchestrator.model.topology import Topology
from orchestrator.owner import locked, owner
from orchestrator.plan import changes as changes_between
from orchestrator.plan import make_plan
from orchestrator.wire import CHUNK, Channel

CONNECT_SECONDS = 10.0  # how long a connect of `up` may take before it is reported as failed
SERVER_SECONDS = 20.0  # how long a program may take until it listens where somebody connects to


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


class Steps:
    """What the daemon is told once hosts and networks are there, fanned out over the hosts."""

    def __init__(self, channel: Channel, plan: Plan, changes: Sequence[Change], say: Progress) -> None:
        self.channel, self.plan, self.changes, self.say = channel, plan, changes, say
        self.anew = {change.subject for change in changes if change.action in ("make-host", "run")}

    def carry_out(self) -> tuple[str, ...]:
        """All steps; a line for each socket that could not be opened."""
        self.configure()
        self.files()
        failed = self.listen() + self.dns()
        self.run()
        failed += self.impair()
        failed += self.connect()
        self.channel.call("set_plan", plan=msgspec.to_builtins(self.plan))
        return tuple(failed)

    def subjects(self, action: str) -> list[PlannedHost]:
        """The hosts that a kind of change concerns, as planned."""
        names = {change.subject for change in self.changes if change.action == action}
        return [host for host in self.plan.hosts if host.name in names]

    def configure(self) -> None:
        """Routes, NAT and names."""
        hosts = self.subjects("configure")
        if hosts:
            specs = [msgspec.to_builtins(host) for host in hosts]
            self.channel.call("configure", hosts=specs, names=msgspec.to_builtins(self.plan.names))

    def files(self) -> None:
        """Copy the hosts' files."""
        hosts = self.subjects("files")
        requests = [put_request(host.name, file) for host in hosts for file in host.files]
        if requests:
            self.say(f"copying {counted(requests, 'file')}")
            raise_first(ask_all(self.channel, requests))

    def listen(self) -> list[str]:
        """The agents' listeners; a line for each that failed."""
        hosts = self.subjects("listen")
        if hosts:
            self.say(f"listening on {counted(hosts, 'host')}")
        requests = [
            Request("listen", {"host": h.name, "listen": msgspec.to_builtins(h.listen)}) for h in hosts
        ]
        answers = ask_all(self.channel, requests)
        raise_first(answers)
        return [
            f"{answer.request.arguments['host']}: cannot listen on {_place(one)}: {one.get('errno')}"
            for answer in answers
            for one in answer.value.get("failed", [])
        ]

    def dns(self) -> list[str]:
        """The DNS servers; a line for each socket that could not be opened, or that the engine has not."""
        hosts = self.subjects("dns")
        nothing: dict[str, Any] = {"addresses": [], "records": {}}
        told = [(host.name, msgspec.to_builtins(host.dns) if host.dns else nothing) for host in hosts]
        answers = ask_all(self.channel, [Request("dns", {"host": name, **spec}) for name, spec in told])
        failed = []
        for answer in answers:
            name = answer.request.arguments["host"]
            if isinstance(answer.error, DaemonError) and not isinstance(answer.error, DaemonGone):
                failed.append(f"{name}: cannot be a DNS server: {answer.error.message}")
            else:
                raise_first([answer])
            said = answer.value.get("failed", []) if answer.error is None else []
            failed += [f"{name}: cannot answer on {_place(one)}: {one.get('errno')}" for one in said]
        return failed

    def run(self) -> None:
        """The programs of `run:`; one whose command or files changed is stopped first."""
        hosts = self.subjects("run")
        made = {change.subject for change in self.changes if change.action == "make-host"}
        stops = [Request("stop", {"host": h.name, "program": "run"}) for h in hosts if h.name not in made]
        starts = [  # without words: its image may have a program of its own, which the daemon knows
            Request("start", {"host": h.name, "argv": list(h.run), "env": h.env, "program": "run"})
            for h in hosts
            if h.run or h.image
        ]
        if starts:
            self.say(f"starting programs on {counted(starts, 'host')}")
        raise_first(ask_all(self.channel, stops))
        raise_first(ask_all(self.channel, starts))

    def impair(self) -> list[str]:
        """Links and cuts that the file declares; a line for each that cannot be made here."""
        if all(change.action != "impair" for change in self.changes):
            return []
        self.say("impairing links")
        try:
            declared = self.plan.impaired.request(self.plan)
            failed = self.channel.call("impair", declared=declared).get("failed", [])
        except DaemonGone:
            raise
        except (DaemonError, EngineError) as error:  # the lab is there all the same
            failed = [error.message]
        return [f"cannot impair: {line}" for line in failed]

    def connect(self) -> list[str]:
        """The agents' connections; a line for each that failed."""
        hosts = self.subjects("connect")
        if not hosts:
            return []
        self.wait_for_servers(hosts)
        self.say(f"connecting {counted(hosts, 'host')}")
        stale = [h for h in hosts if self.without_stale(h) != h.connect]
        raise_first(self.ask_connect(replace_connect(h, self.without_stale(h)) for h in stale))
        answers = self.ask_connect(hosts)
        raise_first(answers)
        return [
            f"{answer.request.arguments['host']}: cannot connect to {one.get('host')} {_place(one)}: "
            f"{one.get('errno')}" + (f" ({one['count']} times)" if one.get("count", 1) > 1 else "")
            for answer in answers
            for one in answer.value.get("failed", [])
        ]

    def ask_connect(self, hosts: Any) -> list[Answer]:
        """Tell each host its connections."""
        return ask_all(
            self.channel,
            [
                Request(
                    "connect",
                    {"host": h.name, "connect": msgspec.to_builtins(h.connect), "timeout": CONNECT_SECONDS},
                )
                for h in hosts
            ],
        )

    def without_stale(self, host: PlannedHost) -> tuple[PlannedConnect, ...]:
        """The connections whose other end was not made anew: the kernel of this end may not know it yet."""
        return tuple(one for one in host.connect if one.host not in self.anew)

    def wait_for_servers(self, clients: Sequence[PlannedHost]) -> None:
        """Until the programs of `run:` (or of an image) listen where the agents are about to connect to."""
        wanted = {
            (one.host, one.port)
            for client in clients
            for one in client.connect
            if (server := self.plan.host(one.host)) is not None
            and (server.run or server.image)
            and all(listen.port != one.port for listen in server.listen)
        }
        if not wanted:
            return
        hosts = sorted({host for host, _ in wanted})
        self.say("waiting until " + ", ".join(f"{host}:{port}" for host, port in sorted(wanted)) + " listen")
        until(
            time.monotonic() + SERVER_SECONDS, lambda: self.awaited(wanted) <= listening(self.channel, hosts)
        )

    def awaited(self, wanted: set[tuple[str, int]]) -> set[tuple[str, int]]:
        """Without the hosts whose program has failed: nothing will listen there. (One that ended well may
        have left a server in the background.)
        """
        failed = {
            str(host.get("name"))
            for host in self.channel.call("hosts").get("hosts", [])
            if any(one.get("exit") or one.get("signal") for one in host.get("programs", []))
        }
        return {(host, port) for host, port in wanted if host not in failed}


def listening(channel: Channel, hosts: Sequence[str]) -> set[tuple[str, int]]:
    """(host, port) of every listening socket of these hosts, whoever opened it."""
    from orchestrator.observe import take

    seen = take(channel, hosts, holders=False)
    return {(entry.host, entry.port) for entry in seen.entries if entry.state == "LISTEN"}


def replace_connect(host: PlannedHost, connect: tuple[PlannedConnect, ...]) -> PlannedHost:
    """The host with other connections."""
    return msgspec.structs.replace(host, connect=connect)


def put_request(host: str, file: PlannedFile) -> Request:
    """Copy one file to a host."""

    def pieces() -> Iterator[bytes]:
        try:
            with open(file.source, "rb") as source:
                while piece := source.read(CHUNK):
                    yield piece
        except OSError as error:
            raise UsageError(f"{file.source}: {error.strerror}") from error

    return Request("put", {"host": host, "path": file.target, "mode": file.mode}, pieces)


def _place(one: dict[str, Any]) -> str:
    address = str(one.get("address"))
    return f"[{address}]:{one.get('port')}" if ":" in address else f"{address}:{one.get('port')}"
