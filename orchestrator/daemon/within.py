"""Work inside a host's namespaces: in its network one by a thread that enters it and then ends (setns(2)), in
its pid one by a child, for a process is in the pid namespace that it was born in (pid_namespaces(7)).
"""

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


def pids(proc: int, work: Callable[[], None]) -> None:
    """Have `work` done by a process among those of the host whose first process's /proc/PID is `proc`. It may
    make system calls only: other threads' locks may be held where it begins. Raises OSError, its own too.
    """
    namespace = os.open("ns/pid", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    try:
        between = os.fork()
        if not between:
            os._exit(_status_of(lambda: _enter(namespace, work)))
        status = os.waitstatus_to_exitcode(os.waitpid(between, 0)[1])
    finally:
        os.close(namespace)
    if status:
        raise OSError(abs(status), os.strerror(abs(status)))


def _enter(namespace: int, work: Callable[[], None]) -> None:
    """Only children of who has entered are in it."""
    sysc.setns(namespace, sysc.NEWPID)
    child = os.fork()
    if not child:
        os._exit(_status_of(work))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise OSError(abs(status), "")


def _status_of(work: Callable[[], None]) -> int:
    """0, or the number of the error that ended it."""
    try:
        work()
    except OSError as error:
        return error.errno or 255
    except BaseException:
        return 255
    return 0
