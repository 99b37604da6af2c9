"""One value that was seen against one test of an expectation. Pure.

A number may be known only within bounds (a duration while the observer stalled, a step that still runs): it
passes where every possible value would, and fails where none would.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from orchestrator.model.runs import Verdict
from orchestrator.model.steps import Contains, Flag, Matches, Number, Sequence, Test, Words


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of a field. `any_of`: it goes by several names (an error, and that time was over);
    `high`: a number that may be anything from `value` up to it. `why`: it is not known, and why; `doubt`: it
    is what was seen, and why that says of nothing else that it is not so."""

    value: Any = None
    any_of: tuple[str, ...] = ()
    high: float | None = None
    why: str = ""
    doubt: str = ""

    def __str__(self) -> str:
        if self.why:
            return f"not known ({self.why})"
        if self.high is not None and self.high != self.value:
            return f"{shown(self.value)} to {shown(self.high)}"
        return shown(self.value)


def unknown(why: str) -> Value:
    """It could not be observed."""
    return Value(why=why)


def shown(value: Any) -> str:
    """A value as it is written in lab.yaml."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "no end" if math.isinf(value) else f"{value:.6g}"
    if isinstance(value, Mapping):
        return " ".join(str(name) for name, on in value.items() if on) or "nothing"
    return str(value)


def compare(test: Test, seen: Value) -> Verdict:
    """The verdict on one field. What is over time (a Sequence) is no field: sequences.py has it."""
    assert not isinstance(test, Sequence)
    if seen.why:
        return "unknown"
    if isinstance(test, Number):
        return _number(test, seen)
    if isinstance(test, Words):
        holds = any(_is(word, seen) for word in test.any_of)
        return "unknown" if seen.doubt and not holds else _said(holds)
    if isinstance(test, Flag):
        return _said(seen.value is test.value)
    return _said(found(test, shown(seen.value)))


def found(test: Contains | Matches, text: str) -> bool:
    """Whether a text has it."""
    return test.text in text if isinstance(test, Contains) else re.search(test.pattern, text) is not None


def _said(holds: bool) -> Verdict:
    return "pass" if holds else "fail"


def _is(word: str | None, seen: Value) -> bool:
    if seen.value is None and not seen.any_of:
        return word is None
    return word is not None and (word in seen.any_of or word == shown(seen.value))


def _number(test: Number, seen: Value) -> Verdict:
    if isinstance(seen.value, bool) or not isinstance(seen.value, int | float):
        return "fail"
    low, high = float(seen.value), float(seen.value if seen.high is None else seen.high)
    some, every = _bounds(test, low, high)
    if every:
        return "pass"
    return "unknown" if some else "fail"


def _bounds(test: Number, low: float, high: float) -> tuple[bool, bool]:
    """Whether some, and whether every number from low to high passes."""
    if test.operator == "<":
        return low < test.value, high < test.value
    if test.operator == "<=":
        return low <= test.value, high <= test.value
    if test.operator == ">":
        return high > test.value, low > test.value
    if test.operator == ">=":
        return high >= test.value, low >= test.value
    least, most = test.value - test.below, test.value + test.above
    some, every = low <= most and high >= least, low >= least and high <= most
    return (some, every) if test.operator == "==" else (not every, not some)
