"""Text from hosts and files made fit for a terminal: what would steer it, or turn its lines round, is
escaped."""

from __future__ import annotations

import unicodedata

# Unicode general categories: control, format (bidi marks, zero width), surrogate, private, unassigned,
# separators
_STEERING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def harmless(text: str) -> str:
    """Printable text: control and bidi characters, line ends and tabs too, as \\x1b, \\u202e …"""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _STEERING else c for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def width(text: str) -> int:
    """Columns that the text takes on a terminal (UAX #11: wide characters take two, combining ones none)."""
    if text.isascii():
        return len(text)
    return sum(_columns(c) for c in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
