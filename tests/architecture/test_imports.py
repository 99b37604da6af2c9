"""Who may import what, beyond .importlinter: libraries, modules that only Unix has, and what is shipped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGE, ROOT, imported, modules, name

PURE_AND_CLIENT = (
    *("model/", "read/", "plan/", "join/", "engines/", "report/", "scenarios/", "cli/"),
    *(
        "observe",
        "lab",
        "bringup",
        "capturing",
        "histories",
        "lacking",
        "leased",
        "roster",
        "runs",
        "kept",
        "jobs/",
        "pytest_plugin/",
    ),
)
# library: the files that may import it (by the beginning of their names), and whether only inside functions
LIBRARIES = {
    "docker": (("engines/docker", "machines/"), True),
    "requests": (("engines/docker",), True),
    "paramiko": (("machines/",), True),
    "yaml": (("read/",), False),
    "numpy": (("join/",), False),
    "pyroute2": (("daemon/",), True),
    "rich": (("cli/", "report/"), False),
    "click": (("cli/",), False),
    "pytest": (("pytest_plugin/",), False),  # no dependency: it is pytest that loads the plugin
    "_pytest": (("pytest_plugin/",), True),  # for type checkers alone
    "msgspec": (PURE_AND_CLIENT, False),
}
UNIX = {"fcntl", "termios", "pwd", "grp", "resource", "pty", "tty"}
UNIX_ONLY = ("agent/", "daemon/", "engines/namespaces")
SHIPPED = ("errors.py", "wire.py", "agent", "daemon")
STANDARD = set(sys.stdlib_module_names) | {"orchestrator", "__future__"}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_has_its_place(library: str) -> None:
    places, late = LIBRARIES[library]
    for path in modules():
        if library in imported(path):
            assert name(path).startswith(places), f"{name(path)} imports {library}"
        if late:
            assert library not in imported(path, late=False), (
                f"{name(path)} imports {library} before it is needed"
            )


def test_no_other_library_is_used() -> None:
    found = {library for path in modules() for library in imported(path)} - STANDARD
    assert found <= set(LIBRARIES) | {"urllib3"}


def test_the_client_needs_nothing_that_only_unix_has() -> None:
    for path in modules():
        if not name(path).startswith(UNIX_ONLY):
            assert not UNIX & set(imported(path, late=False)), name(path)


def test_what_is_shipped_runs_on_the_standard_library_alone(tmp_path: Path) -> None:
    """As in a container: only errors, wire, agent and daemon, no site-packages, no environment."""
    shipped = tmp_path / "orchestrator"
    shipped.mkdir()
    (shipped / "__init__.py").touch()
    for part in SHIPPED:
        files = [PACKAGE / part] if part.endswith(".py") else sorted((PACKAGE / part).rglob("*.py"))
        for file in files:
            target = shipped / file.relative_to(PACKAGE)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(file.read_bytes())
    names = [".".join(file.relative_to(tmp_path).with_suffix("").parts) for file in shipped.rglob("*.py")]
    names = sorted(n for n in names if not n.endswith(("__init__", "__main__")))
    program = f"import sys, importlib; sys.path.insert(0, {str(tmp_path)!r})\n"
    program += f"for name in {names!r}: importlib.import_module(name)"
    done = subprocess.run([sys.executable, "-S", "-I", "-B", "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_line_starts_light() -> None:
    heavy = (
        "docker",
        "paramiko",
        "numpy",
        "yaml",
        "pyroute2",
        "asyncio",
        "orchestrator.daemon",
        "orchestrator.agent",
    )
    program = f"import sys, orchestrator.cli; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-P", "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_the_fake_engine_needs_no_unix() -> None:
    """A lab from file to joined rows, with modules and socket families missing as on other systems."""
    program = f"""
import sys, socket
for module in {sorted(UNIX)!r}: sys.modules[module] = None
del socket.AF_UNIX
from orchestrator import bringup, observe
from orchestrator.read import read_text
text = b"name: x\\nnetworks: {{n: {{}}}}\\nhosts: {{a: {{role: server, networks: [n], listen: [80]}},"
text += b" b: {{role: client, networks: [n], connect: [a:80]}}}}"
from orchestrator.engines import registry
from orchestrator.model.plan import LabKey
from orchestrator.plan import changes, make_plan
plan = make_plan(read_text(text, "lab.yaml", "."), LabKey(owner="me", name="x"), "fake")
todo = changes(None, plan)
channel = registry.engine("fake").apply(plan, [c for c in todo if c.action in bringup.STRUCTURE], print)
assert not bringup.Steps(channel, plan, todo, print).carry_out()
print([c.status for c in observe.observe(channel, plan).joined.connections])
"""
    done = subprocess.run([sys.executable, "-P", "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "['joined']"
