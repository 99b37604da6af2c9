"""The real launcher, as a user calls it, and labs that are surely gone after a test."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LAUNCHER = Path(__file__).parents[2] / "lab"
SECONDS = 120  # no command of a test takes longer
TOPOLOGY = """
name: {name}
networks:
  office: {subnet: {net}.1.0/24}
  dc: {subnet: {net}.2.0/24}
routers:
  edge: {networks: [office, dc]}
hosts:
  web: {role: server, networks: {dc: {net}.2.80}, listen: [80]}
  alice: {role: client, networks: [office], connect: [web:80]}
  bob: {role: client, networks: [office], connect: ["web:80 x3"]}
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)


@dataclass
class Commands:
    """`lab` in a folder of its own, on one engine, as a user without any state."""

    folder: Path
    engine: str
    environment: Mapping[str, str] = field(default_factory=dict)
    name: str = field(default_factory=lambda: f"t{secrets.token_hex(4)}")
    net: str = field(default_factory=lambda: f"10.{64 + secrets.randbelow(128)}")  # docker: no two at once

    def write(self, text: str = TOPOLOGY, file: str = "lab.yaml") -> None:
        """The lab file; {name} and {net} are the lab's."""
        (self.folder / file).write_text(text.replace("{name}", self.name).replace("{net}", self.net))

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
        """A command that goes on."""
        return subprocess.Popen(
            [str(LAUNCHER), *arguments], cwd=self.folder, env=self.env(), start_new_session=True, **more
        )

    def env(self) -> dict[str, str]:
        """The environment of a command."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("LAB_", "XDG_"))}
        return {**kept, "XDG_STATE_HOME": str(self.folder / "state"), **self.environment}

    def bytes(self, *arguments: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        """(exit, stdout, stderr) of a command, as bytes."""
        done = subprocess.run(
            [str(LAUNCHER), *arguments],
            cwd=self.folder,
            env=self.env(),
            input=stdin,
            capture_output=True,
            timeout=SECONDS,
        )
        return done.returncode, done.stdout, done.stderr

    def run(self, *arguments: str, stdin: str = "") -> Ended:
        """How a command ended."""
        code, out, err = self.bytes(*arguments, stdin=stdin.encode())
        return Ended(code, out.decode(), err.decode())

    def good(self, *arguments: str, stdin: str = "") -> Ended:
        """As `run`, of a command that has to succeed."""
        ended = self.run(*arguments, stdin=stdin)
        assert ended.code == 0, (arguments, ended)
        return ended

    def up(self, *arguments: str) -> Ended:
        """`lab up` on this engine."""
        return self.good("up", "--engine", self.engine, *arguments)

    def conns(self, *arguments: str) -> Sequence[dict[str, Any]]:
        """The rows of `lab conns --json`."""
        rows: Sequence[dict[str, Any]] = self.good("conns", "--json", *arguments).json["connections"]
        return rows

    def labs(self) -> dict[str, str]:
        """State by name of all labs that `status` lists."""
        return {one["name"]: one["state"] for one in self.good("status", "--json").json["labs"]}
