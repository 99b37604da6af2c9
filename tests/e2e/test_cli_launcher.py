"""The launcher `lab` in a checkout of its own: real environments, but of a project without packages to
fetch.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = '[project]\nname = "tried"\ndependencies = []\n[project.optional-dependencies]\ntest = []\n'
PROGRAM = "import sys\nprint(sys.prefix, *sys.argv[1:])\n"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the launcher is a sh script")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the real launcher and a project that needs nothing."""
    folder = tmp_path / "check out"  # with a space, as folders of users have
    (folder / "orchestrator/cli").mkdir(parents=True)
    shutil.copy(ROOT / "lab", folder)
    shutil.copy(ROOT / "orchestrator/cli/environment.py", folder / "orchestrator/cli")
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "orchestrator/__init__.py").write_text("")
    (folder / "orchestrator/__main__.py").write_text(PROGRAM)
    return folder


def start(checkout: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("LAB_", "PYTHON", "XDG_"))}
    return subprocess.Popen(
        [str(checkout / "lab"), *arguments],
        env=clean | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def run(checkout: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    process = start(checkout, *arguments, **environment)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_first_use_makes_an_environment_and_the_second_does_not(checkout: Path) -> None:
    first = run(checkout, "up", "a b")
    assert (first[0], first[1]) == (0, f"{checkout}/.venv up a b\n")
    assert "this is done once" in first[2]
    assert run(checkout, "up", "a b") == (0, first[1], "")


def test_a_changed_project_is_installed_anew(checkout: Path) -> None:
    run(checkout)
    (checkout / "pyproject.toml").write_text(PROJECT + "# changed\n")
    assert "this is done once" in run(checkout)[2]
    assert run(checkout)[2] == ""


def test_extras_are_added_and_stay(checkout: Path) -> None:
    run(checkout)
    assert "this is done once" in run(checkout, LAB_EXTRAS="test")[2]
    assert run(checkout, LAB_EXTRAS="test")[2] == ""
    assert (checkout / ".venv/lab.stamp").read_text().splitlines()[1:] == ["test"]


def test_concurrent_first_uses_make_one_environment(checkout: Path) -> None:
    processes = [start(checkout, str(number)) for number in range(4)]
    ended = [process.communicate(timeout=120) for process in processes]
    assert [out for out, _ in ended] == [f"{checkout}/.venv {number}\n" for number in range(4)]
    assert sum("this is done once" in err for _, err in ended) == 1


def test_a_killed_first_use_leaves_no_broken_environment(checkout: Path) -> None:
    process = start(checkout)
    deadline = time.monotonic() + 60
    while not (checkout / ".venv/lab.making").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert not (checkout / ".venv/lab.stamp").exists()
    assert run(checkout)[:2] == (0, f"{checkout}/.venv\n")
    assert not (checkout / ".venv/lab.making").exists()


def test_an_environment_of_the_users_own_is_completed_and_not_cleared(checkout: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(checkout / ".venv")], check=True)
    (checkout / ".venv/theirs").write_text("kept")
    assert run(checkout)[0] == 0
    assert (checkout / ".venv/theirs").read_text() == "kept"


def test_another_users_checkout_gets_an_environment_in_the_cache(checkout: Path, tmp_path: Path) -> None:
    """As root: the checkout is given to another user. As a user: it is made read-only."""
    if os.geteuid() == 0:
        os.chown(checkout, 65534, 65534)
    else:
        checkout.chmod(0o555)
    try:
        cache = tmp_path / "cache"
        assert run(checkout, "x", XDG_CACHE_HOME=str(cache))[:2] == (0, f"{cache}/lab{checkout}/.venv x\n")
        assert run(checkout, "x", XDG_CACHE_HOME=str(cache))[2] == ""
        assert not (checkout / ".venv").exists()
    finally:
        checkout.chmod(0o755)


def test_a_link_to_the_launcher_works_from_any_folder(checkout: Path, tmp_path: Path) -> None:
    link = tmp_path / "bin"
    link.mkdir()
    (link / "lab").symlink_to(checkout / "lab")
    assert run(link, "x")[:2] == (0, f"{checkout}/.venv x\n")


def test_modules_of_the_current_folder_are_not_imported(checkout: Path, tmp_path: Path) -> None:
    run(checkout)
    (tmp_path / "sys.py").write_text("raise SystemExit('imported')")
    (tmp_path / "orchestrator").mkdir()
    (tmp_path / "orchestrator/__main__.py").write_text("raise SystemExit('imported')")
    done = subprocess.run([str(checkout / "lab")], cwd=tmp_path, text=True, capture_output=True)
    assert (done.returncode, done.stdout) == (0, f"{checkout}/.venv\n")


@pytest.mark.parametrize(
    ("fake", "said"),
    [
        ("sys.exit(1)", "no Python 3.11 or newer is here"),
        ("import ensurepip_is_missing", "has no venv and ensurepip"),
    ],
)
def test_what_is_missing_is_named_in_one_line(checkout: Path, tmp_path: Path, fake: str, said: str) -> None:
    """A PATH whose python3 is too old, or one without ensurepip (Debian without python3-venv)."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "cksum", "id", "uname", "cat", "readlink", "mkdir"):
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    answers = {
        "sys.exit(1)": "exit 1",
        "import ensurepip_is_missing": "case $2 in *ensurepip*) exit 1 ;; esac",
    }
    (programs / "python3").write_text(f"#!/bin/sh\n{answers[fake]}\n")
    (programs / "python3").chmod(0o755)
    code, out, err = run(checkout, PATH=str(programs))
    assert (code, out) == (3, "")
    assert err.count("\n") == 1
    assert said in err
    assert "install" in err
