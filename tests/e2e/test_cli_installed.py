"""`pip install .` into a fresh environment: the command `lab` works from anywhere, with all that it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.engines.base import Engine
from tests.support.cli import TOPOLOGY, Commands

ROOT = Path(__file__).parents[2]
CONTEXTS = """
from orchestrator.engines import docker_images as images
print(images.folder(), *(name for name in images.RECIPES if images.make_context(name, "x86_64").files))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment; its packages are fetched as a user's are."""
    folder = tmp_path_factory.mktemp("installed")
    source, environment = folder / "source", folder / "environment"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "orchestrator", "images"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(source)], check=True)
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    install = ["-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", str(source)]
    subprocess.run([str(environment / "bin/python"), *install], check=True, cwd="/")
    subprocess.run(["rm", "-r", str(source)], check=True)
    return environment


def lab(installed: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("LAB_", "PYTHON", "VIRTUAL_ENV"))}
    command = [str(installed / "bin/lab"), *arguments]
    return subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, timeout=120)


def test_the_command_is_there(installed: Path, tmp_path: Path) -> None:
    assert lab(installed, "--version", cwd=tmp_path).stdout == "lab 0.1.0\n"
    assert lab(installed, "--help", cwd=tmp_path).returncode == 0
    assert lab(installed, "schema", cwd=tmp_path).stdout.startswith("{")


def test_files_are_judged(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_bytes((ROOT / "lab.yaml").read_bytes())
    assert lab(installed, "validate", cwd=tmp_path).returncode == 0
    (tmp_path / "lab.yaml").write_text("nam: x\n")
    judged = lab(installed, "validate", cwd=tmp_path)
    assert judged.returncode == 2
    assert "lab.yaml:1:1: a lab has no `nam`; did you mean `name`?" in judged.stderr


def test_images_have_their_files(installed: Path) -> None:
    python = [str(installed / "bin/python"), "-P", "-c", CONTEXTS]
    done = subprocess.run(python, cwd="/", capture_output=True, text=True, check=True)
    folder, *names = done.stdout.split()
    assert folder == str(installed / "share/lab/images")
    assert set(names) == {"lab/host", "lab/daemon", "lab/nginx", "lab/machine"}


@pytest.mark.engine("namespaces")
def test_a_lab_comes_up(installed: Path, engine: Engine, tmp_path: Path) -> None:
    commands = Commands(tmp_path, engine.name)
    commands.write(TOPOLOGY)
    try:
        up = lab(installed, "up", "--engine", engine.name, cwd=tmp_path)
        assert up.returncode == 0, up.stderr
        assert up.stdout.count(f"web {commands.net}.2.80:80") == 4
    finally:
        assert lab(installed, "down", commands.name, cwd=tmp_path).returncode == 0
