"""The command line. A file per verb, imported when it is used: `lab --help` imports none of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The entry point `lab`."""
    from orchestrator.cli.ending import run

    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))
