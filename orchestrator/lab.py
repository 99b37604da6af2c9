"""A running lab: found, asked, changed and removed. What the command line and the pytest plugin
use (later the page).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator import roster
from orchestrator.engines import registry
from orchestrator.engines.base import Engine, Found, Progress
from orchestrator.errors import DaemonError, EngineUnavailable, LabError, NoSuchLab, UsageError
from orchestrator.model.plan import LabKey, Plan, PlannedHost
from orchestrator.owner import at_work, locked, owner
from orchestrator.wire import Channel, Frame

if TYPE_CHECKING:
    from orchestrator.model.rows import Connection, Listener
    from orchestrator.observe import Observation


def quiet(_: str) -> None:
    """Progress that nobody looks at."""


class Lab:
    """A lab that runs. A context manager: leaving it closes the channel, the lab goes on."""

    def __init__(self, engine: Engine, key: LabKey, channel: Channel, plan: Plan) -> None:
        self.engine, self.key, self.channel, self.plan = engine, key, channel, plan

    @classmethod
    def find(cls, name: str, engine: str = "auto") -> Lab:
        """The running lab of this user with that name. Raises NoSuchLab."""
        lab = cls.look_for(LabKey(owner=owner(), name=name), engine)
        if lab is None:
            raise NoSuchLab(f"no lab {name} is running", hint_of_others())
        return lab

    @classmethod
    def look_for(cls, key: LabKey, engine: str = "auto") -> Lab | None:
        """As `find`, None where there is none, or where its `up` was never completed."""
        for name, get in _places(key, engine):
            try:
                found = get(name)
                channel = found.open(key)
            except EngineUnavailable:  # then nothing of it runs here
                continue
            if channel is None:
                continue
            plan = deployed(channel)
            if plan is not None:
                return cls(found, key, channel, plan)
            channel.close()
        return None

    def host(self, name: str) -> PlannedHost:
        """What is planned of a host. Raises UsageError for an unknown one."""
        host = self.plan.host(name)
        if host is None:
            raise UsageError(f"lab {self.key.name} has no host {name}", f"it has {', '.join(self.names())}")
        return host

    def names(self) -> list[str]:
        """Routers, then hosts, in the file's order."""
        return [host.name for host in self.plan.hosts]

    def another_channel(self) -> Channel:
        """One more channel to the same daemon: for what goes on while something else is asked."""
        channel = self.engine.open(self.key)
        if channel is None:
            raise DaemonError(f"the daemon of lab {self.key.name} is gone", "`lab gc` removes what is left")
        return channel

    def hosts(self) -> list[dict[str, Any]]:
        """How each host is: name, kind, pid, alive, programs, listening, connected."""
        hosts = self.channel.call("hosts").get("hosts", [])
        return [host for host in hosts if isinstance(host, dict)]

    def observe(self, *, holders: bool = True, everything: bool = False) -> Observation:
        """One look at the lab's sockets (two where one cannot tell), see observe.py."""
        from orchestrator import observe

        return observe.observe(self.channel, self.plan, holders=holders, everything=everything)

    def connections(self) -> Sequence[Connection]:
        """Both ends of every connection as one row."""
        return self.observe().joined.connections

    def listeners(self) -> Sequence[Listener]:
        """Every listening socket."""
        return self.observe().joined.listeners

    def exec(self, host: str, argv: Sequence[str], *, tty: bool = False, say: Progress = quiet) -> int:
        """Run a program in a host with our own standard streams; its exit code. What is no program ends
        with 127 or 126, as in a shell, and `say` is told why.
        """
        from orchestrator import terminal

        self.host(host)
        ended = terminal.run(self.channel, host, argv, tty=tty)
        if ended.failed:
            say(f"{host}: {ended.failed}")
        return ended.code

    def call(self, host: str, call: dict[str, Any]) -> dict[str, Any]:
        """One call of the host's agent, see agent/calls.py."""
        self.host(host)
        return self.channel.call("call", host=host, call=call)

    def logs(self, host: str, *, follow: bool = False, tail: int | None = None) -> Iterator[Frame]:
        """Parts {"source"} with bytes: of the host's program and its log files."""
        paths = list(self.host(host).logs)
        request = self.channel.ask("logs", host=host, paths=paths, follow=follow, tail=tail)
        return self.channel.parts(request)

    def down(self, say: Progress = quiet) -> None:
        """Remove the lab and all that belongs to it."""
        self.channel.close()
        with locked(self.key.name, say, "removing"):
            self.engine.remove(self.key, say)

    def close(self) -> None:
        """Leave the lab alone."""
        self.channel.close()

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _places(key: LabKey, engine: str) -> Iterator[tuple[str, Callable[[str], Engine]]]:
    """Where a lab may be running: engines, and how each is had. One on several machines is nowhere else."""
    record = roster.of(key.name) if key.owner == owner() else None
    if record is not None and engine in ("auto", record.engine):
        yield record.engine, lambda _: roster.engine_of(record)
    for name in registry.searched(engine):
        if record is None or name != record.engine:
            yield name, registry.engine


def deployed(channel: Channel) -> Plan | None:
    """The plan of what runs; None where `up` was not completed. Raises DaemonError for another version."""
    hello = channel.hello()
    if hello.get("state") != "running":
        return None
    value = channel.call("plan").get("plan")
    if value is None:
        return None
    try:
        return msgspec.convert(value, Plan)
    except msgspec.ValidationError as error:
        raise DaemonError(
            f"the running lab was made by another version of lab: {error}",
            "`lab down` it with that version, or `lab gc`",
        ) from error


def all_found() -> tuple[list[Found], list[LabError]]:
    """Every lab of this user on every engine, and the errors of engines that could not be asked. One that is
    not complete is what the command does that is at work on it.
    """
    found: list[Found] = []
    errors: list[LabError] = []
    records = list(roster.known())
    spread = {(record.name, record.engine) for record in records}
    for name in registry.REAL:
        try:  # what is here of a lab on several machines is told with it
            here = registry.engine(name).find(owner())
            found += [one for one in here if (one.key.name, name) not in spread]
        except EngineUnavailable:
            continue
        except LabError as error:
            errors.append(error)
    for record in records:
        try:
            found += [one for one in roster.engine_of(record).find(owner()) if one.key.name == record.name]
        except LabError as error:
            errors.append(error)
    found = [_with_work(one) if one.state == "incomplete" else one for one in found]
    return sorted(found, key=lambda lab: (lab.key, lab.engine)), errors


def _with_work(found: Found) -> Found:
    return msgspec.structs.replace(found, state=at_work(found.key.name) or found.state)


def hint_of_others() -> str:
    """What a user who named a wrong lab wants to know."""
    found, _ = all_found()
    running = sorted({lab.key.name for lab in found if lab.state == "running"})
    return f"running: {', '.join(running)}" if running else "`lab up` brings one up"
