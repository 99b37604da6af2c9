"""What is being done now, on stderr: one live line at a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from orchestrator.cli.ending import harmless, say
from orchestrator.engines.base import Progress


@contextlib.contextmanager
def shown(title: str) -> Iterator[Progress]:
    """A function that takes lines of progress. At a terminal only the last one stays visible, while it lasts."""
    if not (sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"):
        yield say
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
