"""Clocks mapped to each other: drift, a real-time clock that is set, a suspend, another computer's."""

from __future__ import annotations

import pytest

from orchestrator.errors import ObservationError
from orchestrator.join.clock import Readings, Shift, Trip, shift_of

S = 1_000_000_000
REAL = 1_700_000_000 * S


def reading(mono: float, real: float = 0.0, boot: float = 0.0, width: int = 500) -> list[int]:
    """At a monotonic second; how far the other clocks are off what they would be, in seconds."""
    at = round(mono * S)
    return [at, REAL + at + round(real * S), at + round(boot * S), width]


def test_a_stamp_is_mapped_by_the_reading_after_it() -> None:
    readings = Readings()
    readings.mapping(reading(10))
    mapping = readings.mapping(reading(11))
    assert mapping.moment(REAL + round(10.5 * S)) == (round(10.5 * S), 500)
    assert readings.notes == []


def test_drift_is_followed() -> None:
    readings = Readings()
    readings.mapping(reading(10))
    mapping = readings.mapping(reading(11, 0.0005))  # NTP's greatest slew
    assert mapping.moment(REAL + 11 * S + 500_000) == (11 * S, 500)
    assert readings.notes == []


@pytest.mark.parametrize("step", [3.2, -3.2])
def test_a_clock_that_was_set(step: float) -> None:
    readings = Readings()
    readings.mapping(reading(10))
    mapping = readings.mapping(reading(11, step))
    before, after = REAL + round(10.5 * S), REAL + round((10.7 + step) * S)
    assert mapping.moment(before) == (round(10.5 * S), 500), "stamped before it was set"
    assert mapping.moment(after) == (round(10.7 * S), 500), "and after"
    assert readings.notes == [f"the real-time clock was set by {step:+g} s"]
    later = readings.mapping(reading(12, step))
    assert later.moment(REAL + int((11.5 + step) * S)) == (round(11.5 * S), 500)
    assert len(readings.notes) == 1


def test_a_small_step_leaves_an_error() -> None:
    readings = Readings()
    readings.mapping(reading(10))
    mapping = readings.mapping(reading(11, 0.1))
    at, error = mapping.moment(REAL + round(10.5 * S))
    assert error == S // 10
    assert abs(at - round(10.5 * S)) <= error


def test_a_stamp_that_no_clock_can_have_given() -> None:
    readings = Readings()
    readings.mapping(reading(10))
    assert readings.mapping(reading(11, 5)).moment(REAL + 100 * S) == (11 * S, S)


def test_a_suspend_is_no_step() -> None:
    readings = Readings()
    readings.mapping(reading(10))
    mapping = readings.mapping(reading(11, 60, 60))  # both went on while the monotonic clock stood
    assert readings.notes == ["the computer was suspended for 60 s"]
    assert mapping.moment(REAL + int(70.9 * S)) == (round(10.9 * S), 500)


@pytest.mark.parametrize("told", [None, [], [1, 2, 3], [1, 2, 3, "4"], [1, 2, 3, True], "1234"])
def test_what_is_no_reading(told: object) -> None:
    with pytest.raises(ObservationError):
        Readings().mapping(told)


def test_one_computer_has_one_clock() -> None:
    assert shift_of([Trip(100, 200, 150)], same=True) == Shift(0, 0)
    assert shift_of([], same=False) == Shift(0, 0)


def test_another_clock_is_mapped_by_the_quickest_trip() -> None:
    trips = [Trip(0, 1000, 9_000), Trip(2000, 2100, 10_050), Trip(3000, 3500, 11_111)]
    assert shift_of(trips, same=False) == Shift(-8000, 50)
    assert shift_of(trips, same=True) == Shift(-8000, 50), "a time namespace"
