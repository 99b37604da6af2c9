"""Makes the virtual environment of a checkout: run by the launcher on first use. Standard library only.

The project itself goes in as a `.pth` line, not by `pip install -e`: no build backend is fetched, nothing
is written into a checkout that may be read-only, and a start is spared setuptools' import hook.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

MARKER = "lab.making"  # lies in an environment of ours that is not complete: it may be made anew
STAMP = "lab.stamp"  # what it was made from (the launcher's words), then the extras that are in it


def main(arguments: list[str]) -> int:
    """CHECKOUT VENV STAMP; extras are named by LAB_EXTRAS. Says one line and returns 3 where it fails."""
    checkout, venv, stamp = Path(arguments[0]), Path(arguments[1]), arguments[2]
    extras = os.environ.get("LAB_EXTRAS", "").replace(",", " ").split()
    try:
        with locked(venv.parent):
            if not is_current(venv, stamp, extras):
                make(checkout, venv, stamp, extras)
    except KeyboardInterrupt:
        return 130
    except subprocess.CalledProcessError as error:
        print(
            f"lab: {' '.join(map(str, error.cmd[:4]))} … failed: {last_line(error.output)}", file=sys.stderr
        )
        return 3
    except OSError as error:
        print(f"lab: the environment {venv} cannot be made: {error}", file=sys.stderr)
        return 3
    return 0


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One at a time: flock(2) on the folder itself leaves no file, and ends with whoever holds it."""
    import fcntl  # the launcher is a sh script: there is no Windows here

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def is_current(venv: Path, stamp: str, extras: list[str]) -> bool:
    """Whether the environment is complete, of this stamp, and has these extras."""
    was, has = read_stamp(venv)
    return was == stamp and set(extras) <= has and os.access(venv / "bin/python", os.X_OK)


def read_stamp(venv: Path) -> tuple[str, set[str]]:
    """(stamp, extras) of a complete environment; ("", nothing) of any other."""
    try:
        lines = (venv / STAMP).read_text().splitlines()
    except OSError:
        return "", set()
    return (lines[0], set(lines[1:])) if lines else ("", set())


def make(checkout: Path, venv: Path, stamp: str, extras: list[str]) -> None:
    """Make or complete the environment; the stamp comes last, so that a killed one is seen."""
    wanted = sorted(set(extras) | read_stamp(venv)[1])
    project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    packages = list(project["dependencies"])
    for extra in wanted:
        packages += project["optional-dependencies"][extra]
    say(f"making {venv} with {len(packages)} packages; this is done once …")
    create(venv)
    python = venv / "bin/python"
    if packages:
        run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
    site = run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    Path(site, "lab-checkout.pth").write_text(f"{checkout}\n")
    run([python, "-m", "compileall", "-q", checkout / "orchestrator"], fails=True)
    write_whole(venv / STAMP, "\n".join([stamp, *wanted]) + "\n")
    (venv / MARKER).unlink(missing_ok=True)


def create(venv: Path) -> None:
    """An empty environment, unless a whole one is there: another's own is completed and not cleared."""
    broken = not os.access(venv / "bin/python", os.X_OK)
    ours = (venv / MARKER).exists()
    (venv / STAMP).unlink(missing_ok=True)
    if not (broken or ours):
        return
    venv.mkdir(exist_ok=True)
    (venv / MARKER).write_text(
        "not complete\n"
    )  # before anything else, so that a killed one is known as ours
    for entry in venv.iterdir():
        if entry.name != MARKER:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    run([sys.executable, "-m", "venv", venv])


def run(command: list[str | Path], *, fails: bool = False) -> str:
    """The output of a program; raises CalledProcessError with its output, unless it may fail."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=clean,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode and not fails:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout)
    return done.stdout


def write_whole(path: Path, text: str) -> None:
    """Write by rename: the launcher, which takes no lock, sees all of it or nothing."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def last_line(output: str | None) -> str:
    """What a failed program said last, where that is most telling: pip's line of ERROR."""
    lines = [line.strip() for line in (output or "").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["it said nothing"])[-1]


def say(text: str) -> None:
    """Progress is for stderr."""
    print(f"lab: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
