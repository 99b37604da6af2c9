"""`scenarios:` of a lab file, and of those that it includes → Scenarios, one for each row of their tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, cast

from orchestrator.model.steps import About, Covers, Scenario
from orchestrator.read.build import text_of
from orchestrator.read.findings import Findings, Place, shown
from orchestrator.read.included import LabFile
from orchestrator.read.nodes import Mapping, Node, Scalar, Sequence
from orchestrator.read.people import People
from orchestrator.read.steps import StepReader
from orchestrator.read.words import Reading

MOST_STEPS = 5_000  # of one file, tables counted out
ROW = "row"  # in a row of a table: its name
_ROW_NAME = re.compile("[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_HOLDING = ("setup", "steps", "cleanup", "parallel")
VARIANT = "variant of"


class _Row(NamedTuple):
    """One row of a table. `at`: where its name stands."""

    name: str
    values: dict[str, str]


class ScenarioReader:
    """Reads the scenarios of all files of a lab; each name is there once."""

    def __init__(self, people: People, folder: str) -> None:
        self._people, self._folder = people, folder
        self._names: dict[str, tuple[LabFile, Place]] = {}
        self._variants: list[tuple[LabFile, Scalar]] = []

    def read(self, files: list[LabFile]) -> tuple[Scenario, ...]:
        """All of them, in order; what is wrong is in each file's findings."""
        found = [one for file in files for one in self._file(file)]
        for file, name in self._variants:
            if name.text not in self._names:
                hint = file.findings.meant(name.text, [*self._names])
                file.findings.add(name, f"there is no scenario {shown(name.text)}", hint)
        return tuple(found)

    def _file(self, file: LabFile) -> Iterator[Scenario]:
        node = file.kept.get("scenarios")
        shared = _values(file.kept.get("variables"))
        room = MOST_STEPS
        for key, value in node.entries if isinstance(node, Mapping) else ():
            if not isinstance(value, Mapping) or not self._new(file, key):
                continue
            rows = list(_rows(value, file.findings))
            room -= _size(value) * len(rows)
            if room < 0:
                text = f"with {shown(key.text)} there are more than {MOST_STEPS} steps"
                file.findings.add(key, text)
                return
            fixed = {**shared, **_values(value.get("variables"))}
            for row in rows:
                given = {**fixed, **row.values}
                reading = Reading(file.source, file.findings, given, self._folder)
                yield self._scenario(file, key, value, row, reading)

    def _new(self, file: LabFile, key: Scalar) -> bool:
        """Whether no scenario before has this name; told of the later one."""
        other, at = self._names.setdefault(key.text, (file, key))
        if at is not key:
            text = f"there is a scenario {shown(key.text)} already, in {other.findings.path}, line {at.line}"
            file.findings.add(key, text, "choose another name")
        return at is key

    def _scenario(self, file: LabFile, key: Scalar, record: Mapping, row: _Row, reading: Reading) -> Scenario:
        title = text_of(record, "title")
        reader = StepReader(self._people, reading)
        reader.give_time(record.get("within"))
        setup, steps, cleanup = (reader.steps(record.get(part)) for part in ("setup", "steps", "cleanup"))
        return Scenario(
            name=key.text,
            title=reading.word(title).text if title else "",
            line=key.line,
            file=file.name,
            about=self._about(file, record.get("about"), reading),
            variables=dict(reading.variables),
            row=row.values,
            row_name=row.name,
            setup=setup,
            steps=steps,
            cleanup=cleanup,
        )

    def _about(self, file: LabFile, node: Node | None, reading: Reading) -> About:
        """What its record says of it beside what came of it."""
        if not isinstance(node, Mapping):
            return About()
        variant, covers = text_of(node, VARIANT), text_of(node, "covers")
        if variant is not None:
            self._variants.append((file, variant))
        said = {key: text_of(node, key) for key in ("documented", "differs")}
        return About(
            directive=tuple(_listed(node.get("directive"))),
            covers=cast(Covers, covers.text) if covers else None,
            variant_of=variant.text if variant else "",
            **{key: reading.word(text).text for key, text in said.items() if text},
        )


def _listed(node: Node | None) -> Iterator[str]:
    for item in node.items if isinstance(node, Sequence) else (node,):
        if isinstance(item, Scalar):
            yield item.text


def _rows(record: Mapping, findings: Findings) -> Iterator[_Row]:
    """The rows of its table; one without values where it has none."""
    table = record.get("table")
    rows = [item for item in table.items if isinstance(item, Mapping)] if isinstance(table, Sequence) else []
    first = None
    names: dict[str, int] = {}
    for row in rows:
        name = _row_name(row, names, findings)
        given = _values(row)
        given.pop(ROW, None)
        first = given if first is None else first
        lacking = sorted(set(first) - set(given))
        for one in lacking:
            findings.add(row, f"this row has no {shown(one)}, and the first one has")
        if not lacking and name is not None:
            yield _Row(name, given)
    if not rows:
        yield _Row("", {})


def _row_name(row: Mapping, names: dict[str, int], findings: Findings) -> str | None:
    """`row: short`, or nothing. None after a diagnostic."""
    name = row.get(ROW)
    if not isinstance(name, Scalar):
        return ""
    if not _ROW_NAME.fullmatch(name.text):
        findings.add(name, f"{shown(name.text)} is no name of a row", "letters, digits, `-`, `_` and `.`")
    elif names.setdefault(name.text, name.line) != name.line:
        findings.add(
            name, f"the row {shown(name.text)} is in this table twice, first in line {names[name.text]}"
        )
    else:
        return name.text
    return None


def _values(node: Node | None) -> dict[str, str]:
    entries = node.entries if isinstance(node, Mapping) else ()
    return {key.text: "" if v.nothing else v.text for key, v in entries if isinstance(v, Scalar)}


def _size(node: Node) -> int:
    """How many steps there are in a node, repeated ones twice: so often they are read."""
    if isinstance(node, Sequence):
        return sum(1 + _size(item) for item in node.items)
    if isinstance(node, Mapping):
        factor = 2 if node.get("repeat") is not None else 1
        return factor * sum(_size(value) for key, value in node.entries if key.text in _HOLDING)
    return 0
