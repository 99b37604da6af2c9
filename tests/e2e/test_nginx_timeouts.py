"""The pack of nginx's timeouts, at its short values: each scenario passes on each engine."""

from __future__ import annotations

import io
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
