"""pytest inside pytest: a user's project in a folder of its own, run with the plugin."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import orchestrator
from orchestrator.engines.base import Engine
from orchestrator.owner import owner

LAB = """
name: {name}
networks: {{n: {{subnet: {net}.0/24}}}}
hosts:
  web: {{role: server, networks: [n]}}
  alice: {{role: client, networks: [n]}}
"""
SCENARIOS = """
scenarios:
  good:
    steps:
      - web: listen :80 as door
      - alice: connect web:80 as call
      - expect: {connection: alice.call, client: ESTABLISHED, server: ESTABLISHED}
  rows:
    title: Of two ports one
    table: [{port: 80}, {port: 81}]
    steps:
      - web: "listen :${port} as door"
      - alice: "connect web:81 as call"
      - expect: {connection: alice.call, client: ESTABLISHED}
  torn:
    steps:
      - web: listen :80 as door
      - alice: connect web:80 as call x2
      - expect: {connection: alice -> web:80, client: ESTABLISHED, within: 50ms}
"""

PLUGINS = ("-p", "orchestrator.pytest_plugin", "-p", "xdist.plugin", "-W", "ignore:Module already imported")


class Project:
    """A user's project: lab.yaml and tests, for one engine."""

    def __init__(self, pytester: pytest.Pytester, engine: Engine) -> None:
        self.pytester, self.engine = pytester, engine
        self.name = f"p{secrets.token_hex(3)}"
        # Docker: no two labs of the tests at once; 240.0.0.0/8 and what others use are not among these
        self.net = f"10.{64 + secrets.randbelow(128)}.{secrets.randbelow(256)}"
        self.folder = pytester.path
        self.lab()

    def lab(self, more: str = "", file: str = "lab.yaml", text: str = LAB) -> None:
        """Write a lab file."""
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(name=self.name, net=self.net) + more)

    def tests(self, text: str, file: str = "test_it.py") -> None:
        """Write tests."""
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"import os, pytest\n{text}")

    def ini(self, **values: str) -> None:
        """Write the ini file."""
        lines = "".join(f"{key} = {value}\n" for key, value in values.items())
        (self.folder / "pytest.ini").write_text(f"[pytest]\n{lines}")

    def run(self, *arguments: str, apart: bool = False) -> pytest.RunResult:
        """Run pytest; what it prints is shown where the outer test fails. `apart`: in a process of its own,
        as always but with the fake engine."""
        how = "subprocess" if apart or self.engine.name != "fake" else "inprocess"
        run: Callable[..., pytest.RunResult] = getattr(self.pytester, f"runpytest_{how}")
        return run(*PLUGINS, "--lab-engine", self.engine.name, "-rA", *arguments)

    def left(self) -> list[str]:
        """Labs of this project that are there, and files of leases."""
        labs = [one.key.name for one in self.engine.find(owner()) if one.key.name.startswith(self.name)]
        return labs + [path.name for path in (self.folder / "state/lab/leases").glob("*")]


@pytest.fixture(scope="session")
def imported() -> None:
    """All that a run in this process may import, once: pytester forgets what came in during such a run, and
    C extensions cannot be imported twice."""
    for module in ("yaml", "numpy", "docker", "xdist.plugin"):
        importlib.import_module(module)
    for found in pkgutil.walk_packages(orchestrator.__path__, "orchestrator."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)


@pytest.fixture
def project(
    pytester: pytest.Pytester, engine: Engine, imported: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """A project, of which no lab may be left."""
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.path / "state"))
    monkeypatch.setenv("PYTHONPATH", os.fspath(Path(__file__).parents[2]))
    for name in [name for name in os.environ if re.match("PYTEST_XDIST|PYTEST_ADDOPTS|LAB_", name)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # of what else is installed nothing is loaded
    monkeypatch.setenv("COLUMNS", "300")  # reasons on one line are cut to the terminal's width
    found = Project(pytester, engine)
    yield found
    assert found.left() == []


def verdicts(result: pytest.RunResult) -> dict[str, str]:
    """Of each test, by its name: PASSED, FAILED or ERROR, with what it failed with."""
    found = {}
    for line in result.outlines:
        match = re.match(r"(PASSED|FAILED|ERROR) \S+?::(\S+)(?: - (.*))?$", line)
        if match:
            found[match[2]] = f"{match[1]} {match[3] or ''}".strip()
    return found
