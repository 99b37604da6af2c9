"""One arrow as text between two lifelines, with Unicode's box drawing or plain ASCII. Pure."""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.report.harmless import width as cells
from orchestrator.report.ladder import Arrow
from orchestrator.report.ladder_words import cut


class Glyphs(NamedTuple):
    """What a ladder is drawn with, a column each."""

    lifeline: str
    waiting: str  # a lifeline while time is folded
    line: str
    bundle: str
    air: str  # a segment that is under way
    right: str
    left: str
    cross: str


UNICODE = Glyphs("│", "┊", "─", "═", "╌", "▶", "◀", "✗")
ASCII = Glyphs("|", ":", "-", "=", ".", ">", "<", "X")
_PLAIN = {  # of the words of a ladder; what else is not ASCII is escaped
    "…": "...",
    "→": "->",
    "µ": "u",
    "±": "+-",
}


def glyphs_for(encoding: str | None, *, ascii_only: bool = False) -> Glyphs:
    """What a stream of that encoding can have."""
    try:
        "".join(UNICODE).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return ASCII if ascii_only else UNICODE


def plain(text: str, glyphs: Glyphs) -> str:
    """The text, without what is not ASCII where that is asked for."""
    if glyphs is UNICODE or text.isascii():
        return text
    for found, instead in _PLAIN.items():
        text = text.replace(found, instead)
    return text.encode("ascii", "backslashreplace").decode("ascii")


def drawn(arrow: Arrow, row: int, room: int, glyphs: Glyphs) -> str:
    """The arrow in this row, as wide as there is room."""
    start, end = _ends(arrow, row, glyphs)
    line = glyphs.bundle if arrow.bundle else glyphs.line
    label = f" {plain(arrow.label, glyphs)} "
    body = room - len(start) - len(end)
    if cells(label) > body:
        label = cut(label, max(1, body))
    before = (body - cells(label)) // 2
    after = body - cells(label) - before
    if arrow.sender == "client":
        return start + line * before + label + line * after + end
    return end[::-1] + line * after + label + line * before + start[::-1]


def _ends(arrow: Arrow, row: int, glyphs: Glyphs) -> tuple[str, str]:
    """How it begins and how it ends, of one that goes to the right: with its head; with a cross where it was
    lost; in the air where its other end is in another row, or was seen by nobody."""
    air = glyphs.air * 3
    head = glyphs.right if arrow.sender == "client" else glyphs.left
    unseen, later = f"{air} ? ", f"{air}   "
    if arrow.row is None:
        return unseen[::-1], head
    if arrow.lost:
        return "", f"{glyphs.cross}   "
    if arrow.to_row is None:
        return "", unseen
    if arrow.row == arrow.to_row:
        return "", head
    return ("", later) if row == arrow.row else (later[::-1], head)
