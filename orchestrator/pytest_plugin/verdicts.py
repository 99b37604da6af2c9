"""How pytest reports what labs raise: the infrastructure is an error, not a failure; UNKNOWN is said.

JUnit XML knows two elements: a failed expectation is a <failure>, what is unknown and what of the
infrastructure failed is an <error>, as in `lab run --junit`.
"""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import LabError

TROUBLE, UNKNOWN = "trouble", "unknown"
ATTRIBUTE = "lab_verdict"  # of a report: text, so that it goes from pytest-xdist's workers to its controller


def mark(report: pytest.TestReport, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Note in a failed report what kind of failure it is. Why a lab did not come up is told without the way
    through this package."""
    kind = kind_of(excinfo.value)
    if kind:
        setattr(report, ATTRIBUTE, kind)
    if isinstance(excinfo.value, LabError) and _began_here(excinfo):
        report.longrepr = excinfo.getrepr(style="value")


def _began_here(excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
    """Whether it was this package that pytest called: then no line of a test stands on the way."""
    names = (str(entry.frame.f_globals.get("__name__", "")).partition(".")[0] for entry in excinfo.traceback)
    return next((name for name in names if name not in ("_pytest", "pluggy")), "") == "orchestrator"


def kind_of(error: BaseException) -> str:
    """Nothing for a plain failure; bad input of a test (a step that is none) is one, too."""
    if isinstance(error, LabError):
        return TROUBLE if error.exit_code == 3 else ""
    if isinstance(error, BaseExceptionGroup):
        return TROUBLE if any(kind_of(one) == TROUBLE for one in error.exceptions) else ""
    if isinstance(error, AssertionError):
        from orchestrator.pytest_plugin.outcomes import LabUnknown

        return UNKNOWN if isinstance(error, LabUnknown) else ""
    return ""


def status(report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
    """Of a test in whose body the infrastructure failed."""
    if report.failed and report.when == "call" and getattr(report, ATTRIBUTE, "") == TROUBLE:
        return "error", "E", "ERROR"
    return None


def into_junit(config: pytest.Config, report: pytest.TestReport) -> None:
    """Of a report that `--junitxml` has taken in as a <failure>, make it an <error>.

    pytest has no interface for that; where its own parts are not as they were, the <failure> stays.
    """
    if not report.failed or report.when != "call" or not hasattr(report, ATTRIBUTE):
        return
    xml: Any = next((one for one in config.pluginmanager.get_plugins() if _is_junit(one)), None)
    if xml is None:
        return
    nodes: list[Any] = getattr(xml.node_reporter(report), "nodes", [])
    for node in nodes:
        if getattr(node, "tag", None) == "failure":
            node.tag = "error"
            counts: dict[str, int] = getattr(xml, "stats", {})
            if counts.get("failure", 0) > 0:
                counts["failure"] -= 1
                counts["error"] = counts.get("error", 0) + 1


def _is_junit(plugin: object) -> bool:
    return type(plugin).__name__ == "LogXML" and hasattr(plugin, "node_reporter")
