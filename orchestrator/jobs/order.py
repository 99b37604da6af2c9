"""Which scenario is begun next when several are under way. Pure.

The longest first: what is begun last is then short, and no worker is left alone with a long one while the
others have nothing to do (Graham's LPT rule, 1969).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from orchestrator.model.steps import Scenario


class Turn(NamedTuple):
    """One performance. Sorted, turns are in the order in which a run without workers has them."""

    round: int
    at: int  # the scenario's place among those that were asked for


class Order:
    """`rounds`: how often all of them are run, None: until somebody stops it. `seconds`: how long each took
    in an earlier run, by label; one that is not known may be long, and goes before those that are."""

    def __init__(
        self, scenarios: Sequence[Scenario], rounds: int | None, seconds: Mapping[str, float]
    ) -> None:
        lengths = [seconds.get(one.label, math.inf) for one in scenarios]
        self._places = sorted(range(len(scenarios)), key=lambda at: (-lengths[at], at))
        self._rounds = rounds
        self._turns = self._all()
        self._next = next(self._turns, None)

    def _all(self) -> Iterator[Turn]:
        rounds = itertools.count() if self._rounds is None else range(self._rounds)
        return (Turn(number, at) for number in rounds for at in self._places)

    @property
    def ended(self) -> bool:
        """Whether nothing is left to be begun."""
        return self._next is None

    @property
    def most(self) -> float:
        """How many could be under way at once, were there room for all."""
        return math.inf if self._rounds is None else self._rounds * len(self._places)

    def take(self) -> Turn | None:
        """The next one, None where there is none."""
        turn, self._next = self._next, next(self._turns, None)
        return turn

    def stop(self) -> None:
        """Nothing more is begun."""
        self._turns, self._next = iter(()), None
