"""The labs of this process's tests: which name each has, when it comes up, and when it goes.

On namespaces every worker of pytest-xdist has labs of its own, with the subnets of the file. Docker knows a
subnet once: a file all of whose networks choose their own (`subnet: auto`) is copied for each worker, any
other is one lab for all of them, which one test at a time may use.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from orchestrator import bringup, consent, roster
from orchestrator.engines import registry
from orchestrator.errors import LabError, UsageError
from orchestrator.lab import Lab
from orchestrator.model.plan import LabKey
from orchestrator.model.topology import Topology
from orchestrator.owner import locked, owner
from orchestrator.pytest_plugin import leases
from orchestrator.pytest_plugin.leases import GUARD, LAB, LEASE, USE, Lease, Lock
from orchestrator.read import read_file

LONGEST = 28  # letters of a file's own name that are kept: with all that follows it stays a DNS label
AUTO = "auto"


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
        self._places: dict[tuple[str, str, str], Place] = {}
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

    def _place(self, topology: Topology, engine: str, fresh: bool) -> Place:
        one_for_all = engine == "docker" and any(
            network.subnet or network.subnet6 not in (None, AUTO) for network in topology.networks
        )
        if fresh and not one_for_all:
            self._numbers += 1
            name = f"{_base(topology, engine)}-{self._suffix}-{self._numbers}"
            return Place(topology, engine, name, one_for_all=False)
        key = (topology.path, topology.digest, engine)
        if key not in self._places:
            if not self._places:
                sweep()
            base = _base(topology, engine)
            name = base if one_for_all else f"{base}-{self._suffix}"
            self._places[key] = Place(topology, engine, name, one_for_all=one_for_all)
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


class Place:
    """One lab by its name, up or not. `one_for_all`: the processes of a user share it."""

    def __init__(self, topology: Topology, engine: str, name: str, *, one_for_all: bool) -> None:
        self._topology = msgspec.structs.replace(topology, name=name)
        self._engine, self._name, self._one_for_all = engine, name, one_for_all
        self._lease: Lease | None = None
        self._said = False

    @contextlib.contextmanager
    def entered(self, fresh: bool) -> Iterator[Lab]:
        """The lab, up and as the file says. `fresh`: made for this test, and removed after it."""
        if self._lease is None:
            self._lease = Lease.take(self._name, self._engine)
        with self._turn():
            if fresh and self._one_for_all:
                self._down()
            lab = self._up()
            try:
                yield lab
            finally:
                lab.close()
                if fresh:
                    self._down()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One test at a time, where other processes' tests use the same lab."""
        if not self._one_for_all:
            yield
            return
        lock = Lock.take(leases.folder() / f"{self._name}{USE}")
        assert lock is not None
        try:
            yield
        finally:
            lock.release(remove=False)

    def _up(self) -> Lab:
        chooses = self._engine == "docker" and not self._one_for_all
        with self._choosing() if chooses else contextlib.nullcontext():
            outcome = bringup.up(self._topology, self._engine, self._say)
        if outcome.failed:
            outcome.lab.close()
            raise LabError(f"lab {self._name}: {'; '.join(outcome.failed)}")
        return outcome.lab

    def _say(self, line: str) -> None:
        """Why it is this engine is said once."""
        if not line.startswith("engine: "):
            say(line)
        elif not self._said:
            self._said = True
            say(line)

    @contextlib.contextmanager
    def _choosing(self) -> Iterator[None]:
        """Docker's free subnets are chosen by one process at a time: two would choose the same."""
        with leases.holding(leases.folder() / "subnets.choosing"):
            yield

    def leave(self) -> None:
        """This process needs it no longer; the last one removes it. Raises what that raises."""
        lease, self._lease = self._lease, None
        if lease is not None:
            with lease.ending() as last:
                if last:
                    self._down()

    def _down(self) -> None:
        remove(self._name, self._engine)


def _base(topology: Topology, engine: str) -> str:
    """The same for all processes with this file as it is."""
    what = f"{topology.path}\0{topology.digest}\0{engine}"
    digest = hashlib.sha256(what.encode()).hexdigest()[:6]
    return f"{topology.name[:LONGEST].rstrip('-')}-{digest}"


def _confirmed(topology: Topology) -> None:
    """What a file may not do unasked was said yes to by a person."""
    what = consent.missing(topology)
    if what:
        raise UsageError(what, "`lab up --yes -f` with this file confirms it, once for the file as it is")


def remove(name: str, engine: str) -> None:
    """Remove a lab, whatever is left of it; nothing where there is none."""
    with locked(name, say, "removing"):
        roster.engine(name, engine).remove(LabKey(owner=owner(), name=name), say)


def sweep() -> list[str]:
    """Remove the test labs that dead processes have left; a line for each that could not be."""
    problems: list[str] = []
    base = leases.folder()
    for path in sorted(base.glob(f"*{LAB}")):
        name = path.name.removesuffix(LAB)
        try:
            with leases.abandoned(base, path) as engine:
                if engine:
                    say(f"removing {name}, which nobody uses any more")
                    remove(name, engine)
        except (LabError, ExceptionGroup) as error:
            problems.append(f"lab {name} could not be removed: {error}")
    for path in base.iterdir():  # of labs that are gone
        name = path.name.partition(".")[0]
        if path.suffix in (GUARD, LEASE, USE) and not (base / f"{name}{LAB}").exists():
            lock = Lock.take(path, wait=False)
            if lock is not None:
                lock.release()
    return problems
