"""What is being done now, on stderr: one live line at a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator

from orchestrator.cli.ending import harmless, say
from orchestrator.engines.base import Progress


@contextlib.contextmanager
def shown(title: str) -> Iterator[Progress]:
    """A function that takes lines of progress. At a terminal only the last one is seen, while it lasts."""
    if not (sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"):
        yield Plain().tell
        return
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True, highlight=False)
    with console.status(escape(title)) as status:

        def tell(line: str) -> None:
            if line.startswith("engine: "):  # worth keeping on the screen
                console.print(harmless(line), markup=False, highlight=False)
            status.update(f"{escape(title)}: {escape(harmless(line))}")

        yield tell


class Plain:
    """Lines for a file or a pipe: of those that only count on, not more than one a second."""

    def __init__(self) -> None:
        self._kind = ""
        self._next = 0.0

    def tell(self, line: str) -> None:
        """Say the line, unless it is the last one with another number and came at once."""
        kind, now = "".join(c for c in line if not c.isdigit()), time.monotonic()
        if kind != self._kind or now >= self._next:
            say(line)
            self._kind, self._next = kind, now + 1.0
