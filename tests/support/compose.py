"""The machines of docker-compose.yml for tests: a project of its own, started as a user starts them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
_START = ROOT / "images/start-machines.sh"


class Done(NamedTuple):
    """A command's end."""

    code: int
    out: str
    err: str


class Machines:
    """Two machines. Those of COMPOSE_PROJECT_NAME, where that is set, are used and left running."""

    def __init__(self, folder: Path) -> None:
        given = os.environ.get("COMPOSE_PROJECT_NAME")
        self.config = folder / "ssh_config"
        self.project = given or f"labtest{os.getpid()}"
        self._keep = bool(given)
        self.env = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": self.project,
            "LAB_SSH_CONFIG": str(self.config),
            "LAB": f"{sys.executable} -m orchestrator",
        }

    def start(self) -> Done:
        """The one command that starts them."""
        return self.run(str(_START))

    def down(self) -> Done:
        """Remove them, and what was written."""
        return Done(0, "", "") if self._keep else self.run(str(_START), "down")

    def run(self, *argv: str, **more: str) -> Done:
        """A command with these machines as its own."""
        done = subprocess.run(
            argv, cwd=ROOT, env={**self.env, **more}, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def lab(self, *argv: str, **more: str) -> Done:
        """The command under test."""
        return self.run(sys.executable, "-m", "orchestrator", *argv, **more)

    def container(self, service: str) -> str:
        """The id of a machine's container."""
        labels = ("com.docker.compose.project", self.project), ("com.docker.compose.service", service)
        filters = [f"--filter=label={key}={value}" for key, value in labels]
        return self.run("docker", "ps", "-aq", "--no-trunc", *filters).out.strip()

    def on(self, service: str, script: str) -> str:
        """Run a script in a machine, by Docker: not by way of what is under test. It must succeed."""
        done = self.run("docker", "exec", self.container(service), "sh", "-ec", script)
        assert done.code == 0, done
        return done.out

    def left(self) -> list[str]:
        """What Docker still has of the project."""
        label = f"--filter=label=com.docker.compose.project={self.project}"
        asked = (("ps", "-aq"), ("volume", "ls", "-q"), ("network", "ls", "-q"))
        return [line for words in asked for line in self.run("docker", *words, label).out.split()]


@contextmanager
def alone(folder: Path, **environment: str) -> Iterator[Machines]:
    """Machines that are ours alone, up. Where they cannot be: a skip, or a failure if they are required."""
    if why := missing():
        required = "docker-ssh" in os.environ.get("LAB_REQUIRE_ENGINES", "")
        (pytest.fail if required else pytest.skip)(why)
    found = Machines(folder)
    found.env.update(environment)
    try:
        ready = found.start()
        assert ready.code == 0, ready
        yield found
    finally:
        found.down()


def missing() -> str:
    """Why they cannot be started here; "" where they can."""
    if not (shutil.which("docker-compose") or _plugin()):
        return "there is no Compose"
    if subprocess.run(["docker", "version"], capture_output=True).returncode:
        return "no Docker Engine answers"
    if subprocess.run(["docker", "image", "inspect", "lab/machine"], capture_output=True).returncode:
        return "there is no image lab/machine: `lab images build lab/machine`"
    return ""


def _plugin() -> bool:
    try:
        return subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
