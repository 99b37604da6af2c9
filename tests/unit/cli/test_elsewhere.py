"""The client's docker path on a computer that is not Linux: modules that only Unix has are not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
BLOCKED = ("fcntl", "termios", "pwd", "grp", "resource", "pty", "tty", "pyroute2")
PROGRAM = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None
import importlib
from orchestrator.cli.verbs import VERBS
for verb in VERBS:
    importlib.import_module(f"orchestrator.cli.{{verb}}")
for name in ("lab", "bringup", "copying", "observe", "terminal", "owner", "fanout"):
    importlib.import_module(f"orchestrator.{{name}}")
from orchestrator.engines import registry
registry.engine("docker"); registry.engine("namespaces")
from orchestrator.model.plan import LabKey
from orchestrator.owner import owner
from orchestrator.plan import changes, describe, make_plan
from orchestrator.read import read_file
plan = make_plan(read_file("lab.yaml"), LabKey(owner=owner(), name="x"), "docker")
print(describe(plan, changes(None, plan)))
from orchestrator.cli.ending import run
sys.exit(run(["validate"]))
"""


def test_import_and_plan_without_what_only_unix_has() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM.format(blocked=BLOCKED)],
        cwd=ROOT,
        env={"LOGNAME": "someone", "PATH": "/usr/bin", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert "lab x of someone, engine docker" in done.stdout
    assert "all right" in done.stderr


def test_help_loads_no_verb_and_nothing_heavy() -> None:
    program = (
        "import sys; from orchestrator.cli.ending import run; run(['--help'])\n"
        "heavy = [m for m in sys.modules if m.split('.')[0] in"
        " ('docker', 'numpy', 'yaml', 'rich', 'msgspec', 'asyncio', 'pyroute2', 'paramiko')]\n"
        "sys.exit(repr(heavy) if heavy or 'orchestrator.cli.up' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
