"""The pytest plugin: a fixture `lab`, and scenarios of lab files as tests. docs/pytest.md is for its users.

It is loaded by every pytest of an environment in which lab is installed: so it imports nothing that a run
without labs would pay for.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import UsageError
from orchestrator.pytest_plugin import asked, verdicts
from orchestrator.pytest_plugin.controller import Controller
from orchestrator.pytest_plugin.scenarios import SUFFIXES, ScenarioFile

if TYPE_CHECKING:
    from orchestrator.pytest_plugin.under_test import LabUnderTest

FILES = pytest.StashKey[set[Path]]()  # whose scenarios are tests by the ini file
TEST_LAB = pytest.StashKey["LabUnderTest"]()  # of an item


def pytest_addoption(parser: pytest.Parser) -> None:
    """See asked.py."""
    asked.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """The marker; and files of `lab_scenarios` are run along where pytest is told nothing to run."""
    config.addinivalue_line("markers", asked.MARKER)
    try:
        files = config.stash[FILES] = asked.scenario_files(config)
    except UsageError as error:
        raise pytest.UsageError(f"lab_scenarios: {error.message}") from error
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Controller(config), "lab-controller")
    sources = getattr(config, "ArgsSource", None)
    if sources is not None and config.args_source == sources.TESTPATHS:
        config.args += [str(path) for path in sorted(files)]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ScenarioFile | None:
    """Lab files that the user names, on the command line or in the ini file. No other: a lab file that lies
    somewhere may be anybody's, and running it would run its commands."""
    if file_path.suffix not in SUFFIXES:
        return None
    if not parent.session.isinitpath(file_path) and file_path.absolute() not in parent.config.stash[FILES]:
        return None
    return ScenarioFile.from_parent(parent, path=file_path)


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[LabUnderTest]:
    """A running lab: of the marker `lab`, the ini value `lab_file` or --lab-file."""
    from orchestrator.pytest_plugin.labs import of_session
    from orchestrator.pytest_plugin.under_test import LabUnderTest

    item: pytest.Item = request.node
    wanted = asked.by(item)
    labs = of_session(item)
    with labs.entered(wanted.path, wanted.engine, fresh=wanted.fresh) as running:
        found = LabUnderTest(running, labs.topology(wanted.path))
        item.stash[TEST_LAB] = found
        try:
            yield found
        finally:
            found.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What kind of failure it is; and of any failure of a test with a lab, what was done there."""
    report = yield
    if call.excinfo is not None and report.failed:
        verdicts.mark(report, call.excinfo)
        found = item.stash.get(TEST_LAB, None)
        if found is not None and call.when == "call" and not _tells_all(call.excinfo.value):
            from orchestrator.report.failures import so_far

            report.sections += [(f"lab {found.name}", "\n".join(so_far(found.steps)))] if found.steps else []
    return report


def _tells_all(error: BaseException) -> bool:
    from orchestrator.pytest_plugin.outcomes import LabFailure

    return isinstance(error, LabFailure)


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(
    report: pytest.CollectReport | pytest.TestReport,
) -> tuple[str, str, str] | None:
    """See verdicts.py."""
    return verdicts.status(report)
