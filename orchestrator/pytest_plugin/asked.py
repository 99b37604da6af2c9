"""What a test asks for: which lab file, which engine, fresh or shared. Markers, options, ini values."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from orchestrator.errors import UsageError

AUTO = "auto"
MARKER = "lab(path, *, engine=None, fresh=False): the lab file of this test, from its folder or the root's"
FILE_OF_A_FOLDER = "lab.yaml"


class Asked(NamedTuple):
    """A lab for a test."""

    path: Path
    engine: str
    fresh: bool


def add_options(parser: pytest.Parser) -> None:
    """Options of the command line and of the ini file."""
    group = parser.getgroup("lab", "labs")
    group.addoption("--lab-file", metavar="FILE", help="lab file of tests whose marker names none")
    group.addoption(
        "--lab-engine",
        metavar="E",
        help="engine of all labs: auto, namespaces or docker; else the marker's, lab_engine's, the file's",
    )
    parser.addini("lab_file", "lab file of tests whose marker names none, from the root's folder", default="")
    parser.addini("lab_engine", "engine of labs whose marker names none", default="")
    parser.addini(
        "lab_scenarios",
        "lab files whose scenarios are tests: paths or globs, from the root's folder",
        type="args",
        default=[],
    )


def engine(config: pytest.Config, wanted: str | None = None) -> str:
    """The command line's, else what the test itself wants, else the ini file's, else the lab file's own."""
    from orchestrator.engines.registry import ENGINES

    found = str(config.getoption("lab_engine") or wanted or config.getini("lab_engine") or AUTO)
    if found not in (AUTO, *ENGINES):
        raise UsageError(f"there is no engine {found!r}; there are {', '.join((AUTO, *ENGINES))}")
    return found


def by(node: pytest.Item) -> Asked:
    """What the markers of a test say, the closest first, and what goes without saying. Raises UsageError."""
    said: dict[str, Any] = {}
    for marker in node.iter_markers("lab"):
        said = {**_marked(marker), **said}
    config = node.config
    if "path" in said:
        path = _found(Path(said["path"]), node.path.parent, config.rootpath)
    elif config.getoption("lab_file"):
        path = _found(Path(config.getoption("lab_file")), config.invocation_params.dir)
    elif config.getini("lab_file"):
        path = _found(Path(config.getini("lab_file")), root(config))
    else:
        raise UsageError(
            "no lab file is named for this test",
            '`@pytest.mark.lab("lab.yaml")`, the ini value lab_file or --lab-file names one',
        )
    return Asked(path, engine(config, said.get("engine")), bool(said.get("fresh", False)))


def _marked(marker: pytest.Mark) -> dict[str, Any]:
    unknown = set(marker.kwargs) - {"path", "engine", "fresh"}
    if unknown or len(marker.args) > 1:
        what = f"has no {sorted(unknown)[0]}" if unknown else "has one argument, the path"
        raise UsageError(f"the marker `lab` {what}", f"it is written as `{MARKER.partition(':')[0]}`")
    said = dict(marker.kwargs)
    if marker.args:
        said["path"] = marker.args[0]
    return said


def root(config: pytest.Config) -> Path:
    """What paths of the ini file start from."""
    return config.inipath.parent if config.inipath is not None else config.rootpath


def _found(path: Path, *folders: Path) -> Path:
    """The file, below the first folder that has it; of a folder its lab.yaml. Raises UsageError."""
    for folder in folders:
        candidate = folder / path
        if candidate.is_dir():
            candidate /= FILE_OF_A_FOLDER
        if candidate.is_file():
            return candidate.absolute()
    where = " or ".join(dict.fromkeys(str(folder) for folder in folders))
    raise UsageError(f"there is no lab file {path} in {where}")


def scenario_files(config: pytest.Config) -> set[Path]:
    """The files of the ini value `lab_scenarios`. One that is named without a glob has to be there."""
    found: set[Path] = set()
    base = root(config)
    for pattern in config.getini("lab_scenarios"):
        if any(letter in pattern for letter in "*?["):
            found |= {path.absolute() for path in base.glob(pattern) if path.is_file()}
        else:
            found.add(_found(Path(pattern), base))
    return found
