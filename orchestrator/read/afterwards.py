"""`after: ask 2s +-50ms` → After: the step found among those before, and how long after it. Pure."""

from __future__ import annotations

import re

from orchestrator.model.steps import After
from orchestrator.read import values
from orchestrator.read.calls import CallReader
from orchestrator.read.findings import Findings, shown
from orchestrator.read.nodes import Mapping, Node, Scalar
from orchestrator.read.verbs import RUN
from orchestrator.read.words import Reading, Word

_SHORT = re.compile(r"(\S+)\s+(.*\S)\s*", re.S)
_FORM = "write it as `ask 2s +-50ms` or `{step: ask, at: 2s +-50ms}`"


class AfterReader:
    """Reads `after` of the expectations of one scenario."""

    def __init__(self, calls: CallReader, reading: Reading) -> None:
        self._calls, self._reading = calls, reading
        self._findings: Findings = reading.findings

    def read(self, node: Node) -> After | None:
        """Either form. None after a diagnostic."""
        before = self._reading.unknown
        words = self._long(node) if isinstance(node, Mapping) else self._short(node)
        if words is None or self._reading.unknown != before:
            return None
        step, at = words
        ref = self._calls.named_step(step)
        test = values.comparison(at, self._findings, seconds=True)
        if ref is None or test is None or not self._sends(ref.host, ref.name, step):
            return None
        if test.operator == "!=":
            self._findings.add(at, f"{shown(at.text)}: any other time would do", "write `<2s` or `>2s`")
            return None
        return After(step=ref, test=test, text=f"{ref.name} {at.text}")

    def _short(self, node: Node) -> tuple[Word, Word] | None:
        """`ask 2s +-50ms`."""
        word = self._reading.word(node) if isinstance(node, Scalar) else None
        match = _SHORT.fullmatch(word.text) if word else None
        if word is None or match is None:
            if word is not None:
                self._findings.add(word, f"{word.said()} says no step and how long after it", _FORM)
            return None
        return word._replace(text=match[1]), word._replace(text=match[2])

    def _long(self, node: Mapping) -> tuple[Word, Word] | None:
        """`{step: ask, at: 2s +-50ms}`; the description of lab.yaml has both keys as required."""
        step, at = node.get("step"), node.get("at")
        if not isinstance(step, Scalar) or not isinstance(at, Scalar):
            return None
        return self._reading.word(step), self._reading.word(at)

    def _sends(self, host: str, name: str, word: Word) -> bool:
        """Whether it is a step whose moment can be told."""
        left = self._calls.names.steps.get(host, {}).get(name)
        if left is None or left.kind != RUN:
            return True
        text = f"{word.said()} is a program, and nothing tells which packets are its"
        self._findings.add(word, text, "name a call of the host itself")
        return False
