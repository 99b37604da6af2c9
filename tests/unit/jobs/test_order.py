"""Which scenario is begun next."""

from __future__ import annotations

import math

from orchestrator.jobs.order import Order, Turn
from orchestrator.model.steps import Scenario

SCENARIOS = [Scenario(name=name, line=line) for line, name in enumerate(("a", "b", "c", "d"), 1)]


def all_of(order: Order) -> list[Turn]:
    """To the end."""
    return list(iter(order.take, None))


def test_the_longest_first_and_unknown_ones_before_them() -> None:
    order = Order(SCENARIOS, 1, {"a": 1.0, "b": 3.0, "d": 2.0, "gone": 9.0})
    assert [SCENARIOS[turn.at].name for turn in all_of(order)] == ["c", "b", "d", "a"]


def test_equal_ones_in_the_files_order() -> None:
    assert [turn.at for turn in all_of(Order(SCENARIOS, 1, {}))] == [0, 1, 2, 3]


def test_a_row_of_a_table_is_known_by_its_label() -> None:
    rows = [Scenario(name="a", line=1, row={"n": n}) for n in ("1", "2")]
    assert [turn.at for turn in all_of(Order(rows, 1, {"a[n=1]": 1.0, "a[n=2]": 2.0}))] == [1, 0]


def test_round_after_round() -> None:
    order = Order(SCENARIOS[:2], 3, {"a": 1.0, "b": 2.0})
    assert order.most == 6
    turns = all_of(order)
    assert turns == [Turn(r, at) for r in range(3) for at in (1, 0)]
    assert sorted(turns) == [Turn(r, at) for r in range(3) for at in (0, 1)]
    assert order.ended


def test_until_somebody_stops_it() -> None:
    order = Order(SCENARIOS[:1], None, {})
    assert order.most == math.inf
    assert [order.take() for _ in range(3)] == [Turn(n, 0) for n in range(3)]
    assert not order.ended
    order.stop()
    assert order.ended
    assert order.take() is None


def test_whether_it_has_ended_is_known_with_the_last() -> None:
    order = Order(SCENARIOS[:1], 1, {})
    assert not order.ended
    order.take()
    assert order.ended
