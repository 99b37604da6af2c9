"""`lab conns --watch`: the rows redrawn at a terminal, or what changes appended to a file or a pipe."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from orchestrator.model.rows import endpoint
from orchestrator.report.harmless import harmless

if TYPE_CHECKING:
    from orchestrator.lab import Lab
    from orchestrator.model.rows import Connection, End, Listener
    from orchestrator.observe import Observation

PERIOD = 0.5  # seconds between two looks
REMEMBERED = 8  # changes that stay on the screen below the rows
CLEAR_LINE, CLEAR_REST, HOME = "\x1b[K", "\x1b[J", "\x1b[H"  # ECMA-48: EL, ED, CUP
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # xterm: the other screen, no cursor
Rows = dict[str, str]  # what is said of a row, by what it is


def watch(lab: Lab, look: Callable[[], Observation], *, listeners: bool) -> None:
    """Until Ctrl-C, or until the lab is gone."""
    changes: deque[str] = deque(maxlen=REMEMBERED)
    before: Rows | None = None
    redraw = sys.stdout.isatty()
    with other_screen() if redraw else contextlib.nullcontext():
        while True:
            seen = look()
            now = rows_of(seen, listeners)
            fresh = [] if before is None else list(changed(before, now))
            changes.extend(f"{time.strftime('%H:%M:%S')} {line}" for line in fresh)
            if redraw:
                draw(lab, seen, changes, listeners)
            else:
                append(lab, seen, listeners, None if before is None else fresh)
            before = now
            time.sleep(PERIOD)


def rows_of(seen: Observation, listeners: bool) -> Rows:
    """What counts as a change, by row: states and whether it is accepted, not queues and timers."""
    if listeners:
        return {f"{one.host} {one.inode}": said_of_listener(one) for one in seen.joined.listeners}
    return {row.id: said(row) for row in seen.joined.connections}


def said(row: Connection) -> str:
    """A connection in a few words."""
    accepted = {True: "", False: ", not accepted yet", None: ""}[row.accepted]
    states = f"{row.client.state if row.client else '-'} {row.server.state if row.server else '-'}"
    return f"{_at(row.client, row.server)} <=> {_at(row.server, row.client)}  {states}{accepted}"


def _at(end: End | None, other: End | None) -> str:
    if end is not None:
        return f"{end.host} {endpoint(end.address, end.port)}"
    return f"({endpoint(other.peer_address, other.peer_port)})" if other is not None else "?"


def said_of_listener(one: Listener) -> str:
    """A listening socket in a few words."""
    return f"{one.host} ({endpoint(one.address, one.port)},*:*)  {one.queue} waiting"


def changed(before: Rows, now: Rows) -> Iterator[str]:
    """`+` new, `~` changed, `-` gone."""
    for key, text in now.items():
        if key not in before:
            yield f"+ {text}"
        elif before[key] != text:
            yield f"~ {text}"
    for key, text in before.items():
        if key not in now:
            yield f"- {text}"


def append(lab: Lab, seen: Observation, listeners: bool, fresh: Sequence[str] | None) -> None:
    """The rows at the beginning, then a line for each change."""
    from orchestrator.cli.conns import text_of

    if fresh is None:
        click.echo(text_of(lab, seen, listeners=listeners), nl=False)
    for line in fresh or ():
        click.echo(f"{time.strftime('%H:%M:%S')} {harmless(line)}")
    sys.stdout.flush()


def draw(lab: Lab, seen: Observation, changes: Sequence[str], listeners: bool) -> None:
    """The whole screen, over what stands there: nothing flickers. What does not fit is counted."""
    from orchestrator.cli.conns import text_of

    height = shutil.get_terminal_size().lines
    rows = text_of(lab, seen, listeners=listeners, legend=False).splitlines()
    room = max(1, height - len(changes) - 2)
    if len(rows) > room:
        rows = [*rows[: room - 1], f"… {len(rows) - room + 1} more lines"]
    lines = [*rows, "", *(harmless(line) for line in changes)][: height - 1]
    sys.stdout.write(HOME + "".join(line + CLEAR_LINE + "\n" for line in lines) + CLEAR_REST)
    sys.stdout.flush()


@contextlib.contextmanager
def other_screen() -> Iterator[None]:
    """What stood on the terminal before stands there again afterwards."""
    sys.stdout.write(ENTER)
    try:
        yield
    finally:
        sys.stdout.write(LEAVE)
        sys.stdout.flush()
