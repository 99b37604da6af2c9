"""docs/cli.md says what the commands say."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

import orchestrator
from orchestrator.cli import ending, reference
from orchestrator.cli.verbs import UNBUILT, VERBS, lab

ROOT = Path(__file__).parents[3]


def test_the_reference_is_up_to_date() -> None:
    assert (ROOT / "docs/cli.md").read_text() == reference.text(), (
        "run: .venv/bin/python -m orchestrator.cli.reference > docs/cli.md"
    )


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_loads_and_is_described(name: str) -> None:
    command = lab.get_command(click.Context(lab), name)
    assert command is not None
    assert command.name == name
    assert command.help


@pytest.mark.parametrize("name", UNBUILT)
def test_verbs_of_a_later_day_are_answered(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ending.run([name, "--some", "thing", "--help"]) == 2
    assert capsys.readouterr() == ("", f"lab: {name}: not supported yet\n")


def test_an_unknown_verb_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending.run(["conn"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "did you mean conns?" in err


def test_no_verb_is_the_help_and_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending.run([]) == 2
    assert "Usage: lab" in capsys.readouterr().err


def test_the_version_is_that_of_the_project(capsys: pytest.CaptureFixture[str]) -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["version"] == orchestrator.__version__
    assert ending.run(["--version"]) == 0
    assert capsys.readouterr().out == f"lab {orchestrator.__version__}\n"


def test_every_image_is_installed() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packed = project["tool"]["setuptools"]["data-files"]
    folders = [folder for folder in (ROOT / "images").rglob("*") if folder.is_dir()]
    assert {f"share/lab/{folder.relative_to(ROOT)}" for folder in folders} == set(packed)
    assert all(packed[f"share/lab/{f.relative_to(ROOT)}"] == [f"{f.relative_to(ROOT)}/*"] for f in folders)
