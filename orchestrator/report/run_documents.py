"""A run as documents for programs: the JSON of the contract, and JUnit XML as CI systems read it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

import msgspec

from orchestrator.errors import ObservationError
from orchestrator.model.runs import RunRecord, ScenarioRecord
from orchestrator.report.harmless import harmless
from orchestrator.report.json import ascii_only
from orchestrator.report.scenarios import reasons


def json_of(record: RunRecord) -> str:
    """`lab run --json`: one document, ASCII only."""
    return ascii_only(msgspec.json.encode(record)) + "\n"


def read_json(document: bytes) -> RunRecord:
    """The run of a document. Raises ObservationError for what is none."""
    try:
        return msgspec.json.decode(document, type=RunRecord)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ObservationError(f"this is no run: {error}") from error


def junit_of(record: RunRecord) -> str:
    """JUnit XML: a case for each scenario; fail is a <failure>, unknown and infrastructure an <error>."""
    suite = ElementTree.Element(
        "testsuite",
        name=harmless(record.lab),
        tests=str(len(record.scenarios)),
        failures=str(sum(_kind(one) == "failure" for one in record.scenarios)),
        errors=str(sum(_kind(one) == "error" for one in record.scenarios)),
        skipped="0",
        time=f"{sum(one.duration for one in record.scenarios):.3f}",
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in {"engine": record.engine, **record.environment}.items():
        ElementTree.SubElement(properties, "property", name=name, value=harmless(value))
    for one in record.scenarios:
        suite.append(_case(record, one))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _kind(one: ScenarioRecord) -> str:
    if one.problem or one.verdict == "unknown":
        return "error"
    return "failure" if one.verdict == "fail" else ""


def _case(record: RunRecord, one: ScenarioRecord) -> ElementTree.Element:
    case = ElementTree.Element(
        "testcase", classname=harmless(record.lab), name=harmless(one.label), time=f"{one.duration:.3f}"
    )
    kind = _kind(one)
    if kind:
        lines = list(why(one))
        what = ElementTree.SubElement(
            case,
            kind,
            message=lines[0] if lines else one.verdict,
            type="infrastructure" if one.problem else one.verdict,
        )
        what.text = "\n".join(lines)
    return case


def why(one: ScenarioRecord) -> Iterator[str]:
    """Why a scenario did not pass, line by line: the infrastructure, steps, then expectations."""
    if one.problem:
        yield harmless(one.problem)
    for step in one.steps:
        if step.verdict != "pass":
            yield f"line {step.line}: {harmless(step.text)}: {step.verdict}: {harmless(step.why)}"
    for record in one.expectations:
        if record.verdict != "pass":
            yield f"line {record.line}: {harmless(record.text)}: {record.verdict}"
            yield from (f"  {line}" for line in reasons(record))
