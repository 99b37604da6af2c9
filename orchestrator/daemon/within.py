"""Work inside a host's network namespace, done by a thread that enters it and then ends (setns(2))."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeVar

from orchestrator.daemon import sysc

T = TypeVar("T")


def network(proc: int, work: Callable[[], T]) -> T:
    """What `work` returns or raises in the network namespace of the process whose /proc/PID is `proc`."""
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            fd = os.open("ns/net", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
            try:
                sysc.setns(fd, sysc.NEWNET)
            finally:
                os.close(fd)
            results.append(work())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]
