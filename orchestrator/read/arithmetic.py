"""`T + 200ms`, `N * 2` → the text that stands for it: durations and numbers alone. Pure.

`*` and `/` bind closer than `+` and `-`; there are no brackets. All is exact: 0.1s * 3 is 300ms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

_UNITS = {
    "us": 1,
    "µs": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
}
_VALUE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([A-Za-zµ]*)")
_OPERAND = r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+(?:\.[0-9]+)?(?:[a-zµ]+)?"
_EXPRESSION = re.compile(rf"\s*(?:{_OPERAND})(?:\s*[-+*/]\s*(?:{_OPERAND}))+\s*")
_TOKEN = re.compile(rf"{_OPERAND}|[-+*/]")
_WRITTEN = {True: "a duration", False: "a number"}


class Wrong(Exception):
    """What cannot be reckoned, and what to do."""

    def __init__(self, text: str, hint: str = "", unknown: str | None = None) -> None:
        super().__init__(text)
        self.text, self.hint, self.unknown = text, hint, unknown


class _Quantity(NamedTuple):
    """A number, or with `time` a duration in microseconds."""

    amount: Fraction
    time: bool

    def __str__(self) -> str:
        if not self.time:
            return _decimal(self.amount)
        if self.amount % _UNITS["s"] == 0:
            return f"{self.amount // _UNITS['s']}s"
        if self.amount % _UNITS["ms"] == 0:
            return f"{self.amount // _UNITS['ms']}ms"
        return f"{round(self.amount)}us"


def is_expression(text: str) -> bool:
    """Whether it has the form of one; a name alone has not."""
    return _EXPRESSION.fullmatch(text) is not None


def reckon(text: str, variables: Mapping[str, str]) -> str:
    """The value of an expression. Raises Wrong."""
    tokens = _TOKEN.findall(text)
    sums: list[tuple[str, _Quantity]] = [("+", _quantity(tokens[0], variables))]
    for operator, operand in zip(tokens[1::2], tokens[2::2], strict=True):
        value = _quantity(operand, variables)
        if operator in "*/":
            before, left = sums.pop()
            sums.append((before, _product(left, operator, value)))
        else:
            sums.append((operator, value))
    total = sums[0][1]
    for operator, value in sums[1:]:
        total = _sum(total, operator, value)
    if total.amount < 0 and total.time:
        raise Wrong(f"`{text.strip()}` is less than no time: -{_Quantity(-total.amount, True)}")
    return str(total)


def _quantity(token: str, variables: Mapping[str, str]) -> _Quantity:
    """A literal, or a variable that holds one."""
    text, named = token, ""
    if not token[0].isdigit():
        if token not in variables:
            raise Wrong("", unknown=token)
        text, named = variables[token], f"`{token}`, "
    match = _VALUE.fullmatch(text)
    if match is None or (match[2] and match[2] not in _UNITS):
        hint = "write it as `200ms` or `3`"
        raise Wrong(
            f"{named}`{text[:40]}`, is neither a duration nor a number"
            if named
            else f"`{text[:40]}` is neither a duration nor a number",
            hint,
        )
    return _Quantity(Fraction(match[1]) * _UNITS.get(match[2], 1), bool(match[2]))


def _sum(left: _Quantity, operator: str, right: _Quantity) -> _Quantity:
    if left.time != right.time:
        number = right if left.time else left
        raise Wrong(
            f"`{left} {operator} {right}` is of a duration and a number",
            f"did you mean `{number}ms` or `{number}s`?",
        )
    return _Quantity(left.amount + (right.amount if operator == "+" else -right.amount), left.time)


def _product(left: _Quantity, operator: str, right: _Quantity) -> _Quantity:
    if operator == "*":
        if left.time and right.time:
            raise Wrong(f"`{left} * {right}` is a duration times a duration")
        return _Quantity(left.amount * right.amount, left.time or right.time)
    if right.amount == 0:
        raise Wrong(f"`{left} / {right}` divides by nothing")
    if right.time and not left.time:
        raise Wrong(f"`{left} / {right}` is a number divided by a duration")
    return _Quantity(left.amount / right.amount, left.time and not right.time)


def _decimal(amount: Fraction) -> str:
    """`3`, `2.5`; at most 9 digits behind the point."""
    if amount.denominator == 1:
        return str(amount.numerator)
    return f"{float(amount):.9f}".rstrip("0").rstrip(".")
