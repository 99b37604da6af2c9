"""Steps read one at a time, as they are typed or given by a test: names live from one to the next.

The grammar is that of lab.yaml (steps.py), but for three things: no host need be named, `#` begins a comment
only behind a space and outside of quotes (as in a shell), and a short form may have `: ` in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Mapping as Values
from typing import Any, NamedTuple

from orchestrator.errors import TopologyError
from orchestrator.model.steps import Call, Step
from orchestrator.read.calls import DROPPED_IF_IT_FAILS
from orchestrator.read.check import check
from orchestrator.read.findings import Findings, Found
from orchestrator.read.given import mapping_of
from orchestrator.read.names import Names
from orchestrator.read.nodes import At, Mapping, Node, Scalar, Sequence, compose
from orchestrator.read.people import People
from orchestrator.read.scenario_schema import STEP
from orchestrator.read.steps import KEYWORDS, StepReader
from orchestrator.read.verbs import ALL_VERBS
from orchestrator.read.words import Reading, Source

_KEY = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*)[ \t]*:(?:[ \t]+|$)")
_COMMENT = re.compile(
    r"""(?:'[^']*'|"(?:[^"\\]|\\.)*"|[^ \t'"]|[ \t]+(?!\#|[ \t]))*?(?P<comment>[ \t]+\#.*)"""
)


class ReadLine(NamedTuple):
    """A line, read. Without a step and without mistakes there was nothing on it."""

    number: int  # from 1
    step: Step | None
    mistakes: tuple[Found, ...] = ()

    def raise_if_bad(self, path: str) -> None:
        """Raise TopologyError with all that is wrong with it; `path` is what diagnostics call the input."""
        if self.mistakes:
            raise TopologyError(tuple(f"{path}:{one.line}:{one.column}: {one.text}" for one in self.mistakes))


class StepSession:
    """Reads lines. A line with a mistake leaves no trace: what it would have opened is not known after it."""

    def __init__(
        self, people: People, host: str | None = None, variables: Values[str, str] | None = None
    ) -> None:
        self.people, self.host = people, host
        self._variables = variables or {}
        self._number = 0
        self._history: list[Callable[[], object]] = []  # how names came to be as they are
        self._source = Source("")
        self._begin()

    def _begin(self) -> None:
        self._findings = Findings("")
        reading = Reading(self._source, self._findings, self._variables)
        self._reader = StepReader(self.people, reading)

    @property
    def names(self) -> Names:
        """What is open, and which steps there are."""
        return self._reader.names

    def read(self, line: str, host: str | None = None, number: int | None = None) -> ReadLine:
        """One line, as a step of `host` (else the session's own) where it names none itself. `number`: which
        line it is, where that is no matter of counting."""
        self._number = number or self._number + 1
        said = _without_comment(line)
        self._source.add(self._number, said)
        return self._read(self._node(said, host or self.host))

    def give(self, step: Values[str, Any], number: int | None = None) -> ReadLine:
        """One step in the long form, by a program: `{"alice": {"send": "call", "text": "a: b"}}`."""
        self._number = number or self._number + 1
        self._source.add(self._number, "")
        return self._read(mapping_of(step, self._number))

    def _read(self, node: Mapping | None) -> ReadLine:
        kept = None if node is None else check(node, STEP, "a step", self._findings)
        step = self._reader.step(kept) if isinstance(kept, Mapping) and kept.entries else None
        mistakes = self._findings.take()
        if mistakes:
            self._read_again()
            return ReadLine(self._number, None, mistakes)
        if isinstance(kept, Mapping):
            self._history.append(lambda: self._reader.step(kept))
        return ReadLine(self._number, step)

    def failed(self, step: Step) -> None:
        """The step was performed and failed though it must not: what it was to open is not open.

        A connect that fails leaves its socket behind, under its name.
        """
        if isinstance(step, Call) and step.verb in DROPPED_IF_IT_FAILS and step.opens:
            self._note(lambda: self.names.drop(step.host, step.name, step.line))

    def unread(self) -> None:
        """The last step read was not performed after all."""
        self._history.pop()
        self._read_again()

    def ended(self, host: str, name: str) -> None:
        """A step that was left running has ended and was told of: nobody need `wait` for it, but may."""
        self._note(lambda: self.names.end(host, name))

    def _note(self, what: Callable[[], object]) -> None:
        self._history.append(what)
        what()

    def _read_again(self) -> None:
        """Back to where names were before the line."""
        self._begin()
        for what in self._history:
            what()
        self._findings.take()

    # Lines → nodes.

    def _node(self, line: str, host: str | None) -> Mapping | None:
        """The step as it would stand in a file. None where there is nothing, or after a diagnostic."""
        column = len(line) - len(line.lstrip()) + 1
        if line.lstrip().startswith("- "):  # copied from a file
            column += len(line.lstrip()) - len(line.lstrip()[1:].lstrip())
        text = line[column - 1 :].rstrip()
        if not text:
            return None
        key = _KEY.match(text)
        if text[0] == "{" or (key and key[1] in KEYWORDS) or (key and _is_yaml(text[key.end() :])):
            return self._of_yaml(line, column, host)
        if key:
            name = Scalar(self._number, column, key[1], True)
            value = Scalar(self._number, column + key.end(), text[key.end() :], True)
            return Mapping(self._number, column, ((name, value),))
        return self._of_host(Scalar(self._number, column, text, True), host)

    def _of_host(self, value: Scalar | Mapping, host: str | None) -> Mapping | None:
        if host is None:
            self._findings.add(
                value, "no host stands before this step", "write it as `alice: connect web:80`"
            )
            return None
        at = At(value.line, value.column)
        return Mapping(*at, ((Scalar(*at, host, True), value),))

    def _of_yaml(self, line: str, column: int, host: str | None) -> Mapping | None:
        """`{send: call, text: "a: b"}`, `expect: {…}`, `alice: {…}`."""
        found = Findings("")
        node = compose((" " * (column - 1) + line[column - 1 :]).encode("utf-8", "replace"), found)
        for one in found.take():
            self._findings.add(At(self._number, one.column), one.text)
        if node is None:
            return None
        moved = _moved(node, self._number)
        if not isinstance(moved, Mapping):
            self._findings.add(moved, "this is no step", f"write it as `{STEP.example}`")
            return None
        names = [key.text for key, _ in moved.entries]
        if any(name in ALL_VERBS and name not in KEYWORDS and not self.people.known(name) for name in names):
            return self._of_host(moved, host)
        return moved


def _is_yaml(value: str) -> bool:
    """Whether what stands behind `HOST:` is no short form as it is."""
    return value[:1] in ("{", '"', "'")


def _moved(node: Node, line: int) -> Node:
    """The same node in another line."""
    if isinstance(node, Mapping):
        entries = tuple((key._replace(line=line), _moved(value, line)) for key, value in node.entries)
        return Mapping(line, node.column, entries)
    if isinstance(node, Sequence):
        return Sequence(line, node.column, tuple(_moved(item, line) for item in node.items))
    return node._replace(line=line)


def _without_comment(line: str) -> str:
    if line.lstrip().startswith("#"):
        return ""
    found = _COMMENT.match(line)
    return line[: found.start("comment")] if found else line
