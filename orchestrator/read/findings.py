"""What is wrong with a file, collected so that all of it is said at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from typing import NamedTuple, Protocol

from orchestrator.errors import TopologyError

MOST_SHOWN = 500  # diagnostics; a file of noise must not print for minutes
MOST_COMPARED = 10_000  # words looked at for "did you mean": about 0.1 s of difflib
LONGEST_SHOWN = 60  # characters of what the user wrote
# ssh://student:PASSWORD@10.0.0.11:22, with and without what can be left out
_PASSWORD = re.compile(
    r"((?:[A-Za-z+]*://)?[^\s/:@]*:(?!//)).*(@(?:\[[^\s\]]*\]|[^\s/:@]+)(?::[0-9]{1,5})?/?)"
)


class Place(Protocol):
    """Anything that knows where it stands; both count from 1."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


def shown(text: str) -> str:
    """The user's words in backquotes, shortened, with control characters made harmless and no password."""
    if match := _PASSWORD.fullmatch(text):
        text = f"{match[1]}…{match[2]}"
    short = text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"
    if short.isprintable():
        return f"`{short}`"
    return "`" + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in short) + "`"


class Found(NamedTuple):
    """One thing that is wrong, and where."""

    line: int
    column: int
    text: str


class Findings:
    """The diagnostics of one file, in the order of their places."""

    def __init__(self, path: str) -> None:
        self.path = shown(path)[1:-1] if len(path) <= LONGEST_SHOWN else _harmless(path)
        self._found: dict[Found, None] = {}
        self._lines: set[int] = set()
        self._left_out = 0
        self._compared = 0

    def __len__(self) -> int:
        return len(self._found) + self._left_out

    def add(self, at: Place, text: str, hint: str = "") -> None:
        """`text` says what is wrong, `hint` what was probably meant or what to do."""
        self._lines.add(at.line)
        if len(self._found) >= MOST_SHOWN:
            self._left_out += 1
            return
        self._found[Found(at.line, at.column, f"{text}; {hint}" if hint else text)] = None

    def near(self, at: Place, lines: int) -> bool:
        """Whether something is wrong there or in the next lines: it may be why something is missing."""
        return any(line in self._lines for line in range(at.line, at.line + lines + 1))

    def meant(self, word: str, options: Collection[str]) -> str:
        """`did you mean …` where one of the options is close to the word, else nothing."""
        if self._compared + len(options) > MOST_COMPARED or len(self._found) >= MOST_SHOWN:
            return ""
        self._compared += len(options)
        return did_you_mean(word, options)

    def take(self) -> tuple[Found, ...]:
        """What was found so far, by place; from here on it is not known any more."""
        found = tuple(sorted(self._found))
        self._found, self._lines = {}, set()
        self._left_out = self._compared = 0
        return found

    def diagnostics(self) -> tuple[str, ...]:
        """`FILE:LINE:COLUMN: what is wrong`, by place."""
        lines = [f"{self.path}:{line}:{column}: {text}" for line, column, text in sorted(self._found)]
        if self._left_out:
            lines.append(f"{self.path}:1:1: … and {self._left_out} more mistakes")
        return tuple(lines)


def raise_if_any(files: Iterable[Findings]) -> None:
    """Raise TopologyError with all that was found in any of them, file by file."""
    found = tuple(line for one in files for line in one.diagnostics())
    if found:
        raise TopologyError(found)


def _harmless(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """The hint for a word that is none of the options."""
    by_case = {option.lower(): option for option in options}
    close = difflib.get_close_matches(word.lower()[:64], by_case, n=1, cutoff=0.6)
    return f"did you mean {shown(by_case[close[0]])}?" if close else ""
