"""The fake engine's daemon: the requests of docs/architecture.md, answered from a model in this process."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

from orchestrator import wire
from orchestrator.engines import fake_tables
from orchestrator.engines.fake_calls import Call, begin
from orchestrator.engines.fake_files import File, hosts_file, pieces, tail_start
from orchestrator.engines.fake_host import FakeHost
from orchestrator.engines.fake_machine import FakeMachine
from orchestrator.engines.fake_network import Spec
from orchestrator.engines.fake_programs import Program, check, lacks
from orchestrator.engines.fake_session import Asked, Session, Steps, ended
from orchestrator.engines.fake_world import World
from orchestrator.errors import AgentError, AgentGone, DaemonError, LabError
from orchestrator.model.plan import LabKey

ANSWER_SECONDS = 10.0  # as long as the real daemon waits for an agent
MAX_KNOWN = 4_000_000  # cookies whose ids are remembered


class FakeDaemon:
    """One lab of the fake engine."""

    def __init__(
        self,
        key: LabKey,
        ended: Callable[[], None],
        machine: FakeMachine | None = None,
        world: World | None = None,
    ) -> None:
        self.key = key
        self.machine, self.world = machine or FakeMachine(), world or World()
        self.changed = self.world.changed
        self.state = "incomplete"
        self._ended = ended
        self._lease: Session | None = None
        self.sessions: list[Session] = []
        self._plan: Any = None
        self._network, self._tcp = self.world.network, self.world.tcp
        self.hosts: dict[str, FakeHost] = {}
        self.networks: set[str] = set()
        self.programs: list[Program] = []  # of all hosts, while they run by themselves
        self._known: OrderedDict[int, bytes] = OrderedDict()
        self._ops: dict[str, Callable[[Asked], Steps]] = {
            name.strip("_"): getattr(self, name) for name in _OPS
        }
        self.world.daemons.append(self)
        self.machine.hung_up.append(self.hang_up)

    @property
    def what(self) -> str:
        """For `Found`."""
        return f"{len(self.hosts)} hosts, {len(self.networks)} networks"

    def connect(self) -> wire.Channel:
        """A new channel; the first one is the lease until `commit`."""
        session = Session(self)
        with self.changed:
            self.sessions.append(session)
            if self._lease is None and self.state == "incomplete":
                self._lease = session
        return wire.StreamChannel(session)

    def left(self, session: Session) -> None:
        """A client has closed its channel."""
        if session in self.sessions:
            self.sessions.remove(session)
        self._released(session)
        if session is self._lease and self.state == "incomplete":
            self.end()
        self.settle()
        self.changed.notify_all()

    def end(self) -> None:
        """The lab is over; every channel gets its end."""
        with self.changed:
            self.hang_up()
            self.state = "ended"
            for host in self.hosts.values():
                host.remove()
            if self in self.world.daemons:
                self.world.daemons.remove(self)
                self.machine.hung_up.remove(self.hang_up)
            self._ended()
            self.changed.notify_all()

    def hang_up(self) -> None:
        """Every channel gets its end; what belonged to them is given up."""
        with self.changed:
            ended, self.sessions = self.sessions, []
            for session in ended:
                session.open = False
                session.under_way.clear()
                if self.state == "running":
                    self._released(session)
            self.changed.notify_all()

    def settle(self) -> None:
        """Carry on all operations until nothing moves any more."""
        self.world.settle()

    def stir(self) -> None:
        """Something moves."""
        self.world.stirred = True

    def handle(self, asked: Asked) -> Steps:
        """The steps of one request."""
        op = self._ops.get(str(asked.message.get("op")))
        if op is None:
            return _raising(DaemonError(f"no request {asked.message.get('op')!r} is known"))
        return op(asked)

    def _host(self, asked: Asked) -> FakeHost:
        """For what may take as long as it likes."""
        host = _on(self._named(asked["host"]))
        if host.paused:
            raise AgentError(f"host {host.node.name} is paused", "it answers when it is resumed")
        return host

    def _answering(self, asked: Asked, deadline: float) -> Generator[None, None, FakeHost]:
        """The host, when its agent can answer."""
        host = _on(self._named(asked["host"]))
        while host.paused:
            if time.monotonic() > deadline:
                raise AgentError(f"the agent of {host.node.name} does not answer: the host is paused")
            yield
        return _on(host)

    def _named(self, name: object) -> FakeHost:
        if not isinstance(name, str) or name not in self.hosts:
            raise AgentError(f"the lab has no host {name!r}", f"hosts: {', '.join(list(self.hosts)[:20])}")
        return self.hosts[name]

    # ---- the lab

    def _hello(self, asked: Asked) -> Steps:
        yield from ()
        if asked.get("version") != wire.VERSION:
            raise DaemonError(f"the daemon speaks version {wire.VERSION}, not {asked.get('version')}")
        about = {"owner": self.key.owner, "name": self.key.name, "state": self.state, "pid": os.getpid()}
        return {"version": wire.VERSION, "engine": "fake", **about}

    def _clock(self, asked: Asked) -> Steps:
        """No two machines of this engine are of one boot, whatever computer they are played on."""
        yield from ()
        now = round(self.machine.clock() * 1e9)
        return {"clock": [now, time.time_ns(), now, 0], "boot": ""}

    def _plan_(self, asked: Asked) -> Steps:
        yield from ()
        return {"plan": self._plan}

    def _set_plan(self, asked: Asked) -> Steps:
        yield from ()
        self._plan = asked["plan"]
        return {}

    def _commit(self, asked: Asked) -> Steps:
        yield from ()
        self.state = "running"
        return {}

    def _down(self, asked: Asked) -> Steps:
        yield from ()
        asked.session.send({"id": asked.message["id"], "ok": {}})
        asked.session.under_way.clear()
        self.end()
        return {}

    # ---- hosts

    def _make(self, asked: Asked) -> Steps:
        yield from ()
        for network in asked.get("networks", ()):
            self.networks.add(network["name"])
            self._network.networks.setdefault(network["name"], network)
        for spec in asked.get("hosts", ()):
            if spec["name"] not in self.hosts:
                self._add(spec)
                asked.part({"host": spec["name"]})
        return {}

    def _add(self, spec: Spec) -> None:
        for link in spec.get("interfaces", ()):
            if link["network"] not in self._network.networks:
                raise DaemonError(f"{spec['name']} is to be on network {link['network']}, which is not there")
        self.world.made += 1
        self.hosts[spec["name"]] = FakeHost(spec, self.world.made, self._network, self._tcp)

    def _remove(self, asked: Asked) -> Steps:
        yield from ()
        for name in asked.get("hosts", ()):
            if host := self.hosts.pop(name, None):
                host.remove()
        for name in asked.get("networks", ()):
            self.networks.discard(name)
            self._network.networks.pop(name, None)
        return {}

    def _configure(self, asked: Asked) -> Steps:
        yield from ()
        names = wire.unpacked(asked.get("names")) or ()
        text = File(hosts_file(names), 0o644)
        for spec in asked.get("hosts", ()):
            host = self.hosts.get(spec["name"])
            if host and not host.off:
                host.configure(spec)
                host.files.tree["/etc/hosts"] = text
        return {}

    def _hosts_(self, asked: Asked) -> Steps:
        yield from ()
        return {"hosts": [host.describe() for host in self.hosts.values()]}

    # ---- the agents

    def _call(self, asked: Asked) -> Steps:
        ask = asked["call"]
        if not isinstance(ask, dict):
            raise AgentError("a call is a mapping")
        call = Call(ask)
        host = yield from self._answering(asked, call.deadline)
        agent = host.scope(asked.session) if asked.get("scoped") else host.agent
        for _ in begin(agent, call):
            yield
            if agent.released:
                raise AgentError("what this call belongs to was released")
            yield from self._answering(asked, call.deadline + ANSWER_SECONDS)
        answer = call.answer()
        return wire.Frame(answer | {"began": self.machine.clock(answer["began"])}, bytes(call.data))

    def _calls(self, asked: Asked) -> Steps:
        """Many calls; each answer is a part."""
        base = {key: value for key, value in asked.message.items() if key != "calls"}
        left = {
            place: self._call(Asked(asked.session, wire.Frame({**base, "call": ask})))
            for place, ask in enumerate(asked["calls"])
        }
        while left:
            for place, steps in list(left.items()):
                if (answer := ended(steps)) is not None:
                    del left[place]
                    asked.part({"answers": [[place, answer.message, len(answer.data)]]}, answer.data)
            if left:
                yield
        return {}

    def _release(self, asked: Asked) -> Steps:
        yield from ()
        return {"closed": self._released(asked.session)}

    def _released(self, session: Session) -> int:
        return sum(host.release(session) for host in self.hosts.values())

    def _pause(self, asked: Asked) -> Steps:
        yield from ()
        return {"paused": _on(self._named(asked["host"])).pause(asked.session)}

    def _resume(self, asked: Asked) -> Steps:
        yield from ()
        return {"resumed": self._named(asked["host"]).resume()}

    def _power_off(self, asked: Asked) -> Steps:
        yield from ()
        self._named(asked["host"]).power_off()
        return {}

    def _listen(self, asked: Asked) -> Steps:
        host = yield from self._answering(asked, time.monotonic() + ANSWER_SECONDS)
        return host.agent.listen(asked.get("listen", []))

    def _connect(self, asked: Asked) -> Steps:
        answer: dict[str, Any] = {}
        seconds = float(asked.get("timeout", 5.0))
        host = yield from self._answering(asked, time.monotonic() + seconds)
        yield from host.agent.connect(asked.get("connect", []), seconds, answer)
        return answer

    # ---- programs and files

    def _start(self, asked: Asked) -> Steps:
        host, name = self._host(asked), str(asked.get("program", "run"))
        yield from ()
        answer = host.start(name, asked["argv"], asked.get("env", {}))
        self.programs.append(host.programs[name])
        return answer

    def _stop(self, asked: Asked) -> Steps:
        yield from ()
        return self._host(asked).stop(str(asked.get("program", "run")))

    def _signal(self, asked: Asked) -> Steps:
        yield from ()
        return self._host(asked).signal(str(asked.get("program", "run")), int(asked["signal"]))

    def _exec(self, asked: Asked) -> Steps:
        host = self._host(asked)
        if lacks(asked["argv"]):
            name = asked["argv"][0]
            return {"exit": 127, "signal": None, "failed": f"{name}: not found, or not in the fake engine"}
        argv = check(asked["argv"])
        if asked.get("tty"):
            raise AgentError("terminals are not in the fake engine")
        program = host.program(
            argv, asked.get("env", {}), lambda stream, data: asked.part({"stream": stream}, data)
        )
        while True:
            while asked.inputs:
                frame = asked.inputs.popleft()
                program.stdin += frame.data
                program.eof = program.eof or bool(frame.message["in"].get("eof"))
                program.kill(int(frame.message["in"].get("signal") or 0))
            program.paused = host.paused
            program.run()
            if not program.alive:
                code = program.exit if program.signal is None else 128 + program.signal
                return {"exit": code, "signal": program.signal}
            yield

    def _put(self, asked: Asked) -> Steps:
        host, path, data = self._host(asked), str(asked["path"]), bytearray()
        while True:
            while asked.inputs:
                frame = asked.inputs.popleft()
                data += frame.data
                if frame.message["in"].get("eof"):
                    host.files.put(path, bytes(data), int(asked.get("mode", 0o644)))
                    return {"size": len(data)}
            yield

    def _get(self, asked: Asked) -> Steps:
        yield from ()
        file = self._host(asked).files.get(str(asked["path"]))
        asked.part({"size": len(file.data)})
        for piece in pieces(file.data):
            asked.part({}, piece)
        return {"size": len(file.data), "mode": file.mode}

    def _list(self, asked: Asked) -> Steps:
        yield from ()
        files, path = self._host(asked).files, str(asked["path"])
        return {"entries": files.itself(path) if asked.get("itself") else files.list(path)}

    def _mkdir(self, asked: Asked) -> Steps:
        yield from ()
        self._host(asked).files.mkdir(str(asked["path"]))
        return {}

    def _logs(self, asked: Asked) -> Steps:
        host = self._host(asked)
        sent: dict[str, int] = {}
        if asked.get("begun"):
            asked.part({"begun": True}, b"")
        while True:
            for source, data in _sources(host, asked.get("paths", ())):
                start = sent.get(source, tail_start(data, asked.get("tail")))
                for piece in pieces(data[start:]):
                    asked.part({"source": source}, piece)
                sent[source] = len(data)
            if not asked.get("follow"):
                return {}
            yield

    # ---- what is seen

    def _snapshot(self, asked: Asked) -> Steps:
        yield from ()
        began = self.machine.clock()
        for host in [self._named(name) for name in asked.get("hosts", list(self.hosts))]:
            self._send_tables(asked, host)
        ended = self.machine.clock()
        return {"machine": self.machine.name, "began": began, "ended": ended, "not_observed": []}

    def _send_tables(self, asked: Asked, host: FakeHost) -> None:
        name, holders = host.node.name, bool(asked.get("holders"))
        part, tables = fake_tables.snapshot(name, host.stack, host.processes(), holders)
        part |= {key: self.machine.clock(part[key]) for key in ("began", "ended")}
        cookies = [record[-1] for record in fake_tables.DIAG.iter_unpack(tables[2])]
        tables.append(b"".join(self._known[cookie] for cookie in cookies if cookie in self._known))
        part["sizes"] = dict(zip(("tcp", "tcp6", "diag", "holders", "known"), map(len, tables), strict=True))
        asked.part({**part, "netns": 0 if host.off else host.netns, "off": host.off}, b"".join(tables))

    def _counters(self, asked: Asked) -> Steps:
        """A model that sends no packets counts none: nothing is said, rather than 0."""
        yield from ()
        hosts = [self._named(name) for name in asked.get("hosts", list(self.hosts))]
        for host in [one for one in hosts if not one.off]:
            sizes = dict.fromkeys(("netstat", "snmp", "snmp6"), 0)
            asked.part({"host": host.node.name, "at": self.machine.clock(), "sizes": sizes})
        return {"not_observed": [one.node.name for one in hosts if one.off]}

    def _remember(self, asked: Asked) -> Steps:
        yield from ()
        for at in range(0, len(asked.data) - 15, 16):
            record = asked.data[at : at + 16]
            self._known[int.from_bytes(record[:8], "little")] = record
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return {}


_WORDS = (
    "hello clock plan_ set_plan commit down make remove configure hosts_ call calls release pause resume "
    "power_off listen connect start stop signal exec put get list mkdir logs snapshot counters remember"
)
_OPS = tuple(f"_{name}" for name in _WORDS.split())


def _on(host: FakeHost) -> FakeHost:
    """Raises AgentGone for one whose power was cut."""
    if host.off:
        name = host.node.name
        raise AgentGone(
            f"the agent of {name} is gone", f"its power was cut; `lab restart {name}` brings it back"
        )
    return host


def _raising(error: LabError) -> Steps:
    yield from ()
    raise error


def _sources(host: FakeHost, paths: Sequence[str]) -> Iterable[tuple[str, bytes]]:
    yield from ((name, bytes(kept)) for name, kept in host.output.items())
    for path in paths:
        found = host.files.tree.get(path)
        if found is not None:
            yield path, found.data
