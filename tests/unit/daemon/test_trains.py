"""How many probes show an effect, and what is made of those that came."""

from __future__ import annotations

import random

import pytest

from orchestrator.daemon import trains
from orchestrator.daemon.delay_line import is_spared
from orchestrator.daemon.effects import Line, fate
from orchestrator.daemon.trains import Passed, burst, missing, needed, slow_enough
from orchestrator.daemon.verifying import Expected


def passed(whole: list[int], *, sent: int = 1000, damaged: int = 0, seconds: float = 0.0) -> Passed:
    """What came of a train whose end came, too."""
    return Passed(sent, whole, damaged, seconds, True)


@pytest.mark.parametrize("part", [0.01, 0.02, 0.1, 0.5, 0.9, 0.99])
def test_so_many_that_to_see_nothing_is_one_in_a_million(part: float) -> None:
    number = needed({"loss": part})
    assert max((1 - part) ** number, part**number) <= trains.UNLIKELY
    assert number == trains.LEAST or max((1 - part) ** (number - 1), part ** (number - 1)) > trains.UNLIKELY


def test_what_is_rarer_needs_more_than_there_is_time_for() -> None:
    assert needed({"loss": 0.001}) > trains.MOST >= needed({"loss": 0.01})


@pytest.mark.parametrize("key", ["loss", "duplicate", "corrupt"])
@pytest.mark.parametrize("part", [0.01, 0.3])
def test_an_effect_that_is_not_there_is_missed(key: str, part: float) -> None:
    sent = needed({key: part})
    assert missing({key: part}, passed(list(range(sent)), sent=sent), held=False)


def test_an_effect_of_another_size_is_not_the_one_asked_for() -> None:
    whole = list(range(700))
    assert missing({"loss": 0.3}, passed(whole), held=False) == ""
    assert "300 of 1000 probes were lost" in missing({"loss": 0.1}, passed(whole), held=False)
    assert missing({"loss": 1.0}, passed([]), held=False) == ""
    assert missing({"loss": 1.0}, passed([7]), held=False)
    twice = [n for n in range(1000) for _ in range(1 + (n % 10 == 0))]
    assert missing({"duplicate": 0.1}, passed(twice), held=False) == ""
    assert missing({"duplicate": 0.5}, passed(twice), held=False)
    assert missing({"corrupt": 0.1}, passed(list(range(900)), damaged=100), held=False) == ""
    assert missing({"corrupt": 0.01}, passed(list(range(900)), damaged=100), held=False)


def test_what_overtakes_comes_before_an_earlier_one() -> None:
    assert missing({"reorder": 0.1}, passed([1, 3, 2]), held=True) == ""
    assert "overtook" in missing({"reorder": 0.1}, passed([1, 2, 3]), held=True)
    assert "overtaken" in missing({"reorder": 0.1}, passed([1, 3, 2]), held=False)


def test_what_a_line_does_is_what_is_looked_for() -> None:
    """Five standard deviations: of 200 lines that are as they should be none is doubted."""
    chance, parts = random.Random(7), {"loss": 0.05, "duplicate": 0.05}
    sent = needed(parts)
    for _ in range(200):
        line = Line(loss=parts["loss"], duplicate=parts["duplicate"])
        fates = [fate([line], 0.0, 60, b"", chance, probe=False) for _ in range(sent)]
        whole = [n for n, one in enumerate(fates) if one.due is not None for _ in range(1 + one.twice)]
        assert missing(parts, passed(whole, sent=sent), held=False) == ""


def test_two_lines_lose_what_either_loses() -> None:
    expected = Expected.of([{"loss": 0.5, "delay": 0.1, "rate": 9.0}, {"loss": 0.5, "rate": 5.0}])
    assert expected.parts == {"loss": 0.75}
    assert (expected.rate, expected.held) == (5.0, 0.1)


@pytest.mark.parametrize("rate", [1250.0, 125e3, 1e6, 12.5e6])
def test_a_burst_lasts_long_enough_to_be_seen(rate: float) -> None:
    wanted = burst(rate)
    assert wanted
    assert wanted.seconds >= 0.01
    assert wanted.count * wanted.size / rate == pytest.approx(wanted.seconds)
    whole = list(range(wanted.count))
    for factor, right in ((0.5, False), (1.0, True), (3.0, None)):
        assert slow_enough(passed(whole, seconds=factor * wanted.seconds), wanted, (0.0, 0.0)) is right
    assert slow_enough(passed(whole[1:], seconds=wanted.seconds), wanted, (0.0, 0.0)) is None


def test_a_rate_that_is_too_fast_to_be_seen() -> None:
    assert burst(125e6) is None


def test_probes_of_a_train_are_treated_as_packets_are() -> None:
    four = bytes([0x45]) + bytes(8) + bytes([253]) + bytes(10)
    six = bytes([0x60]) + bytes(5) + bytes([253]) + bytes(33)
    for header in (four, six):
        assert is_spared(header + b"\x4d" + bytes(7))
        assert is_spared(header + b"\x4c" + bytes(7))
        assert not is_spared(header + b"\x4e" + bytes(15))
    assert not is_spared(four.replace(b"\xfd", b"\x06") + bytes(20))
    assert not is_spared(b"")
