"""One agent for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.unit.agent.agents import Agent, end_agent, start_agent


@pytest.fixture
def agent() -> Iterator[Agent]:
    """One agent."""
    one = start_agent()
    yield one
    end_agent(one)


@pytest.fixture
def pair(agent: Agent) -> Callable[[int], None]:
    """Make a listener "l" on a port, a client "c" and its accepted end "s"."""

    def make(port: int) -> None:
        agent.good("listen", port=port, address="127.0.0.1", **{"as": "l"})
        agent.good("connect", address="127.0.0.1", port=port, **{"as": "c"})
        agent.good("accept", fd="l", **{"as": "s"})

    return make
