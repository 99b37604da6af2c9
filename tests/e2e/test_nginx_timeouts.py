"""The pack of nginx's timeouts, at its short values: no scenario fails, on each engine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.engines.base import Engine
from orchestrator.read import read_file
from tests.e2e.test_lessons import PAGES, accepted, blocks, commands, page
from tests.support.cli import Commands

pytestmark = pytest.mark.engine("namespaces", "docker")
FILE = Path(__file__).parents[2] / "labs" / "nginx-timeouts" / "lab.yaml"
PACK = read_file(str(FILE))
STALLED = "the observer stalled"  # as the reason of a verdict that was not reached says
JOBS = "4"  # `auto` is 6 on two processors, which other tests use, too; with 4 it takes a minute
Record = dict[str, Any]


class Pack:
    """The pack as a user runs it, in a lab of its own."""

    def __init__(self, folder: Path, engine: str) -> None:
        self._commands = Commands(folder, engine)
        self._document = folder / "run.json"
        self.records = self.run("--jobs", JOBS)

    def run(self, *arguments: str) -> list[Record]:
        """What became of each scenario."""
        which = ("--file", str(FILE), "--name", self._commands.name, "--engine", self._commands.engine)
        how = ("--row", "short", "--json", str(self._document), "--quiet", "--down")
        self._document.unlink(missing_ok=True)
        ended = self._commands.run("run", *which, *how, *arguments)
        assert self._document.exists(), ended
        document: Record = msgspec.json.decode(self._document.read_bytes())
        scenarios: list[Record] = document["scenarios"]
        return scenarios


@pytest.fixture(scope="module")
def pack(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """Run once, its scenarios side by side: `make pack`. Not beside other tests, where an nginx may get no
    processor for 50 ms, which no observer sees, and is late."""
    if not os.environ.get("LAB_PACK"):
        pytest.skip("the whole pack wants a computer that does nothing else: `make pack`")
    if engine.name == "namespaces" and shutil.which("nginx", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("nginx is not installed here, and hosts of namespaces have the computer's programs")
    return Pack(tmp_path_factory.mktemp("pack"), engine.name)


def told(record: Record) -> tuple[str, ...]:
    """Of one that did not pass: its verdict, and each reason for it."""
    judged = [one for one in record["expectations"] if one["verdict"] != "pass"]
    reasons = [f"{one['text']}: {one['observed']}; {one['why']}" for one in judged]
    return (record["label"], record["verdict"], record["why"], str(record["problem"]), *reasons)


def stalled(record: Record) -> bool:
    """Whether nothing but a busy computer is why it has no verdict."""
    lacking = [one for one in record["expectations"] if one["verdict"] != "pass"]
    return record["verdict"] == "unknown" and all(STALLED in one["why"] for one in lacking) and lacking != []


def test_every_scenario_passes_side_by_side_or_could_not_be_measured(pack: Pack) -> None:
    """Where the observer stood still there is no verdict; every other scenario has passed."""
    assert {one["name"] for one in pack.records} == {one.name for one in PACK.scenarios}
    assert [told(one) for one in pack.records if one["verdict"] != "pass" and not stalled(one)] == []


def test_what_could_not_be_measured_passes_alone(pack: Pack) -> None:
    """Once more, with nothing beside it: a measurement that was not made is no verdict. A failure is none of
    these and is never repeated."""
    names = [one["name"] for one in pack.records if stalled(one)]
    again = pack.run(*names) if names else []
    assert [told(one) for one in again if one["verdict"] != "pass"] == []


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


# What is limited by something else than time, or by nothing.
UNCOVERED = {
    "client-header-reset",  # how a limit ends a connection
    "close-444",  # likewise: reset_timedout_connection, of a code
    "keepalive-off",  # a switch: with 0 no connection is kept
    "keepalive-requests",  # a number of requests
    "lingering-on",  # lingering_close, a switch; lingering-body-comes shows what its limit is on
    "timer-resolution",  # how exact all limits are
    "http2-idle-timeout-ignored",  # read, and without any effect
    "http2-recv-timeout-ignored",
    # Impostors: the client ends these, and no limit does.
    "client-closes-body",
    "client-closes-header",
    "client-closes-idle",
    "client-closes-unread",
    "client-half-closes",
    "client-resets-header",
    "client-resets-idle",
    # The gap between two writes, by nginx's documentation and as proxy-send-gap shows of the same code
    # (ngx_http_upstream.c); these show the time alone.
    "fastcgi-send-silent",
    "grpc-send-silent",
    "memcached-send-silent",
    "scgi-send-silent",
    "uwsgi-send-silent",
}


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
