"""Numbers that are known within bounds: they pass where each possible one would, fail where none would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.steps import Flag, Number, Words
from orchestrator.scenarios.compare import Value, compare, unknown

OPERATORS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
NUMBERS = st.integers(-6, 6)


@given(OPERATORS, NUMBERS, st.integers(0, 3), NUMBERS, st.integers(0, 6))
def test_bounds_are_judged_as_all_numbers_in_them(
    operator: str, value: int, tolerance: int, low: int, wide: int
) -> None:
    tolerance = tolerance if operator == "==" else 0
    test = Number(operator=operator, value=value, below=tolerance, above=tolerance)  # type: ignore[arg-type]
    each = {compare(test, Value(value=low + half / 2)) for half in range(2 * wide + 1)}
    together = compare(test, Value(value=low, high=low + wide))
    assert together == (each.pop() if len(each) == 1 else "unknown")


@given(st.sampled_from([Number(value=1), Words(any_of=("a", None)), Flag(value=False)]))
def test_what_is_not_known_is_unknown(test: Number | Words | Flag) -> None:
    assert compare(test, unknown("it was dark")) == "unknown"


def test_nothing_is_no_number_no_text_and_no_answer() -> None:
    nothing = Value(value=None)
    assert compare(Number(operator="<", value=5), nothing) == "fail"
    assert compare(Words(any_of=("none",)), nothing) == "fail"
    assert compare(Words(any_of=(None,)), nothing) == "pass"
    assert compare(Flag(value=False), nothing) == "fail"
    assert compare(Number(value=1), Value(value=True)) == "fail"
    assert compare(Words(any_of=(None,)), Value(value="x")) == "fail"
