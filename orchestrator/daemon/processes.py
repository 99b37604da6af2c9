"""The processes of a host, stopped and continued from outside: those of its pid namespace.

A process is named by its number and when it was started (proc_pid_stat(5), field 22), so that a number that
has become another's is never signalled. What the kernel does for a host, it goes on doing: it acknowledges,
queues, retransmits and forwards while not one process of the host runs.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from orchestrator import errors
from orchestrator.daemon import within

STOP_SECONDS = 3.0  # until not one process runs
KILL_SECONDS = 10.0
_MOMENT = 0.001  # seconds: a signal is taken when its process is next scheduled
_AT_REST = frozenset("TtZX")  # proc_pid_stat(5): stopped, traced, dead
_ENDED = frozenset("ZX")
_WAITS = frozenset(
    "D"
)  # in the kernel, and will stop before it comes back from there (a vfork(2) for its child)


class Process(NamedTuple):
    """One process as the daemon's own /proc numbers it."""

    pid: int
    started: int


def namespace_of(proc: int, name: str) -> int:
    """The pid namespace (its inode) of host `name`, whose first process's /proc/PID is `proc`.

    Raises EngineError where that has ended, for its namespace's number may be another's by now, and for a
    host without a namespace of its own, whose processes are among the daemon's.
    """
    try:
        namespace = os.stat("ns/pid", dir_fd=proc).st_ino
    except OSError as error:
        raise errors.EngineError(f"host {name} has ended", f"`lab restart {name}` helps") from error
    if namespace == os.stat("/proc/self/ns/pid").st_ino:
        raise errors.EngineError(f"the processes of host {name} are not apart from others")
    return namespace


def stop_all(proc: int, name: str, stopped: dict[Process, None]) -> None:
    """Stop every process of a host (see `namespace_of`); returns when none runs.

    All but the first are told at once, from among them: a fork(2) that finds a signal waiting begins again
    after it (kernel/fork.c), so none is born in between, however fast they fork. `stopped` takes those that
    ran. Raises EngineError, with all of them continued, when that cannot be had within STOP_SECONDS.
    """
    deadline = time.monotonic() + STOP_SECONDS
    before: set[Process] | None = None  # what somebody else has stopped is not ours to continue
    while True:
        members = list(_members(namespace_of(proc, name)))
        if before is None:
            before = {one for one, states in members if not _moves(states, False) or _is_being_stopped(one)}
        stopped.update((one, None) for one, states in members if one not in before and not states <= _ENDED)
        moving = [one for one, states in members if _moves(states, one in stopped)]
        if not moving and _inside(proc) == _inside(proc) == len(members):
            return
        if time.monotonic() > deadline:
            continue_all(stopped)
            raise errors.EngineError(
                f"host {name} does not come to rest: {len(moving) or 'some'} of its processes still run",
                "`lab exec` shows them with `ps`; a process that traces another may hold it",
            )
        _stop_most(proc, name, stopped)
        for one in moving:  # the first process, which no signal to all of a namespace reaches
            if one in stopped:
                _send(one, signal.SIGSTOP)
        time.sleep(_MOMENT)


def _stop_most(proc: int, name: str, stopped: dict[Process, None]) -> None:
    try:
        within.pids(proc, _stop_others)
    except ProcessLookupError:
        return  # there is none but the first: kill(2)
    except OSError as error:
        continue_all(stopped)
        raise errors.EngineError(f"host {name} cannot be stopped: {os.strerror(error.errno or 0)}") from error


def _stop_others() -> None:
    os.kill(-1, signal.SIGSTOP)


def continue_all(processes: Iterable[Process]) -> int:
    """Let these run on, the youngest first: a shell does not see its child stopped; how many there were."""
    return sum(_send(one, signal.SIGCONT) for one in sorted(processes, key=lambda one: -one.started))


def kill_first(proc: int, pid: int, name: str) -> None:
    """End the first process of a host, whose /proc/PID is `proc`, and with it all (pid_namespaces(7)).

    Returns when nothing of it is left; harmless where it has ended. Raises EngineError.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        namespace_of(proc, name)  # while that can be read, the number is still its own
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        ended = select.poll()
        ended.register(pidfd, select.POLLIN)
        if not ended.poll(KILL_SECONDS * 1000):
            raise errors.EngineError(f"the processes of host {name} do not end", "`dmesg` may say why")
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)


def _inside(proc: int) -> int:
    """How many processes the host's own /proc lists, if all are at rest; -1 if one is not, or has just gone.

    One that starts its successor and ends may be missed by any listing, but not by this one twice: who was
    running at the first is at rest, or listed at the second, or has gone meanwhile. Nothing else than the
    host's own processes can disturb it, as they do in the daemon's /proc.
    """
    folder = f"/proc/self/fd/{proc}/root/proc"
    try:
        pids = [entry for entry in os.listdir(folder) if entry.isdigit()]
        return len(pids) if all(_states(f"{folder}/{pid}") <= _AT_REST | _WAITS for pid in pids) else -1
    except (FileNotFoundError, ProcessLookupError):
        return -1


def _moves(states: frozenset[str], told: bool) -> bool:
    return not states <= (_AT_REST | _WAITS if told else _AT_REST)


def _is_being_stopped(process: Process) -> bool:
    """Somebody else's SIGSTOP is on its way to it (proc_pid_status(5)): it is not ours to continue."""
    try:
        with open(f"/proc/{process.pid}/status", "rb", buffering=0) as file:
            pending = file.read(8192).partition(b"\nShdPnd:")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return bool(int(pending, 16) >> (signal.SIGSTOP - 1) & 1)


def _members(namespace: int) -> Iterator[tuple[Process, frozenset[str]]]:
    """Each process with the states of its threads.

    One that must not be looked at is of another user namespace (ptrace(2)), and so not of the host.
    """
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if os.stat(f"/proc/{entry}/ns/pid").st_ino == namespace:
                    yield _process(entry), _states(f"/proc/{entry}")
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it has ended, or is none of ours


def _process(pid: str) -> Process:
    return Process(int(pid), int(_fields(f"/proc/{pid}/stat")[19]))


def _states(place: str) -> frozenset[str]:
    folder = f"{place}/task"
    return frozenset(_fields(f"{folder}/{thread}/stat")[0].decode() for thread in os.listdir(folder))


def _fields(path: str) -> list[bytes]:
    """From the third on: the second, the name, may hold anything."""
    with open(path, "rb", buffering=0) as file:
        return file.read(4096).rpartition(b")")[2].split()


def _send(process: Process, number: int) -> bool:
    """False where it has ended."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if _process(str(process.pid)) != process:
            return False
        signal.pidfd_send_signal(pidfd, number)
    except (FileNotFoundError, ProcessLookupError):
        return False
    finally:
        os.close(pidfd)
    return True
