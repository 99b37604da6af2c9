"""Random steps on both engines: no state that is derived contradicts what tables and tracepoints show.

`bench/transitions.py` does the same over 10,000 transitions.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.engines.base import Engine
from tests.support.rig import Rig, running
from tests.support.transitions import LAB, drive, examined, steps

pytestmark = pytest.mark.engine("namespaces", "docker")


@pytest.fixture(scope="module")
def pair(engine: Engine) -> Iterator[Rig]:
    """A lab of a server and a client."""
    with running(engine.name, LAB) as lab:
        yield lab


@pytest.mark.parametrize("seed", range(4))
def test_nothing_that_is_derived_contradicts_what_was_seen(pair: Rig, seed: int) -> None:
    found = examined(drive(pair.lab, seed))
    assert found.contradictions == (), f"seed {seed}:\n{steps(seed)}"
    assert found.transitions > 40
    assert found.compared > 40
