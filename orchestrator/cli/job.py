"""`python -m orchestrator.cli.job`: a worker of `lab run --jobs`, started by it and by nobody else."""

from __future__ import annotations

import io
import os
import signal
import sys

from orchestrator.cli.told import Told
from orchestrator.jobs import worker
from orchestrator.jobs.messages import Telling


def main() -> int:
    """What is said to the parent goes out where standard output was, and nothing else does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored
    speaks = os.dup(1)
    os.dup2(2, 1)
    return worker.work(0, speaks, teller)


def teller(page: io.StringIO, how: Telling) -> Told:
    """Writes on a page what the parent will print."""
    return Told(page, quiet=how.quiet, paper=how.paper, timeline=how.timeline, style=how.style)


if __name__ == "__main__":
    sys.exit(main())
