"""What each host is given when it has been made, in order: names, files, listeners, programs, impairments,
connections. One channel, many requests side by side.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from orchestrator.engines.base import Progress, counted
from orchestrator.errors import DaemonError, DaemonGone, EngineError, UsageError
from orchestrator.fanout import Answer, Request, ask_all, raise_first, until
from orchestrator.model.plan import Change, Plan, PlannedConnect, PlannedFile, PlannedHost
from orchestrator.wire import CHUNK, Channel

CONNECT_SECONDS = 10.0  # how long a connect of `up` may take before it is reported as failed
SERVER_SECONDS = 20.0  # how long a program may take until it listens where somebody connects to


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
