"""The short form of a step, split into words that know where they stand; and variables put in.

Words are split as a shell splits them. In double quotes `\\r \\n \\t \\0 \\xHH \\\\ \\"` mean what they mean
in C, in single quotes nothing is special, `${NAME}` neither. A variable's value is not split; `$${` is `${`,
`${T + 200ms}` is reckoned.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from orchestrator.read import arithmetic, sources
from orchestrator.read.findings import Findings, shown
from orchestrator.read.nodes import At, Scalar

MOST_WORDS = 1000  # of one step
_BREAKS = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # YAML 1.1's line breaks, as PyYAML counts them
_COMMENT = re.compile("[ \t]+#")
_KEY = re.compile("([A-Za-z_][A-Za-z0-9_]*)=")
_VARIABLE = re.compile(r"\$?\$\{([^}]*)\}")
_PIECE = re.compile(  # of a word: single-quoted, double-quoted, plain
    r"""(?P<space>[ \t\r\n]+)|'(?P<raw>[^']*)'|"(?P<text>(?:[^"\\]|\\.)*)\""""
    r"""|(?P<plain>(?:\$\{[^}'"]*\}|[^ \t\r\n'"])+)""",
    re.S,
)
_SPECIAL = re.compile(r"\$?\$\{[^}]*\}|\\(?P<escape>x[0-9A-Fa-f]{2}|.)", re.S)
_ESCAPES = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\", '"': '"', "$": "$"}


class Word(NamedTuple):
    """A word. `quoted`: it is text, whatever it looks like; `key`: of `key=value`, whose value is `text`."""

    line: int
    column: int
    text: str
    quoted: bool = False
    key: str = ""

    @property
    def at(self) -> At:
        """Its place."""
        return At(self.line, self.column)

    def said(self) -> str:
        """As it stands in a message."""
        return shown(f"{self.key}={self.text}" if self.key else self.text)


class Source:
    """The text of the file: where exactly something stands in a scalar, and what stands behind it."""

    def __init__(self, text: str) -> None:
        self._lines = _BREAKS.split(text)
        self._last: tuple[Scalar | None, int | None] = (None, None)

    def add(self, number: int, line: str) -> None:
        """One more line, the last one so far; what is missing before it is empty."""
        self._lines += [""] * (number - 1 - len(self._lines))
        self._lines[number - 1 :] = [line]

    def place(self, scalar: Scalar, offset: int) -> At:
        """Where the character at `offset` of a scalar stands; its beginning, if YAML has changed the text."""
        start = self._start(scalar)
        return At(scalar.line, scalar.column if start is None else start + offset + 1)

    def comment(self, scalar: Scalar) -> At | None:
        """Where a ` #` follows an unquoted text, and so ends it."""
        start = self._start(scalar)
        if start is None or not scalar.plain:
            return None
        line, end = self._lines[scalar.line - 1], start + len(scalar.text)
        found = _COMMENT.match(line, end)
        return At(scalar.line, found.end()) if found else None

    def _start(self, scalar: Scalar) -> int | None:
        """Where its text begins in its line; None where it does not stand there as it is."""
        if self._last[0] is not scalar:
            start = scalar.column - (1 if scalar.plain else 0)
            line = self._lines[scalar.line - 1] if scalar.line <= len(self._lines) else ""
            self._last = (scalar, start if line.startswith(scalar.text, start) else None)
        return self._last[1]


class Reading:
    """What is needed to read texts of one scenario: its variables, and where to complain."""

    def __init__(
        self, source: Source, findings: Findings, variables: Mapping[str, str], folder: str | None = None
    ) -> None:
        """`folder`: the lab file's, below which the files are that it names."""
        self.source = source
        self.findings = findings
        self.variables = variables
        self.folder = folder
        self.unknown = 0  # how many variables were asked for that there are not

    def fill(self, text: str, at: At) -> str:
        """The text with the values of its variables; an unknown one is complained of."""

        def value(match: re.Match[str]) -> str:
            if match[0].startswith("$$"):
                return match[0][1:]
            found = self._value(match[1], at)
            return "" if found is None else found

        return _VARIABLE.sub(value, text) if "${" in text else text

    def shown(self, text: str) -> str:
        """The text with the values of its variables, to be looked at; what is unknown stays."""

        def value(match: re.Match[str]) -> str:
            if arithmetic.is_expression(match[1]):
                try:
                    return arithmetic.reckon(match[1], self.variables)
                except arithmetic.Wrong:
                    return match[0]
            return self.variables.get(match[1], match[0])

        return _VARIABLE.sub(value, text) if "${" in text else text

    def _value(self, name: str, at: At) -> str | None:
        """What stands for `${name}`. None after a diagnostic."""
        if name in self.variables:
            return self.variables[name]
        if not arithmetic.is_expression(name):
            self._unknown(name, at)
            return None
        try:
            return arithmetic.reckon(name, self.variables)
        except arithmetic.Wrong as wrong:
            if wrong.unknown is not None:
                self._unknown(wrong.unknown, at)
            else:
                self.unknown += 1
                self.findings.add(at, wrong.text, wrong.hint)
            return None

    def content(self, word: Word) -> str | None:
        """The text of a file with the values of the variables that there are; all else in it stays as it is,
        for `${…}` may be the program's own. None after a diagnostic."""
        if self.folder is None:
            self.findings.add(word, "`file` is for lab files", "give a `text`, or use `lab cp`")
            return None
        text = sources.text(self.folder, word, word.text, self.findings)
        if text is None or "${" not in text:
            return text
        return _VARIABLE.sub(lambda one: self._known(one[1], one[0]), text)

    def _known(self, name: str, written: str) -> str:
        """What stands for `${name}` in a file; what is no variable's stays as it is written."""
        try:
            found = (
                arithmetic.reckon(name, self.variables)
                if arithmetic.is_expression(name)
                else self.variables[name]
            )
        except (KeyError, arithmetic.Wrong):
            return written
        return written[1:] if written.startswith("$$") else found

    def word(self, scalar: Scalar) -> Word:
        """A whole scalar as one word, for the long form."""
        at = At(scalar.line, scalar.column)
        return Word(*at, self.fill(scalar.text, at), quoted=not scalar.plain)

    def words(self, scalar: Scalar) -> list[Word] | None:
        """The words of a scalar; None after a diagnostic."""
        before = self.unknown
        found = self._split(scalar)
        return found if self.unknown == before else None

    def _split(self, scalar: Scalar) -> list[Word] | None:
        found: list[Word] = []
        pieces: list[str] = []
        start, quoted = 0, False
        position, text = 0, scalar.text
        while position < len(text):
            if len(found) >= MOST_WORDS:
                self.findings.add(found[-1], f"a step of more than {MOST_WORDS} words", "a text needs quotes")
                return None
            match = _PIECE.match(text, position)
            if match is None:
                self._open_quote(scalar, position)
                return None
            if match["space"] is None:
                if not pieces:
                    start, quoted = position, match["plain"] is None
                piece = self._piece(match, self.source.place(scalar, position))
                if piece is None:
                    return None
                pieces.append(piece)
            elif pieces:
                found.append(self._word(scalar, start, "".join(pieces), quoted))
                pieces = []
            position = match.end()
        if pieces:
            found.append(self._word(scalar, start, "".join(pieces), quoted))
        return found

    def _word(self, scalar: Scalar, start: int, text: str, quoted: bool) -> Word:
        at = self.source.place(scalar, start)
        key = None if quoted else _KEY.match(scalar.text, start)
        if key:
            return Word(*at, text[len(key[0]) :], key=key[1])
        return Word(*at, text, quoted=quoted)

    def _piece(self, match: re.Match[str], at: At) -> str | None:
        """What a piece of a word means."""
        if match["raw"] is not None:
            return match["raw"]
        if match["text"] is None:
            return self.fill(match["plain"], at)
        wrong = next((one[0] for one in _SPECIAL.finditer(match["text"]) if _meaningless(one)), None)
        if wrong:
            self.findings.add(at, f"{shown(wrong)} means nothing in double quotes", f"write `\\{wrong}`")
            return None
        return _SPECIAL.sub(lambda one: _meaning(one) or self.fill(one[0], at), match["text"])

    def _open_quote(self, scalar: Scalar, position: int) -> None:
        at = self.source.place(scalar, position)
        comment = self.source.comment(scalar)
        if comment:
            hint = "to YAML ` #` begins a comment; put the whole step in quotes, or use the long form"
            self.findings.add(comment, "the text ends here, inside quotes", hint)
        else:
            self.findings.add(at, "this quote is not closed", "is one missing, or an apostrophe meant?")

    def _unknown(self, name: str, at: At) -> None:
        self.unknown += 1
        said = shown("${" + name + "}")
        hint = self.findings.meant(name, self.variables) or f"`$${{{name}}}` is the text itself"
        self.findings.add(at, f"there is no variable {said}", hint)


def _meaningless(special: re.Match[str]) -> bool:
    return special["escape"] is not None and not _meaning(special)


def _meaning(special: re.Match[str]) -> str:
    """What an escape stands for; nothing where it is none."""
    escape = special["escape"] or ""
    return chr(int(escape[1:], 16)) if len(escape) == 3 else _ESCAPES.get(escape, "")
