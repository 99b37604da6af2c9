"""Another computer's clock by round trips: the true time lies in the stated interval, whatever the offset,
the drift and the ways there and back; and what came first there comes first here."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.join.clock import RATE, Clock, Trip

SECOND = 1_000_000_000


class Machine:
    """A synthetic one: `there` = offset + (1 + drift) * ours, the drift changing now and then."""

    def __init__(self, seed: int, offset: int, worst: float) -> None:
        self._random = random.Random(seed)
        self._offset, self._worst = offset, worst
        self._rates = [self._random.uniform(-worst, worst) for _ in range(64)]

    def there(self, ours: int) -> int:
        """Its clock at a moment of ours."""
        second, rest = divmod(ours, 10 * SECOND)
        whole = sum(int(10 * SECOND * (1 + self._rates[at % 64])) for at in range(second))
        return self._offset + whole + int(rest * (1 + self._rates[second % 64]))

    def trip(self, ours: int) -> Trip:
        """A question at that moment, by ways that are seldom alike."""
        out, back = (int(self._random.expovariate(1 / 300_000)) + 20_000 for _ in range(2))
        return Trip(ours, ours + out + back, self.there(ours + out))


@given(
    seed=st.integers(0, 1 << 32),
    offset=st.integers(-(10**17), 10**17),
    worst=st.floats(0, RATE * 0.99),
    every=st.sampled_from([SECOND // 10, SECOND, 20 * SECOND]),
)
@settings(max_examples=150, deadline=None)
def test_the_true_time_lies_in_the_stated_interval(seed: int, offset: int, worst: float, every: int) -> None:
    machine, clock = Machine(seed, offset, worst), Clock()
    start = 1000 * SECOND
    clock.add([machine.trip(start + at * 1_000_000) for at in range(5)])
    before: list[tuple[int, int]] = []
    for step in range(1, 12):
        now = start + step * every
        moments = [now - every + at * every // 7 for at in range(7)]
        told = [clock.moment(machine.there(moment)) for moment in moments]  # not known better yet
        clock.add([machine.trip(now)])
        told += [clock.moment(machine.there(moment)) for moment in moments]
        for moment, (ours, error) in zip(moments * 2, told, strict=True):
            assert abs(ours - moment) <= error
        before += [(moment, clock.moment(machine.there(moment))[0]) for moment in moments]
        assert clock.worst(start, now) >= max(clock.moment(machine.there(one))[1] for one in moments)
    assert not clock.uneven
    in_order = [ours for _, ours in sorted(before)]
    assert in_order == sorted(in_order)


def test_a_long_time_before_the_first_trip_is_known_less_well() -> None:
    machine, clock = Machine(1, 5 * SECOND, RATE / 2), Clock()
    clock.add([machine.trip(100 * SECOND + at * 1_000_000) for at in range(5)])
    near = clock.moment(machine.there(99 * SECOND))
    far = clock.moment(machine.there(10 * SECOND))
    assert abs(near[0] - 99 * SECOND) <= near[1] < 3_000_000
    assert abs(far[0] - 10 * SECOND) <= far[1] < 60_000_000


def test_the_error_stays_that_of_a_quick_trip_when_the_trips_are_made_again() -> None:
    machine, clock = Machine(2, -3 * SECOND, 50e-6), Clock()
    for second in range(100, 160):
        clock.add([machine.trip(second * SECOND)])
    errors = [clock.moment(machine.there(at * SECOND + SECOND // 2))[1] for at in range(110, 158)]
    assert max(errors) < 3_500_000, "ns: half a trip, and what the clocks run apart in half a second"


def test_a_clock_that_runs_faster_than_any_should_is_said_to() -> None:
    clock = Clock()
    clock.add([Trip(0, 1000, 5 * SECOND), Trip(SECOND, SECOND + 1000, 6 * SECOND + SECOND // 10)])
    assert clock.uneven > 0
    assert clock.moment(5 * SECOND + SECOND // 2)[1] >= clock.uneven


def test_our_own_clock_is_mapped_to_itself() -> None:
    clock = Clock()
    clock.same = True
    assert clock.moment(123) == (123, 0)


@pytest.mark.parametrize("offset", [0, 7 * SECOND])
def test_without_a_trip_nothing_is_mapped(offset: int) -> None:
    assert Clock().moment(offset) == (offset, 0)
