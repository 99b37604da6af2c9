"""What the daemons of one lab of the fake engine share: the network, and TCP on it. On several machines it is
the fabric between them.
"""

from __future__ import annotations

import threading
from typing import Protocol

from orchestrator.engines.fake_host import FakeHost
from orchestrator.engines.fake_machine import FakeMachine
from orchestrator.engines.fake_network import Network
from orchestrator.engines.fake_programs import Program
from orchestrator.engines.fake_session import Session
from orchestrator.engines.fake_tcp import Tcp


class Daemon(Protocol):
    """What a world needs of one."""

    machine: FakeMachine
    hosts: dict[str, FakeHost]
    sessions: list[Session]
    programs: list[Program]


class World:
    """Carries on all operations of the lab under one lock."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.stirred = False
        self.network = Network()
        self.tcp = Tcp(self.network)
        self.daemons: list[Daemon] = []
        self.made = 0  # hosts, ever

    def settle(self) -> None:
        """Carry on all operations until nothing moves any more."""
        self.stirred = True
        while self.stirred:
            self.stirred = False
            self.tcp.tick()
            self._attend()
            for daemon in [one for one in self.daemons if one.machine.state == "on"]:
                for session in list(daemon.sessions):
                    session.advance()
                _run_programs(daemon)
            self.stirred = self.stirred or bool(self.tcp.touched)
        self.changed.notify_all()

    def _attend(self) -> None:
        while self.tcp.touched:
            touched = self.tcp.touched.pop()
            name = touched.stack.node.name
            host = next((one.hosts[name] for one in self.daemons if name in one.hosts), None)
            if host and not host.paused:
                host.agent.attend(touched)


def _run_programs(daemon: Daemon) -> None:
    for program in daemon.programs:
        program.run()
    if daemon.programs:
        daemon.programs = [program for program in daemon.programs if program.alive]
