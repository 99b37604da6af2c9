"""Steps that come one by one, from a program or a prompt: the grammar of lab.yaml, names that live on.

What is written as `alice: connect web:80 as call` on one line is taken as it is, so a `: ` or ` #` in it
needs no quotes of YAML's; everything else is read as YAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Mapping as Items
from typing import Any

from orchestrator.model.steps import Call, Step
from orchestrator.read.check import check
from orchestrator.read.findings import Findings, shown
from orchestrator.read.names import Names
from orchestrator.read.nodes import At, Mapping, Node, Scalar, Sequence, compose
from orchestrator.read.people import People
from orchestrator.read.scenario_schema import STEP
from orchestrator.read.steps import StepReader
from orchestrator.read.words import Reading, Source, Word

_ONE_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*):[ \t]+([^\s{\[\"'|>&*!].*)")
_TEXTS = ("text", "contains", "matches", "until", "body", "hex", "path", "server_name")  # never `none`


class LiveReader:
    """Reads the steps of one test, or of one person at a prompt."""

    def __init__(self, hosts: Iterable[str], programs: Iterable[str] = ()) -> None:
        """`hosts`: as the running lab calls them; `programs`: those of them that have a `run:`."""
        self._people = _Running(hosts, programs)
        self._names = Names(Findings(""))

    def text(self, text: str, path: str = "step", line: int = 1) -> Step:
        """One step as text. `path` and `line` are what diagnostics call it. Raises TopologyError."""
        one = _ONE_LINE.fullmatch(text.strip())
        if one:
            value = Scalar(line, one.start(2) + 1, one[2])
            return self._step(Mapping(line, 1, ((Scalar(line, 1, one[1], True), value),)), path)
        findings = Findings(path)
        padded = "\n" * (line - 1) + text
        node = compose(padded.encode(), findings)
        findings.raise_if_any()
        if node is None:
            findings.add(At(line, 1), "a step is empty", "write it as `alice: connect web:80 as call`")
        findings.raise_if_any()
        assert node is not None
        return self._step(node, path, padded)

    def value(self, value: Items[str, Any], path: str = "step", line: int = 1) -> Step:
        """One step in the long form, as a program's own values: `{"alice": {"send": "call", "size": 5}}`."""
        return self._step(_node(value, line), path)

    def said(self, host: str, text: str, path: str = "step", line: int = 1) -> Step:
        """One step of a host, in the short form without the host."""
        entry = (Scalar(line, 1, host, True), Scalar(line, 1, text))
        return self._step(Mapping(line, 1, (entry,)), path)

    def undone(self, step: Step) -> None:
        """The step failed: what it would have opened is not open. (A failed connect leaves its socket.)"""
        if not isinstance(step, Call) or step.name is None or step.verb == "connect":
            return
        one = self._names.known(step.host, step.name)
        if one is not None and not one.closed:
            self._names.close(step.host, one, one.name, step.line)

    def _step(self, node: Node, path: str, text: str = "") -> Step:
        findings = Findings(path)
        kept = check(node, STEP, "a step", findings)
        self._names.findings = findings
        step = None
        if isinstance(kept, Mapping) and not findings:
            reader = StepReader(self._people, Reading(Source(text), findings, {}), self._names)
            step = reader.step(kept)
        if step is None and not findings:
            findings.add(node, "this is no step", "write it as `alice: connect web:80 as call`")
        findings.raise_if_any()
        assert step is not None
        return step


class _Running(People):
    """The hosts and routers of a lab that runs."""

    def __init__(self, hosts: Iterable[str], programs: Iterable[str]) -> None:
        self._hosts = {name.lower(): name for name in hosts}
        self._programs = frozenset(programs)

    def host(
        self, word: Word, findings: Findings, *, itself: str | None = None, others: tuple[str, ...] = ()
    ) -> str | None:
        if word.text == "localhost" and itself is not None:
            return word.text
        found = self._hosts.get(word.text.lower())
        if found is None:
            hint = findings.meant(word.text, [*others, *self._hosts.values()])
            findings.add(word, f"there is no host {shown(word.text)}", hint)
        return found

    def known(self, name: str) -> bool:
        return name.lower() in self._hosts

    def runs(self, host: str) -> bool:
        return self._hosts.get(host.lower()) in self._programs


def _node(value: Any, line: int, key: str = "") -> Node:
    """A program's value as if it had been written: True is `true`, None `none`, 5 is `5`; what is text in
    any case is as in quotes."""
    if isinstance(value, Items):
        entries = ((Scalar(line, 1, str(k), True), _node(v, line, str(k))) for k, v in value.items())
        return Mapping(line, 1, tuple(entries))
    if isinstance(value, list | tuple):
        return Sequence(line, 1, tuple(_node(one, line) for one in value))
    if value is None:
        return Scalar(line, 1, "none", True)
    if isinstance(value, bool):
        return Scalar(line, 1, "true" if value else "false", True)
    if isinstance(value, bytes):
        return Scalar(line, 1, value.hex(), True)
    return Scalar(line, 1, str(value), plain=not (isinstance(value, str) and key in _TEXTS))
