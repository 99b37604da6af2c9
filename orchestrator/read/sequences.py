"""`SYN_SENT -> ESTABLISHED -> FIN_WAIT1` → a Sequence: states, each following the one before it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from orchestrator.model.rows import FOLLOWING, STATES
from orchestrator.model.steps import Sequence
from orchestrator.read import values
from orchestrator.read.findings import Findings, Place, shown
from orchestrator.read.words import Word

ARROW = "->"
MOST_STATES = 32  # of one sequence; a connection enters none twice
CONNECTION_STATES = frozenset(STATES.values()) - {"LISTEN"}


class _Part(NamedTuple):
    """What stands between two arrows, and where."""

    at: Place
    text: str


def read(word: Word, findings: Findings, place: Callable[[int], Place]) -> Sequence | None:
    """The sequence. None after a diagnostic. `place(offset)` is where a character of the word stands."""
    parts = _parts(word.text, place)
    if len(parts) > MOST_STATES:
        findings.add(word, f"a sequence of {len(parts)} states", "an end is in none of its states twice")
        return None
    states = [_states(part, findings) for part in parts]
    known = [one for one in states if one is not None]
    if len(known) < len(states) or not _possible(parts, known, findings):
        return None
    return Sequence(states=tuple(known))


def _parts(text: str, place: Callable[[int], Place]) -> list[_Part]:
    found, offset = [], 0
    for part in text.split(ARROW):
        inside = part.strip()
        found.append(_Part(place(offset + (part.find(inside) if inside else 0)), inside))
        offset += len(part) + len(ARROW)
    return found


def _states(part: _Part, findings: Findings) -> tuple[str, ...] | None:
    """`FIN_WAIT1|CLOSE_WAIT`: one of these. None after a diagnostic."""
    if not part.text:
        text = f"no state stands at one end of {shown(ARROW)}"
        findings.add(part.at, text, "write it as `SYN_SENT -> ESTABLISHED`")
        return None
    found = []
    for one in part.text.split("|"):
        word = Word(part.at.line, part.at.column, one.strip())
        if word.text == "none":
            findings.add(word, "`none` is no state", "`CLOSE` is what an end is in when it is gone")
            return None
        if word.text == "LISTEN":
            findings.add(
                word, "`LISTEN` is no state of a connection", "its first at the server is `SYN_RECV`"
            )
            return None
        state = values.one_of("state", CONNECTION_STATES)(word, findings)
        if state is None:
            return None
        found.append(str(state))
    return tuple(found)


def _possible(parts: list[_Part], states: list[tuple[str, ...]], findings: Findings) -> bool:
    """Whether some way leads through all of them; else the first step that none makes is told."""
    before = states[0]
    for part, these in zip(parts[1:], states[1:], strict=True):
        reached = tuple(state for state in these if any(state in FOLLOWING[one] for one in before))
        if not reached:
            said = shown("|".join(before))
            next_ones = list(dict.fromkeys(after for one in before for after in FOLLOWING[one]))
            hint = f"{said} is followed by {_either(next_ones)}" if next_ones else f"{said} is the last state"
            findings.add(part.at, f"no end goes from {said} to {shown(part.text)}", hint)
            return False
        before = reached
    return True


def _either(words: list[str]) -> str:
    said = [f"`{word}`" for word in words]
    return " or ".join((", ".join(said[:-1]), said[-1])) if len(said) > 1 else said[0]
