"""Docker on a machine over SSH, as one more engine for the contract suite: those of docker-compose.yml.

They are found by LAB_SSH_CONFIG, or by the user's own settings, as `images/start-machines.sh` writes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from orchestrator.engines import registry
from orchestrator.engines.base import Probe
from orchestrator.engines.docker import DockerEngine
from orchestrator.errors import LabError
from orchestrator.machines.base import Machine, open_machine

NAME = "docker-ssh"
M1, M2 = "ssh://lab-m1", "ssh://lab-m2"


_where = [M1]


@lru_cache
def machine(url: str) -> Machine:
    """One line to it for the whole run, as a command has."""
    return open_machine(url.rpartition("lab-")[2], url)


class DockerOverSsh(DockerEngine):
    """The docker engine on the first machine."""

    def __init__(self) -> None:
        super().__init__(machine(_where[-1]))

    def probe(self, thorough: bool = False) -> Probe:
        """As the engine's; machines that are not up are said to be so."""
        try:
            self.machine.facts()
        except LabError as error:
            return Probe(engine=NAME, works=False, reason=error.message, cure="`make machines` starts them")
        return super().probe(thorough)


@contextmanager
def instead_of_docker(url: str = M1) -> Iterator[Machine]:
    """Whoever asks for the engine docker gets this one."""
    before = registry.ENGINES["docker"]
    registry.ENGINES["docker"] = (__name__, "DockerOverSsh")
    _where.append(url)
    try:
        yield machine(url)
    finally:
        _where.pop()
        registry.ENGINES["docker"] = before
