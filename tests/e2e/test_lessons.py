"""Lessons: every scenario of each passes on each engine, and what their pages say can be typed."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
import pytest

from orchestrator import bringup
from orchestrator.cli.told import Told
from orchestrator.cli.verbs import VERBS, Verbs
from orchestrator.engines.base import Engine
from orchestrator.model.steps import Scenario
from orchestrator.model.topology import Topology
from orchestrator.read import read_file
from orchestrator.runs import Runner, choose
from tests.support.rig import unique_name

pytestmark = pytest.mark.engine("namespaces", "docker")
ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path.parent for path in ROOT.glob("labs/*/lab.yaml"))
LABS = {folder.name: read_file(str(folder / "lab.yaml")) for folder in FOLDERS}
LESSONS = {name: lab for name, lab in LABS.items() if not lab.included}  # packs have tests of their own
# On machines: test_two_machines.py.
SCENARIOS = [(name, one) for name, lab in LESSONS.items() if not lab.machines for one in lab.scenarios]
MACHINES = ("make", "docker-compose", "sudo")  # what else is typed where a lesson needs machines
PAGES = ("README.md", "README.zh.md")


class Lesson(NamedTuple):
    """A lesson that runs, and what is told of it."""

    runner: Runner
    told: io.StringIO


@pytest.fixture(scope="module")
def lesson(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Lesson]:
    """The lesson's lab under a name of its own."""
    topology = msgspec.structs.replace(LESSONS[request.param], name=unique_name())
    outcome = bringup.up(topology, engine.name)
    try:
        assert not outcome.failed, outcome.failed
        told = io.StringIO()
        yield Lesson(Runner(outcome.lab, Told(told)), told)
    finally:
        outcome.lab.down()


@pytest.mark.parametrize(
    ("lesson", "scenario"),
    SCENARIOS,
    indirect=["lesson"],
    ids=[f"{name}-{scenario.label}" for name, scenario in SCENARIOS],
    scope="module",
)
def test_every_scenario_passes(lesson: Lesson, scenario: Scenario) -> None:
    lesson.told.seek(0)
    lesson.told.truncate()
    record = lesson.runner.run(scenario)
    assert record.verdict == "pass", lesson.told.getvalue()


# Pages.


def page(name: str, which: str) -> str:
    """A page of a lesson."""
    return (ROOT / "labs" / name / which).read_text(encoding="utf-8")


def sections(text: str) -> list[str]:
    """The headings of the second level, outside of blocks."""
    return re.findall(r"^## (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), flags=re.M)


def blocks(text: str, kind: str) -> list[str]:
    """What stands in blocks of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, flags=re.M | re.S)


def commands(text: str) -> list[str]:
    """What a student is told to type: lines of `sh` blocks, without comments."""
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def items(text: str) -> list[int]:
    """The numbers of list items: questions, then answers."""
    return [int(number) for number in re.findall(r"^(\d+)\. ", text, flags=re.M)]


def names(lab: Topology) -> list[str]:
    """Its scenarios, a table's once, in the file's order."""
    return list(dict.fromkeys(one.name for one in lab.scenarios))


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_is_named_as_its_folder_and_says_what_it_shows(name: str) -> None:
    lab = LESSONS[name]
    assert lab.name == name
    assert lab.scenarios
    assert all(one.title for one in lab.scenarios)


@pytest.mark.parametrize("which", PAGES)
@pytest.mark.parametrize("name", LESSONS)
def test_a_page_has_a_section_for_each_scenario_in_the_order_of_the_file(name: str, which: str) -> None:
    headings = sections(page(name, which))[2:-1]  # after what is needed and how it is run, before the answers
    assert [re.findall("`(.+?)`", one) for one in headings] == [[one] for one in names(LESSONS[name])]


@pytest.mark.parametrize("which", PAGES)
@pytest.mark.parametrize("name", LESSONS)
def test_each_question_has_an_answer(name: str, which: str) -> None:
    questions, _, answers = page(name, which).partition(f"\n## {sections(page(name, which))[-1]}\n")
    assert items(questions)
    assert items(questions) == items(answers) == list(range(1, len(items(questions)) + 1))


@pytest.mark.parametrize("name", LESSONS)
def test_both_languages_have_the_same_commands_outputs_and_questions(name: str) -> None:
    english, chinese = (page(name, which) for which in PAGES)
    assert commands(english) == commands(chinese)
    assert blocks(english, "text") == blocks(chinese, "text")
    assert items(english) == items(chinese)
    assert re.search("[一-鿿]", english.replace("中文版", "")) is None
    assert PAGES[1] in english
    assert PAGES[0] in chinese


@pytest.mark.parametrize("which", PAGES)
@pytest.mark.parametrize("name", LESSONS)
def test_every_command_can_be_typed(name: str, which: str) -> None:
    text = page(name, which)
    typed = commands(text)
    shown = [line[2:] for block in blocks(text, "text") for line in block.splitlines() if line[:2] == "$ "]
    assert typed
    for line in [*typed, *shown]:
        words = shlex.split(line, comments=True)
        if LESSONS[name].machines and words[0] in MACHINES:
            continue
        assert words[0] == "./lab", line
        _typed(LESSONS[name], words[1:])


def _typed(lab: Topology, words: list[str]) -> None:
    """Fails where the command line would be refused, or names what the lesson has not."""
    verb, *rest = words
    assert verb in VERBS, words
    command = Verbs().get_command(click.Context(Verbs()), verb)
    assert command is not None
    context = command.make_context(verb, list(rest))
    said = context.params
    assert {said.get(key) for key in ("name", "named", "lab_name")} <= {None, lab.name}, words
    if verb == "run":
        assert (ROOT / said["path"]).resolve() == Path(lab.path), words
        choose(lab.scenarios, said["names"])
    if verb in ("exec", "agent"):
        assert said["host"] in {host.name for host in lab.hosts}, words
