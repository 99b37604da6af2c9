"""A connection as a ladder: where each thing of it stands. Pure; drawn as text by `ladder_text`.

Everything is placed in cells of a grid: rows downwards, in the order of time, and columns of a terminal.
Two lifelines, the client's at the left; between them the segments as arrows; beside each what its host
called, and the states that its socket took. What a page or a picture draws stands in the same places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from orchestrator.model.events import Event, History, Side
from orchestrator.model.rows import Via
from orchestrator.report import ladder_words as words
from orchestrator.report.harmless import width as cells
from orchestrator.report.ladder_folds import Fold, LeftOut, Unseen, Wait, folded
from orchestrator.report.ladder_notes import Notes
from orchestrator.report.moments import Bundle, Flight, Moment, Part, Role, Word
from orchestrator.report.rungs import moments

NARROWEST = 80  # columns, below which nothing is laid out
MOST_RUNGS = 300
TIME = 10  # columns of the time, right-aligned
FRAME = 6  # lifelines, and the spaces beside them and after the time
_PLAIN, _LOST, _AIR = 6, 9, 12  # columns of an arrow that are not its label: its ends, and some line
_ARROW = range(26, 61)  # columns between the lifelines
_SIDE = range(15, 33)  # columns beside one


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """Where things stand: the first column of each, and the lifelines themselves."""

    width: int
    left: int  # words of the client; right-aligned, a space before its lifeline
    client: int
    server: int
    right: int  # words of the server


class Label(msgspec.Struct, frozen=True):
    """A line beside a lifeline."""

    text: str
    role: Role


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """A moment: one row, or as many as its labels take. `across`: words over the whole breadth."""

    row: int
    rows: int
    t: float
    time: str
    left: tuple[Label, ...] = ()
    right: tuple[Label, ...] = ()
    across: tuple[str, ...] = ()


class Arrow(msgspec.Struct, frozen=True, kw_only=True):
    """A segment, or several in one. It leaves the sender's lifeline at `row` and comes to the other at
    `to_row` (None: it did not, or not that anybody saw)."""

    sender: Side
    label: str
    row: int | None  # None: nobody saw it leave
    to_row: int | None
    lost: bool = False
    again: bool = False
    bundle: bool = False


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A row that stands for a wait, or for rungs that are left out."""

    row: int
    text: str


class Ladder(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `client`, `server`: what stands over the lifelines; `notes`: what is to be said below."""

    title: str
    began: str
    client: tuple[str, ...]
    server: tuple[str, ...]
    unit: str
    columns: Columns
    rows: int
    rungs: tuple[Rung, ...]
    arrows: tuple[Arrow, ...]
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...]


def ladder(
    history: History,
    width: int,
    around: Sequence[Event] = (),
    via: Sequence[Via] = (),
    *,
    impaired: bool = False,
    most: int = MOST_RUNGS,
) -> Ladder:
    """The layout in so many columns. `around`: what happened beside it meanwhile (notes, impairments); `via`:
    who has translated it on the way; `impaired`: whether netfilter may hold or drop what came."""
    notes = Notes(history, via)
    found = moments(history, around, notes.mark)
    kept = list(folded(found, most))
    zero = found[0].t if found else history.began
    clock = words.Clock(zero, found[-1].t if found else zero)
    columns = _columns(kept, width, history)
    placed = _Placing(columns, clock, history)
    for one in kept:
        placed.add(one)
    arrows = tuple(placed.arrows())
    placed.kinds |= {"behind"} if impaired and arrows else set()
    return Ladder(
        title=words.title(history),
        began=f"0 is {words.seconds(zero)} after the recording began" if zero else "",
        client=_head(words.head(history.client, history.client_address, "clientfd"), columns.client),
        server=_head(
            words.head(history.server, history.server_address, "connfd"), columns.width - columns.server
        ),
        unit=clock.unit,
        columns=columns,
        rows=placed.row,
        rungs=tuple(placed.rungs),
        arrows=arrows,
        gaps=tuple(placed.gaps),
        notes=tuple(notes.lines(placed.kinds)),
    )


class _Placing:
    """Moments put one below the other."""

    def __init__(self, columns: Columns, clock: words.Clock, history: History) -> None:
        self._columns, self._clock, self._history = columns, clock, history
        self.row = 0
        self.rungs: list[Rung] = []
        self.gaps: list[Gap] = []
        self.kinds: set[str] = set()  # of what is to be explained below
        self._left: dict[Flight | Bundle, int] = {}  # in which row it leaves
        self._came: dict[Flight | Bundle, int] = {}

    def add(self, one: Moment | Fold) -> None:
        """The next."""
        match one:
            case Wait():
                self._gap(f"{words.DOTS} {words.seconds(one.seconds)} {words.DOTS}")
            case Unseen():
                self._gap(f"{words.DOTS} {one.size:,} bytes were not seen {words.DOTS}")
            case LeftOut():
                self._gap(f"{words.DOTS} {one.rungs:,} rungs are left out {words.DOTS}")
            case Moment():
                self._rung(one)

    def _gap(self, text: str) -> None:
        self.gaps.append(Gap(row=self.row, text=text))
        self.row += 1

    def _rung(self, one: Moment) -> None:
        columns = self._columns
        left = _labels(one.left, columns.client - columns.left - 1)
        right = _labels(one.right, columns.width - columns.right)
        across = tuple(words.wrap(one.across, columns.width - columns.left)) if one.across else ()
        rows = max(1, len(left), len(right), len(across))
        self.rungs.append(
            Rung(
                row=self.row,
                rows=rows,
                t=one.t,
                time=self._clock.of(one.t),
                left=left,
                right=right,
                across=across,
            )
        )
        if one.flight is not None:
            self._fly(one.flight, one.part)
        self.row += rows

    def _fly(self, flight: Flight | Bundle, part: Part) -> None:
        if part != "comes":
            self._left[flight] = self.row
        if part != "leaves":
            self._came[flight] = self.row

    def arrows(self) -> Iterator[Arrow]:
        """Of all that was added."""
        room = self._columns.server - self._columns.client - 1
        for one in {**self._left, **self._came}:
            texts = (words.arrow(one, self._history, short=short) for short in (False, True))
            label = words.fitting(room - _ends(one), *texts)
            row, to_row = self._left.get(one), self._came.get(one)
            sent, received = one.seen
            row, to_row = row if sent else None, to_row if received else None
            self.kinds |= _kinds(one)
            if isinstance(one, Bundle):
                yield Arrow(sender=one.sender, label=label, row=row, to_row=to_row, bundle=True)
                continue
            crossing = one.crossing
            yield Arrow(
                sender=one.sender,
                label=label,
                row=row,
                to_row=to_row,
                lost=crossing.missing,
                again=crossing.again,
            )


def _kinds(one: Flight | Bundle) -> set[str]:
    if isinstance(one, Bundle):
        return set() if all(one.seen) else {"unseen"}
    crossing = one.crossing
    found = {
        "lost": crossing.missing,
        "again": crossing.again,
        "unseen": not crossing.missing and not all(one.seen),
        "slanted": not one.whole,
    }
    return {kind for kind, holds in found.items() if holds}


def _head(lines: Sequence[str], room: int) -> tuple[str, ...]:
    return tuple(line for one in lines for line in words.wrap(one, room))


def _labels(found: Sequence[Word], room: int) -> tuple[Label, ...]:
    """Each in as many lines as it takes."""
    return tuple(Label(line, one.role) for one in found for line in words.wrap(one.text, room))


def _columns(kept: Sequence[Moment | Fold], width: int, history: History) -> Columns:
    """The sides and the arrows get what they need where there is room; else the sides fold their words, then
    labels are shortened."""
    width = max(width, NARROWEST)
    shown = [one for one in kept if isinstance(one, Moment)]
    left = _need([word.text for one in shown for word in one.left], _SIDE)
    right = _need([word.text for one in shown for word in one.right], _SIDE)
    arrow = _need(
        [words.arrow(one.flight, history) + " " * _ends(one.flight) for one in shown if one.flight], _ARROW
    )
    room = width - TIME - FRAME
    over = left + right + arrow - room
    if over > 0:
        spare = [left - _SIDE.start, right - _SIDE.start]
        take = min(over, sum(spare))
        from_left = min(spare[0], max(take - spare[1], take // 2))
        left, right = left - from_left, right - (take - from_left)
        arrow = room - left - right
    client = TIME + 1 + left + 1
    server = client + 1 + arrow
    return Columns(width=server + 2 + right, left=TIME + 1, client=client, server=server, right=server + 2)


def _ends(one: Flight | Bundle) -> int:
    """How many columns of an arrow its ends take, with the spaces around its label."""
    if not isinstance(one, Bundle):
        if one.crossing.missing:
            return _LOST
        if not one.whole:
            return _AIR
    return _PLAIN if all(one.seen) else _AIR


def _need(texts: Sequence[str], bounds: range) -> int:
    widest = max((cells(text) for text in texts), default=0)
    return min(max(widest, bounds.start), bounds.stop - 1)
