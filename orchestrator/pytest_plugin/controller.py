"""What is done once for a run: in pytest's one process, or in pytest-xdist's controller."""

from __future__ import annotations

import pytest

from orchestrator.pytest_plugin import verdicts


class Controller:
    """Hooks of pytest, and of pytest-xdist where it is there."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._crashed = False
        self._problems: list[str] = []

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Where the reports of all workers come together: see verdicts.py."""
        verdicts.into_junit(self._config, report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, error: object) -> None:
        """A worker has ended; by an error where it was killed."""
        self._crashed = self._crashed or error is not None

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Labs of workers that were killed are removed by whoever is left."""
        if self._crashed or exitstatus == pytest.ExitCode.INTERRUPTED:
            from orchestrator.leased import sweep
            from orchestrator.pytest_plugin.labs import say

            self._problems += sweep(say)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """What could not be removed."""
        for line in self._problems:
            terminalreporter.write_line(line, red=True)
