"""A worker of `lab run --jobs`: a process that brings a copy of the lab up, performs on it what it is told
to, and removes it.

It ends with its parent, however that ends: its pipe then has an end, which is as Ctrl-C here. What is left of
a worker that was killed is found by its lease (leases.py).
"""

from __future__ import annotations

import _thread
import contextlib
import io
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from orchestrator.bringup import undisturbed
from orchestrator.errors import LabError
from orchestrator.jobs.messages import (
    TO_WORKER,
    Begin,
    Failed,
    Interrupt,
    Leave,
    Perform,
    Performed,
    Said,
    Telling,
    ToParent,
    Up,
    receive,
    send,
)
from orchestrator.lab import Lab
from orchestrator.leased import LeasedLab
from orchestrator.model.recording import Recording
from orchestrator.model.runs import ScenarioRecord
from orchestrator.model.topology import Topology
from orchestrator.runs import Recordings, Runner
from orchestrator.scenarios.run import Audience
from orchestrator.wire import error_message


class Teller(Audience, Protocol):
    """An audience that is told of recordings, too."""

    def recorded(self, record: ScenarioRecord, recording: Recording) -> None:
        """What happened in a scenario that has ended."""


Tellers = Callable[[io.StringIO, Telling], Teller]


def work(hears: int, speaks: int, tellers: Tellers) -> int:
    """Be a worker: descriptors to read from and to write to, and who tells of scenarios. The exit code."""
    begin = _next(hears)
    if not isinstance(begin, Begin):
        return 0
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        _Worker(begin, speaks, tellers).work(_orders(hears))
    return 0


def _next(hears: int) -> Begin | Perform | Leave | Interrupt:
    """What is heard next; a parent that is gone has no more use for us."""
    body = receive(hears)
    return Interrupt() if body is None else TO_WORKER.decode(body)


def _orders(hears: int) -> Iterator[Perform]:
    """What is to be performed, as it comes, up to `Leave`. Raises KeyboardInterrupt for `Interrupt`, at once,
    whatever the main thread is doing."""
    heard: queue.SimpleQueue[Perform | None] = queue.SimpleQueue()

    def listen() -> None:
        while isinstance(order := _next(hears), Perform):
            heard.put(order)
        heard.put(None)
        if isinstance(order, Interrupt) or isinstance(_next(hears), Interrupt):
            _interrupt()

    threading.Thread(target=listen, name="orders", daemon=True).start()
    yield from iter(heard.get, None)


def _interrupt() -> None:
    """As if the user had pressed Ctrl-C here. The main thread's system call has to end for it, too."""
    if sys.platform == "win32":
        _thread.interrupt_main()
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


class _Worker:
    """The copy, and what is performed on it."""

    def __init__(self, begin: Begin, speaks: int, tellers: Tellers) -> None:
        self._begin, self._speaks, self._tellers = begin, speaks, tellers
        self._topology = msgspec.json.decode(begin.topology, type=Topology)
        self._copy = LeasedLab(
            self._topology, begin.engine, begin.name, one_for_all=False, say=lambda _: None
        )

    def work(self, orders: Iterator[Perform]) -> None:
        """Bring it up, perform, and remove it, whatever happens meanwhile."""
        try:
            with self._copy.entered(False) as lab:
                self._say(Up())
                for order in orders:
                    done = self._perform(lab, order)
                    self._say(done)
                    if done.spent:
                        break
        except BrokenPipeError:
            raise  # there is no parent any more
        except Exception as error:
            if os.environ.get("LAB_DEBUG"):
                traceback.print_exc()
            self._say(Failed(**error_message(error)))
        finally:
            with undisturbed():
                self._leave()

    def _perform(self, lab: Lab, order: Perform) -> Performed:
        """One scenario. Raises KeyboardInterrupt when all of it that was performed has been reported."""
        page = io.StringIO()
        teller = self._tellers(page, self._begin.telling)
        runner = Runner(
            lab,
            teller,
            watch=not self._begin.telling.quiet,
            say=lambda line: self._say(Said(line=line)),
            recorded=teller.recorded,
            name=self._topology.name,
        )
        runner.began, runner.recordings = self._begin.began, Recordings(order.room)
        try:
            runner.run(self._topology.scenarios[order.at])
        except LabError:
            if not runner.records:
                raise
        except KeyboardInterrupt:
            if runner.records:
                self._say(_report(runner, page, spent=True))
            raise
        return _report(runner, page, spent=bool(runner.records[-1].problem))

    def _say(self, message: ToParent) -> None:
        """To the parent, whole: no interruption comes between."""
        with _uninterrupted():
            send(self._speaks, message)

    def _leave(self) -> None:
        try:
            self._copy.leave()
        except (LabError, OSError, ExceptionGroup) as error:
            with contextlib.suppress(OSError):
                self._say(Said(line=f"a copy of the lab could not be removed: {error}"))


def _report(runner: Runner, page: io.StringIO, *, spent: bool) -> Performed:
    (record,) = runner.records
    return Performed(
        record=msgspec.json.encode(record),
        recording=runner.recordings.get(record.recording, b""),
        told=page.getvalue(),
        spent=spent,
    )


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """SIGINT waits until the end of the block."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
