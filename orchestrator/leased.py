"""Labs that live as long as somebody uses them: those of tests, and the copies of `lab run --jobs`.

What uses one holds a lease of it (leases.py). On namespaces copies of a lab do not disturb each other, with
the subnets of the file. Docker knows a subnet once: a file all of whose networks choose their own (`subnet:
auto`) can be copied, any other is one lab for all.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence

import msgspec

from orchestrator import bringup, leases, roster
from orchestrator.engines.base import Progress
from orchestrator.errors import LabError
from orchestrator.lab import Lab
from orchestrator.leases import GUARD, LAB, LEASE, USE, Lease, Lock
from orchestrator.model.plan import LabKey
from orchestrator.model.topology import Topology
from orchestrator.owner import locked, owner

LONGEST = 28  # letters of a file's own name that are kept: with all that follows it stays a DNS label
AUTO = "auto"


def own_subnets(topology: Topology) -> list[str]:
    """The networks whose subnets the file gives: such a lab is once on a Docker Engine."""
    return [
        network.name for network in topology.networks if network.subnet or network.subnet6 not in (None, AUTO)
    ]


def base_name(topology: Topology, engine: str) -> str:
    """What the labs of this file as it is have in common in their names."""
    what = f"{topology.path}\0{topology.digest}\0{engine}"
    digest = hashlib.sha256(what.encode()).hexdigest()[:6]
    return f"{topology.name[:LONGEST].rstrip('-')}-{digest}"


class LeasedLab:
    """One lab by its name, up or not. `one_for_all`: the processes of a user share it."""

    def __init__(
        self, topology: Topology, engine: str, name: str, *, one_for_all: bool, say: Progress
    ) -> None:
        self._topology = msgspec.structs.replace(topology, name=name)
        self._engine, self._name, self._one_for_all = engine, name, one_for_all
        self._tell = say
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
            self._tell(line)
        elif not self._said:
            self._said = True
            self._tell(line)

    @contextlib.contextmanager
    def _choosing(self) -> Iterator[None]:
        """Docker's free subnets are chosen by one process at a time: two would choose the same."""
        with leases.holding(leases.folder() / "subnets.choosing"):
            yield

    def leave(self) -> None:
        """This process needs it no longer; the last one removes it. Raises what that raises."""
        lease, self._lease = self._lease, None
        if lease is None:
            return
        if not self._one_for_all:  # nobody else has it: it goes even where the folder of leases has gone
            self._down()
        with lease.ending() as last:
            if last and self._one_for_all:
                self._down()

    def _down(self) -> None:
        remove(self._name, self._engine, self._tell)


def remove(name: str, engine: str, say: Progress) -> None:
    """Remove a lab, whatever is left of it; nothing where there is none."""
    with locked(name, say, "removing"):
        roster.engine(name, engine).remove(LabKey(owner=owner(), name=name), say)


def sweep(say: Progress, names: Sequence[str] = ()) -> list[str]:
    """Remove the labs that dead processes have left (of these names alone, where some are given); a line for
    each that could not be."""
    problems: list[str] = []
    base = leases.folder()
    for path in sorted(base.glob(f"*{LAB}")):
        name = path.name.removesuffix(LAB)
        if names and name not in names:
            continue
        try:
            with leases.abandoned(base, path) as engine:
                if engine:
                    say(f"removing {name}, which nobody uses any more")
                    remove(name, engine, say)
        except (LabError, ExceptionGroup) as error:
            problems.append(f"lab {name} could not be removed: {error}")
    for path in base.iterdir():  # of labs that are gone
        name = path.name.partition(".")[0]
        if path.suffix in (GUARD, LEASE, USE) and not (base / f"{name}{LAB}").exists():
            lock = Lock.take(path, wait=False)
            if lock is not None:
                lock.release()
    return problems
