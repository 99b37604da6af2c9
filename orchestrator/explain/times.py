"""Times as nginx reads them (ngx_parse_time): `500ms`, `2s`, `1m30s`; a bare number is seconds. Some are kept
in whole seconds, and then `ms` is no unit of them."""

from __future__ import annotations

import re

_UNITS = {
    "ms": 0.001,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 7 * 86400.0,
    "M": 30 * 86400.0,
    "y": 365 * 86400.0,
    "": 1.0,
}
_PART = re.compile(r"(\d+)(ms|[smhdwMy]?)")


def seconds(text: str) -> float | None:
    """None: nginx would not take it, or it is a variable."""
    text = text.replace(" ", "")
    if not text or not re.fullmatch(r"(\d+(ms|[smhdwMy]?))+", text):
        return None
    return sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def said(value: float) -> str:
    """As a person would write it in a configuration."""
    if value < 0.0005:
        return "0"
    if value < 1 or round(value * 1000) % 1000:
        return f"{round(value * 1000)}ms"
    whole = round(value)
    for unit, size in (("h", 3600), ("m", 60)):
        if whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s"
