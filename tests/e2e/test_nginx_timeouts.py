"""The pack of nginx's timeouts, at its short values: each scenario passes on each engine."""

from __future__ import annotations

import io
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from orchestrator import bringup
from orchestrator.cli.told import Told
from orchestrator.engines.base import Engine
from orchestrator.model.steps import Scenario
from orchestrator.read import read_file
from orchestrator.runs import Runner, choose
from tests.e2e.test_lessons import PAGES, accepted, blocks, commands, page
from tests.support.rig import unique_name

pytestmark = pytest.mark.engine("namespaces", "docker")
PACK = read_file(str(Path(__file__).parents[2] / "labs" / "nginx-timeouts" / "lab.yaml"))
SHORT = choose(PACK.scenarios, (), "short")


class Pack(Runner):
    """The lab of the pack, and what is told of a scenario."""

    told: io.StringIO


@pytest.fixture(scope="module")
def pack(engine: Engine) -> Iterator[Pack]:
    """The pack's lab under a name of its own."""
    if engine.name == "namespaces" and shutil.which("nginx", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("nginx is not installed here, and hosts of namespaces have the computer's programs")
    outcome = bringup.up(msgspec.structs.replace(PACK, name=unique_name()), engine.name)
    try:
        assert not outcome.failed, outcome.failed
        told = io.StringIO()
        running = Pack(outcome.lab, Told(told))
        running.told = told
        yield running
    finally:
        outcome.lab.down()


@pytest.mark.parametrize("scenario", SHORT, ids=[one.label for one in SHORT])
def test_every_scenario_passes(pack: Pack, scenario: Scenario) -> None:
    pack.told.seek(0)
    pack.told.truncate()
    record = pack.run(scenario)
    assert record.verdict == "pass", pack.told.getvalue()


def test_each_says_what_it_is_about_and_has_a_row_for_people_and_one_for_machines() -> None:
    rows: dict[str, list[str]] = {}
    for one in PACK.scenarios:
        assert one.title, one.name
        assert one.about.directive, one.name
        rows.setdefault(one.name, []).append(one.row_name)
    assert {name for name, found in rows.items() if found[:2] != ["plain", "short"]} == set()


def test_each_limit_says_of_what_it_is() -> None:
    """By itself, or by a variant: the whole, the gap between two operations, or rest."""
    shown = {one.about.variant_of or one.name for one in PACK.scenarios if one.about.covers}
    lacking = {one.name for one in PACK.scenarios if not one.about.variant_of} - shown - UNCOVERED
    assert lacking == set()


UNCOVERED = {"client-header-reset"}  # how it ends is what these are about, not what the limit is on


# Its pages.


@pytest.mark.parametrize("which", PAGES)
def test_every_command_of_its_page_can_be_typed(which: str) -> None:
    text = page(PACK.name, which)
    shown = [line[2:] for block in blocks(text, "text") for line in block.splitlines() if line[:2] == "$ "]
    assert commands(text)
    assert shown
    for line in [*commands(text), *shown]:
        words = shlex.split(line, comments=True)
        assert words[0] == "./lab", line
        accepted(PACK, words[1:])


def test_both_languages_have_the_same_commands_and_outputs() -> None:
    english, chinese = (page(PACK.name, which) for which in PAGES)
    assert commands(english) == commands(chinese)
    assert blocks(english, "text") == blocks(chinese, "text")
    assert PAGES[1] in english
    assert PAGES[0] in chinese


@pytest.mark.parametrize("which", PAGES)
def test_its_page_names_each_file_of_scenarios_and_no_scenario_that_is_not_there(which: str) -> None:
    text = page(PACK.name, which)
    families = re.findall(r"^\| ([\w., -]+?) \|", text.partition("WRITING")[0], flags=re.MULTILINE)
    named = [name for one in families for name in one.split(", ") if name.endswith(".yaml")]
    assert sorted(named) == sorted(Path(one).name for one in PACK.included)
    told = re.findall(r"^## .*`(.+?)`$", text, flags=re.MULTILINE)
    assert len(told) == 3
    assert set(told) <= {one.name for one in PACK.scenarios}
