"""YAML text → nodes that know their line and column. Every scalar stays the text that was written.

PyYAML's events are composed here, not its objects: so nothing is ever constructed from a tag, `on` and
`12:30` stay what they are, and depth, number and aliases are bounded while reading (a bomb costs nothing).
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from orchestrator.read.findings import Findings, shown

MOST_BYTES = 4 << 20  # 10,000 hosts, each written out, are about 1 MiB
MOST_NODES = 150_000  # aliases counted as often as they are used; 10,000 written hosts are about 100,000
MOST_DEEP = 16  # a lab.yaml is six deep
# What YAML 1.2 (5.1) calls printable; PyYAML stops at the first other character without saying where.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_TAB_INDENT = re.compile(r" *\t")
_PLAIN_TAGS = (None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_NOTHING = ("", "~", "null", "Null", "NULL")


class At(NamedTuple):
    """A place; both count from 1."""

    line: int
    column: int


START = At(1, 1)


class Scalar(NamedTuple):
    """A text. `plain`: written without quotes."""

    line: int
    column: int
    text: str
    plain: bool = False

    @property
    def nothing(self) -> bool:
        """Whether this is how YAML writes "no value"."""
        return self.plain and self.text in _NOTHING


class Sequence(NamedTuple):
    """A list."""

    line: int
    column: int
    items: tuple[Node, ...]


class Mapping(NamedTuple):
    """Keys and values, in the file's order, each key once."""

    line: int
    column: int
    entries: tuple[tuple[Scalar, Node], ...]

    def get(self, key: str) -> Node | None:
        """The value of that key; linear, for records of few keys."""
        for name, value in self.entries:
            if name.text == key:
                return value
        return None


Node = Scalar | Sequence | Mapping


class _Stop(Exception):
    """What was found makes the rest of the file unreadable."""


def compose(text: bytes, findings: Findings) -> Node | None:
    """The one document of a file; None where there is none or `findings` say why it cannot be read."""
    import yaml

    decoded = _decode(text, findings)
    if decoded is None:
        return None
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    composer = _Composer(findings)
    parser = loader(decoded)
    try:
        while not isinstance(event := parser.get_event(), yaml.StreamEndEvent):
            composer.take(event)
    except _Stop:
        return None
    except yaml.YAMLError as error:
        _syntax(error, decoded, findings)
        return None
    finally:
        parser.dispose()
    return composer.root


def _decode(text: bytes, findings: Findings) -> str | None:
    """The characters of a file, or None after saying what is no text."""
    if len(text) > MOST_BYTES:
        findings.add(START, f"the file has more than {MOST_BYTES >> 20} MiB", "is this a lab file?")
        return None
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = _place(text[: error.start].decode("utf-8", "replace"), error.start)
        findings.add(at, f"byte 0x{text[error.start]:02x} is no UTF-8", "a lab file is UTF-8 text")
        return None
    bad = _UNPRINTABLE.search(decoded)
    if bad:
        what = f"character U+{ord(bad[0]):04X} does not belong in text"
        findings.add(_place(decoded, bad.start()), what, "a lab file is UTF-8 text")
        return None
    return decoded


def _place(text: str, end: int) -> At:
    """Where the character at index `end` stands."""
    before = text[:end]
    return At(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


# PyYAML's and libyaml's words for the commonest slips → what to do.
_CURES = (
    ("mapping values are not allowed", "a text with `: ` in it needs quotes"),
    ("could not find expected ':'", "is a `:` missing, or a text over several lines without quotes?"),
    ("did not find expected key", "are the lines indented alike?"),
    ("expected <block end>", "are the lines indented alike?"),
    ("did not find expected ',' or", "is a `,`, a `]` or a `}` missing?"),
    ("did not find expected '-' indicator", "are the lines indented alike?"),
    ("unexpected end of stream", "is a quote missing?"),
    ("cannot start any token", "a text that begins so needs quotes"),
    ("did not find expected whitespace or line break", "a text that begins with `!` needs quotes"),
)


def _syntax(error: Exception, text: str, findings: Findings) -> None:
    """Say where and why YAML cannot be read; each line indented by a tab is named."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    at = At(mark.line + 1, mark.column + 1) if mark else START
    lines = text.splitlines()
    if any(_TAB_INDENT.match(line) for line in lines[max(at.line - 2, 0) : at.line]):
        for number, line in enumerate(lines, 1):
            tab = _TAB_INDENT.match(line)
            if tab:
                findings.add(At(number, tab.end()), "a tab: lab files are indented by spaces")
        return
    problem = str(getattr(error, "problem", None) or error).splitlines()[0]
    if "maximum nesting depth" in problem:  # libyaml's own bound, met while it looks ahead
        findings.add(at, f"nested more than {MOST_DEEP} deep")
        return
    line = lines[at.line - 1] if at.line <= len(lines) else ""
    cure = _cure_here(line, at.column - 1) or next((cure for words, cure in _CURES if words in problem), "")
    findings.add(at, f"this is no YAML: {problem}", cure)


def _cure_here(line: str, column: int) -> str:
    """What to do about what YAML stumbled over, where its own words do not tell."""
    if line[column - 1 : column + 1] == "${":
        return "a `${…}` inside `{ }` or `[ ]` needs quotes"
    if line[column - 1 : column + 1] in (">=", "> "):
        return "a text that begins so needs quotes"
    if line[column : column + 2] == ": ":
        return "a text with `: ` in it needs quotes"
    return ""


class _Open:
    """A list or mapping that has begun."""

    __slots__ = ("anchor", "at", "entries", "first", "items", "key", "mapping", "size")

    def __init__(self, event: Any, at: At, mapping: bool) -> None:
        self.at = at
        self.mapping = mapping
        self.anchor: str | None = event.anchor
        self.items: list[Node] = []
        self.size = 1
        if mapping:
            self.entries: list[tuple[Scalar, Node]] = []
            self.key: Node | None = None
            self.first: dict[str, Scalar] = {}

    def close(self) -> Node:
        if self.mapping:
            return Mapping(*self.at, tuple(self.entries))
        return Sequence(*self.at, tuple(self.items))


def _at(mark: Any) -> At:
    return At(mark.line + 1, mark.column + 1)


class _Composer:
    """Takes PyYAML's events one by one; no recursion, so no depth can exhaust the stack."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.root: Node | None = None
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._documents = 0
        self._total = 0

    def take(self, event: Any) -> None:
        """One event."""
        kind, mark = type(event).__name__, event.start_mark
        if kind == "ScalarEvent":
            if event.tag is not None:
                self._tag(event)
            self._add(Scalar(mark.line + 1, mark.column + 1, event.value, not event.style), 1, event.anchor)
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            done = self._open.pop()
            self._add(done.close(), done.size, done.anchor)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            self._tag(event)
            self._begin(_Open(event, _at(mark), kind == "MappingStartEvent"))
        elif kind == "AliasEvent":
            self._alias(event.anchor, _at(mark))
        elif kind == "DocumentStartEvent":
            self._document(_at(mark))

    def _tag(self, event: Any) -> None:
        at = _at(event.start_mark)
        if event.tag not in _PLAIN_TAGS:
            hint = "put it in quotes" if event.tag.startswith("!=") else "leave it out"
            self.findings.add(at, f"the tag {shown(event.tag)} is not read here", hint)

    def _begin(self, new: _Open) -> None:
        if len(self._open) >= MOST_DEEP:
            self._stop(new.at, f"nested more than {MOST_DEEP} deep")
        self._total += 1
        self._open.append(new)

    def _document(self, at: At) -> None:
        self._documents += 1
        if self._documents > 1:
            self._stop(at, "a second document: a lab file has one", "remove the `---`")

    def _alias(self, name: str, at: At) -> None:
        if any(frame.anchor == name for frame in self._open):
            self._stop(at, f"the alias {shown('*' + name)} stands inside what it names")
        if name not in self._anchors:
            self._stop(at, f"the alias {shown('*' + name)} names nothing", self._meant(name))
        node, size = self._anchors[name]
        self._add(node, size, None, at)

    def _meant(self, name: str) -> str:
        return self.findings.meant("*" + name, ["*" + anchor for anchor in self._anchors])

    def _add(self, node: Node, size: int, anchor: str | None, at: At | None = None) -> None:
        """Put a finished node where it belongs. `size`: nodes in it, aliases followed."""
        if isinstance(node, Scalar) or at:
            self._total += size
        if self._total > MOST_NODES:
            self._stop(at or At(node.line, node.column), f"more than {MOST_NODES} values, aliases followed")
        if anchor is not None:
            self._anchors[anchor] = (node, size)
        if not self._open:
            self.root = node
            return
        into = self._open[-1]
        into.size += size
        if not into.mapping:
            into.items.append(node)
        elif into.key is None:
            into.key = node
        else:
            self._entry(into, into.key, node)
            into.key = None

    def _entry(self, into: _Open, key: Node, value: Node) -> None:
        if not isinstance(key, Scalar):
            self.findings.add(key, "a key must be a text, not a list or a mapping")
        elif key.plain and key.text == "<<":
            self.findings.add(key, "merge keys (`<<`) are not supported", "write the entries out")
        elif key.text in into.first:
            line = into.first[key.text].line
            self.findings.add(key, f"{shown(key.text)} is given twice, first in line {line}")
        else:
            into.first[key.text] = key
            into.entries.append((key, value))

    def _stop(self, at: At, text: str, hint: str = "") -> None:
        self.findings.add(at, text, hint)
        raise _Stop
