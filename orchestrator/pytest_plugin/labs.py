"""The labs of this process's tests: which name each has, when it comes up, and when it goes.

On namespaces every worker of pytest-xdist has labs of its own, with the subnets of the file. Docker knows a
subnet once: a file all of whose networks choose their own (`subnet: auto`) is copied for each worker, any
other is one lab for all of them, which one test at a time may use.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import consent
from orchestrator.engines import registry
from orchestrator.errors import UsageError
from orchestrator.lab import Lab
from orchestrator.leased import AUTO, LeasedLab, base_name, own_subnets, sweep
from orchestrator.model.topology import Topology
from orchestrator.read import read_file


def say(line: str) -> None:
    """Progress is output of the test that waits for it: pytest shows it where that fails."""
    print(f"lab: {line}")


class Labs:
    """All labs of this process. `worker`: its name among those of pytest-xdist, "" where it is alone; `run`:
    what the whole run is known by."""

    def __init__(self, worker: str = "", run: str = "") -> None:
        self._suffix = f"{run[:6] or secrets.token_hex(3)}-{worker or 'main'}"
        self._files: dict[tuple[str, int, int], Topology] = {}
        self._engines: dict[str, str] = {}
        self._places: dict[tuple[str, str, str], LeasedLab] = {}
        self._numbers = 0

    def topology(self, path: Path) -> Topology:
        """What a lab file says, read once as long as it stays as it is. Raises TopologyError."""
        try:
            found = path.stat()
            key = (str(path), found.st_mtime_ns, found.st_size)
        except OSError:
            return read_file(str(path))
        if key not in self._files:
            self._files[key] = read_file(str(path))
        return self._files[key]

    def engine(self, asked: str, topology: Topology) -> str:
        """The name of the engine: what is asked for, else what the file says, else the best that works."""
        wanted = topology.engine if asked == AUTO else asked
        if wanted == AUTO and topology.machines:  # what works on this computer says nothing of them
            return registry.AUTO[0]
        if wanted not in self._engines:
            self._engines[wanted] = registry.choose(wanted).engine.name
        return self._engines[wanted]

    @contextlib.contextmanager
    def entered(self, path: Path, engine: str = AUTO, *, fresh: bool = False) -> Iterator[Lab]:
        """A running lab of that file, as the file says, for one test alone."""
        topology = self.topology(path)
        _confirmed(topology)
        place = self._place(topology, self.engine(engine, topology), fresh)
        try:
            with place.entered(fresh) as lab:
                yield lab
        finally:
            if place not in self._places.values():
                place.leave()

    def _place(self, topology: Topology, engine: str, fresh: bool) -> LeasedLab:
        one_for_all = engine == "docker" and bool(own_subnets(topology))
        if fresh and not one_for_all:
            self._numbers += 1
            name = f"{base_name(topology, engine)}-{self._suffix}-{self._numbers}"
            return LeasedLab(topology, engine, name, one_for_all=False, say=say)
        key = (topology.path, topology.digest, engine)
        if key not in self._places:
            if not self._places:
                sweep(say)
            base = base_name(topology, engine)
            name = base if one_for_all else f"{base}-{self._suffix}"
            self._places[key] = LeasedLab(topology, engine, name, one_for_all=one_for_all, say=say)
        return self._places[key]

    def close(self) -> None:
        """No test of this process needs a lab any more. Raises ExceptionGroup for those not removed."""
        failures: list[Exception] = []
        places, self._places = list(self._places.values()), {}
        for place in places:
            try:
                place.leave()
            except Exception as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup("labs could not be removed", failures)


LABS = pytest.StashKey[Labs]()


def of_session(item: pytest.Item) -> Labs:
    """Those of this process; they end with its session. To be called while the item is set up."""
    config = item.config
    if LABS not in config.stash:
        worker = getattr(config, "workerinput", {})  # pytest-xdist's
        labs = Labs(worker.get("workerid", ""), worker.get("testrunuid", ""))
        item.session.addfinalizer(labs.close)
        config.stash[LABS] = labs
    return config.stash[LABS]


def _confirmed(topology: Topology) -> None:
    """What a file may not do unasked was said yes to by a person."""
    what = consent.missing(topology)
    if what:
        raise UsageError(what, "`lab up --yes -f` with this file confirms it, once for the file as it is")
