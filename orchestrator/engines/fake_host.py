"""A host of the fake engine: its agent, files and programs."""

from __future__ import annotations

import itertools
import os
from collections.abc import Hashable, Mapping
from typing import Any

from orchestrator.engines.fake_agent import AGENT, FakeAgent, Numbers
from orchestrator.engines.fake_files import Files
from orchestrator.engines.fake_network import Network, Spec, make_node
from orchestrator.engines.fake_programs import KEPT, Program, check
from orchestrator.engines.fake_tcp import Stack, Tcp
from orchestrator.errors import AgentError

LAST_SIGNAL = 64  # SIGRTMAX
_FIRST_NETNS = 4026531840  # PROC_DYNAMIC_FIRST and what the kernel itself takes: as inodes of namespaces look


class FakeHost:
    """Everything of one host."""

    def __init__(self, spec: Spec, number: int, network: Network, tcp: Tcp) -> None:
        self.spec = spec
        self._network, self._tcp = network, tcp
        self.netns = _FIRST_NETNS + number
        self.node = make_node(spec)
        self.stack = tcp.stacks[self.node] = Stack(self.node)
        self._pids = itertools.count(AGENT + 1)
        self._numbers = Numbers()
        self.files = Files()
        self.agent = self._new_agent()
        self._scopes: dict[Hashable, FakeAgent] = {}
        self._paused_by: set[Hashable] = set()
        self.off = False
        self.programs: dict[str, Program] = {}
        self.output: dict[str, bytearray] = {}
        network.add(self.node)

    def _new_agent(self) -> FakeAgent:
        return FakeAgent(self.stack, self._tcp, lambda: next(self._pids), self._numbers, self.files)

    def scope(self, owner: Hashable) -> FakeAgent:
        """What calls of this owner's scope work on."""
        return self._scopes.setdefault(owner, self._new_agent())

    def release(self, owner: Hashable) -> int:
        """End what this owner has here, a pause too; how many descriptors its scope had open."""
        if owner in self._paused_by:
            self._paused_by.remove(owner)
            self._hold()
        scope = self._scopes.pop(owner, None)
        return scope.release() if scope else 0

    @property
    def paused(self) -> bool:
        """Does nothing of it run?"""
        return bool(self._paused_by)

    def pause(self, owner: Hashable) -> int:
        """Nothing of it runs; its sockets go on as a kernel's would. How many processes are stopped."""
        self._paused_by.add(owner)
        self._hold()
        return len(self.processes())

    def resume(self) -> int:
        """It runs on, whoever paused it; how many processes that are."""
        was = len(self.processes()) if self.paused else 0
        self._paused_by.clear()
        self._hold()
        return was

    def _hold(self) -> None:
        for program in self.programs.values():
            program.paused = self.paused
        if not self.paused:  # what came in meanwhile
            self._tcp.touched.update(one for there in self.stack.ports.values() for one in there)

    def power_off(self) -> None:
        """Gone, and nothing that was connected to it knows."""
        if not self.off:
            self.off = True
            self._paused_by.clear()
            self.programs.clear()
            self._scopes.clear()
            self.remove()
            self.stack = Stack(self.node)

    def configure(self, spec: Spec) -> None:
        """Routes and NAT as this spec says."""
        self.spec = spec
        fresh = make_node(spec)
        self.node.routes, self.node.nat = fresh.routes, fresh.nat

    def remove(self) -> None:
        """Nothing of it is left."""
        if self.stack.node not in self._tcp.stacks:
            return
        self._network.discard(self.node)
        self._tcp.forget(self.stack)

    def start(self, name: str, argv: object, env: Mapping[str, str]) -> dict[str, Any]:
        """A program that runs by itself; the same one that runs is left alone."""
        words = check(argv)
        there = self.programs.get(name)
        if there and there.alive and there.argv == words:
            return {"pid": there.pid, "already": True}
        kept = self.output.setdefault(name, bytearray())
        program = self.program(words, env, lambda _, data: _keep(kept, data))
        program.eof = True
        self.programs[name] = program
        program.run()
        return {"pid": program.pid, "already": False}

    def stop(self, name: str) -> dict[str, Any]:
        """SIGTERM; it has ended when this returns."""
        program = self.programs.get(name)
        if program is None or not program.alive:
            return {"was": "absent" if program is None else "exited"}
        program.kill(15)
        return {"was": "running", "exit": program.exit, "signal": program.signal}

    def signal(self, name: str, number: int) -> dict[str, Any]:
        """A signal to a program that runs."""
        program = self.programs.get(name)
        if program is None or not program.alive:
            raise AgentError(f"no program {name!r} runs", "`start` starts one")
        if not 0 < number <= LAST_SIGNAL:
            raise AgentError(f"{number} is no signal")
        program.kill(number)
        return {"pid": program.pid}

    def program(self, argv: list[str], env: Mapping[str, str], write: Any) -> Program:
        """A new process of this host."""
        return Program(next(self._pids), argv, {**self.spec.get("env", {}), **env}, self.files, write)

    def processes(self) -> dict[int, str]:
        """pid → name, as `ps` would show it."""
        if self.off:
            return {}
        programs = {p.pid: os.path.basename(p.argv[0]) for p in self.programs.values() if p.alive}
        children = [pid for one in (self.agent, *self._scopes.values()) for pid in one.children.values()]
        return {AGENT: "agent", **dict.fromkeys(children, "agent"), **programs}

    def describe(self) -> dict[str, Any]:
        """As `hosts` answers."""
        about = {"name": self.node.name, "kind": self.spec.get("kind", "host"), "pid": os.getpid()}
        about |= {"alive": not self.off, "paused": self.paused, "off": self.off}
        if self.off:
            return {**about, "programs": [], "listening": [], "connected": 0}
        return {
            **about,
            "programs": [program.describe(name) for name, program in self.programs.items()],
            "listening": self.agent.describe_listening(),
            "connected": self.agent.connected,
        }


def _keep(kept: bytearray, data: bytes) -> None:
    kept += data
    del kept[: max(0, len(kept) - KEPT)]
