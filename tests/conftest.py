"""Engines for tests: one suite for all of them, and a reason where one is passed over.

`engine` is parametrised over the names in `@pytest.mark.engine(…)`, or over all of them; where those have the
fake one, it is there once more as a lab on two machines. An engine that does not work here is skipped with
what its probe says; LAB_REQUIRE_ENGINES="namespaces,docker" makes that fail. `docker-ssh` is docker on a
machine over SSH: the modules of ON_MACHINES are run there, too, after `make machines`.

Side by side (`pytest -n 3`, as `make test` does) all tests of one engine are one lane, since
two labs of one Docker Engine can ask for the same subnet, and timings want a computer that is not crowded;
the others go by file.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from orchestrator.engines import registry
from orchestrator.engines.base import Engine, Probe
from orchestrator.errors import LabError
from tests.support import machines
from tests.support.rig import Rig, running

ENGINES = ("fake", "namespaces", "docker")
TWO_MACHINES = "two-machines"
# Modules of the contract suite that an Engine elsewhere could make fail
ON_MACHINES = ("test_engine", "test_hosts", "test_calls", "test_snapshot", "test_scenarios")
LabFactory = Callable[[str], Rig]


# Where the tests run in the background of a script, SIGINT is ignored (POSIX, 2.11), and what ignores it is
# not interrupted: here the commands under test are those of a user at a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)
HERE = Path(__file__).parent
settings.register_profile("lab", deadline=None)  # how long a busy computer takes is not what is tested
settings.load_profile("lab")
TEST_SECONDS = 180  # after which a test hangs: no test waits for the job's own limit


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """End a test that hangs, with its traceback; the tests after it run."""
    if not hasattr(signal, "SIGALRM"):
        return (yield)

    def late(_number: int, _frame: object) -> None:
        pytest.fail(f"{item.nodeid} took more than {TEST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(TEST_SECONDS)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Side by side by lanes. pytest-xdist's own loadgroup renames tests, which pytest 9.2 does not take."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class Lanes(LoadScopeScheduling):  # type: ignore[misc]
        """Each lane is one worker's."""

        def _split_scope(self, nodeid: str) -> str:
            path, _, name = nodeid.partition("::")
            return lane(path.removeprefix(f"{HERE.name}/"), name)

    return Lanes(config, log)


def lane(path: str, name: str) -> str:
    """The group of a test: an engine, the machines that are tried, or its file."""
    if "machines" in path and path.startswith("e2e/"):
        return "machines"
    for engine in ("docker", "namespaces"):
        if engine in name.partition("[")[2] or engine in path:
            return engine
    return "namespaces" if path.startswith("e2e/") else path


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each engine that its marker names."""
    if "engine" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("engine")
        names = list(marker.args if marker else ENGINES)
        module = metafunc.module.__name__.rpartition(".")[2]
        if "docker" in names and module in ON_MACHINES:
            names.append(machines.NAME)
        if "fake" in names:
            names.append(TWO_MACHINES)
        metafunc.parametrize("engine", names, indirect=True, scope="module")


@lru_cache
def probe(name: str) -> Probe:
    """Whether an engine works here, asked once."""
    try:
        return (machines.DockerOverSsh() if name == machines.NAME else registry.engine(name)).probe()
    except (LabError, ImportError) as error:
        return Probe(engine=name, works=False, reason=str(error))


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine that works here."""
    name = str(request.param)
    if name == TWO_MACHINES:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(registry.ENGINES, "fake", ("tests.support.two_machines", "TwoFakes"))
            yield registry.engine("fake")
        return
    found = probe(name)
    if not found.works:
        required = os.environ.get("LAB_REQUIRE_ENGINES", "").replace(",", " ").split()
        (pytest.fail if name in required else pytest.skip)(f"{name}: {found.reason} {found.cure}")
    with machines.instead_of_docker() if name == machines.NAME else nullcontext():
        yield registry.engine("docker" if name == machines.NAME else name)


@pytest.fixture
def lab_factory(engine: Engine) -> Iterator[LabFactory]:
    """Brings labs up from text; each is removed at the end, and nothing may be left of it."""
    with ExitStack() as stack:
        yield lambda text: stack.enter_context(running(engine.name, text))


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Rig]:
    """One lab for all tests of a module, from the module's LAB: for tests that leave it as it was."""
    with running(engine.name, request.module.LAB) as rig:
        yield rig


@pytest.fixture
def lab(shared: Rig) -> Iterator[Rig]:
    """The module's lab; what a test opens in it is closed after it."""
    yield shared
    shared.clear()
