"""Deadlines and stability, judged on looks: only what a look showed passes, gaps make it unknown."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.runs import Verdict
from orchestrator.scenarios.observation import Judgement
from orchestrator.scenarios.timing import (
    APART,
    STALL,
    Look,
    happened,
    lasting,
    longest_stall,
    stalled,
    within,
)

BEGAN = 100.0


def judge(seen: Verdict) -> Judgement:
    """A look's own verdict is what was seen."""
    why = "it was dark" if seen == "unknown" else ""
    return Judgement(verdict=seen, expected="light", observed=seen, why=why)


def looks(*seen: tuple[float, Verdict], took: float = 0.001) -> list[Look[Verdict]]:
    """Looks at these seconds after the beginning."""
    return [Look(BEGAN + at, BEGAN + at + took, verdict) for at, verdict in seen]


def every(step: float, until: float, *, so_from: float = 99, so_to: float = 99) -> list[Look[Verdict]]:
    """Looks in even steps; it is so from one moment to another."""
    count = round(until / step) + 1
    times = [number * step for number in range(count)]
    return looks(*((at, "pass" if so_from <= at < so_to else "fail") for at in times))


def test_true_in_time_passes_and_says_when() -> None:
    found = within(judge, every(0.01, 1, so_from=0.2), BEGAN, 1)
    assert found.verdict == "pass"
    assert found.evidence == ("seen after 0.201 s",)


def test_true_at_first_sight_needs_one_look() -> None:
    def once() -> Iterator[Look[Verdict]]:
        yield from looks((0.0, "pass"))
        raise AssertionError("a second look was taken")

    assert within(judge, once(), BEGAN, 1).verdict == "pass"


def test_never_true_fails_with_what_was_seen_last() -> None:
    found = within(judge, every(0.05, 1.0), BEGAN, 1)
    assert (found.verdict, found.observed) == ("fail", "fail")


def test_no_more_looks_than_the_deadline_needs() -> None:
    taken = []

    def endless() -> Iterator[Look[Verdict]]:
        for look in every(0.05, 100):
            taken.append(look)
            yield look

    assert within(judge, endless(), BEGAN, 0.5).verdict == "fail"
    assert taken[-1].began == pytest.approx(BEGAN + 0.5, abs=0.051)


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (looks(), "nobody looked"),
        (looks((0.0, "fail"), (0.9, "fail"), (1.0, "fail")), "nobody looked for 0.900 s"),
        (every(0.05, 0.8), "nobody looked at the deadline"),
        (looks(*((n / 20, "unknown") for n in range(21))), "it was dark"),
        (looks(*((n / 20, "fail" if n < 4 else "unknown") for n in range(21))), "it was dark"),
        ([*every(0.05, 0.95), *looks((1.01, "pass"))], "it became so about the deadline, 1 s, or after it"),
        (
            [*every(0.05, 0.95), *looks((0.99, "pass"), took=0.1)],
            "it became so about the deadline, 1 s, or after it",
        ),
    ],
)
def test_what_nobody_saw_by_the_deadline_is_unknown(seen: list[Look[Verdict]], why: str) -> None:
    found = within(judge, seen, BEGAN, 1)
    assert (found.verdict, found.why) == ("unknown", why)


def test_a_look_from_before_does_not_count() -> None:
    early = looks((-0.5, "pass"))
    assert within(judge, [*early, *every(0.05, 1)], BEGAN, 1).verdict == "fail"
    assert lasting(judge, early, BEGAN, 0.1).verdict == "unknown"


def test_so_all_the_while() -> None:
    found = lasting(judge, every(0.01, 0.2, so_from=0), BEGAN, 0.2)
    assert found.verdict == "pass"
    assert found.evidence[0] == "so in 21 looks, at most 10 ms apart"


def test_one_look_in_which_it_was_not_so() -> None:
    seen = looks(*((n / 100, "fail" if n == 7 else "pass") for n in range(21)))
    found = lasting(judge, seen, BEGAN, 0.2)
    assert (found.verdict, found.evidence[0]) == ("fail", "not so after 0.070 s")


def test_what_comes_after_the_end_is_of_no_interest() -> None:
    assert lasting(judge, every(0.01, 0.5, so_from=0, so_to=0.21), BEGAN, 0.2).verdict == "pass"


@pytest.mark.parametrize(
    "seen",
    [
        [],
        every(0.03, 0.21, so_from=0),
        every(0.01, 0.15, so_from=0),
        every(0.01, 0.2, so_from=0)[3:],
        looks(*((n / 100, "unknown" if 5 <= n < 8 else "pass") for n in range(21))),
        looks(*((n / 100, "unknown") for n in range(21))),
    ],
    ids=["none", "30 ms apart", "ends early", "begins late", "dark in between", "dark"],
)
def test_gaps_make_it_unknown(seen: list[Look[Verdict]]) -> None:
    found = lasting(judge, seen, BEGAN, 0.2)
    assert found.verdict == "unknown"
    assert found.why


def judge_for_good(seen: str) -> Judgement:
    """It is so, and while `seen` is the same it has been so without a break."""
    return Judgement(verdict="pass", expected="", observed="", still=(seen,) if seen else ())


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        ([(0.0, "a"), (0.9, "a"), (1.3, "a")], "pass"),
        ([(0.0, "a"), (0.9, "a"), (1.01, "b")], "unknown"),
        ([(0.0, "a"), (0.5, "b"), (1.3, "b")], "unknown"),
        ([(0.0, ""), (0.5, ""), (1.01, "")], "unknown"),
        ([(0.03, "a"), (0.5, "a"), (1.01, "a")], "unknown"),
        ([(0.0, "a"), (0.9, "a")], "unknown"),
    ],
    ids=["one", "another after the end", "another", "comes and goes", "begins late", "ends early"],
)
def test_a_gap_hides_nothing_of_what_never_comes_back(seen: list[tuple[float, str]], verdict: str) -> None:
    taken = [Look(BEGAN + at, BEGAN + at + 0.001, what) for at, what in seen]
    found = lasting(judge_for_good, taken, BEGAN, 1)
    assert found.verdict == verdict
    if verdict == "pass":
        assert found.evidence[0] == "so in 2 looks, between which it cannot have been over and so again"


VERDICTS: st.SearchStrategy[Verdict] = st.sampled_from(["pass", "fail", "unknown"])
GAPS = st.floats(0, 0.15) | st.floats(0, APART)


@st.composite
def any_looks(draw: st.DrawFn) -> list[Look[Verdict]]:
    """Looks in order, at any moments, each taking some time."""
    at = BEGAN + draw(st.floats(-0.1, 0.1))
    found = []
    for gap, took, seen in draw(st.lists(st.tuples(GAPS, st.floats(0, 0.03), VERDICTS), max_size=40)):
        at += gap
        found.append(Look(at, at + took, seen))
        at += took
    return found


@given(any_looks(), st.floats(0.01, 1))
def test_within_never_passes_without_a_look_that_shows_it(seen: list[Look[Verdict]], seconds: float) -> None:
    found = within(judge, seen, BEGAN, seconds).verdict
    deadline = BEGAN + seconds
    inside = [look for look in seen if look.began >= BEGAN and look.ended <= deadline]
    assert (found == "pass") == any(look.seen == "pass" for look in inside)
    if found == "fail":
        looked = [min(one.began, deadline) for one in seen if one.began >= BEGAN and one.seen == "fail"]
        assert all(later - earlier <= STALL + 1e-9 for earlier, later in pairwise([BEGAN, *looked, deadline]))
        assert not any(look.seen == "pass" for look in seen if BEGAN <= look.began <= deadline)


@given(any_looks(), st.floats(0.01, 1))
def test_lasting_passes_only_where_every_look_shows_it(seen: list[Look[Verdict]], seconds: float) -> None:
    found = lasting(judge, seen, BEGAN, seconds).verdict
    inside = [look for look in seen if BEGAN <= look.began <= BEGAN + seconds]
    assert (found == "fail") == any(look.seen == "fail" for look in inside)
    if found == "pass":
        times = [BEGAN, *(look.began for look in inside if look.seen == "pass"), BEGAN + seconds]
        assert all(b - a <= APART + 1e-9 for a, b in pairwise(times))
        assert len(times) > 2


@given(st.floats(0.05, 0.9), st.floats(0.05, 0.5), st.floats(0.002, APART))
def test_dense_looks_find_the_truth(so_from: float, long: float, step: float) -> None:
    """What is so for longer than looks are apart is found, and so is that it was not so all the while."""
    seen = every(step, 1.05, so_from=so_from, so_to=so_from + long)
    assert within(judge, seen, BEGAN, 1).verdict == "pass"
    assert lasting(judge, seen, BEGAN, 1).verdict == "fail"


BEATS = st.lists(st.floats(BEGAN - 1, BEGAN + 2), max_size=30).map(sorted)


def test_stalls_are_what_a_gap_has_over_the_period() -> None:
    steady = [BEGAN + n / 100 for n in range(-10, 120)]
    assert longest_stall(steady, BEGAN, BEGAN + 1, 0.01) == pytest.approx(0, abs=1e-9)
    holed = [beat for beat in steady if not BEGAN + 0.3 < beat < BEGAN + 0.5]
    assert longest_stall(holed, BEGAN, BEGAN + 1, 0.01) == pytest.approx(0.19, abs=1e-6)
    assert longest_stall(holed, BEGAN + 0.6, BEGAN + 1, 0.01) == pytest.approx(0, abs=1e-9)


def test_a_stall_that_reaches_over_the_edges() -> None:
    beats = [BEGAN - 1, BEGAN + 2]
    assert longest_stall(beats, BEGAN, BEGAN + 0.5, 0.01) >= 0.49


@given(BEATS, st.floats(0.01, 1))
def test_without_beats_it_was_stalled_all_the_time(beats: list[float], seconds: float) -> None:
    ended = BEGAN + seconds
    stall = longest_stall(beats, BEGAN, ended, 0.01)
    inside = [BEGAN, *(beat for beat in beats if BEGAN < beat < ended), ended]
    gap = max(later - earlier for earlier, later in pairwise(inside))
    assert gap - 0.01 - 1e-9 <= stall <= gap + 0.02


def test_a_timing_during_which_the_observer_stalled() -> None:
    passed = judge("pass")
    assert stalled(passed, 0.04, 0.05) is passed
    doubted = stalled(passed, 0.06, 0.05)
    assert (doubted.verdict, doubted.why) == (
        "unknown",
        "the observer stalled for 0.060 s, the tolerance is 0.05 s",
    )


# What happened, by the record: nothing is missed between two looks.


def came(at: float | None, error: float = 0.001) -> Judgement:
    """It has come, so long after the beginning; None: it has not."""
    if at is None:
        return Judgement(verdict="fail", expected="light", observed="dark")
    return Judgement(verdict="pass", expected="light", observed="light", since=BEGAN + at, since_error=error)


@pytest.mark.parametrize(
    ("seen", "is_so"),
    [
        ([(0.0, None), (0.9, 0.5)], "pass"),
        ([(0.0, None), (1.2, 0.5)], "pass"),  # nobody looked in time, and the record has it
        ([(0.0, None), (1.2, 1.1)], "fail"),
        ([(0.0, None), (1.2, 1.0005)], "unknown"),  # by less than the time may be off
        ([(0.0, None), (1.0, None)], "fail"),
        ([(0.0, None), (0.9, None)], "unknown"),  # it might have come yet
        ([(0.0, -5.0)], "pass"),  # it was so before
        ([], "unknown"),
    ],
)
def test_what_has_come_by_the_deadline(seen: list[tuple[float, float | None]], is_so: Verdict) -> None:
    looked = [Look(BEGAN + at, BEGAN + at + 0.001, came(when)) for at, when in seen]
    assert happened(lambda one: one, looked, BEGAN, 1.0).verdict == is_so


def test_without_a_moment_what_came_about_the_deadline_is_unknown() -> None:
    judgement = Judgement(verdict="pass", expected="light", observed="light")
    assert (
        happened(lambda one: one, [Look(BEGAN + 1.1, BEGAN + 1.2, judgement)], BEGAN, 1.0).verdict
        == "unknown"
    )
